import CSystem
import Glibc
import KernelABI

@testable import KernelSensor

/// A ring in plain memory with the kernel's layout, whose data is mapped twice in a row like the kernel's.
final class FakeRing {
  let consumer: UnsafeMutableRawPointer
  let producer: UnsafeMutableRawPointer
  let data: UnsafeMutableRawPointer
  let byteCount: Int
  private var numbers: [UInt32] = Array(repeating: 0, count: 8)

  init(byteCount: Int, startingAt position: UInt64 = 0) {
    self.byteCount = byteCount
    consumer = .allocate(byteCount: 8, alignment: 8)
    producer = .allocate(byteCount: 8, alignment: 8)
    consumer.storeBytes(of: position, as: UInt64.self)
    producer.storeBytes(of: position, as: UInt64.self)
    let name = "/martlet-ring-\(getpid())-\(UInt64.random(in: 0 ... .max))"
    let file = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0o600)
    precondition(file >= 0 && shm_unlink(name) == 0 && ftruncate(file, byteCount) == 0)
    let range = mmap(nil, 2 * byteCount, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let range, range != MAP_FAILED else { preconditionFailure("no address space") }
    for half in [range, range + byteCount] {
      precondition(mmap(half, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) == half)
    }
    close(file)
    data = range
  }

  deinit {
    consumer.deallocate()
    producer.deallocate()
    munmap(data, 2 * byteCount)
  }

  var memory: RingMemory {
    RingMemory(
      consumer: consumer, producer: UnsafeRawPointer(producer), data: UnsafeRawPointer(data), byteCount: byteCount)
  }

  var consumerPosition: UInt64 { mt_load_acquire_u64(consumer) }
  var producerPosition: UInt64 { mt_load_acquire_u64(producer) }

  /// What a producer writes. Fields that are nil get what a real one would put there.
  struct Record {
    var time: UInt64
    var cpu: UInt16 = 0
    var isCritical = false
    var sequence: UInt32?
    var bodyBytes = 24
    var declaredLength: UInt32?
    var ringLength: UInt32?
    var bits: UInt32 = 0
  }

  /// Reserves and writes a record. Returns its position; nil if the ring is full.
  @discardableResult
  func append(_ record: Record) -> UInt64? {
    let position = producerPosition
    let length = UInt32(40 + record.bodyBytes)
    let span = UInt64((record.ringLength ?? length) + 8 + 7) & ~7
    guard position + span - consumerPosition < UInt64(byteCount) else { return nil }
    let at = data + Int(position % UInt64(byteCount))
    var header = mt_header()
    header.length = record.declaredLength ?? length
    header.type = UInt16(MT_OPEN.rawValue)
    header.ring_class = record.isCritical ? 0 : 1
    header.cpu = record.cpu
    header.time = record.time
    let slot = Int(record.cpu % 4) * 2 + (record.isCritical ? 0 : 1)
    numbers[slot] += 1
    header.sequence = record.sequence ?? numbers[slot]
    (at + 8).initializeMemory(as: UInt8.self, repeating: 0, count: max(Int(span) - 8, 0))
    if span >= 48 { (at + 8).storeBytes(of: header, as: mt_header.self) }
    at.storeBytes(of: (record.ringLength ?? length) | record.bits, as: UInt32.self)
    mt_store_release_u64(producer, position + span)
    return position
  }

  @discardableResult
  func append(_ time: UInt64, cpu: UInt16 = 0, critical: Bool = false) -> UInt64? {
    append(Record(time: time, cpu: cpu, isCritical: critical))
  }

  /// What bpf_ringbuf_submit and _discard do: take the busy bit away.
  func commit(_ position: UInt64, discarding: Bool = false) {
    let at = data + Int(position % UInt64(byteCount))
    let word = at.load(as: UInt32.self) & ~RingMemory.busyBit
    at.storeBytes(of: discarding ? word | RingMemory.discardBit : word, as: UInt32.self)
  }
}

/// A critical ring, one bulk ring for each of some CPUs, and their slots of `inflight`.
final class FakeRings {
  let critical: FakeRing
  let bulk: [FakeRing]
  let slots: UnsafeMutablePointer<mt_inflight>
  let slotCount: Int
  let cpuCount: Int

  init(cpuCount: Int = 2, byteCount: Int = 64 * 1024, startingAt position: UInt64 = 0) {
    self.cpuCount = cpuCount
    critical = FakeRing(byteCount: byteCount, startingAt: position)
    bulk = (0..<cpuCount).map { _ in FakeRing(byteCount: byteCount, startingAt: position) }
    slotCount = cpuCount * Int(MT_SLOTS)
    slots = .allocate(capacity: slotCount)
    slots.initialize(repeating: mt_inflight(), count: slotCount)
  }

  deinit { slots.deallocate() }

  func open(slack: UInt64 = 0) throws -> RingSet {
    try RingSet(
      memory: [critical.memory] + bulk.map(\.memory),
      inflight: InflightMemory(base: UnsafeRawPointer(slots), count: slotCount), cpuCount: cpuCount, slack: slack)
  }
}

extension RingSet {
  /// The times of what one round at a given time of the clock hands on.
  mutating func times(at now: UInt64) -> [UInt64] {
    headers(at: now).map(\.time)
  }

  mutating func headers(at now: UInt64) -> [mt_header] {
    var headers: [mt_header] = []
    beginRound(now: now)
    _ = handOn { headers.append($0.loadUnaligned(as: mt_header.self)) }
    return headers
  }
}
