/// Numbers in decimal, eight digits at once: a line has five to ten numbers, and one division for each digit would cost
/// more than everything else in it.
enum DecimalDigits {
  /// What a number may need, and what may be written: digits come by eights.
  static let room = 32

  /// Writes to where there is ``room``; returns how many bytes.
  @inline(__always)
  static func write(_ value: UInt64, to base: UnsafeMutableRawPointer) -> Int {
    value < limit ? writeShort(value, to: base) : writeLong(value, to: base)
  }

  @inline(__always)
  private static func writeShort(_ value: UInt64, to base: UnsafeMutableRawPointer) -> Int {
    let digits = eight(value)
    // Zeros in front, of which one stays where there is nothing else.
    let zeros = (digits | 1 &<< 56).trailingZeroBitCount & ~7
    base.storeBytes(of: ((digits | ascii) &>> UInt64(zeros)).littleEndian, as: UInt64.self)
    return 8 &- zeros &>> 3
  }

  private static let limit: UInt64 = 100_000_000
  private static let ascii: UInt64 = 0x3030_3030_3030_3030

  /// Nine to twenty digits: one or two times eight, behind what is left of them.
  private static func writeLong(_ value: UInt64, to base: UnsafeMutableRawPointer) -> Int {
    var (front, rest) = value.quotientAndRemainder(dividingBy: limit)
    var middle: UInt64?
    if front >= limit {
      let parts = front.quotientAndRemainder(dividingBy: limit)
      (front, middle) = (parts.quotient, parts.remainder)
    }
    var length = writeShort(front, to: base)
    if let middle { length = append(eight(middle), at: length, of: base) }
    return append(eight(rest), at: length, of: base)
  }

  @inline(__always)
  private static func append(_ digits: UInt64, at length: Int, of base: UnsafeMutableRawPointer) -> Int {
    (base + length).storeBytes(of: (digits | ascii).littleEndian, as: UInt64.self)
    return length &+ 8
  }

  /// A byte for each of eight digits, the first lowest: halved three times, all parts at once. The factors stand for
  /// divisions, by 10,000 in 64 bits, by 100 and by 10 in parts of 32 and 16, and are exact for what the parts can be.
  @inline(__always)
  private static func eight(_ value: UInt64) -> UInt64 {
    let front = (value &* 109_951_163) &>> 40
    let halves = front | (value &- front &* 10_000) &<< 32
    let hundreds = ((halves &* 10_486) &>> 20) & 0x7f_0000_007f
    let pairs = hundreds | (halves &- hundreds &* 100) &<< 16
    let tens = ((pairs &* 103) &>> 10) & 0xf_000f_000f_000f
    return tens | (pairs &- tens &* 10) &<< 8
  }
}
