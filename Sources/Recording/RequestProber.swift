internal import CSystem
internal import Glibc
internal import Jobs
internal import KernelABI
public import KernelSensor
public import Observation
public import Supervision
internal import Synchronization

/// Has requests read of whatever the watched processes do TLS with, on a thread of its own: libraries of the system from
/// the start, others, and programs that have a library in them, when they are first seen.
///
/// The probes belong to one thread at a time: to the creator's until ``start()``, then to its own, and after ``end()`` to
/// nobody.
public final class RequestProber: @unchecked Sendable {
  /// As the kernel has it, not stat(2).
  private struct Identity: Hashable {
    var inode: UInt64
    var device: UInt32
    var generation: UInt32
    var changed: Int64

    init(_ file: mt_file, changed: Int64 = 0) {
      inode = file.ino
      device = file.dev
      generation = file.generation
      self.changed = changed
    }
  }

  private struct Work {
    /// Where it may be had; the first is best.
    var paths: [String]
    var name: [UInt8]
    var time: UInt64
    var identity: Identity?
  }

  private struct Queue {
    var waiting: [Work] = []
    var isEnding = false
    var result = RequestFiles()
    var shed: UInt64 = 0
  }

  private static let knownLimit = 65_536
  /// Nanoseconds at the end for files that wait still.
  private static let patience: UInt64 = 500_000_000
  /// Files that wait to be looked at.
  private static let limit = 16_384
  private static let directories = [
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64", "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
  ]
  /// Programs with a library in them that builds often run; looked for on the command's PATH, so that their first
  /// process is read from its beginning.
  private static let programs = ["node", "nodejs", "go", "git-lfs", "gh", "docker"]
  /// What names of libraries that do TLS begin with.
  private static let libraries = [
    "libssl", "libcrypto", "libgnutls", "libnss3", "libjvm", "libmbedtls", "libwolfssl", "libboringssl",
  ].map { Array($0.utf8) }

  private let probes: RequestProbes
  private let masker: SecretMasker
  /// Looked at, and gone before they were; both by the thread alone.
  private var known: Set<Identity> = []
  private var gone: Set<Identity> = []
  private let queue = Mutex(Queue())
  private let doorbell: Doorbell
  private let isOver = Atomic<Bool>(false)
  private var thread: RunningThread?

  /// Attaches to the system's libraries.
  public init(_ probes: RequestProbes, masker: SecretMasker) throws(SystemError) {
    self.probes = probes
    self.masker = masker
    doorbell = try Doorbell()
    for directory in Self.directories {
      for name in Self.names(in: directory) where Self.isLibrary(name) {
        look(Work(paths: [directory + "/" + String(decoding: name, as: UTF8.self)], name: [], time: 0))
      }
    }
  }

  /// Looks at the program that is about to be run, and at those that it is likely to run.
  public func look(atCommand command: [UInt8], environment: Environment) {
    let name = String(decoding: command, as: UTF8.self)
    let path = environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin"
    for program in [name] + Self.programs {
      let places = program.utf8.contains(UInt8(ascii: "/")) ? [""] : path.split(separator: ":").map { $0 + "/" }
      if let found = places.map({ $0 + program }).first(where: { access($0, X_OK) == 0 }) {
        look(Work(paths: [found], name: [], time: 0))
      }
    }
  }

  public func start() throws(SystemError) {
    thread = try startThread("the prober's", self) { $0.work() }
  }

