import EventLog
import Glibc
import Jobs
import KernelABI
import Observation
import Reporting
import Testing

@testable import Recording

/// Records of a job in which something of everything happens, as the kernel side makes them.
struct JobStream {
  var records: [RecordBuilder] = []
  private var time: UInt64 = 5_000_000_000
  private var starts: [UInt32: UInt64] = [:]

  mutating func add(
    _ type: RecordType, _ pid: UInt32, _ body: some RecordBody, _ strings: [(RecordString, String)] = []
  ) {
    time += 1_000_000
    let start = starts[pid] ?? time
    starts[pid] = start
    var builder = RecordBuilder(type, time: time, tgid: pid, leaderStart: start)
    builder.setBody(body)
    for (name, text) in strings { builder.setString(name, text) }
    records.append(builder)
  }

  static func file(_ inode: UInt64, mode: UInt32 = 0o100000) -> mt_file {
    mt_file(ino: inode, dev: 8 << 20 | 1, generation: UInt32(inode) + 7, mode: mode, nlink: 1)
  }

  mutating func claim(_ pid: UInt32, step: UInt32 = 0, _ variables: [String], program: String? = nil) {
    var strings: [(RecordString, String)] = variables.map { (.variable, $0) }
    if let program { strings += [(.exe, program), (.argv, "\(program)\0--once\0"), (.cwd, "/srv")] }
    if program != nil { strings.append((.detail, "0123456789ab\0runner-7\0ci\0\0\0build\0registry.example/\"a\\:1")) }
    add(
      .claim, pid,
      mt_claim(
        key: 0, cgroup: 9, rule: 0, reason: program == nil ? 1 : 5, step: step, is_new: 1, parent_tgid: 1, uid: 1000,
        container: program == nil ? 0 : 1, reserved: 0, name: 0),
      strings)
  }

  /// Of a connection that is told at its end, as all are in a log; of one that nobody knows, and one that cannot be read.
  mutating func requests(_ pid: UInt32) {
    var named = mt_server_name()
    named.sock = 77
    named.by = UInt16(MT_NAMED_BY_TLS.rawValue)
    named.port = 8443
    named.is_hello_encrypted = 1
    add(.serverName, pid, named, [(.name, "Named.example")])
    var flow = mt_sock()
    flow.sock = 77
    flow.family = 2
    flow.protocol = 6
    flow.remote_port = 443
    withUnsafeMutableBytes(of: &flow.remote) { $0.copyBytes(from: [192, 0, 2, 9]) }
    var body = mt_tls_write()
    body.library = 3
    let head = "GET /requested?query=hunter2 HTTP/1.1\r\nCookie: hunter2\r\nHost: asked.example\r\n\r\n"
    body.bytes = UInt64(head.utf8.count)
    for sock: UInt64 in [77, 77, 0] {
      body.sock = sock
      add(.tlsWrite, pid, body, [(.bytes, head)])
    }
    body.flags = UInt16(MT_TLS_HIDDEN.rawValue)
    add(.tlsWrite, pid, body)
    flow.established = 1
    // Since before the first of them.
    flow.duration = 6_000_000
    add(.tcpClose, pid, flow)
  }

  mutating func exec(_ pid: UInt32, _ path: String, _ arguments: [String], file: UInt64) {
    let argv = arguments.map { $0 + "\0" }.joined()
    var body = mt_exec()
    body.file = Self.file(file)
    body.old_tid = pid
    body.uid = 1000
    body.gid = 1001
    body.argc = UInt32(arguments.count)
    body.argv_bytes = UInt64(argv.utf8.count)
    body.size = 4096
    add(.exec, pid, body, [(.exe, path), (.filename, "x/../\(path)"), (.cwd, "/work"), (.argv, argv)])
  }

  mutating func fork(_ pid: UInt32, _ child: UInt32, step: UInt32 = 0) {
    starts[child] = time + 1_000_000
    add(
      .fork, pid,
      mt_fork(
        child_tgid: child, real_parent_tgid: pid, child_start: time + 1_000_000, shares_files: 0, child_ns_tgid: child,
        step: step, reserved: 0))
  }

  mutating func open(_ pid: UInt32, _ path: String, _ inode: UInt64, flags: UInt32, mode: UInt32) {
    var body = mt_open()
    body.file = Self.file(inode)
    body.fd = 3
    body.open_flags = flags
    body.fmode = mode
    add(.open, pid, body, [(.path, path)])
  }

  mutating func close(_ pid: UInt32, _ inode: UInt64, size: UInt64) {
    var body = mt_close()
    body.file = Self.file(inode)
    body.fd = 3
    body.has_state = 1
    body.size = size
    body.ctime = 1_700_000_000_000_000_123
    body.mtime = body.ctime
    add(.close, pid, body)
  }

