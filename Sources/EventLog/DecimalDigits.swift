/// Numbers in decimal, two digits at a time: a line has five to ten numbers, and one division for each digit would cost
/// more than everything else in it.
enum DecimalDigits {
  /// "00" to "99", as they stand in memory.
  private static let pairs: StaticString = """
    00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354555657\
    5859606162636465666768697071727374757677787980818283848586878889909192939495969798990
    """

  /// What a number may need.
  static let room = 20

  /// Writes to where there is ``room``; returns how many bytes.
  @inline(__always)
  static func write(_ value: UInt64, to base: UnsafeMutableRawPointer) -> Int {
    let length = count(value)
    let table = UnsafeRawPointer(pairs.utf8Start)
    var rest = value
    var position = length
    while rest >= 100 {
      let (quotient, pair) = rest.quotientAndRemainder(dividingBy: 100)
      position &-= 2
      (base + position).copyMemory(from: table + Int(truncatingIfNeeded: pair &* 2), byteCount: 2)
      rest = quotient
    }
    if rest >= 10 {
      base.copyMemory(from: table + Int(truncatingIfNeeded: rest &* 2), byteCount: 2)
    } else {
      base.storeBytes(of: UInt8(truncatingIfNeeded: rest) | 0x30, as: UInt8.self)
    }
    return length
  }

  /// The number of digits, from the number of bits: log10(2) is 1233/4096 near enough for 64 bits.
  @inline(__always)
  static func count(_ value: UInt64) -> Int {
    let bits = 64 &- (value | 1).leadingZeroBitCount
    let guess = (bits &* 1233) &>> 12
    return guess &+ (value >= powers(guess) ? 1 : 0)
  }

  @inline(__always)
  private static func powers(_ exponent: Int) -> UInt64 {
    switch exponent {
    case 0: 0  // Zero has one digit too.
    case 1: 10
    case 2: 100
    case 3: 1000
    case 4: 10_000
    case 5: 100_000
    case 6: 1_000_000
    case 7: 10_000_000
    case 8: 100_000_000
    case 9: 1_000_000_000
    case 10: 10_000_000_000
    case 11: 100_000_000_000
    case 12: 1_000_000_000_000
    case 13: 10_000_000_000_000
    case 14: 100_000_000_000_000
    case 15: 1_000_000_000_000_000
    case 16: 10_000_000_000_000_000
    case 17: 100_000_000_000_000_000
    case 18: 1_000_000_000_000_000_000
    default: 10_000_000_000_000_000_000
    }
  }
}
