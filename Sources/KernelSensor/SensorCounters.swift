import CLibbpf
import KernelABI
public import Observation

/// What became of the events, summed over all CPUs.
public struct SensorCounters: Sendable, Equatable {
  public typealias Row = EventCounts

  /// By `mt_type`, `MT_TYPE_COUNT` of them.
  public var types: [Row]
  /// Entries that a full map refused, by `mt_map`.
  public var mapFull: [UInt64]

  init(counters: Int32, mapFull: Int32, possibleCPUs: Int) throws(SensorError) {
    var types = [Row](repeating: Row(), count: Int(MT_TYPE_COUNT.rawValue))
    for index in types.indices {
      let values: [mt_counters] = try perCPUValues(
        counters, named: "counters", index, possibleCPUs, zero: mt_counters())
      for value in values { types[index].add(value) }
    }
    self.types = types
    var full = [UInt64](repeating: 0, count: Int(MT_MAP_COUNT.rawValue))
    for index in full.indices {
      let values: [UInt64] = try perCPUValues(mapFull, named: "map_full", index, possibleCPUs, zero: 0)
      full[index] = values.reduce(0, &+)
    }
    self.mapFull = full
  }
}

/// One entry of a per-CPU array, by CPU. The kernel rounds each value up to 8 bytes, which those here are.
private func perCPUValues<Value: BitwiseCopyable>(
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