  mutating func path(_ type: RecordType, _ pid: UInt32, _ first: String, _ second: String? = nil, argument: UInt64 = 0)
  {
    var body = mt_path_op()
    body.fd = -1
    body.argument = argument
    add(type, pid, body, [(.path, first)] + (second.map { [(.path2, $0)] } ?? []))
  }

  mutating func connection(_ type: RecordType, _ pid: UInt32, protocol number: UInt16, error: Int32 = 0) {
    var body = mt_sock()
    body.sock = time
    body.family = 10
    body.protocol = number
    body.type = number == 17 ? 2 : 1
    body.local.0 = 0x20
    body.local_port = 40_000
    body.remote = (0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7)
    body.remote_port = 443
    body.error = error
    body.established = error == 0 ? 1 : 0
    if type == .tcpClose {
      body.duration = 1_000_000
      body.sent = 100
      body.received = 200
    }
    add(type, pid, body)
  }

  mutating func security(_ pid: UInt32, _ kind: SecurityKind, _ change: (inout mt_security) -> Void) {
    var body = mt_security()
    body.kind = kind.rawValue
    change(&body)
    add(.security, pid, body)
  }

  mutating func exit(_ pid: UInt32, status: UInt32 = 0) {
    var body = mt_exit()
    body.status = status
    body.user_ns = 5
    body.system_ns = 6
    body.peak_rss = 7
    body.failed_opens = 8
    add(.exit, pid, body)
  }

  mutating func digest(_ pid: UInt32, _ file: UInt64, _ of: mt_digest_of, _ why: mt_digest_why = MT_DIGEST_TAKEN) {
    var body = mt_digest()
    body.file = Self.file(file)
    body.of = UInt16(of.rawValue)
    body.how = UInt16((of == MT_DIGEST_IMAGE ? MT_DIGEST_KERNEL : MT_DIGEST_USER).rawValue)
    body.why = UInt16(why.rawValue)
    body.algorithm = why == MT_DIGEST_OTHER ? 2 : 0
    // As ``exec`` and ``close`` have them.
    body.size = of == MT_DIGEST_IMAGE ? 4096 : 1234
    body.ctime = of == MT_DIGEST_IMAGE ? 0 : 1_700_000_000_000_000_123
    if why == MT_DIGEST_TAKEN { body.sha256.0 = UInt8(file) }
    add(.digest, pid, body)
  }

  static var whole: JobStream {
    var job = JobStream()
    job.claim(100, ["GITHUB_RUN_ID=7", "GITHUB_JOB=ö\u{1b}[31m\"\\"], program: "/opt/runner/Runner.Worker")
    job.fork(100, 101, step: 1)
    job.add(.step, 101, mt_step(step: 1, parent_tgid: 100, name: 0), [(.variable, "GITHUB_ACTION=build")])
    job.digest(101, 11, MT_DIGEST_IMAGE)
    job.exec(101, "/usr/bin/make", ["make", "-j2", "", "a b"], file: 11)
    job.open(101, "/work/Makefile", 20, flags: 0, mode: MT_FMODE_READ)
    job.fork(101, 102)
    job.digest(102, 12, MT_DIGEST_IMAGE, MT_DIGEST_OTHER)
    job.exec(102, "/usr/bin/cc", ["cc", "--token=ghp_0123456789abcdefghijklmnopqrstuvwxyz"], file: 12)
    job.open(102, "/work/main.c", 21, flags: 0, mode: MT_FMODE_READ)
    job.open(102, "/work/main.o.tmp", 22, flags: 0o1101, mode: MT_FMODE_WRITE | MT_FMODE_CREATED)
    job.close(102, 22, size: 1234)
    job.path(.rename, 102, "/work/main.o.tmp", "/work/main.o")
    job.path(.mkdir, 102, "/work/out", argument: 0o755)
    job.path(.chmod, 102, "/work/main.o", argument: 0o600)
    job.open(102, "/work/junk", 23, flags: 0o102, mode: MT_FMODE_READ | MT_FMODE_WRITE | MT_FMODE_CREATED)
    job.path(.unlink, 102, "/work/junk")
    job.connection(.tcpClose, 102, protocol: 6)
    job.requests(102)
    job.connection(.tcpClose, 102, protocol: 6, error: 111)
    job.connection(.udpSend, 102, protocol: 17)
    job.add(.unixConnect, 102, mt_unix(sock: 5, peer: 6, ino: 7, dir: 0, fd: 4, type: 1), [(.path, "/run/docker.sock")])
    job.security(102, .setuid) { body in
      body.security_flags = 1 | 2 | 4
      body.before = (1000 | 1000 << 32, 1000 | 1000 << 32, 0)
      body.after = (0, 0, 0)
    }
    job.security(102, .execMemory) { body in
      body.security_flags = 1 | 32 | 1024
      body.argument = 7
    }
    job.security(102, .unshare) { body in
      body.security_flags = 1
      body.error = 1
      body.argument = 0x1002_0000
    }
    job.exit(102, status: 1 << 8)
    job.fork(101, 103)
    job.exit(103, status: 9 | 0x80)
    job.exit(101)
    job.exit(100, status: 100 << 8)
    job.digest(0, 22, MT_DIGEST_WRITTEN)
    job.digest(0, 23, MT_DIGEST_WRITTEN, MT_DIGEST_GONE)
    return job
  }
}

