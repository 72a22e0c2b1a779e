import CSystem
import Glibc
import KernelABI

/// All rings of a sensor, read as one stream in order of time.
///
/// Each ``drain(_:)`` is one round. It hands on, oldest first, every record below a *watermark*: a time such
/// that no older record can appear any more. The kernel side makes that exact. A producer sets `since` in its
/// slot of `inflight` with a full barrier, then takes the record's time, builds and commits the record, and
/// clears `since`. The reader takes the time, then (after a full barrier) reads all `since`, then takes all
/// producer positions. A record older than both the reader's time and every `since` that it saw must have
/// been committed before that slot was read, so it is in a ring below the position taken after; everything else
/// waits for the next round, in place.
///
/// ```swift
/// while !done {
///   sensor.rings.wait(milliseconds: 10)
///   sensor.rings.drain { record in fold(record) }
/// }
/// ```
///
/// One round indexes a bounded number of records of each ring, and gives space back to the producers while it
/// goes on. Nothing is allocated, retained or copied for a record.
public struct RingSet: ~Copyable {
  /// Records handed on.
  public private(set) var received: UInt64 = 0
  /// Of these, how many were older than one handed on before: only after a stall, see ``stalled``, or a round
  /// that had to leave records behind.
  public private(set) var late: UInt64 = 0
  /// Times that a producer was in flight for more than a second and was no longer waited for.
  public private(set) var stalled: UInt64 = 0
  /// Records missing from the numbering of their CPU and class: lost in the kernel, where they are counted too.
  public var sequenceGaps: UInt64 { tally.gaps }
  /// Records that were dropped as their header contradicts itself or the ring.
  public var malformed: UInt64 { tally.malformed }
  /// Whether the last round left records that it had no room to look at.
  public private(set) var hasBacklog = false

  /// Records of one ring indexed in one round.
  static let indexLimit = 8192
  /// How much older a record can be than the one before it in its ring, where that has to be guessed.
  static let disorder: UInt64 = 1_000_000
  /// Bytes after which the space of what was handed on is given back.
  static let publishStep: UInt32 = 64 * 1024
  /// The kernel's clock for tracing can run behind CLOCK_BOOTTIME for the rest of a tick when NTP changes the
  /// clock's rate (at most 500 ppm of 10 ms is 5 us).
  static let clockSlack: UInt64 = 20_000

  private let rings: UnsafeMutablePointer<Ring>
  private let ringCount: Int
  private let waiter: RingWaiter
  private let inflight: InflightMemory
  private let watches: UnsafeMutablePointer<SlotWatch>
  private var tally: RecordTally
  private let slack: UInt64

  private var merge: MergeHeap
  private var lastTime: UInt64 = 0
  @usableFromInline var run = Run()

  /// Consecutive records of one ring.
  @usableFromInline
  struct Run {
    @usableFromInline var entries: UnsafePointer<IndexEntry>?
    @usableFromInline var data: UnsafeRawPointer?
    @usableFromInline var mask: UInt32 = 0
    @usableFromInline var count = 0
    var ring = -1
  }

  /// Takes over `memory`, critical ring first, and `inflight`; also if it throws.
  init(
    memory: [RingMemory], inflight: InflightMemory, cpuCount: Int, slack: UInt64 = clockSlack
  ) throws(SensorError) {
    do {
      waiter = try RingWaiter(rings: memory)
    } catch {
      for var ring in memory { ring.release() }
      inflight.release()
      throw error
    }
    self.inflight = inflight
    self.slack = slack
    ringCount = memory.count
    rings = .allocate(capacity: ringCount)
    for (i, ring) in memory.enumerated() {
      (rings + i).initialize(to: Ring(memory: ring, busyCapacity: inflight.count + 8))
    }
    watches = .allocate(capacity: inflight.count)
    watches.initialize(repeating: SlotWatch(), count: inflight.count)
    tally = RecordTally(cpuCount: cpuCount)
    merge = MergeHeap(capacity: ringCount)
  }

  deinit {
    for i in 0..<ringCount { rings[i].deallocate() }
    rings.deallocate()
    watches.deallocate()
    inflight.release()
    tally.deallocate()
    merge.deallocate()
  }

  /// How full each ring is: the critical one, then those of the CPUs.
  public var statistics: [RingStatistics] { (0..<ringCount).map { rings[$0].statistics } }

  /// Ends a wait from another thread.
  public var interrupt: RingInterrupt { waiter.interrupt }

  /// Returns once a producer has asked for attention, ``RingInterrupt/interrupt()`` was called, a signal was
  /// handled or the time is up; at once after a round that left a backlog.
  ///
  /// Producers ask only when a ring has filled by a quarter, so call ``drain(_:)`` whatever the reason.
  ///
  /// - Parameter milliseconds: -1 for no limit.
  public borrowing func wait(milliseconds: Int32) {
    waiter.wait(milliseconds: hasBacklog ? 0 : milliseconds)
  }

