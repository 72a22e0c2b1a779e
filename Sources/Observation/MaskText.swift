/// A stretch of bytes within a longer text, read by offsets into the whole. A read outside of it gives 0, which no
/// argument contains: so that rules can look around without checks of their own.
struct MaskText {
  let base: UnsafeRawPointer
  let lower: Int
  let upper: Int

  @inline(__always)
  subscript(_ offset: Int) -> UInt8 {
    offset >= lower && offset < upper ? base.load(fromByteOffset: offset, as: UInt8.self) : 0
  }

  func starts(with text: [UInt8], at offset: Int) -> Bool {
    guard offset >= lower, text.count <= upper - offset else { return false }
    for i in 0..<text.count where base.load(fromByteOffset: offset + i, as: UInt8.self) != text[i] { return false }
    return true
  }

  func starts(with text: StaticString, at offset: Int) -> Bool {
    let count = text.utf8CodeUnitCount
    guard offset >= lower, count <= upper - offset else { return false }
    for i in 0..<count where self[offset + i] != text.utf8Start[i] { return false }
    return true
  }

  /// Whether the lower-case `text` stands at `offset`, in any case.
  func starts(withAnyCase text: StaticString, at offset: Int) -> Bool {
    let count = text.utf8CodeUnitCount
    guard offset >= lower, count <= upper - offset else { return false }
    for i in 0..<count where lowercased(self[offset + i]) != text.utf8Start[i] { return false }
    return true
  }

  func equals(_ range: Range<Int>, _ text: StaticString) -> Bool {
    range.count == text.utf8CodeUnitCount && starts(withAnyCase: text, at: range.lowerBound)
  }

  /// The first offset from `start` on whose byte is `byte`, else the end.
  func first(_ byte: UInt8, from start: Int) -> Int {
    var i = start
    while i < upper && self[i] != byte { i += 1 }
    return min(i, upper)
  }

  /// The first offset in the range whose byte is `byte`, else the range's end.
  func first(_ byte: UInt8, in range: Range<Int>) -> Int {
    var i = range.lowerBound
    while i < range.upperBound && self[i] != byte { i += 1 }
    return i
  }

  /// The end of the run of bytes of `set` that starts at `start`.
  func end(of set: ByteSet, from start: Int) -> Int {
    var i = start
    while i < upper && set.contains(self[i]) { i += 1 }
    return i
  }
}

/// A set of ASCII characters.
struct ByteSet: Sendable {
  private var low: UInt64 = 0
  private var high: UInt64 = 0

  init(_ members: StaticString) {
    for i in 0..<members.utf8CodeUnitCount {
      let byte = members.utf8Start[i]
      if byte < 64 { low |= 1 &<< UInt64(byte) } else { high |= 1 &<< UInt64(byte & 63) }
    }
  }

  @inline(__always)
  func contains(_ byte: UInt8) -> Bool {
    byte < 128 && ((byte < 64 ? low : high) &>> UInt64(byte & 63)) & 1 != 0
  }
}

@inline(__always)
package func lowercased(_ byte: UInt8) -> UInt8 { byte >= 0x41 && byte <= 0x5A ? byte | 0x20 : byte }

@inline(__always)
func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (byte >= 0x09 && byte <= 0x0D) }

@inline(__always)
func isQuote(_ byte: UInt8) -> Bool { byte == 0x22 || byte == 0x27 }

@inline(__always)
package func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }

@inline(__always)
package func isAlphanumeric(_ byte: UInt8) -> Bool {
  isDigit(byte) || (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A)
}

/// What names of variables, options and fields are made of.
@inline(__always)
func isNameByte(_ byte: UInt8) -> Bool {
  isAlphanumeric(byte) || byte == 0x5F || byte == 0x2D || byte == 0x2E
}
