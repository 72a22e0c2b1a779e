import CSystem
import KernelABI

/// A record that is in a ring and was not yet handed on.
@usableFromInline
struct IndexEntry: BitwiseCopyable {
  /// The record's own, nanoseconds of CLOCK_BOOTTIME.
  @usableFromInline var time: UInt64
  /// Of the ring's own header, the low half: a ring is far smaller than 4 GiB, so it is enough to tell.
  @usableFromInline var position: UInt32
  /// The lowest position of this and all later entries, which is what can be freed up to before this one is
  /// handed on; likewise the low half.
  @usableFromInline var floor: UInt32
}

/// One ring as the reader sees it: an index, by time, of the records between the consumer's position and the
/// cursor. Records stay where they are until they are handed on.
///
/// The index can hold every record that fits into the ring, so waiting for other rings never fills it.
struct Ring {
  var memory: RingMemory
  private let mask: UInt64

  private(set) var entries: UnsafeMutablePointer<IndexEntry>
  private let capacity: Int
  private var count = 0
  private var sortedCount = 0
  /// The first entry that is not handed on, and the first that has to wait for the next round.
  private(set) var head = 0
  private(set) var ready = 0

  /// Records that were still being written when the cursor passed them.
  private let busy: UnsafeMutablePointer<UInt32>
  private let busyCapacity: Int
  private var busyCount = 0

  /// The consumer's position as the kernel knows it.
  private(set) var published: UInt64
  /// The next record to index, and the producer's position at the start of the round.
  private var cursor: UInt64
  private var snapshot: UInt64
  /// What can be freed up to once all entries are handed on.
  private var base: UInt32 = 0
  /// Of the last indexed record.
  private(set) var lastTime: UInt64 = 0
  private(set) var highWater: UInt64 = 0

  /// The smallest record: its header and the ring's.
  private static let smallest = MemoryLayout<mt_header>.size + RingMemory.headerBytes

  init(memory: RingMemory, busyCapacity: Int) {
    self.memory = memory
    self.busyCapacity = busyCapacity
    mask = UInt64(memory.byteCount - 1)
    capacity = memory.byteCount / Self.smallest + 1
    entries = .allocate(capacity: capacity)
    busy = .allocate(capacity: busyCapacity)
    published = mt_load_acquire_u64(memory.consumer)
    cursor = published
    snapshot = published
  }

  mutating func deallocate() {
    entries.deallocate()
    busy.deallocate()
    memory.release()
  }

  /// Bytes that are taken now.
  var available: UInt64 { mt_load_acquire_u64(memory.producer) &- published }

  var hasReady: Bool { head < ready }

  mutating func takeSnapshot() {
    snapshot = mt_load_acquire_u64(memory.producer)
    highWater = max(highWater, snapshot &- published)
  }

  /// Indexes up to `limit` records before the snapshot. False if there are more.
  mutating func index(limit: Int, tally: inout RecordTally) -> Bool {
    revisitBusy(&tally)
    var steps = 0
    while cursor < snapshot {
      if steps == limit || count == capacity { return false }
      steps += 1
      let word = mt_load_acquire_u32(memory.data + Int(cursor & mask))
      let length = word & ~(RingMemory.busyBit | RingMemory.discardBit)
      let span = (UInt64(length) + UInt64(RingMemory.headerBytes) + 7) & ~7
      guard span <= snapshot - cursor, span <= mask + 1 else {
        // The producer's position is always the start of a record: go on from there.
        tally.malformed += 1
        cursor = snapshot
        return true
      }
      if word & RingMemory.busyBit == 0 {
        take(UInt32(truncatingIfNeeded: cursor), word, &tally)
      } else {
        // Its time is not known, but what lies behind it can be older: look at that now, at this one later.
        // Its producer's `since` was set when the watermark was taken, or its time is above the watermark.
        if busyCount == busyCapacity { return false }
        busy[busyCount] = UInt32(truncatingIfNeeded: cursor)
        busyCount += 1
      }
      cursor += span
    }
    return true
  }

