/// The first record of a ring that is ready; the critical ring, whose number is 0, comes first of equals.
struct MergeHead: BitwiseCopyable, Comparable {
  var time: UInt64
  var ring: Int

  static let last = MergeHead(time: .max, ring: .max)

  @inline(__always)
  static func < (left: MergeHead, right: MergeHead) -> Bool {
    left.time != right.time ? left.time < right.time : left.ring < right.ring
  }
}

/// A binary heap of one head for each ring, in memory of its own.
struct MergeHeap {
  private let heads: UnsafeMutablePointer<MergeHead>
  private var count = 0

  init(capacity: Int) {
    heads = .allocate(capacity: capacity)
  }

  func deallocate() {
    heads.deallocate()
  }

  var first: MergeHead? { count > 0 ? heads[0] : nil }

  /// The least after the first; ``MergeHead/last`` if there is none.
  var second: MergeHead {
    if count > 2 { return min(heads[1], heads[2]) }
    return count > 1 ? heads[1] : .last
  }

  mutating func push(_ head: MergeHead) {
    var child = count
    count += 1
    while child > 0, head < heads[(child - 1) / 2] {
      heads[child] = heads[(child - 1) / 2]
      child = (child - 1) / 2
    }
    heads[child] = head
  }

  /// Puts `head` in the place of the first, or takes the first away.
  mutating func replaceFirst(_ head: MergeHead?) {
    guard count > 0 else { return }
    if head == nil { count -= 1 }
    let moved = head ?? heads[count]
    var parent = 0
    while true {
      var child = 2 * parent + 1
      if child >= count { break }
      if child + 1 < count, heads[child + 1] < heads[child] { child += 1 }
      if !(heads[child] < moved) { break }
      heads[parent] = heads[child]
      parent = child
    }
    heads[parent] = moved
  }
}
