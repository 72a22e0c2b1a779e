import CLibbpf
import KernelABI
public import Observation

/// What became of the events.
public struct SensorCounters: Sendable, Equatable {
  public typealias Row = EventCounts

  /// By `mt_type`, `MT_TYPE_COUNT` of them, summed over all CPUs.
  public var types: [Row]
  /// By CPU, summed over all types: those that are possible.
  public var cpus: [Row] = []
  /// By CPU and `mt_type`.
  public var cpuTypes: [[Row]] = []
  /// Entries that a full map refused, by `mt_map`.
  public var mapFull: [UInt64]

  /// Entries in each map, by `mt_map`; nil if the programs do not count them.
  public var mapUsed: [UInt64]?

  public init(types: [Row], mapFull: [UInt64], mapUsed: [UInt64]? = nil) {
    self.types = types
    self.mapFull = mapFull
    self.mapUsed = mapUsed
  }

  /// What happened where: CPUs and types with events.
  public var places: [(cpu: Int, type: RecordType, row: Row)] {
    cpuTypes.enumerated().flatMap { cpu, rows in
      rows.enumerated().compactMap { index, row in
        guard row.seen > 0, let type = RecordType(rawValue: UInt16(index)) else { return nil }
        return (cpu, type, row)
      }
    }
  }

  /// - Parameter mapUsed: by `mt_map` and CPU, entries that came minus entries that went: an entry can go on
  ///   another CPU than it came on, so only the sum over all CPUs means anything. Behind the programs' counts are
  ///   those of user space, see ``countEntry(_:_:_:possibleCPUs:)``.
  init(counters: Int32, mapFull: Int32, mapUsed: Int32?, possibleCPUs: Int) throws(SensorError) {
    var types = [Row](repeating: Row(), count: Int(MT_TYPE_COUNT.rawValue))
    var cpus = [Row](repeating: Row(), count: possibleCPUs)
    var cpuTypes = [[Row]](repeating: types, count: possibleCPUs)
    for index in types.indices {
      let values: [mt_counters] = try perCPUValues(
        counters, named: "counters", index, possibleCPUs, zero: mt_counters())
      for (cpu, value) in values.enumerated() {
        types[index].add(value)
        cpus[cpu].add(value)
        cpuTypes[cpu][index].add(value)
      }
    }
    self.types = types
    self.cpus = cpus
    self.cpuTypes = cpuTypes
    var full = [UInt64](repeating: 0, count: Int(MT_MAP_COUNT.rawValue))
    for index in full.indices {
      let values: [UInt64] = try perCPUValues(mapFull, named: "map_full", index, possibleCPUs, zero: 0)
      full[index] = values.reduce(0, &+)
    }
    self.mapFull = full
    guard let mapUsed else { return }
    var used = [UInt64](repeating: 0, count: full.count)
    for index in used.indices {
      let values: [Int64] = try perCPUValues(mapUsed, named: "map_used", index, possibleCPUs, zero: 0)
      let own: [Int64] = try perCPUValues(mapUsed, named: "map_used", index + used.count, possibleCPUs, zero: 0)
      // Read one CPU after the other while they go on counting: an instant below zero is possible.
      used[index] = UInt64(max(0, (values + own).reduce(0, &+)))
    }
    self.mapUsed = used
  }

  /// Tells that user space has made an entry. It has counters of its own: it cannot change one CPU's value of a
  /// program's without writing all of them.
  static func countEntry(_ map: mt_map, in mapUsed: Int32, possibleCPUs: Int) throws(SensorError) {
    var key = map.rawValue + MT_MAP_COUNT.rawValue
    var values: [Int64] = try perCPUValues(mapUsed, named: "map_used", Int(key), possibleCPUs, zero: 0)
    values[0] += 1
    let result = values.withUnsafeBytes { bpf_map_update_elem(mapUsed, &key, $0.baseAddress, 0) }
    if result != 0 { throw .mapFailed("map_used", "update", errno: -result) }
  }
}

/// One entry of a per-CPU array, by CPU. The kernel rounds each value up to 8 bytes, which those here are.
func perCPUValues<Value: BitwiseCopyable>(
  _ map: Int32, named name: String, _ index: Int, _ possibleCPUs: Int, zero: Value
) throws(SensorError) -> [Value] {
  var key = UInt32(index)
  var values = [Value](repeating: zero, count: possibleCPUs)
  let result = values.withUnsafeMutableBytes { bpf_map_lookup_elem(map, &key, $0.baseAddress) }
  if result != 0 { throw .mapFailed(name, "read", errno: -result) }
  return values
}

extension EventCounts {
  fileprivate mutating func add(_ counters: mt_counters) {
    seen &+= counters.seen
    deduplicated &+= counters.deduplicated
    aggregated &+= counters.aggregated
    sent &+= counters.sent
    lost &+= counters.lost
    truncated &+= counters.truncated
    unreadable &+= counters.unreadable
    failed &+= counters.failed
  }
}
