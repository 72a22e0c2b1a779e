internal import Jobs
internal import KernelABI
internal import KernelSensor
internal import Observation
internal import Synchronization

/// What of the files with TLS one job uses, and what came of them: noticed by the thread that folds the job's records, found
/// out by the prober's.
///
/// That another job uses a file, or what it calls it, is not in it.
public final class RequestUse: Sendable {
  /// A file as the kernel has it, not stat(2).
  struct Identity: Hashable, Sendable {
    let inode: UInt64
    let size: UInt64
    private let device: UInt32
    private let generation: UInt32
    /// Of an image when it changed; else 0.
    private let changed: Int64

    init(_ file: mt_file, size: UInt64, changed: Int64 = 0) {
      inode = file.ino
      self.size = size
      device = file.dev
      generation = file.generation
      self.changed = changed
    }
  }

  private struct State {
    /// When it was asked for, CLOCK_BOOTTIME.
    var asked: [Identity: UInt64] = [:]
    var waiting = 0
    var keys: Set<RequestProbes.Key> = []
    var found = RequestFiles()
    var gone: Set<Identity> = []
    var beyond: Set<Identity> = []
    /// Of which no more is known than how many there were.
    var goneUnknown: UInt64 = 0
    var beyondUnknown: UInt64 = 0
    var isOver = false

    var files: RequestFiles {
      var result = found
      result.gone = UInt64(gone.count) &+ goneUnknown &+ UInt64(waiting)
      result.beyond = UInt64(beyond.count) &+ beyondUnknown
      return result
    }
  }

  /// Files that one job is told of.
  static let fileLimit = 256
  /// Of one job, that wait to be looked at.
  private static let waitingLimit = 4096
  private static let rememberedLimit = 16_384
  /// A library's number may be another file's a moment later, as containers come and go: it is looked at anew, this many
  /// nanoseconds later at the earliest.
  private static let again: UInt64 = 1_000_000_000
  /// What names of libraries that do TLS have behind `lib`, each with a space behind it.
  private static let libraries: StaticString = "ssl crypto gnutls nss3 jvm mbedtls wolfssl boringssl "

  private let prober: RequestProber
  private let state: Mutex<State>

  init(_ prober: RequestProber, seesOpens: Bool) {
    self.prober = prober
    var state = State()
    state.found.opensAreLeftOut = !seesOpens
    self.state = Mutex(state)
  }

  // MARK: - The thread that folds

  /// A record of the job was folded: has looked at what it executed, or opened, if that may do TLS.
  ///
  /// Nothing is allocated for what the job has used before.
  func saw(_ record: RecordView, _ applied: borrowing Applied) {
    switch record.type {
    case .exec:
      let body = record.exec
      let identity = Identity(body.file, size: body.size, changed: body.ctime)
      guard isNew(identity, at: record.time, again: .max) else { return }
      ask(.image(ofProcess: record.tgid, identity), applied.executable, at: record.time)
    case .open:
      guard Self.isLibrary(applied.name) else { return }
      let body = record.open
      let identity = Identity(body.file, size: body.size)
      guard isNew(identity, at: record.time, again: Self.again) else { return }
      ask(.library(ofProcess: record.tgid, identity), applied.path, at: record.time)
    case .claim:
      // What it was, and had mapped, before anybody looked: of others that is told.
      guard record.claim.claimReason == .adopted, begins() else { return }
      ask(.process(record.tgid), UnsafeRawBufferPointer(start: nil, count: 0), at: record.time)
    default: break
    }
  }

  /// Files wait to be looked at.
  var isWaiting: Bool { state.withLock { $0.waiting > 0 } }

  /// What was found by now.
  var files: RequestFiles { state.withLock { $0.files } }

  /// No record comes any more: what waits still counts as gone.
  func end() -> RequestFiles {
    let files = state.withLock { state in
      state.isOver = true
      return state.files
    }
    prober.forget(self)
    return files
  }

