import Glibc
import KernelABI
import KernelSensor
import Observation
import Policy
import Testing

extension KernelTests {
  @Suite struct GuardSystem {
    private func denying(_ deed: SystemRule.Deed) -> (inout Policy) -> Void {
      { policy in
        policy.system = SystemSection()
        policy.system?.deny = [SystemRule(head: Guarded.head(4), deed: deed)]
      }
    }

    static let ways: [String: (deed: SystemRule.Deed, function: String, operation: UInt32)] = [
      "bpf": (.bpf, "BPF", 64 + UInt32(SecurityKind.bpfMap.rawValue)),
      "mount": (.mount, "mounts", 64 + UInt32(SecurityKind.mount.rawValue)),
      "unshare": (.namespace, "namespaces", 64 + UInt32(SecurityKind.unshare.rawValue)),
      "setns": (.namespace, "namespaces", 64 + UInt32(SecurityKind.setns.rawValue)),
      "daemon": (.containerDaemon, "container daemons", MT_OP_CONNECT.rawValue),
    ]

    @Test(arguments: ways.keys.sorted()) func isDenied(way: String) throws {
      let (deed, function, operation) = try #require(Self.ways[way])
      let act = try Bench.guarded(["system", way], denying(deed))
      try act.checkDenied(
        MT_SECTION_SYSTEM, operation, rule: 4, by: Guarded.strength(function))
    }

    @Test(arguments: ways.keys.sorted()) func isAllowed(way: String) throws {
      let (deed, _, _) = try #require(Self.ways[way])
      let another: SystemRule.Deed = deed == .moduleLoad ? .mount : .moduleLoad
      try Bench.guarded(["system", way], denying(another)).checkAllowed(MT_SECTION_SYSTEM)
    }

    /// A module that is none: what has been refused before it was looked at has another error.
    @Test(arguments: ["module", "module-file"]) func modulesAreNotLoaded(way: String) throws {
      guard access("/proc/modules", F_OK) == 0, try Guarded.strength("kernel modules") == .prevented
      else { return }
      let act = try Bench.guarded(["system", way], denying(.moduleLoad))
      try act.checkDenied(
        MT_SECTION_SYSTEM, 64 + UInt32(SecurityKind.moduleLoad.rawValue), rule: 4, by: .prevented)
    }

    @Test(arguments: ["clone", "clone3"]) func isBornIntoNoNamespace(way: String) throws {
      let act = try Bench.guarded(["system", way], denying(.namespace))
      let operation = 64 + UInt32(SecurityKind.clone.rawValue)
      if try Guarded.strength("namespaces of new processes") == .prevented {
        return try act.checkDenied(MT_SECTION_SYSTEM, operation, rule: 4, by: .prevented)
      }
      // The child is killed, and not who made it.
      #expect(try act.number("outcome") == 0, "\(act.summary)")
      let record = try #require(act.denials(MT_SECTION_SYSTEM).first, "\(act.summary)")
      #expect(record.denial.operation == UInt16(operation))
      #expect(record.denial.effect == UInt8(MT_EFFECT_KILLED.rawValue))
      #expect(record.pid != (try act.number("doer")))
      #expect(try act.only(.exit) { $0.pid == record.pid }.exit.status == UInt32(SIGKILL))
    }

    /// What `doctor` tells is what happens.
    @Test func theSensorSaysWhatItCanDo() throws {
      #expect(try Guarded.told("system", denying(.bpf)) == Guarded.strength("BPF"))
      #expect(try Guarded.told("system", denying(.mount)) == Guarded.strength("mounts"))
      let namespaces = try Guarded.strength("namespaces", "namespaces of new processes")
      #expect(try Guarded.told("system", denying(.namespace)) == namespaces)
    }

    @Test func otherSocketsAndOtherSharing() throws {
      for way in ["service", "unshare-files", "threads"] {
        let act = try Bench.guarded(["system", way]) { policy in
          policy.system = SystemSection()
          policy.system?.defaultAction = .deny
        }
        try act.checkAllowed(MT_SECTION_SYSTEM)
      }
    }
  }
}
