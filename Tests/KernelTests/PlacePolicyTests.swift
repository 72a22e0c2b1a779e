import Glibc
import KernelABI
import Observation
import Policy
import Testing

@testable import KernelSensor

extension KernelTests {
  /// Rules that are for some steps, or for containers of some images.
  @Suite struct PlacePolicies {
    /// A rule about making a file of this name.
    private static func rule(
      _ number: UInt32, _ name: String, _ action: PolicyAction = .observe, steps: [String] = [], images: [String] = []
    ) throws -> FileRule {
      var head = RuleHead(action: action)
      head.number = number
      head.scope.steps = steps
      head.scope.images = try images.map { try ImagePattern($0) }
      return FileRule(head: head, access: .write, path: PathPattern(.named, name))
    }

    private static func prepare(_ rules: [FileRule], _ sensor: Sensor) throws -> PreparedPolicy {
      var policy = Policy()
      policy.files = FilesSection()
      policy.files?.deny = rules
      return try PreparedPolicy(policy, in: .unknown, sensor.policyTerms(for: [policy]))
    }

    private static func runners() throws -> JobBench {
      var rule = JobRule(comm: "Runner.Worker", childrenAreSteps: true)
      rule.stepNames = ["ANOTHER_NAME", "STEP_NAME"]
      return try JobBench.enforcing([rule])
    }

    /// What this machine's sensor calls a step of this name.
    private static func key(_ name: String, _ sensor: Sensor) -> UInt64 { sensor.keyHash.ofValue(Array(name.utf8)) }

    @Test func stepsByTheirNames() throws {
      let bench = try Self.runners()
      // Each file that the runner and its three steps make has a rule of its own.
      var files: [UInt32: String] = [1: "A-runner"]
      for step in 1...3 {
        for part in ["", "-child", "-daemon"] { files[UInt32(files.count + 1)] = "A-\(step)\(part)" }
      }
      let rules = try files.sorted { $0.key < $1.key }.map { try Self.rule($0.key, $0.value, steps: ["2", "no such"]) }
      try bench.sensor.setPolicies([try Self.prepare(rules, bench.sensor)], rules: [0: 0], asked: nil, containers: nil)
      let deed = try bench.run(["two-runners"])
      let runner = try deed.number("A-runner")
      let slot = try deed.claim(runner).header.job
      let told = Set(deed.of(slot).filter { $0.type == .denial }.compactMap { files[$0.denial.rule] })
      #expect(told == ["A-2", "A-2-child", "A-2-daemon"], "\(deed.summary)")
      let names = deed.of(slot).filter { $0.type == .step }.map { $0.step.name }
      #expect(names == ["1", "2", "3"].map { Self.key($0, bench.sensor) })
      #expect(try deed.claim(runner).claim.name == UInt64(MT_NO_STEP))
      try bench.release(slot)
      try bench.release(try deed.claim(deed.number("B-runner")).header.job)
    }

    /// What a rule that denies does to who is in no step, and one that observes to whose step nobody knows.
    @Test func nobodysAndUnknownSteps() throws {
      let bench = try Self.runners()
      let sensor = bench.sensor
      let rules = try [
        Self.rule(1, "A-runner", .deny, steps: ["1"]), Self.rule(2, "A-1", .deny, steps: ["2"]),
        Self.rule(3, "told", .observe, steps: ["1"]), Self.rule(4, "told", .deny, steps: ["1"]),
      ]
      try sensor.setPolicies([try Self.prepare(rules, sensor)], rules: [0: 0], asked: 0, containers: nil)
      let deed = try bench.run(["two-runners"])
      for id in ["A", "B"] {
        let slot = try deed.claim(deed.number("\(id)-runner")).header.job
        #expect(deed.of(slot).filter { $0.type == .denial }.isEmpty, "\(deed.summary)")
        try bench.release(slot)
      }
      #expect(try asked(bench) { _ in }.contains(4))
      #expect(try !asked(bench) { _ in }.contains(3))
    }

    @Test func imagesOfContainers() throws {
      let bench = try Self.runners()
      let sensor = bench.sensor
      let rules = try [
        Self.rule(1, "told", images: ["alpine:3.20"]), Self.rule(2, "told", images: ["docker.io/library/**"]),
        Self.rule(3, "told", .deny, images: ["alpine:*"]), Self.rule(4, "told", steps: ["build"]),
        Self.rule(5, "told"),
      ]
      func first(_ image: Whereabouts<ImageReference>, step: String?, of numbers: ClosedRange<Int>) throws -> UInt32? {
        let chosen = Array(rules[(numbers.lowerBound - 1)..<numbers.upperBound])
        let owner = try #require(try sensor.takeSlot(rule: nil, key: nil))
        try sensor.place(Self.prepare(chosen, sensor), on: owner.slot, knowsContainers: true)
        let origin = ContainerOrigin(image: image, step: step.map { Self.key($0, sensor) } ?? 0)
        let told = try asked(bench) { slot in try sensor.sharePolicy(of: owner.slot, with: slot, origin) }
        #expect(try sensor.closeJob(owner.slot))
        #expect(try sensor.releaseSlot(owner.slot))
        return told.first
      }
      let alpine = Whereabouts.inside(try #require(ImageReference("alpine:3.20")))
      let other = Whereabouts.inside(try #require(ImageReference("ghcr.io/library/alpine:3.20")))
      #expect(try first(alpine, step: nil, of: 1...5) == 1)
      #expect(try first(.inside(#require(ImageReference("alpine"))), step: nil, of: 1...5) == 2)
      #expect(try first(other, step: nil, of: 1...5) == 5)
      #expect(try first(other, step: "build", of: 1...5) == 4)
      // Not known: what observes does not hold, what denies does.
      #expect(try first(.unknown, step: "build", of: 1...5) == 3)
      #expect(try first(.nowhere, step: "build", of: 1...5) == 4)
    }

    /// The rules that are told of when a process of a job that was asked for makes the file `told`.
    private func asked(_ bench: JobBench, _ change: (UInt16) throws -> Void) throws -> [UInt32] {
      let directory = try TemporaryDirectory()
      defer { directory.remove() }
      var child = try Child(bench.actor, ["wait-then", "touch", "told"], directory: directory.path)
      defer { child.end() }
      let place = try #require(try bench.sensor.takeSlot(rule: nil, key: nil))
      try bench.sensor.addToJob(pidfd: child.pidfd, pid: child.pid, job: place.slot)
      try change(place.slot)
      child.release()
      while child.readOutput() {}
      _ = child.reap()
      bench.collect()
      let told = bench.records.filter { $0.type == .denial && $0.pid == Int(child.pid) }.map(\.denial.rule)
      try bench.release(place.slot)
      return told
    }

    /// Under `run` nobody knows of steps.
    @Test(arguments: [PolicyAction.deny, .allow]) func connectionsOfUnknownSteps(_ action: PolicyAction) throws {
      var rule = HostPolicy.rule(.network(IPNetwork(HostPolicy.address(HostPolicy.allowed))), action)
      rule.head.scope.steps = ["build"]
      let policy =
        action == .deny
        ? HostPolicy.policy([], deny: [rule], default: .allow) : HostPolicy.policy([rule], default: .deny)
      let outcome = try HostPolicy.attempt(["tcp \(HostPolicy.allowed)"], under: policy)
      #expect(outcome.received(HostPolicy.allowed) == 0, "\(outcome.text)")
      #expect(outcome.denials(MT_OP_CONNECT).map(\.denial.rule) == [action == .deny ? 1 : 0])
    }
  }
}
