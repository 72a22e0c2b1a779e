public import KernelSensor
internal import Observation
public import Reporting

extension ReportInput.ForcedHooks {
  /// What became of a kind of hooks that was asked for.
  public init(_ tier: HookTier, _ running: Sensor) {
    let others = running.choices.filter { $0.tier != nil && $0.tier != tier }
    self.init(tier: tier.rawValue, others: others.map { "\($0.family): \($0.function)" })
  }
}

extension SensorHealth {
  public init(_ status: SensorStatus) {
    self.init()
    rings = status.rings.map {
      Ring(
        cpu: $0.cpu, capacity: UInt64($0.statistics.capacity), available: UInt64($0.statistics.available),
        highWater: UInt64($0.statistics.highWater))
    }
    maps = status.maps.map { Map(name: $0.name, capacity: $0.capacity, used: $0.used, highWater: $0.highWater) }
    func counts(_ number: Int, _ row: EventCounts) -> CPU {
      CPU(number: number, sent: row.sent, deduplicated: row.deduplicated, lost: row.lost, truncated: row.truncated)
    }
    let places = status.counters.places
    cpus = status.counters.cpus.enumerated().filter { $1.seen > 0 }.map { number, row in
      var cpu = counts(number, row)
      cpu.types = places.filter { $0.cpu == number }.map { ($0.type.name, counts(number, $0.row)) }
      return cpu
    }
    programs = status.programs.map { Program(name: $0.name, runs: $0.runs, nanoseconds: $0.nanoseconds) }
  }
}
