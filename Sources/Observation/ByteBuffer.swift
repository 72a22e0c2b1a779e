/// A growable run of raw bytes: what every text that martlet writes is put together in.
///
/// Reused, it allocates nothing: ``removeAll()`` keeps the memory. It owns its memory alone, hence not copyable.
///
/// ```swift
/// var line = ByteBuffer(capacity: 4096)
/// line.append("{\"time\":")
/// line.append(decimal: record.time)
/// line.append(UInt8(ascii: "}"))
/// ```
@frozen public struct ByteBuffer: ~Copyable {
  @usableFromInline var base: UnsafeMutablePointer<UInt8>
  /// Bytes that fit before the next allocation.
  public private(set) var capacity: Int
  @usableFromInline var used: Int

  /// A buffer with room for `capacity` bytes, at least 16.
  public init(capacity: Int = 256) {
    let capacity = max(16, capacity)
    base = .allocate(capacity: capacity)
    self.capacity = capacity
    used = 0
  }

  deinit { base.deallocate() }

  @inlinable public var count: Int { used }
  @inlinable public var isEmpty: Bool { used == 0 }

  /// The bytes, valid until the next change of the buffer.
  @inlinable public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: used) }

  /// The bytes, copied.
  public var array: [UInt8] { [UInt8](bytes) }

  /// The bytes as text, with U+FFFD for what is not UTF-8.
  public var text: String { String(decoding: bytes, as: UTF8.self) }

  /// Forgets the bytes and keeps the memory.
  @inlinable public mutating func removeAll() { used = 0 }

  /// Forgets what is beyond `count` bytes.
  @inlinable public mutating func truncate(to count: Int) {
    if count < used { used = max(0, count) }
  }

  /// Forgets the first `count` bytes and moves the others up.
  public mutating func removeFirst(_ count: Int) {
    let count = min(max(0, count), used)
    UnsafeMutableRawPointer(base).copyMemory(from: base + count, byteCount: used - count)
    used -= count
  }

  /// Makes room for `more` bytes beyond those in use.
  @inlinable @inline(__always)
  public mutating func reserve(_ more: Int) {
    if capacity &- used < more { grow(more) }
  }

  @usableFromInline @inline(never)
  mutating func grow(_ more: Int) {
    let wanted = max(capacity * 2, used + more)
    let larger = UnsafeMutablePointer<UInt8>.allocate(capacity: wanted)
    UnsafeMutableRawPointer(larger).copyMemory(from: base, byteCount: used)
    base.deallocate()
    base = larger
    capacity = wanted
  }

  /// Where the next byte goes: for who writes up to ``reserve(_:)``d room without a check for each piece.
  @inlinable @inline(__always)
  public var end: UnsafeMutableRawPointer { UnsafeMutableRawPointer(base + used) }

  /// Takes over what was written from ``end`` up to here, within what was reserved.
  @inlinable @inline(__always)
  public mutating func extend(to end: UnsafeMutableRawPointer) {
    let count = end - UnsafeMutableRawPointer(base)
    assert(count >= used && count <= capacity)
    used = count
  }

  /// Lets `body` write up to `room` bytes behind those in use; it returns how many it wrote.
  @inlinable @inline(__always)
  public mutating func append<E: Error>(
    upTo room: Int, _ body: (UnsafeMutableRawBufferPointer) throws(E) -> Int
  ) throws(E) {
    reserve(room)
    let written = try body(UnsafeMutableRawBufferPointer(start: base + used, count: room))
    used &+= min(max(0, written), room)
  }

  @inlinable @inline(__always)
  public mutating func append(_ byte: UInt8) {
    reserve(1)
    base[used] = byte
    used &+= 1
  }

  @inlinable @inline(__always)
  public mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard let source = bytes.baseAddress else { return }
    reserve(bytes.count)
    UnsafeMutableRawPointer(base + used).copyMemory(from: source, byteCount: bytes.count)
    used &+= bytes.count
  }

  public mutating func append(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { append($0) }
  }

  /// Appends a literal: the fast way, without a check of its contents. Inlined, so that its length is a constant and
  /// the copy a few moves.
  @inlinable @inline(__always)
  public mutating func append(_ literal: StaticString) {
    if literal.hasPointerRepresentation {
      append(UnsafeRawBufferPointer(start: literal.utf8Start, count: literal.utf8CodeUnitCount))
    } else {
      literal.withUTF8Buffer { append(UnsafeRawBufferPointer($0)) }
    }
  }

  /// Appends a string's UTF-8. Named, so that a literal goes the fast way.
  public mutating func append(text: String) {
    var text = text
    text.withUTF8 { append(UnsafeRawBufferPointer($0)) }
  }
}

// Nothing but the value reaches its memory, so it may move between threads like any other value.
extension ByteBuffer: @unchecked Sendable {}

// MARK: - Numbers

