/// Bytes that stay where they are until the arena goes: names, paths and arguments.
struct Arena: ~Copyable {
  /// Where a string lies: cheaper to keep than a pointer and a length. Offset 0 with length 0 is the empty string.
  struct Reference: BitwiseCopyable, Equatable {
    var offset: UInt32 = 0
    var length: UInt32 = 0
    var isEmpty: Bool { length == 0 }
  }

  /// No string is longer than a chunk, so none straddles two.
  static let chunkSize = 1 << 16

  private var chunks: Pool<UnsafeMutableRawPointer>
  private var used = Arena.chunkSize

  init() {
    chunks = Pool(none: UnsafeMutableRawPointer.allocate(byteCount: 1, alignment: 1))
  }

  deinit {
    chunks[0].pointee.deallocate()
    for index in chunks.indices { chunks[index].pointee.deallocate() }
  }

  /// Memory in use, in bytes.
  var bytes: Int { chunks.count * Self.chunkSize }

  /// Keeps a copy. Longer strings than a chunk, which no record can carry, are cut.
  mutating func append(_ string: UnsafeRawBufferPointer) -> Reference {
    let length = min(string.count, Self.chunkSize)
    guard let base = string.baseAddress, let place = reserve(length) else { return Reference() }
    memory(at: place.offset).copyMemory(from: base, byteCount: length)
    return place
  }

  /// Keeps two strings as one.
  mutating func append(_ head: UnsafeRawBufferPointer, _ tail: UnsafeRawBufferPointer) -> Reference {
    let headLength = min(head.count, Self.chunkSize)
    let tailLength = min(tail.count, Self.chunkSize - headLength)
    guard let place = reserve(headLength + tailLength) else { return Reference() }
    let destination = memory(at: place.offset)
    if let base = head.baseAddress { destination.copyMemory(from: base, byteCount: headLength) }
    if let base = tail.baseAddress { (destination + headLength).copyMemory(from: base, byteCount: tailLength) }
    return place
  }

  /// Room for a string of at most a chunk; nil for an empty one, or beyond all limits.
  @inline(__always)
  private mutating func reserve(_ length: Int) -> Reference? {
    if length == 0 { return nil }
    if used &+ length > Self.chunkSize {
      // Offsets have 32 bits: 65,535 chunks, far above any limit that JobOptions allows.
      if chunks.count >= 0xffff { return nil }
      chunks.append(UnsafeMutableRawPointer.allocate(byteCount: Self.chunkSize, alignment: 16))
      used = 0
    }
    let chunk = UInt32(truncatingIfNeeded: chunks.count)
    let offset = (chunk << 16) | UInt32(truncatingIfNeeded: used)
    used &+= length
    return Reference(offset: offset, length: UInt32(truncatingIfNeeded: length))
  }

  @inline(__always)
  private func memory(at offset: UInt32) -> UnsafeMutableRawPointer {
    chunks[offset >> 16].pointee + Int(offset & 0xffff)
  }

  /// The bytes of a string; valid as long as the arena.
  @inline(__always)
  subscript(reference: Reference) -> UnsafeRawBufferPointer {
    bytes(reference.offset, Int(reference.length))
  }

  @inline(__always)
  func bytes(_ offset: UInt32, _ length: Int) -> UnsafeRawBufferPointer {
    if length == 0 { return UnsafeRawBufferPointer(start: nil, count: 0) }
    return UnsafeRawBufferPointer(start: memory(at: offset), count: length)
  }
}
