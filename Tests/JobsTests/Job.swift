import Glibc
import KernelABI
import Observation

@testable import Jobs

/// A job fed with records made by hand, one millisecond apart.
final class Job {
  let state: JobState
  var time: UInt64 = 200_000_000_000
  static let shell: UInt32 = 100

  init(_ change: (inout JobOptions) -> Void = { _ in }) {
    var options = JobOptions(rootProcess: Job.shell)
    change(&options)
    state = JobState(options: options)
  }

  /// When a process of these tests began: as good as any, if it is the same each time.
  static func start(_ pid: UInt32) -> UInt64 { UInt64(pid) * 1_000_000 }

  @discardableResult
  func send(
    _ type: RecordType, _ pid: UInt32, start: UInt64? = nil, body: some RecordBody,
    strings: [(RecordString, String)] = [], flags: RecordFlags = []
  ) -> UInt64 {
    time += 1_000_000
    var builder = RecordBuilder(type, time: time, tgid: pid, leaderStart: start ?? Job.start(pid))
    builder.setBody(body)
    builder.flags = flags
    for (name, text) in strings { builder.setString(name, text) }
    apply(builder)
    return time
  }

  func apply(_ builder: RecordBuilder) {
    builder.bytes.withUnsafeBytes { bytes in
      guard let record = try? RecordView(validating: bytes) else { return }
      state.apply(record)
      let applied = state.applied
      path = String(decoding: applied.path, as: UTF8.self)
      path2 = String(decoding: applied.path2, as: UTF8.self)
      arguments = String(decoding: applied.arguments, as: UTF8.self)
    }
  }

  /// Of the record sent last.
  private(set) var path = ""
  private(set) var path2 = ""
  private(set) var arguments = ""
  var applied: Applied { state.applied }

  // MARK: - Processes

  @discardableResult
  func fork(_ pid: UInt32, _ child: UInt32, childStart: UInt64? = nil, sharesFiles: Bool = false) -> UInt64 {
    var body = mt_fork()
    body.child_tgid = child
    body.real_parent_tgid = pid
    body.child_start = childStart ?? Job.start(child)
    body.shares_files = sharesFiles ? 1 : 0
    return send(.fork, pid, body: body)
  }

  @discardableResult
  func exec(
    _ pid: UInt32, _ path: String, _ arguments: [String] = [], start: UInt64? = nil, flags: UInt32 = 0,
    cwd: String = "/", descriptors: UInt64 = 0
  ) -> UInt64 {
    var body = mt_exec()
    body.descriptors = descriptors
    body.file = File(UInt64(path.utf8.count) + 5_000).body
    body.exec_flags = flags
    let argv = arguments.map { $0 + "\0" }.joined()
    body.argv_bytes = UInt64(argv.utf8.count)
    return send(
      .exec, pid, start: start, body: body, strings: [(.exe, path), (.filename, path), (.cwd, cwd), (.argv, argv)])
  }

  @discardableResult
  func exit(_ pid: UInt32, status: UInt32 = 0, start: UInt64? = nil) -> UInt64 {
    var body = mt_exit()
    body.status = status
    body.failed_opens = 2
    return send(.exit, pid, start: start, body: body)
  }

  // MARK: - Files

  struct File {
    var inode: UInt64
    var generation: UInt32 = 1
    var links: UInt32 = 1
    var mode: UInt32 = 0o100644
    var device: UInt32 = 0x800001
    init(_ inode: UInt64, generation: UInt32 = 1) {
      self.inode = inode
      self.generation = generation
    }
    var body: mt_file {
      mt_file(ino: inode, dev: device, generation: generation, mode: mode, nlink: links)
    }
    /// What is on disk under a path.
    init(at path: String) {
      var state = stat()
      lstat(path, &state)
      inode = UInt64(state.st_ino)
      mode = state.st_mode
      // As glibc packs major and minor: 12 and 8 low bits, the others above.
      let device = UInt64(state.st_dev)
      let major = (device >> 8) & 0xfff | (device >> 32) & ~0xfff
      let minor = device & 0xff | (device >> 12) & ~0xff
      self.device = UInt32(truncatingIfNeeded: major << 20 | minor)
    }
  }

