internal import EventLog
internal import KernelABI
public import Observation

/// Makes records again of an event log's lines, for a fold that has lost what it knew: of a job whose agent was killed.
///
/// What a line does not say is not in its record: which descriptors form a set, which process a pid was before its first
/// line. Processes get the numbers that the log gave them if they come in the order in which they did then. Any bytes
/// can be replayed: a line that makes no sense is counted.
///
/// ```swift
/// var replay = LogReplay(clockOffset: offset)
/// frame.forEachLine { replay.replay($0) { record in recorder.take(record) } }
/// ```
public struct LogReplay {
  /// Of the lines, CLOCK_BOOTTIME.
  public private(set) var lastTime: UInt64 = 0
  /// Lines of which no record could be made.
  public private(set) var notUnderstood: UInt64 = 0

  private let clockOffset: Int64
  /// When each process began, as far as its pid's later users are to be told from it: by its number in the log.
  private var starts: [UInt64: UInt64] = [:]
  /// The generation of each file that a line told it for: others leave it out.
  private var generations: [FileNumber: UInt32] = [:]

  private struct FileNumber: Hashable {
    var device: UInt32
    var inode: UInt64
  }

  /// - Parameter clockOffset: what the log's first header says.
  public init(clockOffset: Int64) { self.clockOffset = clockOffset }

  public mutating func replay(_ line: ArraySlice<UInt8>, _ body: (RecordView) -> Void) {
    guard let value = JSONValue(parsing: line, values: 100_000), let builder = record(value) else {
      notUnderstood &+= 1
      return
    }
    let bytes = builder.bytes
    bytes.withUnsafeBytes { bytes in
      guard let record = try? RecordView(validating: bytes) else {
        notUnderstood &+= 1
        return
      }
      body(record)
    }
  }

  func start(ofProcess number: UInt64) -> UInt64? { starts[number] }

  // MARK: - Lines

  private mutating func record(_ line: JSONValue) -> RecordBuilder? {
    guard let name = line["activity_name"]?.text, let (type, kind) = Self.types[name],
      let time = time(line), let process = line["actor"]?["process"], let pid = process["pid"]?.uint32,
      let number = process["uid"]?.number
    else { return nil }
    lastTime = max(lastTime, time)
    let start = number == 0 ? 0 : starts[number] ?? time
    if number != 0 { starts[number] = start }
    var builder = RecordBuilder(type, time: time, tgid: pid, leaderStart: start)
    builder.tid = line["tid"]?.uint32 ?? pid
    builder.flags = flags(line)
    switch type {
    case .fork: fork(line, &builder)
    case .exec: exec(line, &builder)
    case .exit: exit(line, &builder)
    case .claim: claim(line, &builder)
    case .step:
      builder.setBody(mt_step(step: line["step"]?.uint32 ?? 0, parent_tgid: 0, name: 0))
      setVariables(line, &builder)
    case .open, .passFD: open(line, &builder)
    case .close: close(line, &builder)
    case .dup:
      builder.setBody(
        mt_dup(file: file(line["file"], line), old_fd: descriptor(line, "fd"), new_fd: descriptor(line, "new_fd")))
    case .rename, .unlink, .rmdir, .link, .symlink, .mkdir, .mknod, .truncate, .chmod, .chown:
      pathOperation(line, &builder)
    case .mmapShared:
      builder.setBody(
        mt_mmap(
          file: file(line["file"], line), length: line["length"]?.unsigned ?? 0, prot: line["prot"]?.uint32 ?? 0,
          map_flags: line["map_flags"]?.uint32 ?? 0))
    case .copy: copy(line, &builder)
    case .pipe, .socketpair: pair(line, &builder)
    case .connect, .bind, .listen, .udpSend, .tcpClose, .socket, .flowOpen: socket(line, &builder)
    case .unixConnect, .unixAccept: unixSocket(line, &builder)
    case .uring: uring(line, &builder)
    case .io: io(line, &builder)
    case .digest: digest(line, &builder)
    // In no log.
    case .daemon, .cgroup, .tlsWrite, .tlsSent: return nil
    case .denial: denial(line, &builder)
    case .answer: answer(line, &builder)
    case .request: request(line, &builder)
    case .serverName: serverName(line, &builder)
    case .security: security(line, kind, &builder)
    }
    return builder
  }

