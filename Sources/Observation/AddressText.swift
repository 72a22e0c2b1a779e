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

  /// Appends an address without allocating.
  /// - Returns: false, with nothing appended, where the family is neither AF_INET nor AF_INET6.
  @discardableResult
  public static func append(family: UInt16, _ address: Bytes, to out: inout ByteBuffer) -> Bool {
    withUnsafeBytes(of: address) { bytes in
      switch family {
      case inet: appendIPv4(bytes, from: 0, to: &out)
      case inet6: appendIPv6(bytes, to: &out)
      default: return false
      }
      return true
    }
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

  private static func appendIPv4(_ bytes: UnsafeRawBufferPointer, from offset: Int, to out: inout ByteBuffer) {
    let word = bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
    out.append(upTo: 16) { room in
      guard let base = room.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return 0 }
      var at = 0
      for shift: UInt32 in [0, 8, 16, 24] {
        let value = (UInt32(littleEndian: word) &>> shift) & 255
        let tens = value / 10
        if value >= 100 {
          base[at] = UInt8(truncatingIfNeeded: value / 100) | 0x30
          at &+= 1
        }
        if value >= 10 {
          base[at] = UInt8(truncatingIfNeeded: tens % 10) | 0x30
          at &+= 1
        }
        base[at] = UInt8(truncatingIfNeeded: value &- tens &* 10) | 0x30
        base[at &+ 1] = UInt8(ascii: ".")
        at &+= 2
      }
      return at &- 1
    }
  }

  private static func appendIPv6(_ bytes: UnsafeRawBufferPointer, to out: inout ByteBuffer) {
    let head = UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self))
    let next = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
    if head == 0 && next == 0xFFFF {
      out.append("::ffff:")
      appendIPv4(bytes, from: 12, to: &out)
      return
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
        out.append("::")
        i = best.upperBound
        continue
      }
      if i > 0 && (best.isEmpty || i != best.upperBound) { out.append(UInt8(ascii: ":")) }
      out.append(hex: UInt64(group(bytes, i)))
      i &+= 1
    }
  }

  private static func group(_ bytes: UnsafeRawBufferPointer, _ index: Int) -> UInt16 {
    UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: index &* 2, as: UInt16.self))
  }
}
