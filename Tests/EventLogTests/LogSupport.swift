import EventLog
import Glibc
import Jobs
import KernelABI
import Observation

/// A log in a temporary file, and the fold that its lines need.
final class LogFixture {
  let file: Int32
  let state: JobState

  init() {
    file = Self.temporaryFile()
    var options = JobOptions(rootProcess: 100, masker: SecretMasker())
    options.resolvesPaths = false
    state = JobState(options: options)
  }

  deinit { close(file) }

  /// A file without a name.
  static func temporaryFile() -> Int32 {
    var template = Array("/tmp/martlet-log-XXXXXX".utf8CString)
    let file = mkstemp(&template)
    if file >= 0 { unlink(&template) }
    return file
  }

  static var options: EventLogOptions {
    var options = EventLogOptions()
    options.jobIdentifier = "test"
    options.version = "1.2.3"
    options.clockOffset = 1_700_000_000_000_000_000
    return options
  }

  func writer() throws -> EventLogWriter { try EventLogWriter(fileDescriptor: file, options: Self.options) }

  func append(_ builder: RecordBuilder, to log: inout EventLogWriter) throws {
    try builder.bytes.withUnsafeBytes { bytes in
      let view = try RecordView(validating: bytes)
      state.apply(view)
      try log.append(view, state.applied)
    }
  }

  /// Writes the records into one log and reads it back: the events' lines, parsed.
  func lines(_ records: [RecordBuilder]) throws -> [StrictJSON.Value] {
    var log = try writer()
    for record in records { try append(record, to: &log) }
    _ = try log.finish()
    return try Self.read(contents).lines
  }

  var contents: [UInt8] {
    let size = Int(lseek(file, 0, SEEK_END))
    var bytes = [UInt8](repeating: 0, count: size)
    let count = pread(file, &bytes, size, 0)
    return count == size ? bytes : []
  }

  struct Reading {
    var lines: [StrictJSON.Value] = []
    var headers: [StrictJSON.Value] = []
    var faults: [EventLogReader.Fault] = []
    var summary = LogSummary()
    var largestFrame = 0
  }

  /// Reads a log from bytes. Every line must be JSON, unless they are not to be parsed but only counted.
  static func read(_ bytes: [UInt8], parsing: Bool = true) throws -> Reading {
    let file = temporaryFile()
    defer { close(file) }
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
      guard count > 0 else { break }
      rest = rest.dropFirst(count)
    }
    lseek(file, 0, SEEK_SET)
    var reading = Reading()
    var reader = try EventLogReader(fileDescriptor: file)
    while let frame = try reader.nextFrame() {
      if !parsing { continue }
      reading.headers.append(try StrictJSON.parse(frame.header))
      reading.largestFrame = max(reading.largestFrame, frame.text.count)
      var failure: StrictJSON.Failure?
      frame.forEachLine { line in
        do throws(StrictJSON.Failure) {
          reading.lines.append(try StrictJSON.parse(line))
        } catch {
          failure = error
        }
      }
      if let failure { throw failure }
    }
    reading.faults = reader.faults
    reading.summary = reader.summary
    return reading
  }

  /// A log of several frames, its bytes and where its frames begin.
  static func severalFrames(_ count: Int = 2000) throws -> (bytes: [UInt8], starts: [Int], summary: LogSummary) {
    let fixture = LogFixture()
    var log = try fixture.writer()
    var starts = [0]
    for index in 0..<count {
      let name = "file-\(index &* 2_654_435_761 % 100_000).c"
      try fixture.append(Records.open(name, time: UInt64(index) * 1000), to: &log)
      if Int(log.summary.bytes) > starts[starts.count - 1] { starts.append(Int(log.summary.bytes)) }
    }
    let summary = try log.finish()
    return (fixture.contents, starts, summary)
  }
}

/// Records as the kernel side makes them.
enum Records {
  static func open(_ name: some Sequence<UInt8>, time: UInt64 = 1000, created: Bool = false) -> RecordBuilder {
    var builder = RecordBuilder(.open, time: time, tgid: 100, leaderStart: 7)
    var body = mt_open()
    body.file.ino = 123_456_789
    body.file.dev = 8 << 20 | 1
    body.file.generation = 42
    body.file.mode = 0o100644
    body.dir = 77
    body.size = 4321
    body.fd = 3
    body.open_flags = 0o2000000
    body.fmode = MT_FMODE_READ | (created ? MT_FMODE_WRITE | MT_FMODE_CREATED : 0)
    builder.setBody(body)
    builder.setString(.dir, "/work/src")
    builder.setString(.name, name)
    return builder
  }

  static func open(_ name: String, time: UInt64 = 1000, created: Bool = false) -> RecordBuilder {
    open(Array(name.utf8), time: time, created: created)
  }

