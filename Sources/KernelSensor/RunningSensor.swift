import CLibbpf
import CSystem
import Glibc
import KernelABI

/// The sensor of another process, seen from outside through the kernel: its maps are found by their ids, read and
/// never written.
public final class RunningSensor {
  /// What the sensor watches for one caller of `Sensor.addToJob`.
  public struct Job: Sendable, Equatable {
    public var number: Int
    public var processes = 0
    /// Without the first of each process.
    public var threads = 0
    /// When its oldest process that still lives began, CLOCK_BOOTTIME in nanoseconds.
    public var oldest: UInt64 = .max
  }

  /// Ids of the maps that its programs share. No two sensors have one in common.
  public let maps: Set<UInt32>
  /// The process that holds it; nil if that cannot be found out.
  public let process: Int32?

  private let counters: MapHandle
  private let mapFull: MapHandle
  private let mapUsed: MapHandle?
  private let processes: MapHandle
  private let limits: [String: UInt64]
  private let makesJobs: Bool
  private let possibleCPUs: Int
  private var gauges: [(cpu: Int?, gauge: RingGauge)] = []
  private var highWater: [Int]

  /// - Parameter maps: all that its programs use.
  /// - Throws: if one cannot be opened, or has another layout than this version's.
  init(maps ids: Set<UInt32>) throws(SensorError) {
    maps = ids
    var byName: [String: MapHandle] = [:]
    for id in ids {
      let map = try MapHandle(id: id)
      byName[map.name] = map
    }
    func map(_ name: String, valueSize: Int) throws(SensorError) -> MapHandle {
      guard let map = byName[name], map.info.value_size == UInt32(valueSize) else { throw .missing(map: name) }
      return map
    }
    counters = try map("counters", valueSize: MemoryLayout<mt_counters>.size)
    mapFull = try map("map_full", valueSize: MemoryLayout<UInt64>.size)
    mapUsed = byName["map_used"]
    processes = try map("processes", valueSize: MemoryLayout<mt_process>.size)
    makesJobs = byName["free_jobs"] != nil
    limits = byName.compactMapValues { mapCapacity($0.descriptor) }
    let possible = libbpf_num_possible_cpus()
    guard possible > 0 else { throw .systemCall("Could not count the possible CPUs", errno: -possible) }
    possibleCPUs = Int(possible)
    if let critical = byName["critical"] { gauges.append((nil, try RingGauge(critical))) }
    if let bulk = byName["bulk"] {
      var rings: Set<UInt32> = []
      for cpu in 0..<bulk.info.max_entries {
        var key = cpu
        var id: UInt32 = 0
        // CPUs that were offline at the start share the ring of another.
        guard bpf_map_lookup_elem(bulk.descriptor, &key, &id) == 0, rings.insert(id).inserted else { continue }
        gauges.append((Int(cpu), try RingGauge(MapHandle(id: id))))
      }
    }
    highWater = gauges.map { _ in 0 }
    process = Self.holder(of: counters.info.id)
  }

  /// Notes how full the rings are. To be called often: their high-water marks are the most that was found.
  public func look() {
    for (index, ring) in gauges.enumerated() { highWater[index] = max(highWater[index], ring.gauge.available) }
  }

  /// How it is doing.
  public func status() throws(SensorError) -> SensorStatus {
    look()
    let counters = try SensorCounters(
      counters: counters.descriptor, mapFull: mapFull.descriptor, mapUsed: mapUsed?.descriptor,
      possibleCPUs: possibleCPUs)
    return SensorStatus(
      counters: counters,
      rings: gauges.enumerated().map { index, ring in
        SensorStatus.Ring(
          cpu: ring.cpu,
          statistics: RingStatistics(
            capacity: ring.gauge.capacity, available: ring.gauge.available, highWater: highWater[index]))
      },
      maps: MapStatistics.all(counters) { $0 == "jobs" && !makesJobs ? nil : limits[$0] })
  }

  /// What it watches, from its table of processes, which has at most some ten thousand entries.
  public func jobs() -> [Job] {
    var jobs: [UInt16: Job] = [:]
    var key: UInt32 = 0
    var next: UInt32 = 0
    var result = bpf_map_get_next_key(processes.descriptor, nil, &next)
    // A key that was deleted meanwhile starts the walk again, so it is bounded by the size of the map.
    for _ in 0..<processes.info.max_entries where result == 0 {
      key = next
      var process = mt_process()
      if bpf_map_lookup_elem(processes.descriptor, &key, &process) == 0 {
        var job = jobs[process.job] ?? Job(number: Int(process.job))
        job.processes += 1
        job.threads += Int(process.threads)
        job.oldest = min(job.oldest, process.leader_start)
        jobs[process.job] = job
      }
      result = bpf_map_get_next_key(processes.descriptor, &key, &next)
    }
    return jobs.values.sorted { $0.number < $1.number }
  }