  private static let types: [String: (type: RecordType, kind: SecurityKind?)] = {
    var types: [String: (type: RecordType, kind: SecurityKind?)] = [:]
    for type in RecordType.allCases { types[type.name] = (type, nil) }
    for kind in SecurityKind.allCases { types[kind.name] = (.security, kind) }
    return types
  }()

  private func time(_ line: JSONValue) -> UInt64? {
    guard let milliseconds = line["time"]?.signed, let rest = line["ns"]?.signed else { return nil }
    let (nanoseconds, overflow) = milliseconds.multipliedReportingOverflow(by: 1_000_000)
    return overflow ? nil : UInt64(clamping: nanoseconds &+ rest &- clockOffset)
  }

  private func flags(_ line: JSONValue) -> RecordFlags {
    var flags: RecordFlags = []
    if line["truncated"]?.bool == true { flags.insert(.truncated) }
    if line["unreadable"]?.bool == true { flags.insert(.unreadable) }
    if line["compat"]?.bool == true { flags.insert(.compat) }
    if line["io_uring"]?.bool == true { flags.insert(.uring) }
    return flags
  }

  private func descriptor(_ line: JSONValue, _ name: StaticString) -> Int32 {
    line[name]?.signed.flatMap { Int32(exactly: $0) } ?? -1
  }

  // MARK: - Strings

  /// The bytes of a text, from the base64 beside it where it is not UTF-8.
  func bytes(_ object: JSONValue?, _ name: StaticString, base64: StaticString) -> [UInt8]? {
    if let encoded = object?[base64]?.bytes, let decoded = Base64Text.decode(encoded) { return decoded }
    return object?[name]?.bytes
  }

  /// NUL-separated, with one behind the last.
  private func list(_ object: JSONValue?, _ name: StaticString, base64: StaticString) -> [UInt8]? {
    if let encoded = object?[base64]?.bytes, let decoded = Base64Text.decode(encoded) { return decoded + [0] }
    return object?[name]?.array.map { $0.flatMap { ($0.bytes ?? []) + [0] } }
  }

  private func setPath(_ object: JSONValue?, _ string: RecordString, _ builder: inout RecordBuilder) {
    guard let path = bytes(object, "path", base64: "pathBase64") else { return }
    builder.setString(string, path)
  }

  private func setVariables(_ line: JSONValue, _ builder: inout RecordBuilder) {
    guard let variables = list(line, "variables", base64: "variablesBase64") else { return }
    for variable in variables.split(separator: 0) { builder.setString(.variable, variable) }
  }

  private func setProgram(_ process: JSONValue?, _ builder: inout RecordBuilder) {
    guard let executable = bytes(process?["file"], "path", base64: "pathBase64") else { return }
    builder.setString(.exe, executable)
    builder.setString(.argv, list(process, "args", base64: "argsBase64") ?? [])
    builder.setString(.cwd, bytes(process, "working_directory", base64: "working_directoryBase64") ?? [])
  }

  /// `uid` is device-inode; a generation stands in the file or in the line.
  mutating func file(_ object: JSONValue?, _ line: JSONValue) -> mt_file {
    var file = mt_file()
    let parts = object?["uid"]?.text?.split(separator: "-") ?? []
    guard parts.count == 2, let device = UInt32(parts[0]), let inode = UInt64(parts[1]) else { return file }
    file.dev = device
    file.ino = inode
    let number = FileNumber(device: device, inode: inode)
    if let generation = (object?["generation"] ?? line["generation"])?.uint32 {
      generations[number] = generation
      file.generation = generation
    } else {
      file.generation = generations[number] ?? 0
    }
    file.nlink = line["deleted"]?.bool == true ? 0 : 1
    // What is not said is a regular file.
    let modes: [UInt64: UInt32] = [
      2: 0o040000, 3: 0o020000, 4: 0o060000, 5: 0o140000, 6: 0o010000, 7: 0o120000, 99: 0o150000,
    ]
    file.mode = object?["type_id"]?.unsigned.map { modes[$0] ?? 0o150000 } ?? 0o100000
    return file
  }

