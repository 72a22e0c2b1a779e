import Glibc
import KernelABI
import KernelSensor
import Observation
import Policy
import Testing

extension KernelTests {
  /// Policies that jobs get by what recognises them.
  @Suite struct JobPolicies {
    /// Making files of this name is told, of all or of what these images do.
    private static func telling(_ name: String, number: UInt32 = 1, of executables: [String] = []) -> Policy {
      var head = RuleHead(action: .observe)
      head.number = number
      head.scope.executables = executables.map { PathPattern(.named, $0) }
      var policy = Policy()
      policy.files = FilesSection()
      policy.files?.deny = [FileRule(head: head, access: .write, path: PathPattern(.named, name))]
      return policy
    }

    private static func prepare(_ policies: [Policy], _ sensor: Sensor) throws -> [PreparedPolicy] {
      let terms = try sensor.policyTerms(for: policies)
      return try policies.map { try PreparedPolicy($0, in: .unknown, terms) }
    }

    /// The child, which becomes an image of this name and makes a file, and what was told of that.
    private func denials(_ bench: JobBench, _ image: String, _ file: String) throws -> (slot: UInt16, rules: [UInt32]) {
      let deed = try bench.run(["copied", image, "touch", file])
      let claim = try deed.claim()
      let told = deed.of(claim.header.job).filter { $0.type == .denial && $0.pid == deed.pid }
      try bench.release(claim.header.job)
      return (claim.header.job, told.map(\.denial.rule))
    }

    @Test func isThereBeforeTheFirstInstruction() throws {
      let bench = try JobBench.enforcing([
        JobRule(comm: "One"), JobRule(comm: "Two"), JobRule(comm: "Three"),
      ])
      let prepared = try Self.prepare(
        [Self.telling("told", number: 5), Self.telling("other", number: 6, of: ["Two"])], bench.sensor)
      try bench.sensor.setPolicies(prepared, rules: [0: 0, 1: 1], asked: nil, containers: nil)
      #expect(try denials(bench, "One", "told").rules.contains(5))
      #expect(try denials(bench, "One", "other").rules == [])
      #expect(try denials(bench, "Two", "told").rules == [])
      #expect(try denials(bench, "Two", "other").rules.contains(6))
      // A rule without a policy makes jobs without one, in a slot that had one before.
      for _ in JobBench.slots { #expect(try denials(bench, "Three", "told").rules == []) }
    }

    @Test func ofWhatIsAskedForAndOfAContainersSlot() throws {
      let bench = try JobBench.enforcing([])
      let sensor = bench.sensor
      let all = [
        Self.telling("told", number: 5, of: ["Image"]), Self.telling("told", number: 6, of: ["Elsewhere", "Image"]),
      ]
      let prepared = try Self.prepare(all, sensor)
      try sensor.setPolicies(prepared, rules: [:], asked: 0, containers: nil)
      let directory = try TemporaryDirectory()
      defer { directory.remove() }
      func run(_ change: (UInt16) throws -> Void) throws -> [UInt32] {
        var child = try Child(
          bench.actor, ["wait-then", "copied", "Image", "touch", "told"], directory: directory.path)
        defer { child.end() }
        let place = try #require(try sensor.takeSlot(rule: nil, key: nil))
        try sensor.addToJob(pidfd: child.pidfd, pid: child.pid, job: place.slot)
        try change(place.slot)
        child.release()
        let deed = try bench.finish(&child, directory.path)
        try bench.release(place.slot)
        return deed.of(place.slot).filter { $0.type == .denial && $0.pid == deed.pid }.map(\.denial.rule)
      }
      #expect(try run { _ in }.contains(5))
      #expect(try run { slot in try sensor.place(prepared[1], on: slot) }.contains(6))
      // As a container's slot, which is under its job's from when it is known whose it is.
      let other = try #require(try sensor.takeSlot(rule: nil, key: nil))
      try sensor.place(prepared[1], on: other.slot)
      #expect(
        try run { slot in
          try sensor.sharePolicy(of: other.slot, with: slot, ContainerOrigin(image: .unknown, step: 0))
        }.contains(6))
      #expect(try sensor.closeJob(other.slot))
      #expect(try sensor.releaseSlot(other.slot))
    }
  }
}
