import Glibc
import Testing

@testable import KernelSensor

@Suite("What the machine says about itself")
struct PreflightTests {
  @Test("capabilities: all of root, or the three that were split off CAP_SYS_ADMIN")
  func capabilities() {
    func missing(_ mask: String) -> [String] {
      Capability.missing(status: "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t\(mask)\n").map(\.name)
    }
    #expect(missing("000001ffffffffff") == [])
    #expect(missing("0000000000200000") == [])
    #expect(missing("000000c000001000") == [])
    #expect(missing("0000008000000000") == ["CAP_PERFMON", "CAP_NET_ADMIN"])
    #expect(missing("00000000a80425fb") == ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"], "a default container")
    #expect(missing("nonsense").count == 3)
    #expect(Capability.missing(status: "").count == 3)
    #expect(Capability.sysAdmin.isEffective(status: "CapEff:\t0000000000200000\n"))
    #expect(!Capability.sysAdmin.isEffective(status: "CapEff:\t000000c000001000\n"))
  }

  @Test("the cgroup v2 mount is found on unified and hybrid hosts and in odd places")
  func cgroup2() {
    let hybrid = """
      32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 master:2 - cgroup2 cgroup2 rw

      """
    #expect(cgroup2Mounts(mountInfo: hybrid) == ["/sys/fs/cgroup/unified"])
    let part = "50 1 0:40 /user.slice /mnt/part rw - cgroup2 none rw"
    let root = "51 1 0:40 / /mnt/with\\040blank\\134 rw - cgroup2 none rw"
    #expect(cgroup2Mounts(mountInfo: "\(part)\n\(root)") == ["/mnt/with blank\\", "/mnt/part"])
    #expect(cgroup2Mounts(mountInfo: "32 31 0:29 / /sys/fs/cgroup/cgroup2 rw - cgroup cgroup2 rw") == [])
    for text in ["", "\n\n", "-", "1 2 - cgroup2", "a b c d e f -", "1 2 3 / /x\\04 rw - cgroup2"] {
      #expect([[], ["/x\\04"]].contains(cgroup2Mounts(mountInfo: text)))
    }
  }

  @Test(
    "CPU lists",
    arguments: [
      ("0-3,8\n", [0, 1, 2, 3, 8]), ("0", [0]), ("", []), ("3-1", []), ("x,2", [2]), ("1-", []), ("0-4294967295", []),
      ("-1", []), ("1-2-3", []),
    ])
  func cpuList(text: String, cpus: [Int]) {
    #expect(parseCPUList(text) == cpus)
  }

  @Test("what confines a process is told apart, the strongest first")
  func confinement() {
    let root = "         0          0 4294967295\n"
    let free = Confinement(lockdown: "[none] integrity confidentiality\n", status: "Seccomp:\t0\n", userMap: root)
    #expect(free.lockdown == "none")
    #expect(!free.isFiltered && !free.isInUserNamespace)
    #expect(free.explanation.contains("kernel log"))
    let locked = Confinement(lockdown: "none integrity [confidentiality]", status: nil, userMap: root)
    #expect(locked.explanation.contains("lockdown"))
    let filtered = Confinement(lockdown: nil, status: "Seccomp:\t2\nSeccomp_filters:\t1\n", userMap: root)
    #expect(filtered.lockdown == nil)
    #expect(filtered.explanation.contains("seccomp"))
    let inside = Confinement(lockdown: nil, status: "Seccomp:\t2\n", userMap: "0 100000 65536\n")
    #expect(inside.explanation.contains("user namespace"))
    for odd in ["", "[", "]", "][", "none"] {
      #expect(Confinement(lockdown: odd, status: odd, userMap: nil).lockdown == nil)
    }
  }

  @Test("errors are one or two plain sentences")
  func descriptions() {
    let error = SensorError.notRoot(missing: [.bpf, .perfmon])
    #expect(
      error.description == "Loading the kernel programs takes CAP_BPF, CAP_PERFMON, which this process lacks. "
        + "Run martlet as root, or start its container with these capabilities.")
    let refused = SensorError.mapFailed("processes", "update", errno: E2BIG)
    #expect(refused.description == "Could not update the kernel map processes: Argument list too long (errno 7).")
    #expect(SensorError.mapFailed("x", "create", errno: ENOMEM).code == .memoryLimit)
    #expect(SensorError.mapFailed("x", "create", errno: EPERM).code == .bpfRefused)
    #expect(SensorError.kernelTooOld(lacks: "wings").description.contains("has no wings. Use a newer kernel"))
  }

  @Test("default ring sizes", arguments: [(1, 16), (2, 16), (7, 16), (8, 8), (64, 8), (65, 4), (512, 1), (4096, 1)])
  func defaultSizes(cpus: Int, mebibytes: Int) {
    let options = SensorOptions(cpuCount: cpus)
    #expect(options.bulkRingBytes == mebibytes << 20)
    #expect(options.criticalRingBytes == (cpus < 16 ? 8 : 16) << 20)
  }

  @Test("ring sizes are what the kernel takes")
  func ringSizes() {
    #expect(RingMemory.size(atLeast: 0) == RingMemory.pageBytes)
    #expect(RingMemory.size(atLeast: -5) == RingMemory.pageBytes)
    #expect(RingMemory.size(atLeast: (8 << 20) + 1) == 16 << 20)
    #expect(RingMemory.size(atLeast: .max) == 1 << 30)
  }

  @Test("the program that libbpf blames, and the verifier's last words")
  func libbpfLog() {
    let log = """
      libbpf: prog 'bad': BPF program load failed: Permission denied
      libbpf: prog 'bad': -- BEGIN PROG LOAD LOG --
      0: R1=ctx(off=0,imm=0)
      R1 invalid mem access 'scalar'
      processed 2 insns (limit 1000000) max_states_per_insn 0
      -- END PROG LOAD LOG --
      libbpf: prog 'bad': failed to load: -13
      libbpf: failed to load object 'x'

      """
    #expect(LibbpfLog.lastProgram(in: log, among: ["good", "bad"]) == "bad")
    #expect(LibbpfLog.lastProgram(in: log, among: ["good"]) == nil)
    #expect(LibbpfLog.reason(in: log) == "R1 invalid mem access 'scalar'")
    #expect(LibbpfLog.tail(of: log, lines: 2).hasPrefix("R1 invalid"))
    let other = "libbpf: prog 'bad': failed to find kernel BTF type ID of 'x': -3\nlibbpf: failed to load object 'x'\n"
    #expect(LibbpfLog.reason(in: other) == "prog 'bad': failed to find kernel BTF type ID of 'x': -3")
    #expect(LibbpfLog.reason(in: "") == "")
  }

  @Test("the map that libbpf could not make")
  func failedMap() {
    let log = """
      libbpf: Error in bpf_create_map_xattr(odd):Invalid argument(-22). Retrying without BTF.
      libbpf: map 'odd': failed to create: Invalid argument(-22)
      libbpf: failed to load object 'x'

      """
    #expect(LibbpfLog.failedMap(in: log) == "odd")
    #expect(LibbpfLog.failedMap(in: "libbpf: prog 'x': failed to load: -22") == nil)
    #expect(LibbpfLog.failedMap(in: "''''\n") == nil)
  }
}