@Suite struct ReplayTests {
  static let offset: Int64 = 1_700_000_000_000_000_000

  private static func state(canonical: Bool = true) -> JobState {
    var options = JobOptions(rootProcess: 0)
    options.resolvesPaths = false
    options.pathsAreCanonical = canonical
    options.hashesFiles = true
    options.readsRequests = true
    return JobState(options: options)
  }

  private static func write(_ records: [RecordBuilder], to recorder: inout JobRecorder) throws {
    for builder in records {
      try builder.bytes.withUnsafeBytes { recorder.take(try RecordView(validating: $0)) }
    }
  }

  private static func report(_ snapshot: JobSnapshot) -> String {
    var input = ReportInput()
    input.clock = WallClock(offset: offset)
    input.snapshot = snapshot
    return String(decoding: JSONReport.write(input), as: UTF8.self)
  }

  private static func replay(_ lines: [[UInt8]]) -> (replay: LogReplay, snapshot: JobSnapshot) {
    var replay = LogReplay(clockOffset: offset)
    var recorder = JobRecorder(state: state(), log: nil)
    for line in lines { replay.replay(line[...]) { recorder.take($0) } }
    return (replay, recorder.finish().state.snapshot())
  }

  private static func temporaryFile() -> Int32 {
    var template = Array("/tmp/martlet-replay-XXXXXX".utf8CString)
    let file = mkstemp(&template)
    if file >= 0 { unlink(&template) }
    return file
  }

  private static func log(_ records: [RecordBuilder]) throws -> (lines: [[UInt8]], snapshot: JobSnapshot) {
    let file = temporaryFile()
    defer { close(file) }
    var options = EventLogOptions()
    options.clockOffset = offset
    let log = try EventLogWriter(fileDescriptor: file, options: options)
    var recorder = JobRecorder(state: state(), log: log)
    try write(records, to: &recorder)
    let recorded = recorder.finish()
    lseek(file, 0, SEEK_SET)
    var reader = try EventLogReader(fileDescriptor: file)
    var lines: [[UInt8]] = []
    try reader.readAll { lines.append(Array($0)) }
    return (lines, recorded.state.snapshot())
  }

  @Test("a job's report made from its event log is the one made from its records")
  func wholeJob() throws {
    let (lines, snapshot) = try Self.log(JobStream.whole.records)
    let replayed = Self.replay(lines)
    #expect(replayed.replay.notUnderstood == 0)
    #expect(replayed.replay.lastTime == JobStream.whole.records.last?.time)
    let (one, two) = (Self.report(snapshot), Self.report(replayed.snapshot))
    let differing = zip(one.split(separator: "\n"), two.split(separator: "\n")).filter { $0 != $1 }
    #expect(differing.isEmpty, "\(differing.prefix(3))")
    #expect(one == two)
    // The test has something to compare.
    #expect(snapshot.processes.count == 4 && snapshot.flows.count == 5 && snapshot.actions.count == 3)
    #expect(snapshot.processes.map(\.step) == [0, 1, 1, 1])
    #expect(one.contains("\"digest\":\"sha256:0b") && one.contains("\"digest\":\"sha256:16"))
    #expect(one.contains("SHA-1, not SHA-256") && one.contains("\"digestIsAsClosed\":true"))
    // What TLS was given is in neither.
    #expect(one.contains("asked.example") && one.contains("/requested\""))
    #expect(snapshot.requests?.count == 3 && snapshot.requests?.hidden == 1)
    #expect(snapshot.flows.map(\.requests.count).sorted() == [0, 0, 0, 0, 2])
    let named = try #require(snapshot.flows.compactMap(\.serverName).first)
    #expect(named.name?.text == "named.example" && named.source == .tls && named.port == 8443 && named.helloIsEncrypted)
    #expect(!one.contains("hunter2") && lines.allSatisfy { !String(decoding: $0, as: UTF8.self).contains("hunter2") })
    #expect(one.contains("/work/main.o\"") && !one.contains("ghp_0123"))
  }

