import Glibc
import KernelABI
import KernelSensor
import Observation
import Policy
import Testing

extension KernelTests {
  /// What may be executed: real programs that leave a file behind if they run.
  @Suite struct GuardExec {
    /// A policy with one rule, which denies what is like this.
    private func denying(
      _ path: PathPattern? = nil, memfd: Bool = false, written: Bool = false, sha256: [[UInt8]] = []
    ) -> (inout Policy) -> Void {
      { policy in
        var rule = ExecRule(head: Guarded.head(7))
        rule.path = path
        rule.memfd = memfd
        rule.writtenDuringJob = written
        rule.sha256 = sha256
        policy.exec = ExecSection()
        policy.exec?.deny = [rule]
      }
    }

    private func checkDenied(
      _ words: [String], _ rules: (inout Policy) -> Void, _ location: SourceLocation = #_sourceLocation
    ) throws {
      let act = try Bench.guarded(words, location: location, rules)
      #expect(try act.number("effect", location) == 0, "\(act.summary)", sourceLocation: location)
      try act.checkDenied(
        MT_SECTION_EXEC, MT_OP_EXEC.rawValue, rule: 7, by: Guarded.strength("executed images"), location)
    }

    @Test func everyHookIsThere() throws {
      let sensor = try Bench.enforcing.get().sensor
      #expect(sensor.missingHooks.map { "\($0.family): \($0.reason)" } == [])
    }

    @Test(arguments: [
      PathPattern(.file, "evil", isRelative: true), PathPattern(.children, ".", isRelative: true),
      PathPattern(.below, ".", isRelative: true), PathPattern(.named, "evil"),
    ]) func aFile(pattern: PathPattern) throws {
      try checkDenied(["exec-file", "evil"], denying(pattern))
    }

    @Test func inSharedMemory() throws {
      defer { unlink("/dev/shm/martlet-evil") }
      try checkDenied(["exec-file", "/dev/shm/martlet-evil"], denying(PathPattern(.below, "/dev/shm")))
    }

    @Test(arguments: [
      PathPattern(.file, "evi", isRelative: true), PathPattern(.file, "evil2", isRelative: true),
      PathPattern(.below, "/tmp2"), PathPattern(.children, "/tmp"), PathPattern(.named, "il"),
    ]) func anotherFile(pattern: PathPattern) throws {
      let act = try Bench.guarded(["exec-file", "evil"], denying(pattern))
      try act.checkAllowed(MT_SECTION_EXEC)
      #expect(try act.number("effect") == 1)
    }

    @Test(arguments: ["exec-memory", "exec-deleted"]) func aFileWithoutAPlace(deed: String) throws {
      try checkDenied([deed, "evil"], denying(memfd: true))
    }

    @Test func aScript() throws {
      try checkDenied(
        ["exec-script", "script", "interpreter"], denying(PathPattern(.file, "script", isRelative: true)))
    }

    @Test func aScriptsInterpreter() throws {
      let pattern = PathPattern(.file, "interpreter", isRelative: true)
      try checkDenied(["exec-script", "script", "interpreter"], denying(pattern))
    }

    @Test func whatALoaderIsToldToLoad() throws {
      let pattern = PathPattern(.file, "evil", isRelative: true)
      let act = try Bench.guarded(["exec-loader", "ld-test.so", "evil"], denying(pattern))
      #expect(try act.number("effect") == 0, "\(act.summary)")
      let rules = denying(pattern)
      try act.checkDenied(MT_SECTION_EXEC, MT_OP_EXEC.rawValue, rule: 7, by: Guarded.strength("open files"))
      // The same by another image is a library.
      try Bench.guarded(["exec-loader", "test-ld.so", "evil"], rules).checkAllowed(MT_SECTION_EXEC)
    }

    @Test func whatTheJobWrote() throws {
      try checkDenied(["exec-file", "evil"], denying(written: true))
    }

    @Test func whatTheJobFound() throws {
      // The actor itself was there first.
      let act = try Bench.guarded(["system", "unshare-files"], denying(written: true))
      try act.checkAllowed(MT_SECTION_EXEC)
    }

    @Test func allOfARuleHasToHold() throws {
      let rules = denying(PathPattern(.named, "evil"), memfd: true)
      try Bench.guarded(["exec-file", "evil"], rules).checkAllowed(MT_SECTION_EXEC)
    }