  /// A record of a watched job was folded: looks at what it executed, or opened, if that may do TLS.
  func saw(_ record: RecordView, _ applied: borrowing Applied) {
    switch record.type {
    case .exec:
      let body = record.exec
      let elsewhere = MT_EXEC_OTHER_MNTNS.rawValue | MT_EXEC_CHROOT.rawValue
      // It may be over soon.
      let paths =
        ["/proc/\(record.tgid)/exe"] + (body.exec_flags & elsewhere == 0 ? [Self.text(applied.executable)] : [])
      ask(
        Work(
          paths: paths, name: Array(applied.executable), time: record.time,
          identity: Identity(body.file, changed: body.ctime)))
    case .open:
      guard Self.isLibrary(applied.name) else { return }
      let path = Self.text(applied.path)
      ask(
        Work(
          paths: ["/proc/\(record.tgid)/root" + path], name: Array(applied.path), time: record.time,
          identity: Identity(record.open.file)))
    default: break
    }
  }

  /// What was found, up to now or up to the end.
  public var files: RequestFiles {
    queue.withLock { queue in
      var result = queue.result
      result.beyond += queue.shed
      return result
    }
  }

  /// Takes all probes off. A file that a disk does not give may be waited for by the thread: it is left to itself then.
  public func end() {
    queue.withLock { $0.isEnding = true }
    doorbell.ring()
    if let thread, thread.join(milliseconds: 1000, isOver: isOver) { self.thread = nil }
  }

  private func ask(_ work: Work) {
    let isTaken = queue.withLock { queue in
      guard queue.waiting.count < Self.limit else {
        queue.shed += 1
        return false
      }
      queue.waiting.append(work)
      return true
    }
    if isTaken { doorbell.ring() }
  }

  // MARK: - The thread

  private func work() {
    mt_thread_describe("martlet-probes", -5)
    while true {
      let (works, isEnding) = queue.withLock { queue in
        defer { queue.waiting = [] }
        return (queue.waiting, queue.isEnding)
      }
      // What a short job has used is looked at all the same, as far as there is time.
      let start = mt_boottime_ns()
      for (index, work) in works.enumerated() {
        if isEnding, mt_boottime_ns() &- start > Self.patience {
          queue.withLock { $0.shed += UInt64(works.count - index) }
          break
        }
        look(work)
      }
      if isEnding { break }
      if works.isEmpty { doorbell.wait(milliseconds: -1) }
    }
    probes.detach()
    isOver.store(true, ordering: .releasing)
  }

  private func look(_ work: Work) {
    if let identity = work.identity, known.contains(identity) { return }
    let name = work.name.isEmpty ? Array((work.paths.first ?? "").utf8) : work.name
    for path in work.paths {
      let outcome = probes.look(
        at: path, calledAs: masked(name), usedSince: work.time == 0 ? nil : work.time, now: { mt_boottime_ns() })
      if outcome == .gone { continue }
      if let identity = work.identity {
        if known.count >= Self.knownLimit { known = [] }
        known.insert(identity)
        gone.remove(identity)
      }
      tell()
      return
    }
    if let identity = work.identity, gone.count < Self.knownLimit { gone.insert(identity) }
    tell()
  }

  private func tell() {
    queue.withLock {
      $0.result.files = probes.files
      $0.result.beyond = probes.filesBeyond
      $0.result.gone = UInt64(gone.count)
    }
  }

  private static func text(_ bytes: UnsafeRawBufferPointer) -> String { String(decoding: bytes, as: UTF8.self) }

  private func masked(_ name: [UInt8]) -> String {
    var buffer = ByteBuffer(capacity: name.count + 16)
    name.withUnsafeBytes { _ = masker.maskText($0, into: &buffer) }
    return buffer.text
  }

  private static func isLibrary(_ name: some Collection<UInt8>) -> Bool {
    name.starts(with: "lib".utf8) && libraries.contains { name.starts(with: $0) }
      && String(decoding: name, as: UTF8.self).contains(".so")
  }

  private static func names(in directory: String) -> [[UInt8]] {
    guard let stream = opendir(directory) else { return [] }
    defer { closedir(stream) }
    var names: [[UInt8]] = []
    while let entry = readdir(stream) {
      names.append(withUnsafeBytes(of: entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) })
    }
    return names.sorted { $0.lexicographicallyPrecedes($1) }
  }
}
