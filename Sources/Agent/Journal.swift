internal import CSystem
internal import Glibc
internal import Observation
internal import Supervision
internal import Synchronization

/// The file `journal` in the output directory: a line of JSON for each job that was opened or closed.
///
/// What was opened and not closed when an agent starts was left by one that was killed. Any bytes can be read: a line
/// that is not whole or makes no sense is counted and skipped. Jobs are opened by one thread, closed by another, and neither waits
/// for the disk that the other writes to.
///
/// An agent that leaves the directory to another one, and has jobs that are not over, goes on in `journal.PID`, with a lock of its
/// own, `.lock.PID`. Whoever finds such a file that nobody has locked takes over what is in it.
final class Journal: Sendable {
  static let name = "journal"
  private static let lockName = ".lock"
  /// Bytes at which what is over is left out of it.
  private static let limit = 1 << 20
  /// Bytes that are read of one: a thousand jobs have less than a megabyte.
  private static let readLimit = 64 << 20

  /// What was left unfinished before this agent, in the order in which it began.
  let unfinished: [JournalEntry]
  /// Lines of the file found that could not be read.
  let unreadable: Int

  private struct State {
    /// Of the files' names, behind what they are otherwise; empty as long as the directory is this agent's.
    var suffix = ""
    var lock: Int32
    var descriptor: Int32
    var bytes: Int
    var isChanged = false
    var open: [String: JournalEntry] = [:]
    var order: [String] = []

    mutating func add(_ entry: JournalEntry) {
      if open.updateValue(entry, forKey: entry.job) == nil { order.append(entry.job) }
    }
  }

  private let directory: Int32
  private let state: Mutex<State>

  /// Opens and locks it, and begins it anew with what is unfinished.
  ///
  /// - Parameter directory: stays the caller's, and open as long as the journal.
  /// - Throws: EWOULDBLOCK if another agent has it.
  init(in directory: Int32) throws(SystemError) {
    self.directory = directory
    // The lock is on a file of its own, for the journal is replaced now and then.
    var state = State(lock: try Self.lock(Self.lockName, in: directory), descriptor: -1, bytes: 0)
    let (entries, unreadable) = Self.read(Self.name, beneath: directory)
    for entry in entries { state.add(entry) }
    let left = Self.takeLeft(in: directory)
    for entry in left.entries { state.add(entry) }
    unfinished = entries + left.entries
    self.unreadable = unreadable + left.unreadable
    try Self.rewrite(&state, in: directory)
    Self.remove(left.suffixes, in: directory)
    self.state = Mutex(state)
  }

  deinit {
    state.withLock { state in
      close(state.descriptor)
      close(state.lock)
    }
  }