    @Test func whatIsNotAllowedIsDenied() throws {
      let actor = try Bench.enforcing.get().actor
      let rules: (inout Policy) -> Void = { policy in
        var allowed = ExecRule(head: Guarded.head(3, .allow))
        allowed.path = PathPattern(.file, actor)
        policy.exec = ExecSection()
        policy.exec?.defaultAction = .deny
        policy.exec?.allow = [allowed]
      }
      let act = try Bench.guarded(["exec-file", "evil"], rules)
      #expect(try act.number("effect") == 0)
      try act.checkDenied(MT_SECTION_EXEC, MT_OP_EXEC.rawValue, rule: 0, by: Guarded.strength("executed images"))
    }

    @Test func observedIsDone() throws {
      let act = try Bench.guarded(["exec-file", "evil"]) { policy in
        var rule = ExecRule(head: Guarded.head(7, .observe))
        rule.path = PathPattern(.named, "evil")
        policy.exec = ExecSection()
        policy.exec?.deny = [rule]
      }
      #expect(try act.number("outcome") == 0)
      #expect(try act.number("effect") == 1)
      let record = try act.only(.denial)
      #expect(record.denial.effect == UInt8(MT_EFFECT_TOLD.rawValue))
      #expect(record.denial.rule == 7)
      #expect(record.string(.path) == act.path("evil"))
    }

    @Test func killedIsKilledEverywhere() throws {
      let act = try Bench.guarded(["exec-file", "evil"]) { policy in
        var rule = ExecRule(head: Guarded.head(7, .kill))
        rule.path = PathPattern(.named, "evil")
        policy.exec = ExecSection()
        policy.exec?.deny = [rule]
      }
      #expect(try act.number("outcome") == -Int(SIGKILL), "\(act.summary)")
      #expect(try act.number("effect") == 0)
      #expect(try act.only(.denial).denial.action == UInt8(MT_KILL.rawValue))
    }

    /// The decision is on the file that was opened, wherever the name leads a moment later.
    @Test func aRaceOfNames() throws {
      let act = try Bench.guarded(["exec-race"], denying(PathPattern(.children, "denied", isRelative: true)))
      #expect(try act.number("effect") == 0, "\(act.summary)")
    }

    @Test func aRuleForSomeImages() throws {
      let rules = { (own: [PathPattern], above: [PathPattern]) -> (inout Policy) -> Void in
        { policy in
          var rule = ExecRule(head: Guarded.head(7))
          rule.path = PathPattern(.named, "evil")
          rule.head.scope.executables = own
          rule.head.scope.ancestors = above
          policy.exec = ExecSection()
          policy.exec?.deny = [rule]
        }
      }
      let actor = PathPattern(.file, try Bench.enforcing.get().actor)
      let other = PathPattern(.file, "/usr/bin/nobody")
      try checkDenied(["exec-file", "evil"], rules([actor], []))
      try checkDenied(["exec-file", "evil"], rules([], [actor]))
      try checkDenied(["exec-file", "evil"], rules([other, actor], [actor]))
      try Bench.guarded(["exec-file", "evil"], rules([other], [])).checkAllowed(MT_SECTION_EXEC)
      try Bench.guarded(["exec-file", "evil"], rules([], [other])).checkAllowed(MT_SECTION_EXEC)
      try Bench.guarded(["exec-file", "evil"], rules([actor], [other])).checkAllowed(MT_SECTION_EXEC)
    }

    @Test func byItsHash() throws {
      let rules = denying(sha256: [[UInt8](repeating: 7, count: 32)])
      // Nothing hashes to that; what does hash, denies nothing else.
      try Bench.guarded(["exec-file", "evil"], rules).checkAllowed(MT_SECTION_EXEC)
      let digest = try KernelTests.Hashes.actorsDigest()
      let own = denying(PathPattern(.named, "evil"), sha256: [digest])
      guard try Guarded.told("exec", own) != .detected else {
        return try Bench.guarded(["exec-file", "evil"], own).checkAllowed(MT_SECTION_EXEC)
      }
      try checkDenied(["exec-file", "evil"], own)
    }
  }
}
