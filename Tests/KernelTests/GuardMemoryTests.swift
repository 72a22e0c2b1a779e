import Glibc
import KernelABI
import KernelSensor
import Observation
import Policy
import Testing

extension KernelTests {
  /// A process that is protected by its name, with a canary in its memory.
  @Suite struct GuardMemory {
    private static let rules: @Sendable (inout Policy) -> Void = { policy in
      policy.memory = MemorySection()
      policy.memory?.protect = [MemoryRule(head: Guarded.head(5), comm: "Runner.Worker")]
    }

    private static var policy: Policy {
      var policy = Policy()
      rules(&policy)
      return policy
    }

    static let ways: [String: SecurityKind] = [
      "vm-read": .vmRead, "mem": .procMem, "task-mem": .procMem, "attach": .ptraceAttach, "seize": .ptraceSeize,
      "getfd": .pidfdGetfd, "environ": .processAccess,
    ]

    @Test(arguments: ways.keys.sorted()) func nobodyGetsAtIt(way: String) throws {
      let act = try Bench.guarded(["memory", "Runner.Worker", way], Self.rules)
      #expect(try act.number("read") == 0, "\(act.summary)")
      let strength = try Guarded.strength("protected processes")
      #expect(
        try act.number("outcome") == (strength == .prevented ? refusal(of: way) : -Int(SIGKILL)), "\(act.summary)")
      let record = try #require(act.denials(MT_SECTION_MEMORY).first, "\(act.summary)")
      #expect(record.denial.rule == 5)
      #expect(Int(record.denial.target_tgid) == (try act.number("target")))
      #expect(record.denial.effect == UInt8((strength == .prevented ? MT_EFFECT_PREVENTED : MT_EFFECT_KILLED).rawValue))
      // 5.10 does not say which way a task is going.
      if try Bench.isOld, strength == .prevented { return }
      let kind = try #require(Self.ways[way])
      #expect(record.denial.operation == UInt16(MT_OP_SECURITY.rawValue) + kind.rawValue, "\(act.summary)")
    }

    /// The file system of /proc has its own word for it.
    private func refusal(of way: String) -> Int { way == "mem" || way == "task-mem" ? Int(EACCES) : Int(EPERM) }

    @Test func nobodyGetsAtItByIOURing() throws {
      guard Feature.uringCompletions.isHere else { return }
      let strength = try Guarded.strength("protected processes")
      let act = try Bench.guarded(["memory", "Runner.Worker", "uring-mem"], mayFail: true, Self.rules)
      #expect(try act.number("read") == 0, "\(act.summary)")
      #expect(!act.denials(MT_SECTION_MEMORY).isEmpty, "\(act.summary)")
      // The actor says that its open failed, or it is killed.
      if strength == .killed { return #expect(try act.number("outcome") == -Int(SIGKILL), "\(act.summary)") }
      #expect(act.facts["failed"] != nil, "\(act.summary)")
    }

    @Test(arguments: ["vm-read", "mem", "attach", "seize", "getfd", "environ"]) func othersAreFree(way: String) throws {
      let act = try Bench.guarded(["memory", "debugged", way], Self.rules)
      try act.checkAllowed(MT_SECTION_MEMORY)
      #expect(try act.number("read") == 1)
    }

    /// Nor does it leave a core, by a fault of its own or because somebody sends it a signal for that.
    @Test(arguments: ["abort", "fault", "sent"]) func itLeavesNoCore(how: String) throws {
      let act = try Bench.act(["dump", "Runner.Worker", how], under: Self.policy)
      if how == "sent", try Guarded.tier("protected processes") == .kprobe {
        // Whoever sends it is killed, and tells no more.
        #expect(act.status == SIGKILL && !act.denials(MT_SECTION_MEMORY).isEmpty, "\(act.summary)")
        return
      }
      #expect(try act.number("core") == 0 && act.number("dumped") == 0, "\(act.summary)")
      #expect(try act.number("signal") == Int(SIGKILL), "\(act.summary)")
      let record = try #require(act.denials(MT_SECTION_MEMORY).first, "\(act.summary)")
      #expect(record.denial.rule == 5 && UInt32(record.denial.effect) == MT_EFFECT_PREVENTED.rawValue)
      #expect(Int(record.denial.target_tgid) == (try act.number("target")))
      // Where it can be refused, the signal is not even sent.
      let isRefused = try how == "sent" && Guarded.strength("protected processes") == .prevented
      #expect(try act.number("sent") == (isRefused ? Int(EPERM) : 0))
      if !isRefused { #expect(UInt32(record.denial.operation) == MT_OP_CORE_DUMP.rawValue) }
    }

    @Test(arguments: ["abort", "fault", "sent"]) func othersLeaveTheirs(how: String) throws {
      let act = try Bench.act(["dump", "debugged", how], under: Self.policy)
      #expect(act.denials(MT_SECTION_MEMORY).isEmpty, "\(act.summary)")
      #expect(try act.number("signal") != Int(SIGKILL) && act.number("dumped") == 1, "\(act.summary)")
      #expect(try act.number("core") > 0 || act.number("here") == 0, "\(act.summary)")
    }

    @Test func whatEverybodyMaySeeIsSeen() throws {
      try Bench.guarded(["memory", "Runner.Worker", "look"], Self.rules).checkAllowed(MT_SECTION_MEMORY)
    }

    @Test func withoutARuleNothingIsProtected() throws {
      let act = try Bench.guarded(["memory", "Runner.Worker", "vm-read"]) { $0.system = SystemSection() }
      try act.checkAllowed(MT_SECTION_MEMORY)
      #expect(try act.number("read") == 1)
    }
  }
}
