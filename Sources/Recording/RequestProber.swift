internal import CSystem
internal import Glibc
public import KernelSensor
public import Observation
public import Supervision
internal import Synchronization

/// Has requests read of whatever watched processes do TLS with, on a thread of its own, for any number of jobs: libraries
/// of the system from the start, others, and programs that have a library in them, when they are first seen, for as long as a
/// job uses them.
///
/// The probes belong to one thread at a time: to the creator's until ``start()``, then to its own, and after ``end()`` to
/// nobody.
public final class RequestProber: @unchecked Sendable {
  /// What a job does, as far as it is to be looked at.
  enum What: Sendable {
    /// One of its processes executed a file.
    case image(ofProcess: UInt32, RequestUse.Identity)
    /// One opened a library.
    case library(ofProcess: UInt32, RequestUse.Identity)
    /// A process became its own.
    case process(UInt32)
    /// It may use any of the system's files, and nobody would see that.
    case whole
  }

  struct Work: Sendable {
    var use: RequestUse
    var what: What
    /// As the job calls it.
    var name: [UInt8] = []
    var time: UInt64 = 0
  }

  private struct Queue {
    var waiting: [Work] = []
    var forgotten: [RequestUse] = []
    var isEnding = false
    var counts = Counts()
  }

  /// Of all jobs.
  public struct Counts: Sendable {
    /// Files with TLS that are known now, and how many of them are read.
    public var files = 0
    public var read = 0
    /// How often there was no place for one.
    public var beyond: UInt64 = 0
  }

  /// Files that are attached to at once, for all jobs together.
  public static let fileLimit = 512
  private static let knownLimit = 65_536
  /// Nanoseconds at the end for files that wait still.
  public static let patience: UInt64 = 500_000_000
  /// What waits to be looked at, of all jobs.
  private static let limit = 16_384
  private static let mapsLimit = 4 << 20
  private static let directories = [
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64", "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
  ]
  /// Programs with a library in them that builds often run; looked for on a PATH, so that their first process is read from
  /// its beginning.
  private static let programs = ["node", "nodejs", "go", "git-lfs", "gh", "docker"]

  private let probes: RequestProbes
  private let masker: SecretMasker
  /// What images were, for those that are gone the next time. By the thread alone; nil: no TLS.
  private var known: [RequestUse.Identity: RequestProbes.Key?] = [:]
  private var beyond: UInt64 = 0
  private let queue = Mutex(Queue())
  private let doorbell: Doorbell
  private let isOver = Atomic<Bool>(false)
  private var thread: RunningThread?

  /// Attaches to the system's libraries.
  ///
  /// - Returns: nil if the sensor was not asked for requests, or the kernel has not what it takes
  public convenience init?(_ sensor: borrowing Sensor, masker: SecretMasker) throws(SystemError) {
    guard let probes = sensor.requestProbes(limit: Self.fileLimit) else { return nil }
    try self.init(probes, masker: masker)
  }

  private init(_ probes: RequestProbes, masker: SecretMasker) throws(SystemError) {
    self.probes = probes
    self.masker = masker
    doorbell = try Doorbell()
    for directory in Self.directories {
      for name in Self.names(in: directory) where name.withUnsafeBytes(RequestUse.isLibrary) {
        stay(directory + "/" + String(decoding: name, as: UTF8.self))
      }
    }
  }

  /// Looks at programs that are likely to be run.
  ///
  /// - Parameters:
  ///   - command: one that is about to be; nil: none is known
  ///   - environment: with the PATH by which they are found
  public func look(atCommand command: [UInt8]?, environment: Environment) {
    let names = (command.map { [String(decoding: $0, as: UTF8.self)] } ?? []) + Self.programs
    let path = environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin"
    for program in names {
      let places = program.utf8.contains(UInt8(ascii: "/")) ? [""] : path.split(separator: ":").map { $0 + "/" }
      if let found = places.map({ $0 + program }).first(where: { access($0, X_OK) == 0 }) { stay(found) }
    }
  }

