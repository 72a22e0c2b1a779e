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
    append(string, UnsafeRawBufferPointer(start: nil, count: 0))
  }

  /// Keeps two strings as one.
  mutating func append(_ head: UnsafeRawBufferPointer, _ tail: UnsafeRawBufferPointer) -> Reference {
    let headLength = min(head.count, Self.chunkSize)
    let tailLength = min(tail.count, Self.chunkSize - headLength)
    let length = headLength + tailLength
    if length == 0 { return Reference() }
    // Offsets have 32 bits: 65,535 chunks, far above any limit that JobOptions allows.
    if chunks.count >= 0xffff && used + length > Self.chunkSize { return Reference() }
    if used + length > Self.chunkSize {
      chunks.append(UnsafeMutableRawPointer.allocate(byteCount: Self.chunkSize, alignment: 16))
      used = 0
    }
    let chunk = UInt32(chunks.count)
    let destination = chunks[chunk].pointee + used
    if let base = head.baseAddress { destination.copyMemory(from: base, byteCount: headLength) }
    if let base = tail.baseAddress { (destination + headLength).copyMemory(from: base, byteCount: tailLength) }
    let reference = Reference(offset: (chunk << 16) | UInt32(used), length: UInt32(length))
    used += length
    return reference
  }

  /// The bytes of a string; valid as long as the arena.
  @inline(__always)
  subscript(reference: Reference) -> UnsafeRawBufferPointer {
    bytes(reference.offset, Int(reference.length))
  }

  @inline(__always)
  func bytes(_ offset: UInt32, _ length: Int) -> UnsafeRawBufferPointer {
    if length == 0 { return UnsafeRawBufferPointer(start: nil, count: 0) }
    return UnsafeRawBufferPointer(start: chunks[offset >> 16].pointee + Int(offset & 0xffff), count: length)
  }
}