  static func exec(
    _ arguments: [[UInt8]], executable: [UInt8] = Array("/usr/bin/cc".utf8),
    _ change: (inout mt_exec) -> Void = { _ in }
  ) -> RecordBuilder {
    var builder = RecordBuilder(.exec, time: 2000, tgid: 100, leaderStart: 7)
    var body = mt_exec()
    body.file.ino = 5
    body.file.dev = 6
    body.parent_tgid = 99
    body.old_tid = 100
    body.uid = 1000
    body.gid = 1001
    body.argc = UInt32(arguments.count)
    let joined: [UInt8] = arguments.flatMap { $0 + [0] }
    body.argv_bytes = UInt64(joined.count)
    change(&body)
    builder.setBody(body)
    builder.setString(RecordString.exe, executable)
    builder.setString(.filename, "cc")
    builder.setString(.cwd, "/work")
    builder.setString(RecordString.argv, joined)
    return builder
  }

  static func path(_ type: RecordType, _ path: String, _ second: String? = nil, argument: UInt64 = 0) -> RecordBuilder {
    var builder = RecordBuilder(type, time: 3000, tgid: 100, leaderStart: 7)
    var body = mt_path_op()
    body.fd = -1
    body.argument = argument
    builder.setBody(body)
    builder.setString(.path, path)
    if let second { builder.setString(.path2, second) }
    return builder
  }

  static func socket(_ type: RecordType, _ change: (inout mt_sock) -> Void = { _ in }) -> RecordBuilder {
    var builder = RecordBuilder(type, time: 4000, tgid: 100, leaderStart: 7)
    var body = mt_sock()
    body.sock = .max
    body.family = 2
    body.protocol = 6
    body.type = 1
    body.local = (10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    body.local_port = 45_000
    body.remote = (192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    body.remote_port = 443
    change(&body)
    builder.setBody(body)
    return builder
  }

  static func security(_ kind: SecurityKind, _ change: (inout mt_security) -> Void = { _ in }) -> RecordBuilder {
    var builder = RecordBuilder(.security, time: 7000, tgid: 100, leaderStart: 7)
    var body = mt_security()
    body.kind = kind.rawValue
    change(&body)
    builder.setBody(body)
    if kind == .mount {
      builder.setString(.path, "/mnt")
      builder.setString(.path2, "tmpfs")
      builder.setString(.detail, "tmpfs")
    }
    return builder
  }

  /// A record of each type, with as many of its strings as it can have.
  static func one(_ type: RecordType) -> RecordBuilder {
    switch type {
    case .open: return open("main.c")
    case .exec: return exec([Array("cc".utf8), Array("-c".utf8), [], Array("a b.c".utf8)])
    case .rename, .link, .symlink: return path(type, "/a/old", "/a/new")
    case .unlink, .rmdir, .mkdir, .mknod, .truncate, .chmod, .chown: return path(type, "/a/b", argument: 0o755)
    case .connect, .bind, .listen, .udpSend, .tcpClose, .socket, .flowOpen: return socket(type)
    case .unixConnect, .unixAccept, .uring:
      var builder = RecordBuilder(type, time: 5000, tgid: 100, leaderStart: 7)
      builder.setString(.path, "/run/a.sock")
      return builder
    case .request:
      var builder = RecordBuilder(type, time: 6000, tgid: 100, leaderStart: 7)
      builder.setBody(mt_request(sock: 4, library: 3, flags: UInt16(MT_REQUEST_HTTP2.rawValue), reserved: 0))
      builder.setString(.detail, "GET")
      builder.setString(.name, "example.org:8443")
      builder.setString(.path, "/a\u{e4}")
      return builder
    case .serverName:
      var builder = RecordBuilder(type, time: 6000, tgid: 100, leaderStart: 7)
      var body = mt_server_name()
      body.sock = 4
      body.by = UInt16(MT_NAMED_BY_TLS.rawValue)
      body.port = 8443
      body.is_hello_encrypted = 1
      builder.setBody(body)
      builder.setString(.name, "example.org")
      return builder
    case .tlsWrite, .tlsSent: return RecordBuilder(type, time: 6000, tgid: 100, leaderStart: 7)
    case .security: return security(.mount)
    case .claim, .step:
      var builder = RecordBuilder(type, time: 6000, tgid: 100, leaderStart: 7)
      builder.setBody(
        mt_claim(
          key: 1, cgroup: 7, rule: 2, reason: 4, step: 3, is_new: 1, parent_tgid: 9, uid: 0, container: 1, reserved: 0,
          name: 0))
      builder.setString(.variable, "CI_JOB_ID=4711")
      return builder
    case .fork, .exit, .close, .dup, .mmapShared, .copy, .pipe, .socketpair, .passFD, .io, .digest, .daemon, .cgroup,
      .denial, .answer:
      return RecordBuilder(type, time: 6000, tgid: 100, leaderStart: 7)
    }
  }
}
