import Jobs
import KernelSensor
import Observation
import Recording
import Testing

@testable import Agent

@Suite struct LossTests {
  /// A reading with so many lost events of these types.
  private static func reading(_ lost: [RecordType: UInt64], at time: UInt64) -> SensorReading {
    var types = [EventCounts](repeating: EventCounts(), count: 64)
    for (type, count) in lost {
      types[Int(type.rawValue)].lost = count
      types[Int(type.rawValue)].failed = 1000
    }
    var reading = SensorReading()
    reading.at = time
    reading.status = SensorStatus(counters: SensorCounters(types: types, mapFull: []), rings: [], maps: [])
    return reading
  }

  private static func told(_ shares: [(type: RecordType, count: UInt64)]?) -> [RecordType: UInt64]? {
    shares.map { Dictionary(uniqueKeysWithValues: $0.map { ($0.type, $0.count) }) }
  }

  private let before = reading([.open: 5, .exec: 7, .rename: 2], at: 10)

  @Test("who alone lost events lost all that were lost meanwhile")
  func alone() {
    let after = Self.reading([.open: 8, .exec: 9, .rename: 3], at: 30)
    let attribution = LossAttribution(before, after, since: 20)
    #expect(Self.told(attribution.shares(of: 4, \.lost, isCritical: false)) == [.open: 3, .rename: 1])
    #expect(Self.told(attribution.shares(of: 2, \.lost, isCritical: true)) == [.exec: 2])
    #expect(Self.told(attribution.shares(of: 0, \.lost)) == [:])
  }

  @Test("of a part of what was lost nothing is said, unless all was of one type")
  func together() {
    let after = Self.reading([.open: 8, .exec: 9, .rename: 3], at: 30)
    let attribution = LossAttribution(before, after, since: 20)
    #expect(attribution.shares(of: 3, \.lost, isCritical: false) == nil)
    #expect(Self.told(attribution.shares(of: 1, \.lost, isCritical: true)) == [.exec: 1])
    // More than there were: the readings and the count are not of one time.
    #expect(attribution.shares(of: 3, \.lost, isCritical: true) == nil)
    #expect(attribution.shares(of: 1, \.failed) == nil)
  }

  @Test("readings that do not enclose the job say nothing")
  func readings() {
    let after = Self.reading([.open: 8, .exec: 7, .rename: 2], at: 30)
    #expect(LossAttribution(before, after, since: 10).shares(of: 3, \.lost) == nil)
    #expect(Self.told(LossAttribution(before, after, since: 11).shares(of: 3, \.lost)) == [.open: 3])
    #expect(LossAttribution(SensorReading(), after, since: 11).shares(of: 3, \.lost) == nil)
    #expect(LossAttribution(before, SensorReading(), since: 11).shares(of: 3, \.lost) == nil)
  }

  @Test("what cannot be told by type is in the rows of the rings, and the sums are as the kernel has them")
  func completeness() {
    var counts = JobCounts()
    counts.lostCritical = 2
    counts.lostBulk = 3
    counts.deduplicated = 9
    let after = Self.reading([.open: 8, .exec: 9, .rename: 3], at: 30)
    let attribution = LossAttribution(before, after, since: 20)
    let completeness = Completeness(RecordTallies(), counts, before, after, attribution, [])
    #expect(completeness.lostCritical == 2 && completeness.lostBulk == 3)
    let rows = Dictionary(uniqueKeysWithValues: completeness.types.map { ($0.name, $0.counts) })
    #expect(Set(rows.keys) == ["exec", "bulk"])
    #expect(rows["exec"]?.lost == 2 && rows["exec"]?.seen == 2)
    #expect(rows["bulk"]?.lost == 3 && rows["bulk"]?.deduplicated == 9 && rows["bulk"]?.seen == 12)
  }
}
