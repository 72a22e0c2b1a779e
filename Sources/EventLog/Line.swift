internal import Observation

/// A line while it is being written: a place in memory that has room for all of it.
///
/// A line is put together from thirty pieces, and to ask for each of them whether it fits costs more than to write it.
/// So the room is reserved once, for the longest line that a record can make; see ``EventSerializer/room(_:_:)``.
struct Line: ~Copyable {
  /// Behind what was written so far; valid until the line is finished.
  private(set) var end: UnsafeMutableRawPointer
  private let limit: UnsafeMutableRawPointer

  /// Continues what is in `buffer`, with room for so many bytes more.
  @inline(__always)
  init(in buffer: inout ByteBuffer, room: Int) {
    buffer.reserve(room)
    end = buffer.end
    limit = end + room
  }

  /// What was written becomes part of the buffer.
  @inline(__always)
  consuming func finish(in buffer: inout ByteBuffer) { buffer.extend(to: end) }

  @inline(__always)
  private mutating func advance(_ count: Int) {
    end += count
    assert(end <= limit)
  }

  @inline(__always)
  mutating func append(_ byte: UInt8) {
    end.storeBytes(of: byte, as: UInt8.self)
    advance(1)
  }

  /// A literal: its length is a constant, and the copy a few moves.
  @inline(__always)
  mutating func append(_ literal: StaticString) {
    end.copyMemory(from: literal.utf8Start, byteCount: literal.utf8CodeUnitCount)
    advance(literal.utf8CodeUnitCount)
  }

  @inline(__always)
  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard let source = bytes.baseAddress else { return }
    end.copyMemory(from: source, byteCount: bytes.count)
    advance(bytes.count)
  }

  @inline(__always)
  mutating func append(number value: UInt64) {
    // Counters and descriptors mostly have one digit.
    if value < 10 {
      append(UInt8(truncatingIfNeeded: value) | 0x30)
    } else {
      appendDigits(value)
    }
  }

  /// Once in the program instead of once for each member of a line.
  @inline(never)
  private mutating func appendDigits(_ value: UInt64) { advance(DecimalDigits.write(value, to: end)) }

  @inline(__always)
  mutating func append(number value: UInt32) { append(number: UInt64(value)) }

  @inline(__always)
  mutating func append(number value: Int64) {
    if value < 0 { append(UInt8(ascii: "-")) }
    append(number: value.magnitude)
  }

  @inline(__always)
  mutating func append(number value: Int32) { append(number: Int64(value)) }

  /// The content of a JSON string; true if something in it was replaced.
  @inline(__always)
  mutating func append(content bytes: UnsafeRawBufferPointer) -> Bool {
    let replaced = JSONText.writeContent(bytes, to: &end)
    assert(end <= limit)
    return replaced
  }

  /// An Internet address of mt_sock.
  @inline(__always)
  mutating func append(addressOf family: UInt16, _ address: AddressText.Bytes) {
    advance(AddressText.write(family: family, address, to: end))
  }

  /// Two lower-case digits a byte.
  mutating func append(hexOf bytes: UnsafeRawBufferPointer) {
    for byte in bytes {
      for digit in [byte >> 4, byte & 15] { append(digit < 10 ? digit | 0x30 : digit &+ 87) }
    }
  }

  mutating func append(base64 bytes: UnsafeRawBufferPointer) {
    end = Base64Text.write(bytes, to: end)
    assert(end <= limit)
  }
}

/// Pieces that are kept as text from line to line.
extension ByteBuffer {
  @inline(__always)
  mutating func append(number value: UInt32) { append(number: Int64(value)) }

  @inline(__always)
  mutating func append(number value: Int64) {
    if value < 0 { append(UInt8(ascii: "-")) }
    append(upTo: DecimalDigits.room) { room in
      room.baseAddress.map { DecimalDigits.write(value.magnitude, to: $0) } ?? 0
    }
  }
}
