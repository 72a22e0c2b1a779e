internal import CSystem
internal import Glibc
internal import Jobs
internal import KernelABI
public import Supervision
internal import Synchronization

/// Hashes files on a thread of its own, for any number of jobs.
///
/// What somebody executed goes before what jobs have left behind: its process may be over soon, and then it can be had
/// only where its name leads to it still.
public final class FileHasher: @unchecked Sendable {
  public struct Limits: Sendable {
    /// Files that wait; what comes beyond is not hashed.
    public var queue = 65_536
    /// Bytes of a file that is hashed.
    public var fileBytes: UInt64 = 1 << 30
    /// Nanoseconds that a job's end waits for its files.
    public var patience: UInt64 = 30_000_000_000

    public init() {}
  }

  private struct Work {
    var number: UInt64
    var request: DigestRequest
    var box: DigestBox
  }

  private struct Queue {
    var images: [Work] = []
    var written: [Work] = []
    /// Those before it are done.
    var nextImage = 0
    var nextWritten = 0
    var isEnding = false

    var count: Int { images.count - nextImage + written.count - nextWritten }

    mutating func next() -> Work? {
      if nextImage < images.count {
        nextImage += 1
        return images[nextImage - 1]
      }
      images.removeAll(keepingCapacity: true)
      nextImage = 0
      if nextWritten < written.count {
        nextWritten += 1
        return written[nextWritten - 1]
      }
      written.removeAll(keepingCapacity: true)
      nextWritten = 0
      return nil
    }
  }

  public let limits: Limits
  /// Nothing more is taken: what comes is not hashed, as when there is no place for it.
  public var isPaused: Bool {
    get { paused.load(ordering: .relaxed) }
    set { paused.store(newValue, ordering: .relaxed) }
  }
  private let paused = Atomic<Bool>(false)
  private let queue = Mutex(Queue())
  private let doorbell: Doorbell
  private let isOver = Atomic<Bool>(false)
  private var thread: RunningThread?

  public init(limits: Limits = Limits()) throws(SystemError) {
    self.limits = limits
    doorbell = try Doorbell()
  }

  public func start() throws(SystemError) {
    thread = try startThread("the hasher's", self) { $0.work() }
  }

  /// What waits is not hashed any more. One file that a disk does not give may be waited for by the thread: it is left to
  /// itself then, and goes with the process.
  public func end() {
    queue.withLock { $0.isEnding = true }
    doorbell.ring()
    if let thread, thread.join(milliseconds: 200, isOver: isOver) { self.thread = nil }
  }

  /// - Returns: false if there is no place for it
  func put(_ request: DigestRequest, _ number: UInt64, for box: DigestBox) -> Bool {
    let isTaken = queue.withLock { queue in
      guard !isPaused, queue.count < limits.queue, !queue.isEnding else { return false }
      let work = Work(number: number, request: request, box: box)
      if request.body.of == UInt16(MT_DIGEST_IMAGE.rawValue) {
        queue.images.append(work)
      } else {
        queue.written.append(work)
      }
      return true
    }
    if isTaken { doorbell.ring() }
    return isTaken
  }

  // MARK: - The thread

  private func work() {
    mt_thread_describe("martlet-hashes", 5)
    let file = HashedFile(limit: limits.fileBytes)
    while true {
      let (next, isEnding) = queue.withLock { ($0.isEnding ? nil : $0.next(), $0.isEnding) }
      if isEnding { break }
      guard let next else {
        doorbell.wait(milliseconds: -1)
        continue
      }
      var request = next.request
      let isWanted = { next.box.awaits(next.number) && !self.queue.withLock { $0.isEnding } }
      guard isWanted() else { continue }
      file.hash(&request, while: isWanted)
      next.box.put(request, next.number)
    }
    isOver.store(true, ordering: .releasing)
  }
}

/// What one job has asked for, and what came of it.
final class DigestBox: Sendable {
  private struct State {
    var last: UInt64 = 0
    var awaited: [UInt64: DigestRequest] = [:]
    var done: [DigestRequest] = []
  }

  private let state = Mutex(State())

  var isAwaiting: Bool { state.withLock { !$0.awaited.isEmpty } }

  func awaits(_ number: UInt64) -> Bool { state.withLock { $0.awaited[number] != nil } }

  func ask(_ request: DigestRequest, _ hasher: FileHasher) {
    let number = state.withLock { state in
      state.last += 1
      state.awaited[state.last] = request
      return state.last
    }
    if !hasher.put(request, number, for: self) { put(request.shed, number) }
  }

  /// One that need not be asked for.
  func put(_ request: DigestRequest) { state.withLock { $0.done.append(request) } }

  func put(_ request: DigestRequest, _ number: UInt64) {
    state.withLock { state in
      // It was given up meanwhile.
      guard state.awaited.removeValue(forKey: number) != nil else { return }
      state.done.append(request)
    }
  }

  func take() -> [DigestRequest] {
    state.withLock { state in
      defer { state.done = [] }
      return state.done
    }
  }

  /// What is not done by now is not waited for.
  func giveUp() {
    state.withLock { state in
      for number in state.awaited.keys.sorted() {
        if let request = state.awaited[number] { state.done.append(request.shed) }
      }
      state.awaited = [:]
    }
  }
}

extension DigestRequest {
  /// Not hashed, as there was no time or place for it.
  fileprivate var shed: DigestRequest {
    var shed = self
    shed.body.how = UInt16(MT_DIGEST_USER.rawValue)
    shed.body.why = UInt16(MT_DIGEST_SHED.rawValue)
    return shed
  }
}