  /// Hands every record below the watermark to `body`, oldest first, and frees its space.
  ///
  /// A record is valid until `body` returns. Of equal times those of the critical ring come first.
  ///
  /// - Returns: how many records were handed on.
  @inlinable @discardableResult
  public mutating func drain(_ body: (UnsafeRawBufferPointer) -> Void) -> Int {
    beginRound()
    return handOn(body)
  }

  /// Drains until nothing is left: for the end, when every hook is off.
  ///
  /// Gives up after two seconds on what is never committed, which then shows in ``statistics``.
  ///
  /// - Returns: how many records were handed on.
  @inlinable @discardableResult
  public mutating func drainAll(_ body: (UnsafeRawBufferPointer) -> Void) -> Int {
    let start = Self.now()
    var total = 0
    repeat { total += drain(body) } while mayHaveMore(since: start)
    return total
  }

  @inlinable
  mutating func handOn(_ body: (UnsafeRawBufferPointer) -> Void) -> Int {
    var total = 0
    while nextRun() {
      guard let entries = run.entries, let data = run.data else { break }
      let mask = run.mask
      let count = run.count
      for i in 0..<count {
        let record = data + (Int(entries[i].position & mask) + 8)
        body(UnsafeRawBufferPointer(start: record, count: Int(record.loadUnaligned(as: UInt32.self))))
      }
      total += count
    }
    return total
  }
}

extension RingSet {
  @usableFromInline
  static func now() -> UInt64 { mt_boottime_ns() }

  @usableFromInline
  mutating func beginRound() {
    beginRound(now: Self.now())
  }

  @usableFromInline
  func mayHaveMore(since start: UInt64) -> Bool {
    if hasBacklog { return true }
    if (0..<ringCount).allSatisfy({ rings[$0].available == 0 }) || Self.now() - start > 2 * SlotWatch.limit {
      return false
    }
    // What is left is younger than the slack, or still being written.
    usleep(100)
    return true
  }

  mutating func beginRound(now: UInt64) {
    mt_full_fence()
    var watermark = oldestInFlight(now)
    watermark -= min(watermark, slack)
    for i in 0..<ringCount { rings[i].takeSnapshot() }
    hasBacklog = false
    for i in 0..<ringCount where !rings[i].index(limit: Self.indexLimit, tally: &tally) {
      hasBacklog = true
      let last = rings[i].lastTime
      watermark = min(watermark, last - min(last, Self.disorder))
    }
    for i in 0..<ringCount {
      rings[i].prepare(watermark: watermark)
      if rings[i].hasReady { merge.push(MergeHead(time: rings[i].entries[0].time, ring: i)) }
    }
    run = Run()
  }

  private mutating func oldestInFlight(_ now: UInt64) -> UInt64 {
    var oldest = now
    for slot in 0..<inflight.count {
      let since = inflight.since(slot)
      if watches[slot].isStalled(at: since, now: now, tally: &stalled) || since == 0 { continue }
      oldest = min(oldest, since)
    }
    return oldest
  }

  /// Ends the current run and finds the next; false at the end of the round.
  ///
  /// A run is what one ring has that is older than the first record of any other, but no more than
  /// ``publishStep`` bytes of it.
  @usableFromInline
  mutating func nextRun() -> Bool {
    finishRun()
    guard let first = merge.first else {
      for i in 0..<ringCount { rings[i].endRound() }
      return false
    }
    let ring = rings + first.ring
    let limit = merge.second
    let entries = ring.pointee.entries
    let head = ring.pointee.head
    let ready = ring.pointee.ready
    var end = head
    repeat {
      let time = entries[end].time
      if time < lastTime { late += 1 } else { lastTime = time }
      end += 1
    } while end < ready && MergeHead(time: entries[end].time, ring: first.ring) < limit
      && ring.pointee.freeable(before: end) < Self.publishStep
    run = Run(
      entries: entries + head, data: ring.pointee.memory.data, mask: UInt32(ring.pointee.memory.byteCount - 1),
      count: end - head, ring: first.ring)
    return true
  }

  private mutating func finishRun() {
    guard run.ring >= 0 else { return }
    received += UInt64(run.count)
    let ring = rings + run.ring
    let end = ring.pointee.head + run.count
    ring.pointee.advance(to: end, publishing: Self.publishStep)
    merge.replaceFirst(
      end < ring.pointee.ready ? MergeHead(time: ring.pointee.entries[end].time, ring: run.ring) : nil)
    run = Run()
  }
}
