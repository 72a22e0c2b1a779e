import Testing

@testable import KernelSensor

@Suite("When tasks are preempted in the kernel")
struct PreemptionTests {
  private func preemption(
    _ build: String, chosen: String? = nil, commandLine: String? = nil, configuration: [String]? = nil
  ) -> Preemption {
    Preemption(build: build, chosen: chosen, commandLine: commandLine) { configuration }
  }

  @Test("a kernel without a choice says what it is")
  func fixed() {
    #expect(preemption("#1 SMP Debian 5.10.1-1") == .voluntary)
    #expect(preemption("#1 SMP PREEMPT Debian 5.10.1-1") == .full)
    #expect(preemption("#1 SMP PREEMPT_RT Debian 6.12.1-1") == .full)
    #expect(preemption("#1 SMP PREEMPT_LAZY Mon Jan 1") == .lazy)
    #expect(preemption("") == .voluntary)
  }

  @Test("of one with a choice debugfs knows best, then the command line, then how it was built")
  func dynamic() {
    let build = "#1 SMP PREEMPT_DYNAMIC Debian 6.12.1-1"
    #expect(preemption(build, chosen: "none (voluntary) full \n", commandLine: "preempt=full") == .voluntary)
    #expect(preemption(build, chosen: "full (lazy)\n") == .lazy)
    #expect(preemption(build, commandLine: "quiet preempt=none preempt=full\n") == .full)
    #expect(preemption(build, commandLine: "quiet preempt=perhaps") == .unknown)
    #expect(preemption(build, chosen: "", configuration: ["CONFIG_PREEMPT_VOLUNTARY=y"]) == .voluntary)
    #expect(preemption(build, configuration: ["# CONFIG_PREEMPT is not set", "CONFIG_PREEMPT_LAZY=y"]) == .lazy)
    #expect(preemption(build) == .unknown)
  }

  @Test("what is not known may be") func unknown() {
    #expect(Preemption.allCases.filter(\.isWithinTheKernel) == [.full, .lazy, .unknown])
  }

  @Test(arguments: [
    ("6.15.0", true), ("6.15", true), ("7.0-rc1", true), ("6.18.44+deb13-amd64", true), ("10.1.2", true),
    ("6.14.11", false), ("5.15.0-91-generic", false), ("6", false), ("", false), ("unknown", false),
  ]) func versions(release: String, isLater: Bool) {
    var name = KernelName()
    name.release = release
    #expect(name.isAtLeast(6, 15) == isLater)
  }
}