  private mutating func revisitBusy(_ tally: inout RecordTally) {
    var kept = 0
    for i in 0..<busyCount {
      let position = busy[i]
      let word = mt_load_acquire_u32(memory.data + Int(UInt64(position) & mask))
      if word & RingMemory.busyBit == 0, count < capacity {
        take(position, word, &tally)
      } else {
        busy[kept] = position
        kept += 1
      }
    }
    busyCount = kept
  }

  private mutating func take(_ position: UInt32, _ word: UInt32, _ tally: inout RecordTally) {
    if word & RingMemory.discardBit != 0 { return }
    let record = memory.data + Int(UInt64(position) & mask) + RingMemory.headerBytes
    let size = UInt32(MemoryLayout<mt_header>.size)
    guard word >= size else {
      tally.malformed += 1
      return
    }
    let header = record.loadUnaligned(as: mt_header.self)
    guard header.length >= size, header.length <= word, header.length & 7 == 0, tally.note(header) else {
      tally.malformed += 1
      return
    }
    entries[count] = IndexEntry(time: header.time, position: position, floor: 0)
    count += 1
    lastTime = header.time
  }

  /// Orders the index, and marks what is older than `watermark` as ready.
  mutating func prepare(watermark: UInt64) {
    sort()
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].time < watermark { low = middle + 1 } else { high = middle }
    }
    ready = low

    let origin = UInt32(truncatingIfNeeded: published)
    var lowest = UInt32(truncatingIfNeeded: cursor &- published)
    for i in 0..<busyCount { lowest = min(lowest, busy[i] &- origin) }
    base = origin &+ lowest
    for i in stride(from: count - 1, through: 0, by: -1) {
      lowest = min(lowest, entries[i].position &- origin)
      entries[i].floor = origin &+ lowest
    }
  }

  /// Stable; cheap for what is in order but for a few records, which is the rule.
  private mutating func sort() {
    var moves = 0
    for i in max(1, sortedCount)..<max(1, count, sortedCount) {
      let entry = entries[i]
      if entry.time >= entries[i - 1].time { continue }
      var j = i
      while j > 0, entries[j - 1].time > entry.time {
        entries[j] = entries[j - 1]
        j -= 1
      }
      entries[j] = entry
      moves += i - j
      if moves > 64 * 8192 {
        // Nothing that a kernel does, but quadratic time must not be possible.
        var all = UnsafeMutableBufferPointer(start: entries, count: count)
        all.sort { $0.time < $1.time }
        break
      }
    }
    sortedCount = count
  }

  /// The position that can be published once the entries before `index` are handed on, relative to what the
  /// kernel knows.
  func freeable(before index: Int) -> UInt32 {
    (index < count ? entries[index].floor : base) &- UInt32(truncatingIfNeeded: published)
  }

  /// Marks the entries before `index` as handed on, and gives their space back if it is at least `atLeast` bytes.
  mutating func advance(to index: Int, publishing atLeast: UInt32) {
    head = index
    let bytes = freeable(before: index)
    if bytes >= atLeast { publish(bytes) }
  }

  private mutating func publish(_ bytes: UInt32) {
    published += UInt64(bytes)
    mt_store_release_u64(memory.consumer, published)
  }

  /// Gives back what was handed on and keeps the rest for the next round.
  mutating func endRound() {
    let bytes = freeable(before: head)
    if bytes > 0 { publish(bytes) }
    if head > 0 {
      count -= head
      entries.update(from: entries + head, count: count)
      sortedCount = count
      head = 0
    }
    ready = 0
  }

  var statistics: RingStatistics {
    RingStatistics(
      capacity: memory.byteCount, available: Int(clamping: available), highWater: Int(clamping: highWater))
  }
}

/// How full one ring is, in bytes.
public struct RingStatistics: Sendable, Equatable {
  public var capacity: Int
  /// Written and not yet freed.
  public var available: Int
  /// The most that was found taken at the start of a round.
  public var highWater: Int
}
