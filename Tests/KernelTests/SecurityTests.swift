import Glibc
import KernelABI
import KernelSensor
import Observation
import Testing

extension KernelTests {
  /// The same on every kernel, whichever hooks see it; what a hook cannot know is absent, and docs/security-events.md
  /// says so.
  @Suite struct Security {
    /// Which kind of hook sees a function here.
    static func tier(_ function: String) throws -> String {
      let sensor = try Bench.shared.get().sensor
      let choice = try #require(sensor.choices.first { $0.family == "security" && $0.function == function })
      return try #require(choice.hooks.map(\.kind).first { $0 != "tp_btf" } ?? choice.hooks.first?.kind)
    }

    /// The outcome is known at the end of a call and nowhere else, and then it is the one that the program got.
    private func checkOutcome(
      _ record: Record, _ function: String, error: Int = 0, _ location: SourceLocation = #_sourceLocation
    ) throws {
      let tier = try Self.tier(function)
      let isKnown = tier == "tp_btf" || tier == "fexit"
      #expect(record.securityFlags.contains(.hasOutcome) == isKnown, "\(tier) \(record)", sourceLocation: location)
      #expect(record.security.error == (isKnown ? Int32(error) : 0), "\(record)", sourceLocation: location)
    }

    // MARK: - Other processes

    static let ways: [String: SecurityKind] = [
      "attach": .ptraceAttach, "seize": .ptraceSeize, "vm-read": .vmRead, "vm-write": .vmWrite, "mem": .procMem,
      "task-mem": .procMem, "getfd": .pidfdGetfd,
    ]

    @Test(arguments: ways.keys.sorted()) func reachesAChild(way: String) throws {
      let act = try Bench.act("access", way)
      #expect(try act.number("error") == 0)
      let record = try act.only(.security)
      #expect(record.securityKind == Self.ways[way], "\(record)")
      #expect(record.pid == act.pid)
      let child = try act.number("target")
      let fork = try act.only(.fork) { Int($0.fork.child_tgid) == child }
      #expect(Int(record.security.target_tgid) == child)
      #expect(record.security.target_start == fork.fork.child_start)
      #expect(record.targetIsInJob)
      #expect(!record.securityFlags.contains(.byNumber))
      try checkOutcome(record, "access to processes")
    }

    /// A hook behind the kernel's own checks sees only what these let pass.
    @Test(arguments: ["attach", "seize", "vm-read", "mem", "getfd"]) func mayNotReachAnother(way: String) throws {
      // Ourselves: not of the job, and root's.
      let act = try Bench.act("access", way, "\(getpid())")
      let error = try act.number("error")
      #expect(error == (way == "mem" ? Int(EACCES) : Int(EPERM)))
      let found = act.all(.security) { $0.securityKind?.isAccess == true }
      guard try Self.tier("access to processes") == "tp_btf" else {
        #expect(found.isEmpty, "\(act.summary)")
        return
      }
      let record = try #require(found.count == 1 ? found[0] : nil, "\(act.summary)")
      #expect(record.securityKind == Self.ways[way])
      #expect(Int32(record.security.target_tgid) == getpid())
      #expect(record.security.target_start != 0)
      #expect(!record.targetIsInJob)
      try checkOutcome(record, "access to processes", error: error)
    }

    @Test func ownMemoryIsNobodyElsesConcern() throws {
      try Bench.act("own-memory").none(.security)
    }

    @Test func offersItselfToBeTraced() throws {
      let act = try Bench.act("traceme")
      #expect(try act.number("status") == 0)
      let record = try act.only(.security)
      #expect(record.securityKind == .ptraceTraceme)
      #expect(record.pid == (try act.number("child")))
      #expect(Int(record.security.target_tgid) == act.pid)
      #expect(record.targetIsInJob)
    }

    @Test func theSameAgainIsCounted() throws {
      let row = Int(RecordType.security.rawValue)
      let before = try Bench.shared.get().sensor.counters().types[row]
      let act = try Bench.act("access", "vm-read")
      let after = try Bench.shared.get().sensor.counters().types[row]
      _ = try act.only(.security)
      #expect(after.seen - before.seen == 2)
      #expect(after.deduplicated - before.deduplicated == 1)
    }

