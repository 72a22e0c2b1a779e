import CLibbpf
import Glibc

/// The rings of the CPUs, as made and not yet mapped.
///
/// Only CPUs that are online get one, as the kernel allocates all its pages at once; those that are brought up
/// later write into one of these, which any number of CPUs may do.
struct BulkRings: ~Copyable {
  private(set) var descriptors: [Int32] = []
  private let cpus: [Int]
  private let byteCount: Int

  /// - Parameter cpus: those that are online, at least one.
  init(cpus: [Int], byteCount: Int) throws(SensorError) {
    self.cpus = cpus
    self.byteCount = byteCount
    for _ in cpus {
      let map = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "bulk_ring", 0, 0, UInt32(byteCount), nil)
      guard map >= 0 else {
        let error = -map
        for map in descriptors { close(map) }
        throw .mapFailed("bulk_ring (\(byteCount >> 10) KiB for each of \(cpus.count) CPUs)", "create", errno: error)
      }
      descriptors.append(map)
    }
  }

  deinit { for map in descriptors { close(map) } }

  /// Puts a ring under the number of each possible CPU.
  borrowing func fill(_ bulk: Int32, possibleCPUs: Int) throws(SensorError) {
    for cpu in 0..<possibleCPUs {
      var key = UInt32(cpu)
      var value = descriptors[cpus.firstIndex(of: cpu) ?? cpu % descriptors.count]
      let result = bpf_map_update_elem(bulk, &key, &value, 0)
      if result != 0 { throw .mapFailed("bulk", "fill", errno: -result) }
    }
  }

  /// Maps the critical ring and these.
  borrowing func mapAll(after critical: Int32, _ criticalBytes: Int) throws(SensorError) -> [RingMemory] {
    var memory: [RingMemory] = []
    do {
      memory.append(try RingMemory(map: critical, named: "critical", byteCount: criticalBytes))
      for map in descriptors {
        memory.append(try RingMemory(map: map, named: "bulk_ring", byteCount: byteCount))
      }
    } catch {
      for var ring in memory { ring.release() }
      throw error
    }
    return memory
  }
}
