import Jobs
import KernelABI
import Observation
import Testing

@testable import EventLog

@Suite("Lines of the event log")
struct SerializationTests {
  @Test("every type of record is one line of valid JSON with its class and name", arguments: RecordType.allCases)
  func everyType(type: RecordType) throws {
    let lines = try LogFixture().lines([Records.one(type)])
    let line = try #require(lines.first)
    #expect(lines.count == 1)
    #expect(line["activity_name"]?.string == (type == .security ? "mount" : type.name))
    let classes: [Int64] = [1001, 1007, 2004, 4001, 4002, 4003]
    #expect(classes.contains(line["class_uid"]?.number ?? 0))
    #expect(line["actor"]?["process"]?["pid"]?.number == 100)
  }

  @Test("every type survives bodies in which all bits are set", arguments: RecordType.allCases)
  func extremeBodies(type: RecordType) throws {
    var builder = RecordBuilder(type, time: .max, tgid: .max, leaderStart: .max)
    builder.tid = .max - 1
    builder.flags = RecordFlags(rawValue: 15)
    let length = builder.bytes.count
    var bytes = builder.bytes
    for index in (length - type.bodySize)..<length { bytes[index] = 0xff }
    let fixture = LogFixture()
    var log = try fixture.writer()
    try bytes.withUnsafeBytes { raw in
      let view = try RecordView(validating: raw)
      fixture.state.apply(view)
      try log.append(view, fixture.state.applied)
    }
    _ = try log.finish()
    let line = try #require(try LogFixture.read(fixture.contents).lines.first)
    #expect(line["truncated"] == .bool(true))
    #expect(line["io_uring"] == .bool(true))
  }

  @Test("an open has its path, identity, size and descriptor")
  func open() throws {
    let line = try #require(try LogFixture().lines([Records.open("main.c")]).first)
    #expect(line["activity_id"]?.number == 14)
    #expect(line["file"]?["path"]?.string == "/work/src/main.c")
    #expect(line["file"]?["uid"]?.string == "8388609-123456789")
    #expect(line["generation"] == nil)
    #expect(line["file"]?["size"]?.number == 4321)
    #expect(line["fd"]?.number == 3)
    #expect(line["access_mask"]?.number == 0o2000000)
    let created = try #require(try LogFixture().lines([Records.open("new.c", created: true)]).first)
    #expect(created["activity_id"]?.number == 1)
    #expect(created["generation"]?.number == 42)
  }

  @Test("times are split into OCSF's milliseconds and the nanoseconds below")
  func time() throws {
    let line = try #require(try LogFixture().lines([Records.open("a", time: 1_234_567_891)]).first)
    #expect(line["time"]?.number == 1_700_000_001_234)
    #expect(line["ns"]?.number == 567_891)
  }

  @Test("arguments stay apart, the empty ones too")
  func arguments() throws {
    let arguments = ["cc", "", "a\nb", "\"", "\\"]
    let record = Records.exec(arguments.map { Array($0.utf8) })
    let line = try #require(try LogFixture().lines([record]).first)
    let process = try #require(line["process"])
    #expect(process["args"]?.array?.compactMap(\.string) == arguments)
    #expect(process["file"]?["path"]?.string == "/usr/bin/cc")
    #expect(process["working_directory"]?.string == "/work")
    #expect(line["called"]?["path"]?.string == "cc")
  }

  @Test("what is kept of a program that ran before is used for that file in that state alone")
  func programsAgain() throws {
    let long = "/" + String(repeating: "d/", count: 600) + "cc"
    let records = [
      Records.exec([[0x63]]), Records.exec([[0x64]]), Records.exec([[0x63]]) { $0.size = 7 },
      Records.exec([[0x63]]) { $0.ctime = -8 }, Records.exec([[0x63]]) { $0.mtime = 9 },
      Records.exec([[0x63]]) { $0.file.generation = 10 }, Records.exec([[0x63]]) { $0.file.dev = 11 },
      // The same place in the table; another name of the same file; too long to be kept.
      Records.exec([[0x63]]) { $0.file.ino += 16 },
      Records.exec([[0x63]], executable: Array("/bin/dd".utf8)), Records.exec([[0x63]], executable: Array(long.utf8)),
      Records.exec([[0x63]]),
    ]
    let together = try LogFixture().lines(records + records)
    #expect(together.count == 2 * records.count)
    for (line, record) in zip(together, records + records) {
      let alone = try #require(try LogFixture().lines([record]).first)
      #expect(line["process"]?["file"] == alone["process"]?["file"])
      #expect(line["process"]?["args"] == alone["process"]?["args"])
    }
  }

  @Test("a name that is not UTF-8 has U+FFFD in its text and its bytes beside it")
  func invalidName() throws {
    let line = try #require(try LogFixture().lines([Records.open([0x61, 0xff, 0x62])]).first)
    #expect(line["file"]?["path"]?.string == "/work/src/a\u{FFFD}b")
    #expect(line["file"]?["pathBase64"]?.string == "L3dvcmsvc3JjL2H/Yg==")
    let exec = try #require(try LogFixture().lines([Records.exec([[0x63], [0xc3]])]).first)
    #expect(exec["process"]?["args"]?.array?.compactMap(\.string) == ["c", "\u{FFFD}"])
    #expect(exec["process"]?["argsBase64"]?.string == "YwDD")
  }

