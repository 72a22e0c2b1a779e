import CSystem
import Glibc
import KernelABI

/// The array `inflight`, as mapped from the kernel: one slot of ``mt_inflight`` for each CPU and nesting level.
struct InflightMemory {
  private let base: UnsafeRawPointer
  let count: Int
  private let mappedBytes: Int

  /// Takes memory that somebody else keeps alive.
  init(base: UnsafeRawPointer, count: Int) {
    self.base = base
    self.count = count
    mappedBytes = 0
  }

  init(map: Int32, count: Int) throws(SensorError) {
    let page = RingMemory.pageBytes
    let bytes = (count * MemoryLayout<mt_inflight>.stride + page - 1) / page * page
    guard let base = mmap(nil, bytes, PROT_READ, MAP_SHARED, map, 0), base != MAP_FAILED else {
      throw .mapFailed("inflight", "map", errno: errno)
    }
    self.base = UnsafeRawPointer(base)
    self.count = count
    mappedBytes = bytes
  }

  func release() {
    if mappedBytes > 0 { munmap(UnsafeMutableRawPointer(mutating: base), mappedBytes) }
  }

  /// 0 for a slot that is free, else a lower bound of the time of the record being built there.
  func since(_ slot: Int) -> UInt64 {
    mt_load_acquire_u64(base + slot * MemoryLayout<mt_inflight>.stride)
  }
}

/// Since when one slot has shown the same `since`. Its age alone says nothing: a producer begins with the time
/// of its CPU's last record.
struct SlotWatch: BitwiseCopyable {
  private var since: UInt64 = 0
  private var firstSeen: UInt64 = 0
  private var isAbandoned = false

  init(since: UInt64 = 0, firstSeen: UInt64 = 0, isAbandoned: Bool = false) {
    self.since = since
    self.firstSeen = firstSeen
    self.isAbandoned = isAbandoned
  }

  /// How long a producer is waited for, in nanoseconds: a virtual CPU can lose its core in the middle.
  static let limit: UInt64 = 1_000_000_000

  /// Notes what the slot shows now; `tally` counts each producer that is given up on once.
  mutating func isStalled(at since: UInt64, now: UInt64, tally: inout UInt64) -> Bool {
    if since == 0 || since != self.since {
      self = SlotWatch(since: since, firstSeen: now, isAbandoned: false)
      return false
    }
    if isAbandoned { return true }
    isAbandoned = now >= firstSeen && now - firstSeen >= Self.limit
    if isAbandoned { tally += 1 }
    return isAbandoned
  }
}