  /// The process with a descriptor of the map. There is one as long as the map exists, as nothing is pinned; a pid
  /// namespace can hide it.
  private static func holder(of map: UInt32) -> Int32? {
    let own = getpid()
    for entry in directoryEntries("/proc") {
      guard let pid = Int32(entry), pid != own else { continue }
      for descriptor in directoryEntries("/proc/\(pid)/fd") {
        guard linkTarget("/proc/\(pid)/fd/\(descriptor)") == "anon_inode:bpf-map",
          let text = readText("/proc/\(pid)/fdinfo/\(descriptor)")
        else { continue }
        for line in text.split(separator: "\n") where line.hasPrefix("map_id:") {
          if UInt32(line.dropFirst("map_id:".count).drop { $0 == " " || $0 == "\t" }) == map { return pid }
        }
      }
    }
    return nil
  }
}

extension RunningSensor {
  /// Keeps those of `running` that are still there, and opens those that are new in `sample`.
  ///
  /// Programs belong to one sensor if they share a map.
  public static func find(in sample: ProgramSample, known running: [RunningSensor]) -> [RunningSensor] {
    var groups: [Set<UInt32>] = []
    for program in sample.programs where program.isMartlets && !program.maps.isEmpty {
      var group = Set(program.maps)
      groups.removeAll { other in
        if other.isDisjoint(with: group) { return false }
        group.formUnion(other)
        return true
      }
      groups.append(group)
    }
    return groups.compactMap { group in
      // Another version's, or one that is being loaded or taken away: its programs are listed all the same.
      running.first { $0.maps == group } ?? (try? RunningSensor(maps: group))
    }.sorted { ($0.maps.min() ?? 0) < ($1.maps.min() ?? 0) }
  }
}

/// A descriptor of somebody's map.
private final class MapHandle {
  let descriptor: Int32
  let info: bpf_map_info

  init(id: UInt32) throws(SensorError) {
    let opened = bpf_map_get_fd_by_id(id)
    guard opened >= 0 else { throw .refusedToAsk("The kernel would not show the BPF map \(id)", errno: -opened) }
    var info = bpf_map_info()
    var size = UInt32(MemoryLayout<bpf_map_info>.size)
    let result = bpf_obj_get_info_by_fd(opened, &info, &size)
    guard result == 0 else {
      close(opened)
      throw .systemCall("Could not ask about the BPF map \(id)", errno: -result)
    }
    descriptor = opened
    self.info = info
  }

  deinit { close(descriptor) }

  var name: String { withUnsafeBytes(of: info.name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) } }
}

/// The two positions of a ring, mapped for reading only.
private final class RingGauge {
  let capacity: Int
  private let pages: UnsafeMutableRawPointer

  init(_ map: MapHandle) throws(SensorError) {
    capacity = Int(map.info.max_entries)
    let pages = mmap(nil, 2 * RingMemory.pageBytes, PROT_READ, MAP_SHARED, map.descriptor, 0)
    guard let pages, pages != MAP_FAILED else { throw .mapFailed(map.name, "look into", errno: errno) }
    self.pages = pages
  }

  deinit { munmap(pages, 2 * RingMemory.pageBytes) }

  /// Bytes that the reader has not given back.
  var available: Int {
    // The consumer's position first: it can only grow up to the producer's.
    let consumer = mt_load_acquire_u64(pages)
    let producer = mt_load_acquire_u64(pages + RingMemory.pageBytes)
    return min(capacity, Int(clamping: producer &- consumer))
  }
}

func directoryEntries(_ path: String) -> [String] {
  guard let directory = opendir(path) else { return [] }
  defer { closedir(directory) }
  var names: [String] = []
  while let entry = readdir(directory) {
    names.append(withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
  }
  return names
}

private func linkTarget(_ path: String) -> String? {
  withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) { buffer in
    guard let start = buffer.baseAddress?.assumingMemoryBound(to: CChar.self) else { return nil }
    let count = readlink(path, start, buffer.count)
    return count < 0 ? nil : String(decoding: buffer.prefix(count), as: UTF8.self)
  }
}