  private static func lock(_ name: String, in directory: Int32) throws(SystemError) -> Int32 {
    let lock = openat(directory, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard lock >= 0 else { throw SystemError("open the lock of the journal", code: errno) }
    let locked = mt_lock_file(lock)
    guard locked == 0 else {
      close(lock)
      throw SystemError("lock the journal: is another agent using this directory?", code: -locked)
    }
    return lock
  }

  // MARK: - One agent after the other

  /// Leaves the directory to another agent, and goes on beside it.
  func stepAside() throws(SystemError) {
    try state.withLock { state throws(SystemError) in
      guard state.suffix.isEmpty else { return }
      let suffix = ".\(getpid())"
      let lock = try Self.lock(Self.lockName + suffix, in: directory)
      guard renameat(directory, Self.name, directory, Self.name + suffix) == 0 else {
        let code = errno
        unlinkat(directory, Self.lockName + suffix, 0)
        close(lock)
        throw SystemError("put the journal aside", code: code)
      }
      fsync(directory)
      close(state.lock)
      (state.lock, state.suffix) = (lock, suffix)
    }
  }

  /// Takes the directory back, from one that ended before it had anything to write down that was not in here.
  func stepBack() throws(SystemError) {
    try state.withLock { state throws(SystemError) in
      guard !state.suffix.isEmpty else { return }
      let lock = try Self.lock(Self.lockName, in: directory)
      // What it opened and did not close is taken over.
      let (entries, _) = Self.read(Self.name, beneath: directory)
      for entry in entries { state.add(entry) }
      let suffix = state.suffix
      close(state.lock)
      (state.lock, state.suffix) = (lock, "")
      try Self.rewrite(&state, in: directory)
      Self.remove([suffix], in: directory)
    }
  }

  /// Nothing is written any more: of one that has stepped aside nothing stays, unless there is something left to be closed.
  func end() {
    state.withLock { state in
      if !state.suffix.isEmpty, state.open.isEmpty { Self.remove([state.suffix], in: directory) }
    }
  }

  /// What was left unfinished, from now on this agent's, by those that had stepped aside and have ended since.
  func takeLeft() throws(SystemError) -> [JournalEntry] {
    try state.withLock { state throws(SystemError) in
      let left = Self.takeLeft(in: directory)
      for entry in left.entries { state.add(entry) }
      if !left.suffixes.isEmpty { try Self.rewrite(&state, in: directory) }
      Self.remove(left.suffixes, in: directory)
      return left.entries
    }
  }

  private static func takeLeft(
    in directory: Int32
  ) -> (entries: [JournalEntry], unreadable: Int, suffixes: [String]) {
    var found: (entries: [JournalEntry], unreadable: Int, suffixes: [String]) = ([], 0, [])
    for file in DirectoryNames.of(directory) where file.hasPrefix(name + ".") {
      let suffix = String(file.dropFirst(name.count))
      guard UInt32(suffix.dropFirst()) != nil, let lock = try? lock(lockName + suffix, in: directory) else { continue }
      // Nobody else begins it anew.
      defer { close(lock) }
      let (entries, unreadable) = read(file, beneath: directory)
      found.entries += entries
      found.unreadable += unreadable
      found.suffixes.append(suffix)
    }
    return found
  }

  private static func remove(_ suffixes: [String], in directory: Int32) {
    for suffix in suffixes {
      unlinkat(directory, name + suffix, 0)
      unlinkat(directory, lockName + suffix, 0)
    }
  }

  // MARK: - Writing

  /// Takes some microseconds: it is on its way to the disk, and there after ``sync()``.
  func opened(_ entry: JournalEntry) throws(SystemError) {
    try state.withLock { state throws(SystemError) in
      state.add(entry)
      try Self.append(JournalText.opened(entry), to: &state)
    }
  }

  /// A job's report is there. Written as an opening is.
  ///
  /// - Parameter path: where, or why there is none.
  func closed(job: String, path: String) throws(SystemError) {
    try state.withLock { state throws(SystemError) in
      state.open[job] = nil
      state.order.removeAll { $0 == job }
      try Self.append(JournalText.closed(job: job, path: path), to: &state)
      if state.bytes > Self.limit { try Self.rewrite(&state, in: directory) }
    }
  }

  /// Brings what was written to the disk. For the thread that closes jobs, as that replaces the file.
  func sync() throws(SystemError) {
    let descriptor = state.withLock { state in
      defer { state.isChanged = false }
      return state.isChanged ? state.descriptor : -1
    }
    // Not under the lock: whoever opens a job has rings to read.
    guard descriptor < 0 || fdatasync(descriptor) == 0 else { throw SystemError("write the journal", code: errno) }
  }

  private static func append(_ line: [UInt8], to state: inout State) throws(SystemError) {
    try write(line, to: state.descriptor)
    state.bytes += line.count
    state.isChanged = true
  }

  private static func write(_ bytes: [UInt8], to descriptor: Int32) throws(SystemError) {
    let code = WholeWrite.write(bytes, to: descriptor)
    guard code == 0 else { throw SystemError("write the journal", code: code) }
  }

  /// Puts a file with nothing but what is open in its place.
  private static func rewrite(_ state: inout State, in directory: Int32) throws(SystemError) {
    let temporary = ".journal\(state.suffix).new"
    unlinkat(directory, temporary, 0)
    let flags = O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW
    let descriptor = openat(directory, temporary, flags, 0o600)
    guard descriptor >= 0 else { throw SystemError("make a new journal", code: errno) }
    let bytes = state.order.compactMap { state.open[$0] }.flatMap { JournalText.opened($0) }
    do throws(SystemError) {
      try write(bytes, to: descriptor)
      guard fdatasync(descriptor) == 0, renameat(directory, temporary, directory, name + state.suffix) == 0 else {
        throw SystemError("write a new journal", code: errno)
      }
    } catch {
      close(descriptor)
      throw error
    }
    fsync(directory)
    if state.descriptor >= 0 { close(state.descriptor) }
    state.descriptor = descriptor
    state.bytes = bytes.count
  }

  // MARK: - Reading

  private static func read(_ name: String, beneath directory: Int32) -> (entries: [JournalEntry], unreadable: Int) {
    let descriptor = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    guard descriptor >= 0 else { return ([], 0) }
    defer { close(descriptor) }
    return JournalText.parse(FileContents.read(descriptor, atMost: readLimit).bytes)
  }
}
