import Glibc
import KernelABI
import KernelSensor
import Observation
import Policy
import Testing

extension KernelTests {
  /// What jobs try against martlet, which here is the process of these tests: without any policy.
  @Suite struct Shield {
    private static func strength() throws -> RuleEnforcement.Strength {
      switch try Bench.shared.get().sensor.selfProtection {
      case .prevented: .prevented
      case .killed: .killed
      case .none: .detected
      }
    }

    private static var isOld: Bool {
      get throws { try Bench.shared.get().sensor.features != Set(KernelFeature.allCases) }
    }

    /// The tests outlive it where it gets through.
    private func attack(_ way: String) throws -> Act {
      let before = signal(SIGSYS, SIG_IGN)
      defer { signal(SIGSYS, before) }
      let word = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
      word.initialize(to: 0)
      defer { word.deallocate() }
      return try Bench.shared.get().repeated(["attack", way, "\(getpid())", "\(UInt(bitPattern: word))"])
    }

    private static func kind(_ kind: SecurityKind) -> UInt32 { MT_OP_SECURITY.rawValue + UInt32(kind.rawValue) }

    static let ways: [String: UInt32] = [
      "kill": MT_OP_SIGNAL.rawValue, "tgkill": MT_OP_SIGNAL.rawValue, "sigqueue": MT_OP_SIGNAL.rawValue,
      "pidfd": MT_OP_SIGNAL.rawValue, "seize": kind(.ptraceSeize), "vm-write": kind(.vmWrite), "vm-read": kind(.vmRead),
      "getfd": kind(.pidfdGetfd), "mem": MT_OP_WRITE.rawValue, "adjust": MT_OP_WRITE.rawValue,
      "limit": MT_OP_LIMIT.rawValue,
      "programs": MT_OP_OBJECT.rawValue, "maps": MT_OP_OBJECT.rawValue, "links": MT_OP_OBJECT.rawValue,
    ]

    @Test(arguments: ways.keys.sorted()) func isToldAndStopped(way: String) throws {
      let strength = try Self.strength()
      // What there is to be killed for is told by the end of a call, and nothing is told of this one's.
      if strength == .killed, way == "limit" { return }
      let act = try attack(way)
      let operations = try Self.operations(way)
      let record = try #require(act.denials(MT_SECTION_SELF).first, "\(act.summary)")
      let outcome = try act.number("outcome")
      #expect(outcome == (strength == .prevented ? Int(EPERM) : -Int(SIGKILL)), "\(act.summary)")
      #expect(operations.contains(UInt32(record.denial.operation)), "\(act.summary)")
      #expect(record.denial.rule == 0)
      #expect(record.pid == (try act.number("doer")))
      #expect(record.denial.effect == UInt8((strength == .prevented ? MT_EFFECT_PREVENTED : MT_EFFECT_KILLED).rawValue))
      if record.denial.operation != UInt16(MT_OP_OBJECT.rawValue) {
        #expect(record.denial.target_tgid == UInt32(getpid()), "\(act.summary)")
      }
    }

    /// 5.10 does not say which way a task is going.
    private static func operations(_ way: String) throws -> [UInt32] {
      let own = try #require(ways[way])
      return try isOld && own >= MT_OP_SECURITY.rawValue ? [own, kind(.processAccess)] : [own]
    }

    @Test func whoAsksWhetherItIsThereIsTold() throws {
      let act = try attack("there")
      #expect(try act.number("outcome") == 0)
      #expect(act.denials(MT_SECTION_SELF).isEmpty, "\(act.summary)")
    }

    static let deeds: [String: mt_operation] = [
      "write": MT_OP_WRITE, "open-truncate": MT_OP_TRUNCATE, "truncate": MT_OP_TRUNCATE, "chmod": MT_OP_ATTRIBUTES,
      "chown": MT_OP_ATTRIBUTES, "rename-over": MT_OP_RENAME, "rename-away": MT_OP_RENAME, "unlink": MT_OP_UNLINK,
      "link": MT_OP_LINK, "write-bind": MT_OP_WRITE,
    ]

    @Test(arguments: deeds.keys.sorted()) func evidenceStaysAsItWas(deed: String) throws {
      let strength = try Self.strength()
      if strength == .killed, !deed.hasPrefix("write") { return }
      // No program of 5.10 refuses what is given structures.
      if deed == "chown", try Self.isOld { return }
      let (act, before) = try act(deed, on: "file")
      try act.checkDenied(MT_SECTION_SELF, try #require(Self.deeds[deed]).rawValue, rule: 0, by: strength)
      #expect(try act.text("contents") == [UInt8](before.utf8) || strength == .killed, "\(act.summary)")
      #expect(try act.number("mode") == 0o644)
      let told = try #require(act.denials(MT_SECTION_SELF).first).path
      #expect(String(decoding: told, as: UTF8.self).hasSuffix(deed == "write-bind" ? "alias" : "evidence/file"))
    }

    @Test(arguments: ["create", "mkdir", "symlink"]) func nothingIsPutBeside(deed: String) throws {
      guard try Self.strength() == .prevented else { return }
      let (act, _) = try act(deed, on: "new")
      try act.checkDenied(MT_SECTION_SELF, MT_OP_CREATE.rawValue, rule: 0, by: .prevented)
    }

    @Test func whatLiesAboveIsNotRenamed() throws {
      guard try Self.strength() == .prevented else { return }
      let (act, _) = try act("rename-away", on: "..")
      #expect(try act.number("outcome") != 0, "\(act.summary)")
    }

    @Test func evidenceMayBeRead() throws {
      let (act, _) = try act("read", on: "file")
      try act.checkAllowed(MT_SECTION_SELF)
    }

    @Test(arguments: ["write", "chmod", "rename-away", "unlink"]) func othersAreFree(deed: String) throws {
      let directory = try TemporaryDirectory()
      defer { directory.remove() }
      try directory.write("text\n", to: "file")
      let act = try Bench.shared.get().repeated(["guarded", "file", deed, "\(directory.path)/file"])
      try act.checkAllowed(MT_SECTION_SELF)
    }

    /// In a directory that is shielded for as long as the tests run.
    private func act(_ deed: String, on name: String) throws -> (Act, contents: String) {
      let directory = try TemporaryDirectory()
      defer { directory.remove() }
      let evidence = "\(directory.path)/evidence"
      #expect(mkdir(evidence, 0o755) == 0)
      try directory.write("text\n", to: "evidence/file")
      let bench = try Bench.shared.get()
      try bench.sensor.shield(path: evidence)
      return (try bench.repeated(["guarded", "file", deed, "\(evidence)/\(name)"]), "text\n")
    }
  }
}
