import Glibc
import KernelABI
import KernelSensor
import Policy
import Testing

extension KernelTests {
  /// What goes on denying when who loaded it is gone.
  @Suite struct Pinned {
    private static func options() throws -> SensorOptions {
      var options = SensorOptions()
      options.criticalRingBytes = 1 << 16
      options.bulkRingBytes = 1 << 16
      options.enforces = true
      options.outlives = true
      options.hooks = try Bench.hooks()
      return options
    }

    /// A sensor has a process in a job, and is over.
    private static func leave(_ pid: Int32, _ pidfd: Int32, under policy: Policy) throws {
      let sensor = try Sensor(options: options())
      try sensor.addToJob(pidfd: pidfd, pid: pid, job: 1)
      try sensor.enforce(policy, on: 1, in: "/")
      #expect(PinnedSensors.all().map(\.processes) == [1])
      #expect(PinnedSensors.all().allSatisfy { $0.ownerLives && $0.owner == UInt32(getpid()) })
      sensor.detach()
    }

    @Test func staysUntilNobodyIsUnderIt() throws {
      var network = NetworkSection()
      network.defaultAction = .deny
      var policy = Policy()
      policy.network = network
      let directory = try TemporaryDirectory()
      defer { directory.remove() }
      var child = try Child(try findActor(), ["wait-then", "refused-tcp"], directory: directory.path)
      defer { child.end() }
      try Self.leave(child.pid, child.pidfd, under: policy)
      #expect(PinnedSensors.releaseIdle().isEmpty)
      #expect(PinnedSensors.all().map(\.processes) == [1])
      child.release()
      while child.readOutput(waiting: -1) {}
      _ = child.reap()
      #expect(child.facts["error"] == "\(EPERM)", "\(child.facts)")
      let left = PinnedSensors.all()
      #expect(left.map(\.processes) == [0])
      for entry in left { PinnedSensors.release(entry.name) }
      #expect(PinnedSensors.all().isEmpty)
    }

    @Test func goesWithItsSensorWhereNobodyIsUnderIt() throws {
      let sensor = try Sensor(options: Self.options())
      #expect(PinnedSensors.all().count == 1)
      sensor.detach()
      #expect(PinnedSensors.all().isEmpty)
    }
  }
}
