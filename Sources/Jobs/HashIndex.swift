/// An open-addressing table from keys that live elsewhere to their indices in a ``Pool``.
///
/// A slot holds 32 bits of the key's hash and the index: 8 bytes. Whether a slot's key is the one asked for is
/// told by the caller, who compares the pool's element. Index 0 is never stored: it marks a free slot.
struct HashIndex: ~Copyable {
  private struct Slot: BitwiseCopyable {
    var tag: UInt32
    var index: UInt32
  }

  private var slots: UnsafeMutablePointer<Slot>
  private var mask: Int
  private(set) var count = 0

  init(minimumCapacity: Int = 16) {
    var capacity = 16
    while capacity < minimumCapacity { capacity *= 2 }
    slots = Self.allocate(capacity)
    mask = capacity - 1
  }

  deinit { slots.deallocate() }

  /// Memory in use, in bytes.
  var bytes: Int { (mask + 1) * MemoryLayout<Slot>.stride }

  /// The index whose key has this hash and for which `matches` holds, or 0.
  @inline(__always)
  func find(_ hash: UInt64, _ matches: (UInt32) -> Bool) -> UInt32 {
    let tag = UInt32(truncatingIfNeeded: hash)
    var position = Int(tag) & mask
    while true {
      let slot = slots[position]
      if slot.index == 0 { return 0 }
      if slot.tag == tag && matches(slot.index) { return slot.index }
      position = (position &+ 1) & mask
    }
  }

  /// Adds an index under a key that is not in the table.
  @inline(__always)
  mutating func insert(_ hash: UInt64, _ index: UInt32) {
    // At most four fifths full, so that a miss ends after a dozen slots of two cache lines.
    if (count &+ 1) &* 5 > (mask &+ 1) &* 4 { grow() }
    place(Slot(tag: UInt32(truncatingIfNeeded: hash), index: index))
    count &+= 1
  }

  /// Removes the entry with this index; false if it is not there.
  @discardableResult
  mutating func remove(_ hash: UInt64, _ index: UInt32) -> Bool {
    var position = Int(UInt32(truncatingIfNeeded: hash)) & mask
    while slots[position].index != index {
      if slots[position].index == 0 { return false }
      position = (position &+ 1) & mask
    }
    // Close the gap by moving back those that a probe would no longer reach: no tombstones.
    var gap = position
    var next = (gap &+ 1) & mask
    while slots[next].index != 0 {
      let home = Int(slots[next].tag) & mask
      if ((next &- home) & mask) >= ((next &- gap) & mask) {
        slots[gap] = slots[next]
        gap = next
      }
      next = (next &+ 1) & mask
    }
    slots[gap] = Slot(tag: 0, index: 0)
    count &-= 1
    return true
  }

  private static func allocate(_ capacity: Int) -> UnsafeMutablePointer<Slot> {
    let slots = UnsafeMutablePointer<Slot>.allocate(capacity: capacity)
    HugePages.advise(slots, capacity * MemoryLayout<Slot>.stride)
    slots.initialize(repeating: Slot(tag: 0, index: 0), count: capacity)
    return slots
  }

  @inline(__always)
  private func place(_ slot: Slot) {
    var position = Int(slot.tag) & mask
    while slots[position].index != 0 { position = (position &+ 1) & mask }
    slots[position] = slot
  }

  @inline(never)
  private mutating func grow() {
    let old = slots
    let oldCapacity = mask + 1
    slots = Self.allocate(oldCapacity * 2)
    mask = oldCapacity * 2 - 1
    for position in 0..<oldCapacity where old[position].index != 0 { place(old[position]) }
    old.deallocate()
  }
}