  // MARK: - Processes

  private func fork(_ line: JSONValue, _ builder: inout RecordBuilder) {
    var body = mt_fork()
    body.child_tgid = line["process"]?["pid"]?.uint32 ?? 0
    body.real_parent_tgid = line["process"]?["parent_process"]?["pid"]?.uint32 ?? builder.tgid
    // Not told: the child's first own record has a start, which the fold then takes for its.
    body.child_start = 0
    body.shares_files = line["shares_files"]?.bool == true ? 1 : 0
    body.child_ns_tgid = line["namespace_pid"]?.uint32 ?? body.child_tgid
    body.step = line["child_step"]?.uint32 ?? 0
    builder.setBody(body)
  }

  private mutating func exec(_ line: JSONValue, _ builder: inout RecordBuilder) {
    let process = line["process"]
    var body = mt_exec()
    body.file = file(process?["file"], line)
    body.size = process?["file"]?["size"]?.unsigned ?? 0
    body.ctime = process?["file"]?["ctime_ns"]?.signed ?? 0
    body.mtime = process?["file"]?["mtime_ns"]?.signed ?? 0
    body.parent_tgid = process?["parent_process"]?["pid"]?.uint32 ?? 0
    body.old_tid = line["old_tid"]?.uint32 ?? builder.tgid
    body.uid = process?["user"]?["uid"]?.number.map { UInt32(clamping: $0) } ?? 0
    body.gid = process?["group"]?["uid"]?.number.map { UInt32(clamping: $0) } ?? 0
    body.argc = process?["argc"]?.uint32 ?? 0
    body.argv_bytes = process?["args_bytes"]?.unsigned ?? 0
    body.cgroup = line["cgroup"]?.unsigned ?? 0
    let flags: [(StaticString, mt_exec_flag)] = [
      ("deleted", MT_EXEC_DELETED), ("memfd", MT_EXEC_MEMFD), ("tmpfs", MT_EXEC_TMPFS), ("chroot", MT_EXEC_CHROOT),
      ("other_mount_namespace", MT_EXEC_OTHER_MNTNS),
    ]
    for (name, flag) in flags where line[name]?.bool == true { body.exec_flags |= flag.rawValue }
    setProgram(process, &builder)
    // Masking changes their length; what is within the limit was all there.
    let given = UInt64(list(process, "args", base64: "argsBase64")?.count ?? 0)
    if process?["argsCut"]?.bool != true, body.argv_bytes <= UInt64(MT_ARGV_MAX) { body.argv_bytes = given }
    builder.setBody(body)
    if let called = line["called"] {
      setPath(called, .filename, &builder)
    } else {
      setPath(process?["file"], .filename, &builder)
    }
  }

  private func exit(_ line: JSONValue, _ builder: inout RecordBuilder) {
    var body = mt_exit()
    if let signal = line["signal"]?.uint32 {
      body.status = signal & 0x7f | (line["core_dumped"]?.bool == true ? 0x80 : 0)
    } else {
      body.status = ((line["exit_code"]?.uint32 ?? 0) & 0xff) << 8
    }
    body.user_ns = line["user_ns"]?.unsigned ?? 0
    body.system_ns = line["system_ns"]?.unsigned ?? 0
    body.read_bytes = line["bytes_read"]?.unsigned ?? 0
    body.written_bytes = line["bytes_written"]?.unsigned ?? 0
    body.peak_rss = line["peak_rss"]?.unsigned ?? 0
    body.threads = line["threads"]?.uint32 ?? 0
    body.failed_opens = line["failed_opens"]?.unsigned ?? 0
    builder.setBody(body)
  }

