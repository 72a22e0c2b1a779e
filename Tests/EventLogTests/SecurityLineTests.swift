import Jobs
import KernelABI
import Observation
import Testing

@testable import EventLog

@Suite("Lines about security")
struct SecurityLineTests {
  private func line(
    _ kind: SecurityKind, _ flags: SecurityFlags = [], _ change: (inout mt_security) -> Void = { _ in }
  ) throws -> StrictJSON.Value {
    let record = Records.security(kind) {
      $0.security_flags = flags.rawValue
      change(&$0)
    }
    return try #require(try LogFixture().lines([record]).first)
  }

  @Test("each kind has its name and a class", arguments: SecurityKind.allCases) func kinds(kind: SecurityKind) throws {
    let line = try line(kind)
    #expect(line["activity_name"]?.string == kind.name)
    #expect([1001, 1002, 1003, 1004, 1007].contains(line["class_uid"]?.number ?? 0))
    // Nobody knows how it ended.
    #expect(line["status_id"] == nil && line["status_code"] == nil)
  }

  @Test("a kind of the future is still a line") func unknownKind() throws {
    var record = RecordBuilder(.security, time: 1, tgid: 100, leaderStart: 7)
    var body = mt_security()
    body.kind = 999
    body.argument = .max
    record.setBody(body)
    #expect(try LogFixture().lines([record]).first?["activity_name"]?.string == "security")
  }

  @Test("the outcome is there if it is known") func outcome() throws {
    let failed = try line(.moduleLoad, .hasOutcome) {
      $0.error = 1
      $0.argument = 256
    }
    #expect(failed["status_id"]?.number == 2 && failed["status_code"]?.string == "1")
    #expect(failed["bytes"]?.number == 256)
    let done = try line(.moduleLoad, .hasOutcome)
    #expect(done["status_id"]?.number == 1 && done["status_code"] == nil)
  }

  @Test("a target says whether it is the job's own") func target() throws {
    let fixture = LogFixture()
    var fork = RecordBuilder(.fork, time: 10, tgid: 100, leaderStart: 7)
    var made = mt_fork()
    made.child_tgid = 101
    made.child_start = 9
    fork.setBody(made)
    let access = { (start: UInt64, flags: SecurityFlags) in
      Records.security(.ptraceAttach) {
        $0.target_tgid = 101
        $0.target_start = start
        $0.security_flags = flags.rawValue
      }
    }
    let lines = try fixture.lines([fork, access(9, []), access(8, []), access(0, .byNumber)])
    #expect(lines[1]["process"]?["pid"]?.number == 101)
    #expect(lines[1]["process"]?["uid"]?.string == "2" && lines[1]["target_in_job"] == .bool(true))
    #expect(lines[2]["process"]?["uid"] == nil && lines[2]["target_in_job"] == nil)
    #expect(lines[3]["process"]?["namespace_pid"]?.number == 101 && lines[3]["process"]?["pid"] == nil)
  }

  @Test("ids of before and after") func identifiers() throws {
    let line = try line(.setuid, [.hasBefore, .hasAfter]) {
      $0.before = (0, 0, 0)
      $0.after = (1000 | 1001 << 32, 1002 | 1003 << 32, 0)
    }
    #expect(line["before"]?["real"]?.number == 0)
    #expect(line["after"]?.keys == ["real", "effective", "saved", "file_system"])
    #expect(line["after"]?["effective"]?.number == 1001 && line["after"]?["file_system"]?.number == 1003)
    let none = UInt64(UInt32.max)
    let asked = try self.line(.setgid, [.hasAfter, .asked, .hasOutcome]) {
      $0.after = (none, none | none << 32, 0)
      $0.error = 1
    }
    #expect(asked["asked"]?.keys == ["effective"] && asked["after"] == nil)
  }

  @Test("capabilities, namespaces and memory") func sets() throws {
    let rights = try line(.capset, .hasAfter) { $0.after = (1 << 40, 2, 3) }
    #expect(rights["after"]?["effective"]?.number == 1 << 40 && rights["after"]?["inheritable"]?.number == 3)
    let spaces = try line(.unshare) { $0.argument = 0x2_0000 | 0x1000_0000 }
    #expect(spaces["namespaces"]?.array?.compactMap(\.string) == ["mount", "user"])
    let memory = try line(.execMemory, [.memfd, .writable, .protect]) {
      $0.argument = 7
      $0.file.ino = 5
    }
    #expect(memory["memory"]?.array?.compactMap(\.string) == ["memfd", "writable"])
    #expect(memory["call"]?.string == "mprotect" && memory["prot"]?.number == 7)
    #expect(memory["file"]?["uid"]?.string == "0-5")
  }

  @Test("a mount, whose names cannot end the line") func mount() throws {
    var record = Records.security(.mount)
    record.setString(.path, "/m\"}\n")
    record.setString(.path2, "a\\b")
    record.setString(.detail, "t\u{1}")
    let line = try #require(try LogFixture().lines([record]).first)
    #expect(line["file"]?["path"]?.string == "/m\"}\n")
    #expect(line["source"]?["path"]?.string == "a\\b")
    #expect(line["file_system"]?["name"]?.string == "t\u{1}")
  }
}