  @Test("a name cannot end its line or its string")
  func hostileName() throws {
    let name = "a\"}\n{\"class_uid\":1\r\u{2028}\u{1B}[31m\u{7f}"
    let lines = try LogFixture().lines([Records.open(name)])
    #expect(lines.count == 1)
    #expect(lines.first?["file"]?["path"]?.string == "/work/src/" + name)
  }

  @Test("a connection has both ends, and what failed is a failure")
  func connection() throws {
    let records = [
      Records.socket(.connect),
      Records.socket(.tcpClose) {
        $0.error = 111
        $0.sent = .max
      },
      Records.socket(.flowOpen) {
        $0.inbound = 1
        $0.established = 1
        $0.received = 3
        $0.duration = 5
        $0.family = 10
        $0.remote = (0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)
      },
    ]
    let lines = try LogFixture().lines(records)
    try #require(lines.count == 3)
    #expect(lines[0]["dst_endpoint"]?["ip"]?.string == "192.0.2.7")
    #expect(lines[0]["dst_endpoint"]?["port"]?.number == 443)
    #expect(lines[0]["src_endpoint"]?["ip"]?.string == "10.0.0.1")
    #expect(lines[0]["connection_info"]?["uid"]?.string == "18446744073709551615")
    #expect(lines[1]["activity_id"]?.number == 4)
    #expect(lines[1]["status_code"]?.string == "111")
    #expect(lines[1]["traffic"]?["bytes_out"] == .number("18446744073709551615"))
    #expect(lines[2]["dst_endpoint"]?["ip"]?.string == "2001:db8::1")
    #expect(lines[2]["connection_info"]?["direction_id"]?.number == 1)
    #expect(lines[2]["activity_id"]?.number == 1 && lines[2]["activity_name"]?.string == "flow_open")
    #expect(lines[2]["traffic"]?["bytes_in"]?.number == 3 && lines[2]["duration_ns"]?.number == 5)
  }

  @Test("what a later record tells again has no line of its own")
  func continuedConnection() throws {
    var asked = Records.socket(.connect)
    asked.flags = .continued
    let ended = Records.socket(.tcpClose) {
      $0.established = 1
      $0.handshake = 7
    }
    let datagram = Records.socket(.connect) { $0.protocol = 17 }
    let lines = try LogFixture().lines([asked, ended, datagram])
    #expect(lines.map { $0["activity_name"]?.string } == ["tcp_close", "connect"])
    #expect(lines[0]["activity_id"]?.number == 2 && lines[0]["handshake_ns"]?.number == 7)
  }

  @Test("bytes through an open file are there, unless they are not known")
  func bytesOfOpenFile() throws {
    func record(_ why: mt_io_why) -> RecordBuilder {
      var builder = RecordBuilder(.io, time: 5000, tgid: 100, leaderStart: 7)
      builder.setBody(
        mt_io(
          file: mt_file(ino: 5, dev: 1, generation: 9, mode: 0o100644, nlink: 1), open_file: .max, image: 7, read: 3,
          written: .max, why: why.rawValue, reserved: 0))
      return builder
    }
    let whys = [MT_IO_CLOSED, MT_IO_SHARED, MT_IO_OPEN, MT_IO_UNKNOWN]
    let lines = try LogFixture().lines(whys.map { record($0) })
    #expect(lines.map { $0["why"]?.string } == ["closed", "shared", "open", "unknown"])
    #expect(lines.allSatisfy { $0["activity_name"]?.string == "io" && $0["class_uid"]?.number == 1001 })
    #expect(lines.allSatisfy { $0["open_file"]?.string == "18446744073709551615" && $0["file"]?["uid"] != nil })
    #expect(lines.prefix(3).allSatisfy { $0["bytes_read"]?.number == 3 })
    #expect(lines.prefix(3).allSatisfy { $0["bytes_written"] == .number("18446744073709551615") })
    #expect(lines[3]["bytes_read"] == nil && lines[3]["bytes_written"] == nil)
  }

