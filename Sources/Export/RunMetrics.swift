public import KernelSensor
internal import Observation

/// The metrics of one run; docs/self-monitoring.md says what each means.
public struct RunMetrics: Sendable {
  public var version: String
  /// As uname(2) gives it.
  public var kernelRelease: String
  /// Seconds since 1970.
  public var startedAt: Double
  /// Likewise; nil while the command runs.
  public var endedAt: Double?
  public var status: SensorStatus

  public init(version: String, kernelRelease: String, startedAt: Double, status: SensorStatus) {
    self.version = version
    self.kernelRelease = kernelRelease
    self.startedAt = startedAt
    self.status = status
  }

  public func text() -> [UInt8] {
    var text = PrometheusText()
    text.family("martlet_info", .gauge, "Which martlet this is and what it runs on.")
    text.sample(UInt64(1), ["version": version, "kernel": kernelRelease])
    text.family("martlet_run_start_time_seconds", .gauge, "When the command was started, since 1970.")
    text.sample(startedAt)
    if let endedAt {
      text.family("martlet_run_end_time_seconds", .gauge, "When the command had ended, since 1970.")
      text.sample(endedAt)
    }
    writeTypes(to: &text)
    if let received = status.received {
      text.family("martlet_records_received_total", .counter, "Records that reached user space.")
      text.sample(received)
    }
    writeRings(to: &text)
    writeMaps(to: &text)
    writePrograms(to: &text)
    return text.bytes
  }

  private func writeTypes(to text: inout PrometheusText) {
    typealias Row = SensorCounters.Row
    let families: [(name: String, help: String, value: KeyPath<Row, UInt64>)] = [
      ("events_seen_total", "Events that the kernel programs saw: the sum of the next four.", \.seen),
      ("records_sent_total", "Events put into a ring as a record.", \.sent),
      ("events_deduplicated_total", "Events that were known already.", \.deduplicated),
      ("events_aggregated_total", "Events that another record stands for.", \.aggregated),
      ("records_lost_total", "Events for which there was no room.", \.lost),
      ("records_truncated_total", "Records sent with a string cut.", \.truncated),
      ("records_unreadable_total", "Records sent without memory that could not be read.", \.unreadable),
      ("calls_failed_total", "Calls that the kernel refused.", \.failed),
    ]
    for family in families {
      text.family("martlet_\(family.name)", .counter, family.help)
      for type in RecordType.allCases where Int(type.rawValue) < status.counters.types.count {
        let row = status.counters.types[Int(type.rawValue)]
        text.sample(
          row[keyPath: family.value], ["type": type.name, "ring": type.isCritical ? "critical" : "bulk"])
      }
    }
    let perCPU: [(name: String, help: String, value: KeyPath<Row, UInt64>)] = [
      ("cpu_records_sent_total", "Records put into a ring on this CPU.", \.sent),
      ("cpu_events_deduplicated_total", "Events on this CPU that were known already.", \.deduplicated),
      ("cpu_records_lost_total", "Events on this CPU for which there was no room.", \.lost),
      ("cpu_records_truncated_total", "Records sent on this CPU with a string cut.", \.truncated),
    ]
    // Types times CPUs could be thousands of series: only those that there is something to say of.
    let places = status.counters.places
    for family in perCPU {
      text.family("martlet_\(family.name)", .counter, family.help)
      for place in places where place.row[keyPath: family.value] > 0 {
        text.sample(place.row[keyPath: family.value], ["cpu": String(place.cpu), "type": place.type.name])
      }
    }
  }

  private func writeRings(to text: inout PrometheusText) {
    let families: [(name: String, help: String, value: KeyPath<RingStatistics, Int>)] = [
      ("ring_capacity_bytes", "Size of the ring.", \.capacity),
      ("ring_available_bytes", "Bytes in the ring that were not read yet.", \.available),
      ("ring_high_water_bytes", "The most that the reader found in the ring.", \.highWater),
    ]
    for family in families {
      text.family("martlet_\(family.name)", .gauge, family.help)
      for ring in status.rings {
        // The critical ring is no CPU's; the label is there all the same, so that all samples have the same ones.
        text.sample(
          UInt64(ring.statistics[keyPath: family.value]), ["ring": ring.kind, "cpu": ring.cpu.map { String($0) } ?? ""])
      }
    }
  }

  private func writeMaps(to text: inout PrometheusText) {
    text.family("martlet_map_refused_total", .counter, "Entries that a full map refused.")
    for map in status.maps { text.sample(map.refused, ["map": map.name]) }
    text.family("martlet_map_capacity_entries", .gauge, "Entries that fit into the map.")
    for map in status.maps { if let capacity = map.capacity { text.sample(capacity, ["map": map.name]) } }
    guard status.maps.contains(where: { $0.used != nil }) else { return }
    text.family("martlet_map_entries", .gauge, "Entries in the map.")
    for map in status.maps { if let used = map.used { text.sample(used, ["map": map.name]) } }
  }

  private func writePrograms(to text: inout PrometheusText) {
    if status.programs.isEmpty { return }
    text.family("martlet_program_runs_total", .counter, "Runs of a kernel program, its tail calls included.")
    for program in status.programs { text.sample(program.runs, ["program": program.name]) }
    text.family("martlet_program_run_seconds_total", .counter, "Time that a kernel program took.")
    for program in status.programs { text.sample(Double(program.nanoseconds) / 1e9, ["program": program.name]) }
  }
}
