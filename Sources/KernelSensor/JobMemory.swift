import CSystem
import Glibc
import KernelABI

/// The array `jobs`, as mapped from the kernel: one ``mt_job`` for each slot, changed by both sides at once.
struct JobMemory {
  private let base: UnsafeMutableRawPointer
  private let mappedBytes: Int
  private static let stride = MemoryLayout<mt_job>.stride

  init(map: Int32) throws(SensorError) {
    let page = RingMemory.pageBytes
    mappedBytes = (Int(MT_MAX_JOBS) * Self.stride + page - 1) / page * page
    guard let base = mmap(nil, mappedBytes, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0), base != MAP_FAILED else {
      throw .mapFailed("jobs", "map", errno: errno)
    }
    self.base = base
  }

  func release() { munmap(base, mappedBytes) }

  private enum Field: Int {
    case started = 0
    case key = 8
    case live = 16
    case closed = 24
    case rule = 32
    case steps = 36
    case unlisted = 40
    case tasks = 48
    case born = 56
  }

  private func field(_ slot: UInt16, _ field: Field) -> UnsafeMutableRawPointer {
    base + Int(slot) * Self.stride + field.rawValue
  }

  /// Not of one instant: a job is changed while it is read.
  subscript(slot: UInt16) -> mt_job { (base + Int(slot) * Self.stride).load(as: mt_job.self) }

  func live(_ slot: UInt16) -> UInt64 { mt_load_acquire_u64(field(slot, .live)) }

  func addLive(_ slot: UInt16, _ change: Int64) { mt_add_u64(field(slot, .live), UInt64(bitPattern: change)) }

  func isClosed(_ slot: UInt16) -> Bool { mt_load_acquire_u64(field(slot, .closed)) != 0 }

  func setClosed(_ slot: UInt16, _ isClosed: Bool) {
    mt_store_release_u64(field(slot, .closed), isClosed ? 1 : 0)
    mt_full_fence()
  }

  func born(_ slot: UInt16) -> UInt64 { mt_load_acquire_u64(field(slot, .born)) }

  func clearTasks(_ slot: UInt16) { mt_store_release_u64(field(slot, .tasks), 0) }

  /// Whether processes are counted that may not be there.
  func isOccupied(_ slot: UInt16) -> Bool {
    live(slot) != 0 || mt_load_acquire_u64(field(slot, .unlisted)) != 0
  }

  /// Of a job that nobody is in.
  func clearUnlisted(_ slot: UInt16) { mt_store_release_u64(field(slot, .unlisted), 0) }

  /// The number of a new step.
  func nextStep(_ slot: UInt16) -> UInt32 { mt_next_u32(field(slot, .steps)) }

  /// Begins a job in a slot that nobody uses. Others may add themselves to `live` meanwhile and find that it is not
  /// the job that they wanted, so that is not set.
  func begin(_ slot: UInt16, rule: UInt32, key: UInt64, at time: UInt64) {
    field(slot, .started).storeBytes(of: time, as: UInt64.self)
    field(slot, .key).storeBytes(of: key, as: UInt64.self)
    field(slot, .rule).storeBytes(of: rule, as: UInt32.self)
    field(slot, .steps).storeBytes(of: 0, as: UInt32.self)
    setClosed(slot, false)
  }
}