extension ByteBuffer {
  /// Appends `value` in decimal.
  public mutating func append(decimal value: UInt64) {
    reserve(20)
    var digits = 1
    var rest = value
    while rest >= 10 {
      rest /= 10
      digits &+= 1
    }
    var at = used &+ digits
    used = at
    rest = value
    repeat {
      at &-= 1
      let (quotient, digit) = rest.quotientAndRemainder(dividingBy: 10)
      base[at] = UInt8(truncatingIfNeeded: digit) | 0x30
      rest = quotient
    } while rest != 0
  }

  /// Appends `value` in decimal, with a sign if it is negative.
  public mutating func append(decimal value: Int64) {
    if value < 0 { append(UInt8(ascii: "-")) }
    append(decimal: value.magnitude)
  }

  public mutating func append(decimal value: Int) { append(decimal: Int64(value)) }
  public mutating func append(decimal value: UInt32) { append(decimal: UInt64(value)) }
  public mutating func append(decimal value: Int32) { append(decimal: Int64(value)) }
  public mutating func append(decimal value: UInt16) { append(decimal: UInt64(value)) }
  public mutating func append(decimal value: UInt8) { append(decimal: UInt64(value)) }

  /// Appends `value` in lower-case hexadecimal, with zeros in front up to `digits` (1 to 16).
  public mutating func append(hex value: UInt64, digits: Int = 1) {
    let significant = (64 - value.leadingZeroBitCount + 3) / 4
    let width = min(16, max(1, digits, significant))
    reserve(width)
    for i in 0..<width {
      base[used &+ i] = Self.hexDigit(UInt8(truncatingIfNeeded: value &>> UInt64((width &- 1 &- i) &* 4)) & 15)
    }
    used &+= width
  }

  /// Appends bytes in lower-case hexadecimal, two digits each.
  public mutating func append(hexOf bytes: UnsafeRawBufferPointer) {
    reserve(bytes.count &* 2)
    for byte in bytes {
      base[used] = Self.hexDigit(byte &>> 4)
      base[used &+ 1] = Self.hexDigit(byte & 15)
      used &+= 2
    }
  }

  @inlinable static func hexDigit(_ value: UInt8) -> UInt8 { value < 10 ? value | 0x30 : value &+ 87 }

  /// Appends bytes in base64 (RFC 4648 section 4, padded).
  public mutating func append(base64 bytes: UnsafeRawBufferPointer) {
    reserve((bytes.count &+ 2) / 3 &* 4)
    extend(to: Base64Text.write(bytes, to: end))
  }
}

/// Base64 (RFC 4648 section 4, padded).
public enum Base64Text {
  /// Writes four bytes for each three that were begun; returns the end of them.
  public static func write(
    _ bytes: UnsafeRawBufferPointer, to start: UnsafeMutableRawPointer
  ) -> UnsafeMutableRawPointer {
    let alphabet: StaticString = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    let digits = alphabet.utf8Start
    var write = start
    var i = 0
    while i < bytes.count {
      let left = bytes.count &- i
      var group = UInt32(bytes[i]) &<< 16
      if left > 1 { group |= UInt32(bytes[i &+ 1]) &<< 8 }
      if left > 2 { group |= UInt32(bytes[i &+ 2]) }
      let pad = UInt8(ascii: "=")
      write.storeBytes(of: digits[Int(group &>> 18)], as: UInt8.self)
      write.storeBytes(of: digits[Int(group &>> 12) & 63], toByteOffset: 1, as: UInt8.self)
      write.storeBytes(of: left > 1 ? digits[Int(group &>> 6) & 63] : pad, toByteOffset: 2, as: UInt8.self)
      write.storeBytes(of: left > 2 ? digits[Int(group) & 63] : pad, toByteOffset: 3, as: UInt8.self)
      write += 4
      i &+= 3
    }
    return write
  }
  /// What ``write(_:to:)`` has written; nil for anything else.
  public static func decode(_ text: [UInt8]) -> [UInt8]? {
    guard text.count % 4 == 0 else { return nil }
    let padding = text.suffix(2).count { $0 == UInt8(ascii: "=") }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.count / 4 * 3)
    var group: UInt32 = 0
    for (index, digit) in text.enumerated() {
      let value: UInt8
      switch digit {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = digit - UInt8(ascii: "A")
      case UInt8(ascii: "a")...UInt8(ascii: "z"): value = digit - UInt8(ascii: "a") + 26
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = digit - UInt8(ascii: "0") + 52
      case UInt8(ascii: "+"): value = 62
      case UInt8(ascii: "/"): value = 63
      case UInt8(ascii: "=") where index >= text.count - padding: value = 0
      default: return nil
      }
      group = group << 6 | UInt32(value)
      guard index % 4 == 3 else { continue }
      bytes += [
        UInt8(truncatingIfNeeded: group >> 16), UInt8(truncatingIfNeeded: group >> 8), UInt8(truncatingIfNeeded: group),
      ]
      group = 0
    }
    return Array(bytes.dropLast(padding))
  }
}
