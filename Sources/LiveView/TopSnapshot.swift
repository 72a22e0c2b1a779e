public import KernelSensor
internal import Observation

/// What one refresh of `martlet top` shows.
public struct TopSnapshot: Sendable {
  /// A martlet that watches something, seen from outside.
  public struct Watcher: Sendable {
    /// nil if it could not be found.
    public var process: Int32?
    public var status: SensorStatus
    public var jobs: [RunningSensor.Job]
    /// Records sent.
    public var recordsPerSecond: Double

    public init(process: Int32?, status: SensorStatus, jobs: [RunningSensor.Job], recordsPerSecond: Double) {
      self.process = process
      self.status = status
      self.jobs = jobs
      self.recordsPerSecond = recordsPerSecond
    }

    /// Of all types, since the watcher began.
    var lost: UInt64 { status.counters.types.reduce(0) { $0 &+ $1.lost } }
  }

  /// The time of day, as in "19:40:12".
  public var clock: String
  /// CLOCK_BOOTTIME, nanoseconds: what ages are counted to.
  public var now: UInt64
  /// Of the machine.
  public var cpuCount: Int
  /// Of all programs in the kernel.
  public var rates: [ProgramRate]
  public var watchers: [Watcher]

  public init(clock: String, now: UInt64, cpuCount: Int, rates: [ProgramRate], watchers: [Watcher]) {
    self.clock = clock
    self.now = now
    self.cpuCount = cpuCount
    self.rates = rates
    self.watchers = watchers
  }
}