    // MARK: - Code for the kernel

    @Test(arguments: ["init", "finit"], [false, true]) func modulesAreRefused(call: String, asNobody: Bool) throws {
      let act =
        asNobody
        ? try Bench.act("module", call, "nobody", prepared: ["file"])
        : try Bench.act("module", call, prepared: ["file"])
      let error = try act.number("error")
      // A kernel without modules has no such call, and says so.
      let expected = access("/proc/modules", F_OK) != 0 ? ENOSYS : asNobody ? EPERM : ENOEXEC
      #expect(error == Int(expected))
      let record = try act.only(.security) { $0.securityKind == .moduleLoad }
      try checkOutcome(record, "kernel modules", error: error)
      if call == "init" {
        #expect(record.security.argument == 256)
      } else {
        let file = try act.file("file")
        #expect(file.isIdentity(of: record.security.file), "\(record)")
        #expect(record.path == (try act.text("path")))
      }
    }

    @Test(arguments: ["map", "program"]) func makesBPFObjects(what: String) throws {
      let act = try Bench.act("bpf", what)
      #expect(try act.number("error") == 0)
      let record = try act.only(.security)
      #expect(record.securityKind == (what == "map" ? .bpfMap : .bpfProgram))
      // BPF_MAP_TYPE_ARRAY, BPF_PROG_TYPE_SOCKET_FILTER.
      #expect(record.security.argument == (what == "map" ? 2 : 1))
      #expect(record.string(.detail) == [UInt8]("martlet_actor".utf8))
      try checkOutcome(record, "BPF")
    }

    // MARK: - Mounts and namespaces

    @Test func mounts() throws {
      let act = try Bench.act("mounts")
      let at = try act.text("at")
      let mount = try act.only(.security) { $0.securityKind == .mount && $0.path == at && $0.path2.count == 11 }
      #expect(mount.path2 == [UInt8]("some-device".utf8))
      #expect(mount.string(.detail) == [UInt8]("tmpfs".utf8))
      #expect(mount.security.argument == UInt64(MS_NOSUID))
      try checkOutcome(mount, "mounts")
      let failed = try act.only(.security) { $0.path2 == [UInt8]("nothing".utf8) }
      try checkOutcome(failed, "mounts", error: try act.number("error"))
      let moved = try act.only(.security) { $0.securityKind == .moveMount }
      #expect(moved.path == (try act.text("to")), "\(moved)")
      let gone = try act.only(.security) { $0.securityKind == .umount }
      #expect(gone.path == (try act.text("to")), "\(gone)")
      // MNT_DETACH.
      #expect(gone.security.argument == 2)
    }

    @Test func unshares() throws {
      let record = try Bench.act("namespaces", "unshare").only(.security)
      #expect(record.securityKind == .unshare)
      #expect(record.security.argument == 0x402_0000)
      try checkOutcome(record, "namespaces")
    }

    @Test func unsharesByA32BitCall() throws {
      let act = try Bench.act("namespaces", "unshare32")
      let record = try act.only(.security)
      #expect(record.securityKind == .unshare)
      #expect(record.security.argument == 0x400_0000)
      #expect(record.flags == [.compat])
      try checkOutcome(record, "namespaces")
    }

    @Test func mayNotUnshare() throws {
      let act = try Bench.act("namespaces", "refused")
      let record = try act.only(.security) { $0.securityKind == .unshare }
      #expect(record.security.argument == 0x4000_0000)
      try checkOutcome(record, "namespaces", error: Int(EPERM))
    }

    @Test func isBornIntoNamespaces() throws {
      let act = try Bench.act("namespaces", "clone")
      let record = try act.only(.security)
      #expect(record.securityKind == .clone)
      #expect(record.security.argument == 0x1400_0000)
      #expect(Int(record.security.target_tgid) == (try act.number("child")))
      #expect(record.securityFlags.contains(.hasOutcome) && record.security.error == 0)
    }

