import CSystem
import Glibc

/// The memory of one BPF ring buffer, as the kernel lays it out: a page with the consumer's position, which is
/// ours to write, a page with the producer's, and the data, mapped twice in a row so that no record is cut.
///
/// Positions only grow; a record lies at its position modulo the size. Each record has a header of its own:
/// a `u32` with the length and two bits, and a `u32` that is the kernel's (linux/kernel/bpf/ringbuf.c).
struct RingMemory {
  /// Of the ring's own header, in its `u32` of the length.
  static let busyBit: UInt32 = 1 << 31
  static let discardBit: UInt32 = 1 << 30
  static let headerBytes = 8

  var consumer: UnsafeMutableRawPointer
  var producer: UnsafeRawPointer
  /// Readable for twice `byteCount`.
  var data: UnsafeRawPointer
  /// A power of two, at most 1 GiB.
  var byteCount: Int
  /// The map, which polls as readable; -1 for memory that is not the kernel's.
  var fileDescriptor: Int32 = -1
  /// What ``release()`` unmaps.
  private var mapping: (consumer: UnsafeMutableRawPointer, rest: UnsafeMutableRawPointer)?

  /// Takes memory that somebody else keeps alive.
  init(
    consumer: UnsafeMutableRawPointer, producer: UnsafeRawPointer, data: UnsafeRawPointer, byteCount: Int
  ) {
    self.consumer = consumer
    self.producer = producer
    self.data = data
    self.byteCount = byteCount
  }

  /// Maps a ring-buffer map and keeps a descriptor of its own for it.
  init(map: Int32, named name: String, byteCount: Int) throws(SensorError) {
    let page = Self.pageBytes
    let own = fcntl(map, F_DUPFD_CLOEXEC, 3)
    guard own >= 0 else { throw .mapFailed(name, "duplicate", errno: errno) }
    guard let consumer = mmap(nil, page, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0), consumer != MAP_FAILED else {
      let error = errno
      close(own)
      throw .mapFailed(name, "map the consumer page of", errno: error)
    }
    let rest = mmap(nil, page + 2 * byteCount, PROT_READ, MAP_SHARED, own, off_t(page))
    guard let rest, rest != MAP_FAILED else {
      let error = errno
      munmap(consumer, page)
      close(own)
      throw .mapFailed(name, "map the data of", errno: error)
    }
    self.init(
      consumer: consumer, producer: UnsafeRawPointer(rest), data: UnsafeRawPointer(rest + page), byteCount: byteCount)
    fileDescriptor = own
    mapping = (consumer, rest)
    // Not for the command: fork would copy an entry for each page, and exec take it away again. Without effect on
    // what is read, so what the kernel answers does not matter.
    _ = madvise(consumer, page, MADV_DONTFORK)
    _ = madvise(rest, page + 2 * byteCount, MADV_DONTFORK)
  }

  /// Gives back what the initializer mapped and opened.
  mutating func release() {
    if let mapping {
      munmap(mapping.consumer, Self.pageBytes)
      munmap(mapping.rest, Self.pageBytes + 2 * byteCount)
    }
    if fileDescriptor >= 0 { close(fileDescriptor) }
    mapping = nil
    fileDescriptor = -1
  }

  static var pageBytes: Int { max(4096, sysconf(Int32(_SC_PAGESIZE))) }

  /// What the kernel takes as a ring's size: a power of two of at least a page; here at most 1 GiB, as
  /// positions within a ring are kept in 32 bits.
  static func size(atLeast bytes: Int) -> Int {
    var size = pageBytes
    while size < bytes, size < 1 << 30 { size *= 2 }
    return size
  }
}