  @Test("a digest is there, or why it is not")
  func digests() throws {
    func record(_ change: (inout mt_digest) -> Void) -> RecordBuilder {
      var builder = RecordBuilder(.digest, time: 5000, tgid: 100, leaderStart: 7)
      var body = mt_digest()
      body.file = mt_file(ino: 5, dev: 1, generation: 9, mode: 0o100755, nlink: 1)
      body.size = 70
      body.ctime = 1_700_000_000_000_000_001
      withUnsafeMutableBytes(of: &body.sha256) { $0.copyBytes(from: (0..<32).map { $0 * 8 }) }
      change(&body)
      builder.setBody(body)
      return builder
    }
    let lines = try LogFixture().lines([
      record { body in
        body.of = UInt16(MT_DIGEST_IMAGE.rawValue)
        body.how = UInt16(MT_DIGEST_KERNEL.rawValue)
        body.algorithm = Int16(MT_HASH_SHA256)
      },
      record { body in
        body.of = UInt16(MT_DIGEST_WRITTEN.rawValue)
        body.how = UInt16(MT_DIGEST_USER.rawValue)
        body.why = UInt16(MT_DIGEST_CHANGED.rawValue)
      },
      record { $0.why = 999 },
    ])
    #expect(lines.allSatisfy { $0["activity_name"]?.string == "digest" && $0["file"]?["uid"]?.string == "1-5" })
    #expect(lines.allSatisfy { $0["file"]?["size"]?.number == 70 && $0["generation"]?.number == 9 })
    let hash = try #require(lines[0]["file"]?["hashes"]?.array?.first)
    #expect(hash["algorithm_id"]?.number == 3)
    #expect(hash["value"]?.string == "0008101820283038404850586068707880889098a0a8b0b8c0c8d0d8e0e8f0f8")
    #expect(lines[0]["how"]?.string == "kernel" && lines[0]["algorithm"]?.number == 4 && lines[0]["absent"] == nil)
    #expect(lines[1]["of"]?.string == "written" && lines[1]["how"]?.string == "userSpace")
    #expect(lines[1]["file"]?["hashes"] == nil && lines[1]["absent"]?.string == "changed")
    #expect(lines[2]["absent"]?.string == "notHashed")
  }

  @Test("an abstract unix address keeps its NUL")
  func abstractAddress() throws {
    var builder = RecordBuilder(.unixConnect, time: 5000, tgid: 100, leaderStart: 7)
    builder.setString(.path, [0, 0x61, 0x62])
    let line = try #require(try LogFixture().lines([builder]).first)
    #expect(line["file"]?["path"]?.string == "\u{0}ab")
  }

  @Test("an exit tells code from signal")
  func exit() throws {
    func record(_ status: UInt32) -> RecordBuilder {
      var builder = RecordBuilder(.exit, tgid: 100, leaderStart: 7)
      var body = mt_exit()
      body.status = status
      builder.setBody(body)
      return builder
    }
    let lines = try LogFixture().lines([record(3 << 8), record(11 | 0x80)])
    try #require(lines.count == 2)
    #expect(lines[0]["exit_code"]?.number == 3)
    #expect(lines[0]["signal"] == nil)
    #expect(lines[1]["signal"]?.number == 11)
    #expect(lines[1]["core_dumped"] == .bool(true))
    #expect(lines[1]["exit_code"] == nil)
  }

  @Test(
    "numbers are written as String writes them",
    arguments: [0, 1, 9, 10, 11, 99, 100, 101, 999, 1000, 65_535, 99_999, 4_294_967_295, .max - 1, .max])
  func decimals(value: UInt64) {
    #expect(text { $0.append(number: value) } == String(value))
  }

  @Test("a call that is like the one before is written like it, and one that differs in anything is not")
  func similarCalls() throws {
    let arguments = ["cc", "-c", "main-file.c"].map { Array($0.utf8) }
    let others = ["ld", "-c", "main-file.c"].map { Array($0.utf8) }
    var elsewhere = Records.exec(arguments)
    elsewhere.setString(.cwd, "/home")
    let calls = [
      Records.exec(arguments), Records.exec(arguments), elsewhere, Records.exec(others),
      Records.exec(arguments) { $0.uid = 7 }, Records.exec(arguments) { $0.gid = 7 },
      Records.exec(arguments) { $0.cgroup = 7 }, Records.exec(arguments) { $0.argc = 7 },
      Records.exec(arguments) { $0.argv_bytes = 7000 }, Records.exec(arguments) { $0.size = 7 },
      Records.exec(arguments) { $0.file.generation = 7 }, Records.exec(arguments, executable: Array("/bin/cc".utf8)),
      Records.exec(arguments) { $0.parent_tgid = 7 }, Records.exec(arguments) { $0.old_tid = 7 },
      Records.exec(arguments),
    ]
    let together = try LogFixture().lines(calls)
    let apart = try calls.map { try LogFixture().lines([$0])[0] }
    #expect(together == apart)
    #expect(Set(apart.map { "\($0)" }).count == calls.count - 2)
  }

  private func text(_ write: (inout Line) -> Void) -> String {
    var buffer = ByteBuffer()
    var line = Line(in: &buffer, room: 64)
    write(&line)
    line.finish(in: &buffer)
    return buffer.text
  }

  @Test("numbers around every power of ten and of two are written as String writes them")
  func decimalEdges() {
    var values: [UInt64] = (0..<64).flatMap { [UInt64(1) << $0, UInt64(1) << $0 - 1] }
    var power: UInt64 = 1
    for _ in 0..<19 {
      power *= 10
      values += [power - 1, power, power + 1]
    }
    for value in values { #expect(text { $0.append(number: value) } == String(value)) }
    #expect(text { $0.append(number: Int64.min) } == String(Int64.min))
  }
}
