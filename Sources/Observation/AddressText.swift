/// Internet addresses as text: IPv4 in dotted decimals, IPv6 as RFC 5952 wants it.
///
/// IPv4-mapped addresses show as `::ffff:192.0.2.1`. Addresses come in network byte order, as in `mt_sock`.
public enum AddressText {
  /// The 16 bytes of `mt_sock.local` and `.remote`; IPv4 stands in the first four.
  public typealias Bytes = (
    UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8
  )

  /// AF_INET and AF_INET6 on every Linux.
  private static let inet: UInt16 = 2
  private static let inet6: UInt16 = 10

  /// Bytes that ``write(family:_:to:)`` may need.
  public static let room = 48

  /// Writes an address to where there is ``room``; returns how many bytes, none where the family is neither AF_INET nor
  /// AF_INET6.
  public static func write(family: UInt16, _ address: Bytes, to start: UnsafeMutableRawPointer) -> Int {
    withUnsafeBytes(of: address) { bytes in
      switch family {
      case inet: writeIPv4(bytes, from: 0, to: start) - start
      case inet6: writeIPv6(bytes, to: start) - start
      default: 0
      }
    }
  }

  /// Appends an address without allocating.
  /// - Returns: false, with nothing appended, where the family is neither AF_INET nor AF_INET6.
  @discardableResult
  public static func append(family: UInt16, _ address: Bytes, to out: inout ByteBuffer) -> Bool {
    let before = out.count
    out.append(upTo: room) { room in room.baseAddress.map { write(family: family, address, to: $0) } ?? 0 }
    return out.count > before
  }

  /// Appends `address:port`, with IPv6 in brackets (RFC 3986).
  @discardableResult
  public static func append(family: UInt16, _ address: Bytes, port: UInt16, to out: inout ByteBuffer) -> Bool {
    guard family == inet || family == inet6 else { return false }
    if family == inet6 { out.append(UInt8(ascii: "[")) }
    append(family: family, address, to: &out)
    if family == inet6 { out.append(UInt8(ascii: "]")) }
    out.append(UInt8(ascii: ":"))
    out.append(decimal: port)
    return true
  }

  /// The address as a string, empty where the family is neither AF_INET nor AF_INET6.
  public static func string(family: UInt16, _ address: Bytes) -> String {
    var out = ByteBuffer(capacity: 48)
    append(family: family, address, to: &out)
    return out.text
  }

  /// The IPv4 address within an IPv4-mapped one, as AF_INET has it; nil: it is none.
  public static func ipv4(in address: Bytes) -> Bytes? {
    withUnsafeBytes(of: address) { from in
      guard from.prefix(10).allSatisfy({ $0 == 0 }), from[10] == 0xff, from[11] == 0xff else { return nil }
      return (from[12], from[13], from[14], from[15], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    }
  }

  /// An address of which IPv4 is an IPv4-mapped one, as policies' records have it: IPv4 shows as such.
  public static func string(peer address: Bytes) -> String {
    ipv4(in: address).map { string(family: inet, $0) } ?? string(family: inet6, address)
  }

  private static func writeIPv4(
    _ bytes: UnsafeRawBufferPointer, from offset: Int, to start: UnsafeMutableRawPointer
  ) -> UnsafeMutableRawPointer {
    var write = start
    for index in offset..<offset &+ 4 {
      let value = bytes[index]
      let tens = value / 10
      if value >= 100 {
        put(value / 100 | 0x30, at: &write)
        put(tens % 10 | 0x30, at: &write)
      } else if value >= 10 {
        put(tens | 0x30, at: &write)
      }
      put((value &- tens &* 10) | 0x30, at: &write)
      put(UInt8(ascii: "."), at: &write)
    }
    return write - 1
  }

  @inline(__always)
  private static func put(_ byte: UInt8, at write: inout UnsafeMutableRawPointer) {
    write.storeBytes(of: byte, as: UInt8.self)
    write += 1
  }

  private static func writeIPv6(
    _ bytes: UnsafeRawBufferPointer, to start: UnsafeMutableRawPointer
  ) -> UnsafeMutableRawPointer {
    var write = start
    let head = UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self))
    let next = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
    if head == 0 && next == 0xFFFF {
      for byte in "::ffff:".utf8 { put(byte, at: &write) }
      return writeIPv4(bytes, from: 12, to: write)
    }
    // The longest run of zero groups becomes "::", the first of equals, never a single group.
    var best = 0..<0
    var i = 0
    while i < 8 {
      let start = i
      while i < 8 && group(bytes, i) == 0 { i &+= 1 }
      if i &- start >= 2 && i &- start > best.count { best = start..<i }
      i &+= 1
    }
    i = 0
    while i < 8 {
      if i == best.lowerBound && !best.isEmpty {
        put(UInt8(ascii: ":"), at: &write)
        put(UInt8(ascii: ":"), at: &write)
        i = best.upperBound
        continue
      }
      if i > 0 && (best.isEmpty || i != best.upperBound) { put(UInt8(ascii: ":"), at: &write) }
      let value = group(bytes, i)
      for shift: UInt16 in [12, 8, 4, 0] where shift == 0 || value &>> shift != 0 {
        put(ByteBuffer.hexDigit(UInt8(truncatingIfNeeded: value &>> shift) & 15), at: &write)
      }
      i &+= 1
    }
    return write
  }

  private static func group(_ bytes: UnsafeRawBufferPointer, _ index: Int) -> UInt16 {
    UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: index &* 2, as: UInt16.self))
  }
}
