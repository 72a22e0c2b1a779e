import Testing

@testable import KernelSensor

@Suite("What doctor finds in the system's files")
struct DiagnosisTests {
  @Test("what is as it should be needs no advice, everything else has some")
  func facts() {
    var facts = MachineFacts(release: "6.12.1-amd64")
    facts.status = "CapEff:\t000001ffffffffff\n"
    facts.hasBTF = true
    facts.confinement = Confinement(
      lockdown: "[none] integrity confidentiality", status: nil, userMap: "0 0 4294967295")
    facts.lsm = "lockdown,capability,landlock,yama\n"
    facts.cgroup = .success(nil)
    facts.jit = 1
    facts.unprivileged = 2
    #expect(facts.all.compactMap(\.advice) == [])
    #expect(facts.all.first { $0.name == "lsm" }?.value == "lockdown,capability,landlock,yama")
    #expect(!facts.all.contains { $0.name == "lockedMemory" })
    facts.preemption = .lazy
    facts.hasIMA = true
    func value(_ name: String) -> String? { facts.all.first { $0.name == name }?.value }
    #expect(value("preemption") == "lazy" && value("ima") == "there")
    facts.hasIMA = false
    #expect(value("ima") == "not there: --hashes is martlet's work")
    facts.lsm = nil
    #expect(value("ima")?.hasPrefix("not to be told") == true)
    facts.lsm = "lockdown"

    facts.hasBTF = false
    facts.status = "CapEff:\t0\n"
    facts.confinement = Confinement(lockdown: "none [confidentiality]", status: nil, userMap: "0 1000 1")
    facts.cgroup = .failure(.cgroup2Missing(errno: 1))
    facts.jit = 0
    facts.release = "5.10.0"
    facts.lockedMemory = 65536
    let advised = facts.all.filter { $0.advice != nil }.map(\.name)
    #expect(advised == ["btf", "capabilities", "lockdown", "userNamespace", "cgroup2", "jit", "lockedMemory"])
    facts.lockedMemory = nil
    #expect(facts.all.contains(Diagnosis.Fact(name: "lockedMemory", value: "unlimited")))
    #expect(facts.all.last?.name == "ioUring")
  }

  @Test(
    "kernel versions",
    arguments: [("5.10.0-30-amd64", 5, 10), ("6.12", 6, 12), ("7", 0, 0), ("", 0, 0), ("x.y", 0, 0)])
  func versions(release: String, major: Int, minor: Int) {
    #expect(MachineFacts.version(release) == (major, minor))
  }

  @Test("of the kernel's configuration what has to do with hooks is kept, and nothing that could be a secret")
  func configuration() {
    let text = """
      # Automatically generated file
      CONFIG_BPF_SYSCALL=y
      # CONFIG_BPF_LSM is not set
      CONFIG_DEFAULT_HOSTNAME="bpf-builder"
      CONFIG_SYSTEM_TRUSTED_KEYS="BPF.pem"
      CONFIG_LSM="landlock,yama"
      CONFIG_NET=y
      """
    let lines = ["CONFIG_BPF_SYSCALL=y", "# CONFIG_BPF_LSM is not set", "CONFIG_LSM=\"landlock,yama\""]
    #expect(KernelConfiguration.relevant(text) == lines)
  }

  @Test("where a function of this program is in its file")
  func ownFunction() {
    let maps = """
      00400000-00452000 r--p 00000000 08:02 173521      /usr/bin/other
      55d000-55e000 r-xp 00001000 fe:00 42    /opt/with blank/martlet
      7ffc-7ffd rw-p 00000000 00:00 0

      """
    let place = OwnFunction.place(of: 0x55d234, maps: maps)
    #expect(place?.file == "/opt/with blank/martlet")
    #expect(place?.offset == 0x1234)
    #expect(OwnFunction.place(of: 0x55e000, maps: maps) == nil)
    #expect(OwnFunction.place(of: 1, maps: "1\n-\n0-2 x") == nil)
  }
}
