import CLibbpf
import KernelABI

/// How a sensor is doing: what became of the events, and how near its rings and maps are to their limits.
public struct SensorStatus: Sendable {
  /// One ring, with the CPU that it is for.
  public struct Ring: Sendable, Equatable {
    /// nil: the critical ring, which all CPUs share.
    public var cpu: Int?
    public var statistics: RingStatistics

    /// "critical" or "bulk", as `--ring-size` calls them.
    public var kind: String { cpu == nil ? "critical" : "bulk" }

    public init(cpu: Int?, statistics: RingStatistics) {
      self.cpu = cpu
      self.statistics = statistics
    }
  }

  public var counters: SensorCounters
  /// The critical ring, then those of the CPUs.
  public var rings: [Ring]
  public var maps: [MapStatistics]
  /// Records handed on by the reader; nil where only the reader's own process knows.
  public var received: UInt64?
  /// Run time by program; empty unless somebody wants it.
  public var programs: [ProgramStatistics] = []

  public init(counters: SensorCounters, rings: [Ring], maps: [MapStatistics], received: UInt64? = nil) {
    self.counters = counters
    self.rings = rings
    self.maps = maps
    self.received = received
  }
}

/// How full a map is that can refuse an entry.
public struct MapStatistics: Sendable, Equatable {
  /// As in every output: "processes".
  public var name: String
  /// Entries that fit; nil where memory is the only limit (task storage) and where it is not known.
  public var capacity: UInt64?
  /// Entries in it, as the programs count them; nil if they do not.
  public var used: UInt64?
  /// The most that was found in it; whoever looks at intervals can miss a peak.
  public var highWater: UInt64?
  /// Entries that it refused.
  public var refused: UInt64

  public init(name: String, capacity: UInt64?, used: UInt64?, highWater: UInt64? = nil, refused: UInt64) {
    self.name = name
    self.capacity = capacity
    self.used = used
    self.highWater = highWater ?? used
    self.refused = refused
  }

  /// From 0 to 1; nil where either number is not known.
  public var fill: Double? { Self.share(used, capacity) }
  /// Likewise of the most that was found.
  public var highWaterFill: Double? { Self.share(highWater, capacity) }

  private static func share(_ part: UInt64?, _ whole: UInt64?) -> Double? {
    guard let part, let whole, whole > 0 else { return nil }
    return Double(part) / Double(whole)
  }

  /// Names of kernel maps, by `mt_map`.
  public static let names = [
    "tags", "processes", "writers", "sockets", "directories", "open_files", "jobs", "talks", "rule_cgroups",
    "watched_sockets", "policy_writes", "policy_inodes", "listeners",
  ]

  private static let maybeAbsent: Set = [
    "open_files", "jobs", "talks", "rule_cgroups", "watched_sockets", "policy_writes", "policy_inodes", "listeners",
  ]

  /// By `mt_map`, without those that this sensor does not have: open files where no bytes are counted, slots where no jobs
  /// are recognised.
  static func all(_ counters: SensorCounters, capacity: (String) -> UInt64?) -> [MapStatistics] {
    counters.mapFull.enumerated().map { index, refused in
      let name = index < names.count ? names[index] : "map \(index)"
      // Directories are an array whose places are taken again and again: it has no fill.
      let used = index == Int(MT_MAP_DIRECTORIES.rawValue) ? nil : counters.mapUsed?[index]
      return MapStatistics(name: name, capacity: capacity(name), used: used, refused: refused)
    }.filter { $0.capacity != nil || !maybeAbsent.contains($0.name) }
  }
}

/// Entries that a map takes, if that is a limit of its own.
func mapCapacity(_ descriptor: Int32) -> UInt64? {
  var info = bpf_map_info()
  var size = UInt32(MemoryLayout<bpf_map_info>.size)
  guard bpf_obj_get_info_by_fd(descriptor, &info, &size) == 0, info.type == BPF_MAP_TYPE_HASH.rawValue else {
    return nil
  }
  return UInt64(info.max_entries)
}

extension Sensor {
  /// How the sensor is doing now: some forty calls of bpf(2) that read counters, and no look into any map.
  public func status() throws(SensorError) -> SensorStatus {
    let counters = try counters()
    var status = SensorStatus(
      counters: counters, rings: ringStatus,
      maps: MapStatistics.all(counters) { name in
        guard name == "jobs" else { return objects.maps[name].flatMap(mapCapacity) }
        return objects.maps["free_jobs"] == nil ? nil : UInt64(openSlots)
      }, received: rings.received)
    for (index, map) in status.maps.enumerated() {
      guard let used = map.used else { continue }
      mapHighWater[index] = max(mapHighWater[index], used)
      status.maps[index].highWater = mapHighWater[index]
    }
    if runTime != nil { status.programs = try objects.programStatistics() }
    return status
  }

  private var ringStatus: [SensorStatus.Ring] {
    rings.statistics.enumerated().map { index, statistics in
      SensorStatus.Ring(cpu: index == 0 ? nil : ringCPUs[index - 1], statistics: statistics)
    }
  }
}