  public func start() throws(SystemError) {
    thread = try startThread("the prober's", self) { $0.work() }
  }

  /// For a job that begins.
  ///
  /// - Parameter filter: what is left out of its records
  public func use(_ filter: EventFilter?) -> RequestUse {
    let seesOpens = !(filter?.mayLeaveOutOpens ?? false)
    let use = RequestUse(self, seesOpens: seesOpens)
    if !seesOpens, use.begins() { ask(Work(use: use, what: .whole)) }
    return use
  }

  /// What there is by now.
  public var counts: Counts { queue.withLock { $0.counts } }

  /// Takes all probes off. A file that a disk does not give may be waited for by the thread: it is left to itself then.
  public func end() {
    queue.withLock { $0.isEnding = true }
    doorbell.ring()
    if let thread, thread.join(milliseconds: 1000, isOver: isOver) { self.thread = nil }
  }

  func ask(_ work: Work) {
    let isTaken = queue.withLock { queue in
      guard queue.waiting.count < Self.limit else { return false }
      queue.waiting.append(work)
      return true
    }
    if isTaken { return doorbell.ring() }
    work.use.isGone(nil)
    work.use.done()
  }

  /// The job is over.
  func forget(_ use: RequestUse) {
    queue.withLock { $0.forgotten.append(use) }
    doorbell.ring()
  }

  // MARK: - The thread

  private func work() {
    mt_thread_describe("martlet-probes", -5)
    while true {
      let (works, forgotten, isEnding) = queue.withLock { queue in
        queue.counts = Counts(probes.files, beyond: beyond)
        defer {
          queue.waiting = []
          queue.forgotten = []
        }
        return (queue.waiting, queue.forgotten, queue.isEnding)
      }
      // What a short job has used is looked at all the same, as far as there is time. The rest waits for ever.
      let start = mt_boottime_ns()
      for work in works {
        if isEnding, mt_boottime_ns() &- start > Self.patience { break }
        look(work)
        work.use.done()
      }
      for use in forgotten { for key in use.keys { probes.release(key) } }
      if isEnding { break }
      if works.isEmpty, forgotten.isEmpty { doorbell.wait(milliseconds: -1) }
    }
    probes.detach()
    isOver.store(true, ordering: .releasing)
  }

  private func stay(_ path: String) {
    // Their links have names that say less.
    let name = FileContents.resolved(path) ?? Array(path.utf8)
    _ = probes.look(at: path, calledAs: masked(name), stays: true, now: { mt_boottime_ns() })
  }

  private func look(_ work: Work) {
    switch work.what {
    case .image(let process, let identity):
      guard !look(work, at: "/proc/\(process)/exe", identity) else { return }
      // What was executed is known by when it changed, too.
      switch known[identity] {
      case .some(.some(let key)):
        if let file = probes.file(key) { return found(key, file, work, work.name, identity) }
      case .some(.none): return work.use.isNone(identity)
      case .none: break
      }
      work.use.isGone(identity)
    case .library(let process, let identity):
      let path = "/proc/\(process)/root" + String(decoding: work.name, as: UTF8.self)
      if !look(work, at: path, identity) { work.use.isGone(identity) }
    case .process(let process): look(work, atProcess: process)
    case .whole:
      for key in probes.staying {
        guard let file = probes.file(key) else { continue }
        if work.use.found(key, file, file.path, since: nil, nil) { probes.retain(key) }
      }
    }
  }

  /// By the process, which may be over by now, or by the name, which may be another file's or mean another one here.
  ///
  /// - Returns: false if there is no such file any more.
  private func look(_ work: Work, at path: String, _ identity: RequestUse.Identity) -> Bool {
    let own = String(decoding: work.name, as: UTF8.self)
    return look(work, at: [(path, nil), (own, (identity.inode, identity.size))], work.name, identity)
  }

