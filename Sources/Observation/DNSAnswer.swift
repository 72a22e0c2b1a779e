/// What a resolver said: the question's name, and the addresses that it was answered with. RFC 1035, 4.
///
/// Total: any bytes give an answer or nil. Reads in place.
public struct DNSAnswer {
  private let bytes: UnsafeRawBufferPointer
  /// Where the answers begin.
  private let answers: Int
  /// Addresses in the message, and aliases.
  private let count: Int
  /// Bytes of the question's name.
  public let nameLength: Int

  /// Bytes of the longest name, in text.
  public static let nameLimit = 253
  static let headerSize = 12

  /// - Returns: nil if it is no answer to a question for a host's name, or is cut within the question
  public init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count >= Self.headerSize, bytes[2] & 0x80 != 0, Self.word(bytes, 4) == 1,
      let end = Self.endOfName(bytes, Self.headerSize, isPlain: true), end + 4 <= bytes.count
    else { return nil }
    // Each label has a byte in front of it, where a text has a dot between two; and there is a zero at the end.
    nameLength = end - Self.headerSize - 2
    guard nameLength > 0, nameLength <= Self.nameLimit else { return nil }
    self.bytes = bytes
    answers = end + 4
    count = Int(Self.word(bytes, 6))
  }

  /// Puts the question's name into a buffer of at least ``nameLength`` bytes: in lower case, labels separated by dots. What
  /// is no letter, digit, `-` or `_` becomes `?`, so that nobody takes one name for another.
  public func writeName(to buffer: UnsafeMutableRawBufferPointer) {
    var left = Int(bytes[Self.headerSize])
    for index in 0..<nameLength {
      let byte = bytes[Self.headerSize + 1 + index]
      if left == 0 {
        left = Int(byte)
        buffer[index] = UInt8(ascii: ".")
        continue
      }
      left -= 1
      buffer[index] = Self.letter(byte)
    }
  }

  /// Calls `body` with each address, in network byte order, and whether it is of IPv6: 16 bytes then, else 4.
  public func forEachAddress(_ body: (UnsafeRawBufferPointer, _ isV6: Bool) -> Void) {
    var at = answers
    for _ in 0..<count {
      guard let fixed = Self.endOfName(bytes, at, isPlain: false), fixed + 10 <= bytes.count else { return }
      let length = Int(Self.word(bytes, fixed + 8))
      let data = fixed + 10
      guard data + length <= bytes.count else { return }
      switch (Self.word(bytes, fixed), length) {
      case (1, 4): body(UnsafeRawBufferPointer(rebasing: bytes[data..<data + 4]), false)
      case (28, 16): body(UnsafeRawBufferPointer(rebasing: bytes[data..<data + 16]), true)
      default: break
      }
      at = data + length
    }
  }

  private static func letter(_ byte: UInt8) -> UInt8 {
    switch byte {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): byte | 0x20
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): byte
    case UInt8(ascii: "-"), UInt8(ascii: "_"): byte
    default: UInt8(ascii: "?")
    }
  }

  private static func word(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> UInt16 {
    UInt16(bytes[at]) << 8 | UInt16(bytes[at + 1])
  }

  /// Where a name ends; nil: it does not, or has a pointer although `isPlain`.
  private static func endOfName(_ bytes: UnsafeRawBufferPointer, _ start: Int, isPlain: Bool) -> Int? {
    var at = start
    while at < bytes.count, at - start <= 255 {
      let label = Int(bytes[at])
      if label == 0 { return at + 1 }
      if label >= 0xc0 { return isPlain || at + 2 > bytes.count ? nil : at + 2 }
      if label > 63 { return nil }
      at += label + 1
    }
    return nil
  }
}