  private func isNew(_ identity: Identity, at time: UInt64, again: UInt64) -> Bool {
    state.withLock { state in
      if let last = state.asked[identity], again == .max || time &- last < again { return false }
      guard state.waiting < Self.waitingLimit else {
        state.goneUnknown &+= 1
        return false
      }
      if state.asked.count >= Self.rememberedLimit { state.asked.removeAll(keepingCapacity: true) }
      state.asked[identity] = time
      state.waiting += 1
      return true
    }
  }

  func begins() -> Bool {
    state.withLock { state in
      guard state.waiting < Self.waitingLimit else {
        state.goneUnknown &+= 1
        return false
      }
      state.waiting += 1
      return true
    }
  }

  private func ask(_ what: RequestProber.What, _ name: UnsafeRawBufferPointer, at time: UInt64) {
    prober.ask(RequestProber.Work(use: self, what: what, name: Array(name), time: time))
  }

  /// Whether it may be a library that does TLS, by its name: mostly the first letters say that it is none.
  static func isLibrary(_ name: UnsafeRawBufferPointer) -> Bool {
    let (l, i, b) = (UInt8(ascii: "l"), UInt8(ascii: "i"), UInt8(ascii: "b"))
    guard name.count > 6, name[0] == l, name[1] == i, name[2] == b else { return false }
    let words = UnsafeBufferPointer(start: libraries.utf8Start, count: libraries.utf8CodeUnitCount)
    var at = 3
    var isSame = true
    var isFound = false
    for letter in words {
      if letter == UInt8(ascii: " ") {
        if isSame {
          isFound = true
          break
        }
        at = 3
        isSame = true
      } else {
        isSame = isSame && at < name.count && name[at] == letter
        at += 1
      }
    }
    guard isFound else { return false }
    let (dot, s, o) = (UInt8(ascii: "."), UInt8(ascii: "s"), UInt8(ascii: "o"))
    for index in 3..<name.count - 2 where name[index] == dot && name[index + 1] == s && name[index + 2] == o {
      return true
    }
    return false
  }

  // MARK: - The prober's thread

  /// It was looked at, or could not be.
  func done() { state.withLock { $0.waiting -= 1 } }

  /// - Parameters:
  ///   - name: as the job calls it, masked
  ///   - time: since when the job uses it, CLOCK_BOOTTIME; nil: it may not
  /// - Returns: whether it is one more, which is to be there until the job is forgotten
  func found(
    _ key: RequestProbes.Key, _ file: RequestFile, _ name: String, since time: UInt64?, _ identity: Identity?
  ) -> Bool {
    state.withLock { state in
      if let identity { state.gone.remove(identity) }
      guard !state.isOver, !state.keys.contains(key) else { return false }
      guard state.keys.count < Self.fileLimit else {
        Self.count(identity, &state.beyond, &state.beyondUnknown)
        return false
      }
      state.keys.insert(key)
      var file = file
      file.path = name
      file.usedSince = time
      state.found.files.append(file)
      return true
    }
  }

  /// It does no TLS.
  func isNone(_ identity: Identity) { state.withLock { _ = $0.gone.remove(identity) } }

  /// nil: of one of which nothing is known but that it was there.
  func isGone(_ identity: Identity?) {
    state.withLock { state in
      Self.count(identity, &state.gone, &state.goneUnknown)
      // The next time it may be there.
      if let identity { state.asked[identity] = nil }
    }
  }

  func isBeyond(_ identity: Identity?) {
    state.withLock { Self.count(identity, &$0.beyond, &$0.beyondUnknown) }
  }

  private static func count(_ identity: Identity?, _ known: inout Set<Identity>, _ unknown: inout UInt64) {
    if let identity, known.contains(identity) { return }
    guard let identity, known.count < rememberedLimit else { return unknown &+= 1 }
    known.insert(identity)
  }

  /// Which files are its.
  var keys: Set<RequestProbes.Key> { state.withLock { $0.keys } }
}