  /// Directories known to this job's records: an id for each path, the path only in the first record.
  private var identifiers: [String: UInt64] = [:]

  func directory(_ path: String, _ string: RecordString = .dir) -> (UInt64, [(RecordString, String)]) {
    if let known = identifiers[path] { return (known, []) }
    let identifier = UInt64(identifiers.count + 1) * 0x1_0001
    identifiers[path] = identifier
    return (identifier, [(string, path)])
  }

  @discardableResult
  func open(
    _ pid: UInt32, _ directoryPath: String, _ name: String, _ file: File, fd: Int32 = 3, write: Bool = false,
    read: Bool = true, created: Bool = false, truncate: Bool = false, how: mt_open_how = MT_OPEN_CALL
  ) -> UInt64 {
    var body = mt_open()
    body.file = file.body
    body.fd = fd
    body.fmode = (read ? 1 : 0) | (write ? 2 : 0) | (created ? 0x100000 : 0)
    body.open_flags = truncate ? 0o1000 : 0
    body.how = UInt16(how.rawValue)
    let (identifier, strings) = directory(directoryPath)
    body.dir = identifier
    return send(.open, pid, body: body, strings: [(.name, name)] + strings)
  }

  @discardableResult
  func close(
    _ pid: UInt32, _ file: File, fd: Int32, size: UInt64 = 10, why: mt_close_why = MT_CLOSE_CALL
  ) -> UInt64 {
    var body = mt_close()
    body.file = file.body
    body.fd = fd
    body.why = UInt16(why.rawValue)
    body.has_state = 1
    body.size = size
    body.ctime = Int64(size) * 100
    return send(.close, pid, body: body)
  }

  @discardableResult
  func operation(
    _ type: RecordType, _ pid: UInt32, in base: String, _ path: String, _ path2: String? = nil, in base2: String? = nil,
    flags: UInt32 = 0, argument: UInt64 = 0, isChrooted: Bool = false
  ) -> UInt64 {
    // As the kernel side does: an absolute path starts from a directory only where the task has a root of its own.
    func start(_ path: String, _ name: String, _ id: RecordString) -> (UInt64, [(RecordString, String)]) {
      path.hasPrefix("/") && !isChrooted ? (0, []) : directory(name, id)
    }
    var body = mt_path_op()
    body.fd = -1
    body.call_flags = flags
    body.argument = argument
    var strings: [(RecordString, String)] = [(.path, path)]
    let (first, text) = start(path, base, .dir)
    body.dir = first
    strings += text
    if let path2 {
      strings.append((.path2, path2))
      if type != .symlink {
        let (second, text) = start(path2, base2 ?? base, .dir2)
        body.dir2 = second
        strings += text
      }
    }
    return send(type, pid, body: body, strings: strings)
  }

  // MARK: - Results

  func snapshot() -> JobSnapshot { state.snapshot() }

  func file(_ path: String) -> FileSummary? {
    let files = snapshot().files.filter { $0.path.text == path }
    return files.first { !$0.isDeleted } ?? files.first
  }

  func process(_ pid: UInt32) -> ProcessSummary? { snapshot().processes.last { $0.pid == pid } }
}

/// A directory of its own for a test, gone afterwards.
final class Scratch {
  let path: String

  init() {
    var template = Array("/tmp/martlet-jobs-XXXXXX".utf8CString)
    let made = mkdtemp(&template).map { String(cString: $0) } ?? ""
    guard let resolved = realpath(made, nil) else {
      path = made
      return
    }
    path = String(cString: resolved)
    free(resolved)
  }

  deinit { remove(path) }

  private func remove(_ path: String) {
    if let handle = opendir(path) {
      while let entry = readdir(handle) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
          String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
        }
        if name == "." || name == ".." { continue }
        if unlink(path + "/" + name) != 0 { remove(path + "/" + name) }
      }
      closedir(handle)
    }
    rmdir(path)
  }

  func makeDirectory(_ name: String) { mkdir(path + "/" + name, 0o755) }
  func makeFile(_ name: String) { Glibc.close(creat(path + "/" + name, 0o644)) }
  func makeLink(_ name: String, to target: String) { symlink(target, path + "/" + name) }
}
