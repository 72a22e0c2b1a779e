internal import Jobs
internal import KernelSensor
internal import Observation
internal import Recording

/// Which types of records the kernel's counts of one job are of.
///
/// Of a job the kernel counts what was lost by ring alone, and by type only for all jobs together. But a job's events are
/// among those of all that came between two readings, one from before it began and one from after its last record. So
/// where nobody else had any, or all were of one type, it is known what its own were; else it is not said.
struct LossAttribution {
  private let types: [(type: RecordType, row: EventCounts)]

  /// - Parameters:
  ///   - before: of no use unless it was read before the job's first event.
  ///   - after: read when no event of it came any more.
  ///   - start: of the job, CLOCK_BOOTTIME.
  init(_ before: SensorReading, _ after: SensorReading, since start: UInt64) {
    guard before.at < start, let before = before.status?.counters.types, let after = after.status?.counters.types else {
      types = []
      return
    }
    types = RecordType.allCases.compactMap { type in
      let index = Int(type.rawValue)
      guard after.indices.contains(index), before.indices.contains(index) else { return nil }
      let earlier = before[index]
      var row = EventCounts()
      row.deduplicated = after[index].deduplicated &- earlier.deduplicated
      row.aggregated = after[index].aggregated &- earlier.aggregated
      row.lost = after[index].lost &- earlier.lost
      row.failed = after[index].failed &- earlier.failed
      return (type, row)
    }
  }

  /// How many of a job's `count` are of each type; nil: nobody knows.
  ///
  /// - Parameter isCritical: of which ring they are; nil: of both.
  func shares(
    of count: UInt64, _ member: KeyPath<EventCounts, UInt64>, isCritical: Bool? = nil
  ) -> [(type: RecordType, count: UInt64)]? {
    if count == 0 { return [] }
    let all = types.compactMap { type, row -> (type: RecordType, count: UInt64)? in
      let events = row[keyPath: member]
      return events > 0 && (isCritical == nil || type.isCritical == isCritical) ? (type, events) : nil
    }
    if all.reduce(0, { $0 &+ $1.count }) == count { return all }
    if all.count == 1, all[0].count > count { return [(all[0].type, count)] }
    return nil
  }
}

extension Completeness {
  /// Of one job of several: what came of it by type, what the kernel side counted of it, and what went wrong meanwhile
  /// for whomever.
  ///
  /// What cannot be told by type is in rows of their own, `critical` and `bulk`.
  init(
    _ tallies: RecordTallies, _ counts: JobCounts, _ before: SensorReading, _ after: SensorReading,
    _ attribution: LossAttribution, _ missingHooks: [(family: String, reason: String)]
  ) {
    self.init()
    var rows = [RecordType: Counts]()
    for type in RecordType.allCases where tallies[type] > 0 {
      var row = Counts()
      row.sent = tallies[type]
      row.truncated = tallies.truncated(type)
      row.unreadable = tallies.unreadable(type)
      rows[type] = row
    }
    var critical = Counts()
    var bulk = Counts()
    func attribute(
      _ count: UInt64, _ member: WritableKeyPath<Counts, UInt64>, isCritical: Bool? = nil, else rest: inout Counts
    ) {
      guard let shares = attribution.shares(of: count, member, isCritical: isCritical) else {
        rest[keyPath: member] = count
        return
      }
      for (type, count) in shares { rows[type, default: Counts()][keyPath: member] = count }
    }
    attribute(counts.lostCritical, \.lost, isCritical: true, else: &critical)
    attribute(counts.lostBulk, \.lost, isCritical: false, else: &bulk)
    attribute(counts.deduplicated, \.deduplicated, else: &bulk)
    attribute(counts.aggregated, \.aggregated, else: &bulk)
    attribute(counts.failed, \.failed, else: &bulk)
    types = RecordType.allCases.compactMap { type in rows[type].map { (type.name, type.isCritical, $0) } }
    if critical != Counts() { types.append(("critical", true, critical)) }
    if bulk != Counts() { types.append(("bulk", false, bulk)) }
    for index in types.indices {
      let row = types[index].counts
      types[index].counts.seen = row.sent &+ row.deduplicated &+ row.aggregated &+ row.lost
    }
    received = tallies.total
    malformed = after.malformed &- before.malformed
    late = after.late &- before.late
    stalled = after.stalled &- before.stalled
    missedRuns = after.missedRuns &- before.missedRuns
    let earlier = Dictionary(before.refused.map { ($0.name, $0.count) }) { first, _ in first }
    mapFull = after.refused.map { ($0.name, $0.count &- (earlier[$0.name] ?? 0)) }
    self.missingHooks = missingHooks
    if !after.failure.isEmpty { self.missingHooks.append(("counter", after.failure)) }
  }
}
