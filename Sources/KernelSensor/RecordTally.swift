import KernelABI

/// What is counted of the records of all rings as they are indexed: malformed ones and gaps in the numbering.
///
/// Each CPU numbers the records of each ring class from 1, lost ones included. An interrupt can put a record
/// with a higher number in front of the one it interrupted, so a number that was skipped is missing only until
/// it turns up.
struct RecordTally {
  private struct Counter: BitwiseCopyable {
    var highest: UInt32 = 0
    var missing: UInt32 = 0
  }

  private static let classCount = 2
  private let counters: UnsafeMutablePointer<Counter>
  private let cpuCount: Int

  /// Numbers that no record carried, of all CPUs and classes.
  private(set) var gaps: UInt64 = 0
  var malformed: UInt64 = 0

  init(cpuCount: Int) {
    self.cpuCount = cpuCount
    counters = .allocate(capacity: cpuCount * Self.classCount)
    counters.initialize(repeating: Counter(), count: cpuCount * Self.classCount)
  }

  func deallocate() {
    counters.deallocate()
  }

  /// False for a header that names a CPU or class which does not exist.
  @inline(__always)
  mutating func note(_ header: mt_header) -> Bool {
    let cpu = Int(header.cpu)
    let ringClass = Int(header.ring_class)
    guard cpu < cpuCount, ringClass < Self.classCount else { return false }
    let counter = counters + (cpu * Self.classCount + ringClass)
    // The number wraps after 2^32 records: a few hours of a storm.
    let step = Int32(bitPattern: header.sequence &- counter.pointee.highest)
    if step > 0 {
      let skipped = UInt32(step) - 1
      counter.pointee.missing &+= skipped
      gaps += UInt64(skipped)
      counter.pointee.highest = header.sequence
    } else if step < 0, counter.pointee.missing > 0 {
      counter.pointee.missing -= 1
      gaps -= 1
    }
    return true
  }
}