  @Test("steps and what was stored of the environment are in the log")
  func variables() throws {
    let (lines, _) = try Self.log(JobStream.whole.records)
    let values = lines.compactMap { JSONValue(parsing: $0) }
    let claim = try #require(values.first { $0["activity_name"]?.text == "claim" })
    #expect(claim["variables"]?.array?.compactMap(\.text) == ["GITHUB_RUN_ID=7", "GITHUB_JOB=ö\u{1b}[31m\"\\"])
    #expect(claim["process"]?["file"]?["path"]?.text == "/opt/runner/Runner.Worker")
    #expect(claim["container_id"]?.text == "0123456789ab" && claim["container"]?.unsigned == 1)
    #expect(claim["pod"]?["name"]?.text == "runner-7" && claim["pod"]?["namespace"]?.text == "ci")
    #expect(claim["pod"]?["uid"] == nil && claim["pod"]?["image"]?.text == "registry.example/\"a\\:1")
    let make = try #require(values.first { $0["activity_name"]?.text == "exec" })
    #expect(make["step"]?.unsigned == 1)
    #expect(values.first { $0["activity_name"]?.text == "fork" }?["child_step"]?.unsigned == 1)
  }

  @Test("lines that are damaged are counted, and no more")
  func damaged() throws {
    let (lines, _) = try Self.log(JobStream.whole.records)
    var random = SystemRandomNumberGenerator()
    for line in lines {
      var damaged = line
      damaged[Int.random(in: 0..<line.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      let cut = Array(line.prefix(Int.random(in: 0..<line.count, using: &random)))
      _ = Self.replay([damaged, cut])
    }
    let nonsense = [
      "", "{}", "[]", "null", "{\"activity_name\":\"exec\"}", "{\"activity_name\":5,\"time\":-1,\"ns\":-1}",
    ]
    #expect(Self.replay(nonsense.map { Array($0.utf8) }).replay.notUnderstood == UInt64(nonsense.count))
  }

  @Test("jobs that share a compressor and buffers keep their logs and folds apart")
  func shared() throws {
    let workspace = FoldWorkspace(masker: SecretMasker())
    let workshop = try FrameWorkshop()
    let files = (0..<3).map { _ in Self.temporaryFile() }
    defer { for file in files { close(file) } }
    var options = EventLogOptions()
    options.clockOffset = Self.offset
    var jobOptions = JobOptions(rootProcess: 0)
    jobOptions.resolvesPaths = false
    jobOptions.pathsAreCanonical = true
    jobOptions.hashesFiles = true
    jobOptions.readsRequests = true
    let recorders = UnsafeMutablePointer<JobRecorder>.allocate(capacity: 3)
    defer { recorders.deallocate() }
    for (index, file) in files.enumerated() {
      let log = try EventLogWriter(fileDescriptor: file, options: options, workshop: workshop)
      (recorders + index).initialize(
        to: JobRecorder(state: JobState(options: jobOptions, workspace: workspace), log: log))
    }
    // Round about, and enough of it that frames of all of them are written in between.
    var stream = JobStream.whole
    for number in 0..<1500 {
      stream.open(
        101, "/work/a-\(number)-name-that-takes-some-room", UInt64(1000 + number), flags: 0, mode: MT_FMODE_READ)
    }
    for builder in stream.records {
      for index in 0..<3 {
        try builder.bytes.withUnsafeBytes { recorders[index].take(try RecordView(validating: $0)) }
      }
    }
    let alone = try Self.log(stream.records)
    for (index, file) in files.enumerated() {
      let recorded = (recorders + index).move().finish()
      #expect(recorded.logError == nil)
      lseek(file, 0, SEEK_SET)
      var reader = try EventLogReader(fileDescriptor: file)
      var lines: [[UInt8]] = []
      try reader.readAll { lines.append(Array($0)) }
      let (faults, head) = (reader.faults, reader.summary.head)
      #expect(faults.isEmpty && head == recorded.log?.head)
      #expect(lines == alone.lines)
      // Its report may be made with other buffers.
      recorded.state.move(to: FoldWorkspace(masker: SecretMasker()))
      #expect(Self.report(recorded.state.snapshot()) == Self.report(alone.snapshot))
    }
  }

  @Test("a job that may keep no more counts what comes")
  func limit() throws {
    var recorder = JobRecorder(state: Self.state(), log: nil)
    try Self.write(JobStream.whole.records, to: &recorder)
    recorder.limit(bytes: recorder.bytes)
    var more = JobStream()
    for number in 0..<2000 {
      more.open(101, "/work/more-\(number)", UInt64(5000 + number), flags: 0, mode: MT_FMODE_READ)
    }
    try Self.write(more.records, to: &recorder)
    let bytes = recorder.bytes
    #expect(bytes < 300_000)
    #expect(recorder.finish().state.snapshot().filesNotKept > 1000)
  }

  @Test("a job of which nothing is known takes little memory")
  func small() {
    let workspace = FoldWorkspace(masker: SecretMasker())
    let state = JobState(options: JobOptions(rootProcess: 0), workspace: workspace)
    #expect(state.bytes < 128 << 10)
  }
}