  private func claim(_ line: JSONValue, _ builder: inout RecordBuilder) {
    let process = line["process"]
    var body = mt_claim()
    body.cgroup = line["cgroup"]?.unsigned ?? 0
    body.rule = line["rule"]?.uint32 ?? 0
    let reason = line["reason"]?.text
    body.reason = ClaimReason.allCases.first { $0.name.description == reason }?.rawValue ?? 0
    body.step = line["step"]?.uint32 ?? 0
    body.is_new = line["is_new"]?.bool == true ? 1 : 0
    body.parent_tgid = process?["parent_process"]?["pid"]?.uint32 ?? 0
    body.uid = process?["user"]?["uid"]?.number.map { UInt32(clamping: $0) } ?? 0
    body.container = line["container"]?.uint32 ?? 0
    builder.setBody(body)
    if let id = line["container_id"]?.text {
      let pod = line["pod"]
      let parts = pod == nil ? [] : PodLabels.keys.map { pod?[$0]?.text ?? "" }
      builder.setString(.detail, ([id] + parts).joined(separator: "\0").utf8)
    }
    setProgram(process, &builder)
    setVariables(line, &builder)
  }

  // MARK: - Files

  private mutating func open(_ line: JSONValue, _ builder: inout RecordBuilder) {
    var body = mt_open()
    body.file = file(line["file"], line)
    body.size = line["file"]?["size"]?.unsigned ?? 0
    body.fd = descriptor(line, "fd")
    body.open_flags = line["access_mask"]?.uint32 ?? 0
    switch line["how"]?.text {
    case "inherited": body.how = UInt16(MT_OPEN_INHERITED.rawValue)
    case "scm_rights": body.how = UInt16(MT_OPEN_SCM_RIGHTS.rawValue)
    case "pidfd_getfd": body.how = UInt16(MT_OPEN_PIDFD.rawValue)
    default: break
    }
    if let mode = line["fmode"]?.uint32 {
      body.fmode = mode
    } else {
      // O_ACCMODE, as O_RDONLY, O_WRONLY and O_RDWR are.
      let access = body.open_flags & 3
      body.fmode = access == 0 ? MT_FMODE_READ : access == 1 ? MT_FMODE_WRITE : MT_FMODE_READ | MT_FMODE_WRITE
    }
    if line["activity_id"]?.unsigned == 1 { body.fmode |= MT_FMODE_CREATED }
    body.deleted = line["deleted"]?.bool == true ? 1 : 0
    body.sock = line["socket"]?.number ?? 0
    body.peer = line["peer"]?.number ?? 0
    builder.setBody(body)
    setPath(line["file"], .path, &builder)
  }

  private mutating func close(_ line: JSONValue, _ builder: inout RecordBuilder) {
    var body = mt_close()
    body.file = file(line["file"], line)
    body.fd = descriptor(line, "fd")
    if let changed = line["ctime_ns"]?.signed {
      body.has_state = 1
      body.size = line["file"]?["size"]?.unsigned ?? 0
      body.ctime = changed
      body.mtime = line["mtime_ns"]?.signed ?? 0
    }
    switch line["why"]?.text {
    case "replaced": body.why = UInt16(MT_CLOSE_REPLACED.rawValue)
    case "exec": body.why = UInt16(MT_CLOSE_EXEC.rawValue)
    case "exit": body.why = UInt16(MT_CLOSE_EXIT.rawValue)
    default: break
    }
    builder.setBody(body)
  }

  private mutating func pathOperation(_ line: JSONValue, _ builder: inout RecordBuilder) {
    var body = mt_path_op()
    body.fd = descriptor(line, "fd")
    // By a name alone the identity is from a look at that name: the fold gives it that again.
    if body.fd >= 0 || line["uid_by_path"]?.bool != true { body.file = file(line["file"], line) }
    body.call_flags = line["call_flags"]?.uint32 ?? 0
    switch builder.type {
    case .truncate: body.argument = line["length"]?.unsigned ?? 0
    case .chmod, .mkdir, .mknod: body.argument = line["mode"]?.unsigned ?? 0
    case .chown: body.argument = (line["user"]?.unsigned ?? 0) << 32 | (line["group"]?.unsigned ?? 0) & 0xffff_ffff
    default: break
    }
    builder.setBody(body)
    setPath(line["file"], .path, &builder)
    setPath(line["file_result"], .path2, &builder)
  }