  /// - Returns: false if there is no such file any more.
  private func look(
    _ work: Work, at places: [(path: String, expected: (UInt64, UInt64)?)], _ name: [UInt8],
    _ identity: RequestUse.Identity?
  ) -> Bool {
    for place in places {
      let outcome = probes.look(
        at: place.path, calledAs: masked(name), expected: place.expected, now: { mt_boottime_ns() })
      switch outcome {
      case .gone: continue
      case .none:
        note(identity, nil, of: work)
        if let identity { work.use.isNone(identity) }
      case .beyond:
        beyond &+= 1
        work.use.isBeyond(identity)
      case .file(let key):
        note(identity, key, of: work)
        if let file = probes.file(key) { found(key, file, work, name, identity) }
      }
      return true
    }
    return false
  }

  private func found(
    _ key: RequestProbes.Key, _ file: RequestFile, _ work: Work, _ name: [UInt8], _ identity: RequestUse.Identity?
  ) {
    if work.use.found(key, file, masked(name), since: work.time, identity) {
      probes.retain(key)
    } else {
      // The job has more than it is told of, or is over.
      probes.letGo(key)
    }
  }

  private func note(_ identity: RequestUse.Identity?, _ key: RequestProbes.Key?, of work: Work) {
    guard case .image = work.what, let identity else { return }
    if known.count >= Self.knownLimit { known = [:] }
    known[identity] = .some(key)
  }

  /// At what a process executes, and at the libraries that it has mapped.
  private func look(_ work: Work, atProcess process: UInt32) {
    let image = "/proc/\(process)/exe"
    guard let name = FileContents.link(image), look(work, at: [(image, nil)], name, nil) else {
      return work.use.isGone(nil)
    }
    let maps = FileContents.read(path: "/proc/\(process)/maps", atMost: Self.mapsLimit)
    if maps.count >= Self.mapsLimit { work.use.isGone(nil) }
    for mapping in MappedLibrary.all(in: maps) {
      let paths = [
        "/proc/\(process)/map_files/\(mapping.range)",
        "/proc/\(process)/root" + String(decoding: mapping.path, as: UTF8.self),
      ].map { (path: $0, expected: (UInt64, UInt64)?.none) }
      if !look(work, at: paths, mapping.path, nil) { work.use.isGone(nil) }
    }
  }

  private func masked(_ name: [UInt8]) -> String {
    var buffer = ByteBuffer(capacity: name.count + 16)
    name.withUnsafeBytes { _ = masker.maskText($0, into: &buffer) }
    return buffer.text
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

extension RequestProber.Counts {
  fileprivate init(_ files: [RequestFile], beyond: UInt64) {
    self.files = files.count
    read = files.count { $0.readSince != nil }
    self.beyond = beyond
  }
}

/// A library that may do TLS, as a process has its code mapped.
struct MappedLibrary: Equatable {
  /// Its name in `/proc/PID/map_files`.
  var range: String
  var path: [UInt8]

  /// - Parameter maps: of procfs; any bytes give some, each path once.
  static func all(in maps: [UInt8]) -> [MappedLibrary] {
    var seen: Set<[UInt8]> = []
    return maps.split(separator: UInt8(ascii: "\n")).compactMap { line in
      // Range, rights, offset, device, inode, and the path, which may have spaces.
      let words = line.split(separator: UInt8(ascii: " "), maxSplits: 5)
      guard words.count == 6, words[1].contains(UInt8(ascii: "x")) else { return nil }
      let path = FileContents.undeleted(words[5].drop { $0 == UInt8(ascii: " ") })
      guard path.first == UInt8(ascii: "/"), let slash = path.lastIndex(of: UInt8(ascii: "/")),
        path[(slash + 1)...].withUnsafeBytes(RequestUse.isLibrary), seen.insert(path).inserted
      else { return nil }
      return MappedLibrary(range: String(decoding: words[0], as: UTF8.self), path: path)
    }
  }
}
