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

  /// The end of the run of bytes of `set` that starts at `start`.
  func end(of set: ByteSet, from start: Int) -> Int {
    var i = start
    while i < upper && set.contains(self[i]) { i += 1 }
    return i
  }

  /// The end of a region that the quote `quote` encloses, 0 meaning that none does: its unescaped closing, or the end.
  func regionEnd(from start: Int, enclosedBy quote: UInt8) -> Int {
    guard quote != 0 else { return upper }
    var i = start
    while i < upper && self[i] != quote {
      if self[i] == 0x5C && quote == 0x22 { i += 1 }
      i += 1
    }
    return min(i, upper)
  }

  /// The end of the word of a shell that starts at `start`, where `quote` encloses it. Quotes inside belong to the word;
  /// one that is not closed takes everything.
  func wordEnd(from start: Int, enclosedBy quote: UInt8) -> Int {
    var i = start
    while i < upper {
      let byte = self[i]
      if byte == quote || isSpace(byte) { break }
      switch byte {
      case 0x3B, 0x7C, 0x26, 0x3C, 0x3E, 0x28, 0x29, 0x60:  // ; | & < > ( ) `
        return i
      case 0x22, 0x27:
        i = regionEnd(from: i + 1, enclosedBy: byte) + 1
      case 0x5C:
        i += 2
      default:
        i += 1
      }
    }
    return min(i, upper)
  }
}

extension MaskText {
  /// The end of a value in a script or a form: as ``wordEnd(from:enclosedBy:)``, but an escaped quote at its start takes it
  /// to the next quote that is escaped alike.
  func valueEnd(from start: Int, enclosedBy quote: UInt8) -> Int {
    var opener = start
    while self[opener] == 0x5C { opener += 1 }
    guard opener > start, self[opener] == 0x22 || self[opener] == 0x27 else {
      return wordEnd(from: start, enclosedBy: quote)
    }
    return wordEnd(from: closing(of: start...opener).end, enclosedBy: quote)
  }

  /// Where the quote that `opener` ends with stands again, with as many backslashes; the end where it does not.
  func closing(of opener: ClosedRange<Int>) -> (start: Int, end: Int) {
    let quote = self[opener.upperBound]
    let escapes = opener.count - 1
    var i = opener.upperBound + 1
    var run = 0
    while i < upper {
      let byte = self[i]
      if byte == quote && run == escapes { return (i - escapes, i + 1) }
      run = byte == 0x5C ? run + 1 : 0
      i += 1
    }
    return (upper, upper)
  }
}

/// Which quote encloses an offset, asked for ascending offsets.
struct QuoteTracker {
  private var offset: Int
  private var quote: UInt8 = 0

  init(from offset: Int) { self.offset = offset }

  mutating func quote(_ text: MaskText, at wanted: Int) -> UInt8 {
    while offset < wanted {
      let byte = text[offset]
      if byte == 0x5C && quote != 0x27 {
        offset += 2
        continue
      }
      if quote == byte { quote = 0 } else if quote == 0 && (byte == 0x22 || byte == 0x27) { quote = byte }
      offset += 1
    }
    return quote
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
func lowercased(_ byte: UInt8) -> UInt8 { byte >= 0x41 && byte <= 0x5A ? byte | 0x20 : byte }

@inline(__always)
func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (byte >= 0x09 && byte <= 0x0D) }

@inline(__always)
func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }

@inline(__always)
func isAlphanumeric(_ byte: UInt8) -> Bool {
  isDigit(byte) || (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A)
}

/// What names of variables, options and fields are made of.
@inline(__always)
func isNameByte(_ byte: UInt8) -> Bool {
  isAlphanumeric(byte) || byte == 0x5F || byte == 0x2D || byte == 0x2E
}
