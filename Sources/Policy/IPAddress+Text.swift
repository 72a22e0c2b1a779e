public import Configuration

extension IPAddress {
  static let mapped: UInt64 = 0xffff_0000_0000

  /// In network byte order.
  public init(v4 value: UInt32) { self.init(high: 0, low: Self.mapped | UInt64(value)) }

  /// An address of IPv4, that is one of ::ffff:0:0/96.
  public var v4: UInt32? {
    high == 0 && low >> 32 == 0xffff ? UInt32(truncatingIfNeeded: low) : nil
  }

  /// IPv4 in four decimals, or IPv6 as in RFC 4291 section 2.2, without a zone; nil for anything else, and for decimals
  /// with zeros in front, which others read as octal.
  public init?(_ text: some StringProtocol) {
    if !text.contains(":") {
      guard let value = Self.v4(text) else { return nil }
      self.init(v4: value)
      return
    }
    let halves = Self.halves(text)
    guard let halves, let front = Self.groups(halves.front, isLast: halves.back == nil) else { return nil }
    var groups = front
    if let back = halves.back {
      guard let behind = Self.groups(back, isLast: true), front.count + behind.count <= 7 else { return nil }
      groups += [UInt16](repeating: 0, count: 8 - front.count - behind.count) + behind
    }
    guard groups.count == 8 else { return nil }
    self.init(
      high: groups[..<4].reduce(0) { $0 << 16 | UInt64($1) }, low: groups[4...].reduce(0) { $0 << 16 | UInt64($1) })
  }

  private static func v4(_ text: some StringProtocol) -> UInt32? {
    let parts = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var value: UInt32 = 0
    for part in parts {
      guard (1...3).contains(part.count), part.allSatisfy({ (0x30...0x39).contains($0) }),
        part.count == 1 || part.first != 0x30
      else { return nil }
      let number = part.reduce(UInt32(0)) { $0 * 10 + UInt32($1 - 0x30) }
      guard number <= 255 else { return nil }
      value = value << 8 | number
    }
    return value
  }

  /// What is in front of `::` and behind it; the whole where there is none. nil if there are two.
  private static func halves(_ text: some StringProtocol) -> (front: [UInt8], back: [UInt8]?)? {
    let bytes = Array(text.utf8)
    let colon = UInt8(ascii: ":")
    let gaps = bytes.indices.dropLast().filter { bytes[$0] == colon && bytes[$0 + 1] == colon }
    guard gaps.count <= 1 else { return nil }
    guard let gap = gaps.first else { return (bytes, nil) }
    return (Array(bytes[..<gap]), Array(bytes[(gap + 2)...]))
  }

  private static func groups(_ text: [UInt8], isLast: Bool) -> [UInt16]? {
    guard !text.isEmpty else { return [] }
    let parts = text.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
    guard parts.count <= 8 else { return nil }
    var groups: [UInt16] = []
    for (index, part) in parts.enumerated() {
      if isLast, index == parts.count - 1, part.contains(UInt8(ascii: ".")) {
        guard let value = v4(String(decoding: part, as: UTF8.self)) else { return nil }
        groups += [UInt16(value >> 16), UInt16(truncatingIfNeeded: value)]
        continue
      }
      guard (1...4).contains(part.count), part.allSatisfy({ $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "-") }),
        let group = UInt16(String(decoding: part, as: UTF8.self), radix: 16)
      else { return nil }
      groups.append(group)
    }
    return groups
  }

  /// As in RFC 5952, IPv4 in decimals.
  public var description: String {
    if let v4 { return (0..<4).map { String(v4 >> (24 - 8 * $0) & 255) }.joined(separator: ".") }
    let groups = (0..<8).map { index in
      UInt16(truncatingIfNeeded: (index < 4 ? high : low) >> UInt64(48 - 16 * (index % 4)))
    }
    // The longest run of zeros, the first of equals, never a single one.
    var best = 0..<0
    var start = 0
    while start < 8 {
      let end = groups[start...].firstIndex { $0 != 0 } ?? 8
      if end - start >= 2 && end - start > best.count { best = start..<end }
      start = max(end, start + 1)
    }
    func text(_ groups: ArraySlice<UInt16>) -> String {
      groups.map { String($0, radix: 16) }.joined(separator: ":")
    }
    return best.isEmpty ? text(groups[...]) : text(groups[..<best.lowerBound]) + "::" + text(groups[best.upperBound...])
  }

  /// The first `length` bits, the others zero.
  func prefix(_ length: UInt8) -> IPAddress {
    func mask(_ bits: Int) -> UInt64 { bits <= 0 ? 0 : bits >= 64 ? .max : ~(.max >> UInt64(bits)) }
    return IPAddress(high: high & mask(Int(length)), low: low & mask(Int(length) - 64))
  }
}

extension IPNetwork {
  /// One address.
  public init(_ address: IPAddress) { self.init(address: address, length: 128) }

  /// `address/length`; what lies behind it must be zero, as it would look like a part of what is meant.
  public init(cidr text: String) throws(FormError) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let address = IPAddress(parts[0]) else {
      if let address = IPAddress(text) {
        throw FormError("has no length; write 'address: \(address.description)' for a single one")
      }
      throw FormError("\(FormError.shown(text)) is no network such as 10.0.0.0/8 or 2001:db8::/32")
    }
    let isV4 = !parts[0].contains(":")
    let digits = parts[1].utf8
    guard (1...3).contains(digits.count), digits.allSatisfy({ (0x30...0x39).contains($0) }),
      digits.count == 1 || digits.first != 0x30, let written = UInt8(parts[1]), written <= (isV4 ? 32 : 128)
    else { throw FormError("the length of \(FormError.shown(text)) is not between 0 and \(isV4 ? 32 : 128)") }
    let length = isV4 ? written + 96 : written
    let network = IPNetwork(address: address.prefix(length), length: length)
    guard network.address == address else {
      throw FormError("\(FormError.shown(text)) has bits behind its length; the network is \(network.description)")
    }
    self = network
  }

  /// An IPv4 network's length is written as such.
  public var description: String {
    length >= 96 && address.v4 != nil ? "\(address.description)/\(length - 96)" : "\(address.description)/\(length)"
  }

  public func contains(_ other: IPAddress) -> Bool { other.prefix(length) == address }

  public func contains(_ other: IPNetwork) -> Bool { other.length >= length && contains(other.address) }
}
