import CTestSupport
import KernelABI
import Testing

@testable import KernelSensor

@Suite("The rings, read as one stream")
struct RingSetTests {
  @Test("records of all rings come in order of time, critical ones first of equals")
  func order() throws {
    let fake = FakeRings()
    var rings = try fake.open()
    for time in [10, 20, 30, 40] { fake.bulk[0].append(UInt64(time)) }
    for time in [15, 20, 35] { fake.bulk[1].append(UInt64(time), cpu: 1) }
    for time in [20, 5, 36] { fake.critical.append(UInt64(time), critical: true) }
    let headers = rings.headers(at: 100)
    #expect(headers.map(\.time) == [5, 10, 15, 20, 20, 20, 30, 35, 36, 40])
    #expect(headers[3...5].map(\.ring_class) == [0, 1, 1])
    #expect(headers[3...5].map(\.cpu) == [0, 0, 1])
    #expect(rings.received == 10)
    #expect(rings.late == 0)
    #expect(rings.sequenceGaps == 0)
    #expect(rings.malformed == 0)
    for ring in [fake.critical] + fake.bulk { #expect(ring.consumerPosition == ring.producerPosition) }
  }

  @Test("what is not older than the clock and every producer in flight waits")
  func watermark() throws {
    let fake = FakeRings()
    var rings = try fake.open()
    for time in [10, 20, 30, 40, 50] { fake.bulk[0].append(UInt64(time)) }
    fake.slots[5].since = 30
    #expect(rings.times(at: 50) == [10, 20])
    #expect(fake.bulk[0].consumerPosition > 0)
    #expect(fake.bulk[0].consumerPosition < fake.bulk[0].producerPosition)
    // What that producer built turns up in another ring, and belongs before what waited.
    fake.bulk[1].append(30, cpu: 1)
    fake.bulk[1].append(31, cpu: 1)
    fake.slots[5].since = 0
    #expect(rings.times(at: 50) == [30, 30, 31, 40])
    #expect(rings.times(at: 51) == [50])
    #expect(rings.late == 0)
  }

  @Test("the slack keeps the youngest back")
  func slack() throws {
    let fake = FakeRings()
    var rings = try fake.open(slack: 10)
    for time in [10, 20, 30] { fake.bulk[0].append(UInt64(time)) }
    #expect(rings.times(at: 5) == [])
    #expect(rings.times(at: 35) == [10, 20])
    #expect(rings.times(at: 41) == [30])
  }

  @Test("records wrap around the end of the ring many times", arguments: [UInt64(0), UInt64(1) << 32 - 9992])
  func wrapAround(start: UInt64) throws {
    let fake = FakeRings(cpuCount: 1, byteCount: 4096, startingAt: start)
    var rings = try fake.open()
    var sent: UInt64 = 0
    var expected: UInt64 = 1
    for round in 0..<500 {
      for size in 0..<9 {
        let record = FakeRing.Record(time: sent + 1, bodyBytes: (size * 56 + round * 8) % 600 / 8 * 8)
        if fake.bulk[0].append(record) != nil { sent += 1 }
      }
      for header in rings.headers(at: .max) {
        #expect(header.time == expected)
        expected += 1
      }
    }
    #expect(expected == sent + 1)
    #expect(sent > 3000)
    #expect(rings.malformed == 0)
  }

  @Test("a record that is being written does not hide older ones behind it")
  func busy() throws {
    let fake = FakeRings()
    var rings = try fake.open()
    fake.critical.append(10, critical: true)
    // CPU 1 has reserved its space first but took its time later.
    let record = FakeRing.Record(time: 30, cpu: 1, isCritical: true, bits: RingMemory.busyBit)
    let busy = try #require(fake.critical.append(record))
    fake.slots[4].since = 29
    fake.critical.append(20, critical: true)
    fake.critical.append(40, critical: true)
    fake.bulk[0].append(25)
    #expect(rings.times(at: 100) == [10, 20, 25])
    #expect(fake.critical.consumerPosition == busy, "its space and what follows stay")
    fake.critical.commit(busy)
    fake.slots[4].since = 0
    #expect(rings.times(at: 100) == [30, 40])
    #expect(rings.late == 0)
    #expect(rings.sequenceGaps == 0)
    #expect(fake.critical.consumerPosition == fake.critical.producerPosition)
  }

  @Test("discarded records are skipped, at once or after having been busy")
  func discarded() throws {
    let fake = FakeRings()
    var rings = try fake.open()
    fake.bulk[0].append(1)
    fake.bulk[0].append(FakeRing.Record(time: 2, sequence: 1, bits: RingMemory.discardBit))
    let busy = try #require(fake.bulk[0].append(FakeRing.Record(time: 3, sequence: 1, bits: RingMemory.busyBit)))
    fake.bulk[0].append(FakeRing.Record(time: 4, sequence: 2))
    #expect(rings.times(at: 100) == [1, 4])
    #expect(fake.bulk[0].consumerPosition == busy)
    fake.bulk[0].commit(busy, discarding: true)
    #expect(rings.times(at: 100) == [])
    #expect(fake.bulk[0].consumerPosition == fake.bulk[0].producerPosition)
    #expect(rings.received == 2)
    #expect(rings.sequenceGaps == 0)
  }

  @Test(
    "a record that contradicts itself is dropped and counted, its neighbours are not",
    arguments: [
      FakeRing.Record(time: 2, declaredLength: 0), FakeRing.Record(time: 2, declaredLength: 63),
      FakeRing.Record(time: 2, declaredLength: 72), FakeRing.Record(time: 2, declaredLength: .max),
      FakeRing.Record(time: 2, declaredLength: 32), FakeRing.Record(time: 2, ringLength: 0),
      FakeRing.Record(time: 2, ringLength: 39), FakeRing.Record(time: 2, cpu: 2),
      FakeRing.Record(time: 2, cpu: .max),
    ])
  func malformed(record: FakeRing.Record) throws {
    let fake = FakeRings()
    var rings = try fake.open()
    fake.bulk[0].append(FakeRing.Record(time: 1, sequence: 1))
    fake.bulk[0].append(record)
    fake.bulk[0].append(FakeRing.Record(time: 3, sequence: 2))
    #expect(rings.times(at: 100) == [1, 3])
    #expect(rings.malformed == 1)
    #expect(fake.bulk[0].consumerPosition == fake.bulk[0].producerPosition)
  }

  @Test("a ring length beyond the producer skips to the producer's position")
  func overlong() throws {
    let fake = FakeRings()
    var rings = try fake.open()
    fake.bulk[0].append(1)
    let position = try #require(fake.bulk[0].append(2))
    fake.bulk[0].append(3)
    (fake.bulk[0].data + Int(position)).storeBytes(of: 0x3FFF_FFF0, as: UInt32.self)
    #expect(rings.times(at: 100) == [1])
    #expect(rings.malformed == 1)
    fake.bulk[0].append(4)
    #expect(rings.times(at: 100) == [4])
    #expect(rings.sequenceGaps == 2, "what was skipped shows in the numbering")
  }

  @Test("gaps are what is missing from the numbering of a CPU and class, until it turns up")
  func gaps() throws {
    let fake = FakeRings()
    var rings = try fake.open()
    fake.bulk[0].append(FakeRing.Record(time: 1, sequence: 3))
    #expect(rings.times(at: 100) == [1])
    #expect(rings.sequenceGaps == 2, "numbers start at 1")
    fake.bulk[0].append(FakeRing.Record(time: 2, sequence: 2))
    fake.bulk[0].append(FakeRing.Record(time: 3, sequence: 4))
    fake.bulk[1].append(FakeRing.Record(time: 3, cpu: 1, sequence: 1))
    fake.critical.append(FakeRing.Record(time: 3, cpu: 1, isCritical: true, sequence: 1))
    #expect(rings.times(at: 100).count == 4)
    #expect(rings.sequenceGaps == 1)
    // An interrupt's record has the next number and comes first.
    fake.bulk[0].append(FakeRing.Record(time: 5, sequence: 6))
    fake.bulk[0].append(FakeRing.Record(time: 4, sequence: 5))
    #expect(rings.times(at: 100) == [4, 5])
    #expect(rings.sequenceGaps == 1)
  }

  @Test("numbers wrap after 2^32")
  func sequenceWraps() {
    var tally = RecordTally(cpuCount: 1)
    defer { tally.deallocate() }
    var header = mt_header()
    for number in [UInt32(1) << 30, 1 << 31, 3 << 30, .max, 0, 2] {
      header.sequence = number
      let isTaken = tally.note(header)
      #expect(isTaken)
    }
    // Four leaps of 2^30, less what arrived, and number 1.
    #expect(tally.gaps == UInt64(1 << 32) - 1 - 4 + 1)
  }

  @Test("a producer that is stuck for a second is no longer waited for, and what it sends is late")
  func stall() throws {
    let fake = FakeRings()
    var rings = try fake.open()
    let second: UInt64 = 1_000_000_000
    fake.bulk[0].append(20)
    // An old value alone is no stall: it is the time of the CPU's last record.
    fake.slots[0].since = 10
    #expect(rings.times(at: 100 * second) == [])
    #expect(rings.times(at: 101 * second - 1) == [])
    #expect(rings.stalled == 0)
    #expect(rings.times(at: 101 * second) == [20])
    fake.bulk[0].append(102 * second)
    #expect(rings.times(at: 103 * second) == [102 * second])
    #expect(rings.stalled == 1, "once for each stall")
    fake.bulk[0].append(11)
    fake.slots[0].since = 0
    #expect(rings.times(at: 104 * second) == [11])
    #expect(rings.late == 1)
    #expect(rings.received == 3)
    fake.bulk[0].append(105 * second)
    fake.slots[0].since = 105 * second
    #expect(rings.times(at: 106 * second) == [], "the slot counts again")
  }

  @Test("a round that is longer than its limit keeps the order and finishes in the next ones")
  func backlog() throws {
    let fake = FakeRings(byteCount: 2 << 20)
    var rings = try fake.open()
    // 20,000 records on one CPU, 100 us apart; a few on the other, the last of them young.
    for i in 0..<20_000 { #expect(fake.bulk[0].append(UInt64(i) * 100_000) != nil) }
    for i in 0..<20 { fake.bulk[1].append(UInt64(i) * 100_000_000 + 1, cpu: 1) }
    var times: [UInt64] = []
    var rounds = 0
    repeat {
      times += rings.times(at: .max)
      rounds += 1
    } while rings.hasBacklog && rounds < 10
    #expect(rounds == 3)
    #expect(times.count == 20_020)
    #expect(times == times.sorted())
    #expect(rings.late == 0)
  }

  @Test("space is given back while a long round goes on")
  func publishing() throws {
    let fake = FakeRings(cpuCount: 1, byteCount: 1 << 20)
    var rings = try fake.open()
    let ring = fake.bulk[0]
    for i in 0..<8000 { ring.append(UInt64(i)) }
    var most: UInt64 = 0
    var handed = 0
    rings.beginRound(now: .max)
    _ = rings.handOn { _ in
      let position = UInt64(handed) * 72
      #expect(ring.consumerPosition <= position, "not before it was handed on")
      most = max(most, position - ring.consumerPosition)
      handed += 1
    }
    #expect(handed == 8000)
    #expect(most <= 64 * 1024 + 72)
    #expect(ring.consumerPosition == ring.producerPosition)
  }

  @Test("a full ring of records that wait is indexed whole, whatever the order of times")
  func pendingFillsRing() throws {
    let fake = FakeRings(cpuCount: 1, byteCount: 1 << 20)
    var rings = try fake.open()
    fake.slots[0].since = 1
    var times: [UInt64] = []
    var state: UInt64 = 42
    while true {
      state = state &* 6_364_136_223_846_793_005 &+ 1
      let time = 1 + state >> 40
      guard fake.bulk[0].append(FakeRing.Record(time: time, bodyBytes: 0)) != nil else { break }
      times.append(time)
      if times.count % 1000 == 0 { #expect(rings.times(at: 1 << 50) == []) }
    }
    #expect(times.count == (1 << 20) / 48)
    while rings.hasBacklog { #expect(rings.times(at: 1 << 50) == []) }
    fake.slots[0].since = 0
    #expect(rings.times(at: 1 << 50) == times.sorted())
    #expect(rings.late == 0)
    #expect(rings.statistics[1] == RingStatistics(capacity: 1 << 20, available: 0, highWater: times.count * 48))
  }

  @Test("many rings merge")
  func manyRings() throws {
    let fake = FakeRings(cpuCount: 37)
    var rings = try fake.open()
    var state: UInt64 = 7
    var times: [UInt64] = []
    for _ in 0..<5000 {
      state = state &* 6_364_136_223_846_793_005 &+ 1
      let cpu = Int(state >> 33) % 37
      let time = state >> 44
      fake.bulk[cpu].append(FakeRing.Record(time: time, cpu: UInt16(cpu), sequence: 1))
      times.append(time)
    }
    #expect(rings.times(at: .max) == times.sorted())
    #expect(rings.late == 0)
  }

  @Test("nothing is allocated for a record")
  func allocations() throws {
    let fake = FakeRings(cpuCount: 3, byteCount: 1 << 20)
    var rings = try fake.open()
    var sum: UInt64 = 0
    func allocations(records: Int) -> UInt64 {
      for i in 0..<records {
        fake.bulk[i % 3].append(UInt64(i), cpu: UInt16(i % 3))
        fake.critical.append(UInt64(i ^ 1), critical: true)
      }
      let before = allocations_of_this_thread()
      rings.beginRound(now: .max)
      let count = rings.handOn { sum &+= $0.loadUnaligned(fromByteOffset: 16, as: UInt64.self) }
      let after = allocations_of_this_thread()
      #expect(count == 2 * records)
      return after - before
    }
    _ = allocations(records: 10)
    #expect(allocations(records: 8000) == 0)
    #expect(sum > 0)
    let before = allocations_of_this_thread()
    #expect(String(repeating: "x", count: 100).utf8.count == 100)
    #expect(allocations_of_this_thread() > before || !allocations_are_counted(), "the counter works")
  }

  @Test("a wait ends by an interrupt, also one from before")
  func interrupt() throws {
    let fake = FakeRings()
    let rings = try fake.open()
    rings.interrupt.interrupt()
    rings.interrupt.interrupt()
    rings.wait(milliseconds: -1)
    rings.wait(milliseconds: 0)
    let interrupt = rings.interrupt
    Task.detached { interrupt.interrupt() }
    rings.wait(milliseconds: -1)
  }
}