    @Test func entersNamespaces() throws {
      let act = try Bench.act("namespaces", "setns")
      let record = try act.only(.security)
      #expect(record.securityKind == .setns)
      #expect(record.security.argument == 0x400_0000)
      #expect(Int(record.security.file.ino) == (try act.number("inode")))
      try checkOutcome(record, "namespaces")
    }

    // MARK: - Rights

    private func ids(_ values: (UInt64, UInt64, UInt64)) -> [UInt32] {
      [values.0, values.0 >> 32, values.1, values.1 >> 32].map { UInt32(truncatingIfNeeded: $0) }
    }

    @Test(arguments: ["setuid", "setgid"]) func changesIdentifiers(what: String) throws {
      let record = try Bench.act("rights", what).only(.security)
      #expect(record.securityKind == (what == "setuid" ? .setuid : .setgid))
      #expect(record.securityFlags.contains(.hasAfter))
      #expect(ids(record.security.after) == (what == "setuid" ? [0, 1234, 0, 1234] : [4321, 4321, 4321, 4321]))
      try checkOutcome(record, "credentials")
      // At the end of a call the credentials of before are gone.
      let isBefore = try Self.tier("credentials") != "tp_btf"
      #expect(record.securityFlags.contains(.hasBefore) == isBefore)
      #expect(ids(record.security.before) == [0, 0, 0, 0])
    }

    /// The kernel asks the security modules for nothing that it refuses itself.
    @Test func mayNotBecomeRoot() throws {
      let act = try Bench.act("rights", "refused")
      #expect(try act.number("error") == Int(EPERM))
      let refused = act.all(.security) { $0.securityFlags.contains(.asked) }
      guard try Self.tier("credentials") == "tp_btf" else {
        #expect(refused.isEmpty)
        return
      }
      let record = try #require(refused.count == 1 ? refused[0] : nil, "\(act.summary)")
      #expect(record.security.error == EPERM)
      #expect(ids(record.security.after) == [.max, 0, .max, .max])
    }

    @Test func givesUpACapability() throws {
      let act = try Bench.act("rights", "capset")
      let record = try act.only(.security)
      #expect(record.securityKind == .capset)
      let effective = UInt64(try act.number("effective"))
      #expect(record.security.after.0 == effective & ~1)
      if record.securityFlags.contains(.hasBefore) { #expect(record.security.before.0 == effective) }
      try checkOutcome(record, "credentials")
    }

    // MARK: - Memory

    static let memory: [String: SecurityFlags] = [
      "mmap": [.anonymous], "mprotect": [.anonymous, .protect], "memfd": [.memfd], "deleted": [.deleted],
      "written": [.modified, .protect],
    ]

    @Test(arguments: memory.keys.sorted()) func makesMemoryExecutable(how: String) throws {
      let act = try Bench.act("code", how, prepared: ["file"])
      let record = try act.only(.security)
      #expect(record.securityKind == .execMemory)
      let known: SecurityFlags = [.hasOutcome]
      #expect(record.securityFlags.subtracting(known) == Self.memory[how], "\(record)")
      // PROT_*.
      #expect(record.security.argument == (how == "mmap" ? 7 : 5))
      if act.facts["file.inode"] != nil { #expect(Int(record.security.file.ino) == (try act.number("file.inode"))) }
      try checkOutcome(record, "executable memory")
    }

    @Test func plainFilesAreMappedEverywhere() throws {
      try Bench.act("code", "plain", prepared: ["file"]).none(.security)
    }

    @Test func aProgramInATmpfs() throws {
      let act = try Bench.act("tmpfs-program")
      let program = try act.text("program")
      let exec = try act.only(.exec) { $0.executable == program }
      #expect(exec.exec.exec_flags & MT_EXEC_TMPFS.rawValue != 0)
      #expect(exec.exec.exec_flags & (MT_EXEC_MEMFD.rawValue | MT_EXEC_DELETED.rawValue) == 0)
    }
  }
}