  private mutating func copy(_ line: JSONValue, _ builder: inout RecordBuilder) {
    var body = mt_copy()
    body.from = file(line["file"], line)
    body.to = file(line["file_result"], line)
    body.bytes = line["bytes"]?.unsigned ?? 0
    body.from_fd = descriptor(line, "fd")
    body.to_fd = descriptor(line, "new_fd")
    switch line["how"]?.text {
    case "sendfile": body.kind = MT_COPY_SENDFILE.rawValue
    case "splice": body.kind = MT_COPY_SPLICE.rawValue
    case "tee": body.kind = MT_COPY_TEE.rawValue
    case "copy_file_range": body.kind = MT_COPY_RANGE.rawValue
    case "reflink": body.kind = MT_COPY_REFLINK.rawValue
    default: break
    }
    builder.setBody(body)
  }

  /// The line does not say of which image, so no number can be told.
  private mutating func io(_ line: JSONValue, _ builder: inout RecordBuilder) {
    var body = mt_io()
    body.file = file(line["file"], line)
    body.why = MT_IO_UNKNOWN.rawValue
    builder.setBody(body)
  }

  private mutating func digest(_ line: JSONValue, _ builder: inout RecordBuilder) {
    var body = mt_digest()
    body.file = file(line["file"], line)
    body.size = line["file"]?["size"]?.unsigned ?? 0
    body.ctime = line["ctime_ns"]?.signed ?? 0
    body.of = UInt16((line["of"]?.text == "written" ? MT_DIGEST_WRITTEN : MT_DIGEST_IMAGE).rawValue)
    body.how = UInt16((line["how"]?.text == "kernel" ? MT_DIGEST_KERNEL : MT_DIGEST_USER).rawValue)
    body.algorithm = line["algorithm"]?.signed.flatMap { Int16(exactly: $0) } ?? 0
    let digits = line["file"]?["hashes"]?.array?.first?["value"]?.bytes
    if let digest = digits.flatMap({ FrameDigest(hex: $0) }) {
      withUnsafeMutableBytes(of: &body.sha256) { $0.copyBytes(from: digest.bytes) }
    } else {
      let absent = line["absent"]?.text
      body.why = (DigestAbsence.allCases.first { $0.name.description == absent } ?? .notHashed).rawValue
    }
    builder.setBody(body)
  }

  private func pair(_ line: JSONValue, _ builder: inout RecordBuilder) {
    var body = mt_pair()
    body.a_ino = line["ino"]?.unsigned ?? 0
    body.b_ino = line["peer_ino"]?.unsigned ?? body.a_ino
    body.a_fd = descriptor(line, "fd")
    body.b_fd = descriptor(line, "new_fd")
    body.a_sock = line["socket"]?.number ?? 0
    body.b_sock = line["peer"]?.number ?? 0
    body.family = line["family"]?.uint32 ?? 0
    builder.setBody(body)
  }

  private func uring(_ line: JSONValue, _ builder: inout RecordBuilder) {
    var body = mt_uring()
    body.opcode = line["opcode"]?.uint32 ?? 0
    body.open_flags = line["access_mask"]?.uint32 ?? 0
    body.argument = line["argument"]?.unsigned ?? 0
    builder.setBody(body)
    setPath(line["file"], .path, &builder)
    setPath(line["file_result"], .path2, &builder)
  }
}

extension JSONValue {
  var uint32: UInt32? { unsigned.flatMap { UInt32(exactly: $0) } }
  /// A number that is written as a text.
  var number: UInt64? { text.flatMap { UInt64($0) } }
}
