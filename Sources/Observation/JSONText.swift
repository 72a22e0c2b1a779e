/// JSON strings (RFC 8259) from bytes that may be anything.
///
/// What comes out is valid UTF-8 and safe to show: control characters are escaped, U+007F to U+009F among them, since
/// terminals obey some of those, and U+2028 and U+2029, which end a line in JavaScript.
public enum JSONText {
  /// Appends `bytes` as the content of a JSON string, without quotes.
  ///
  /// What is not UTF-8 becomes U+FFFD, one for each maximal subpart (Unicode 16, section 3.9; the practice of the WHATWG).
  /// - Returns: true if something was replaced. The caller then adds the bytes in base64 beside the text.
  @discardableResult
  public static func appendContent(_ bytes: UnsafeRawBufferPointer, to out: inout ByteBuffer) -> Bool {
    out.reserve(room(for: bytes.count))
    var end = out.end
    let replaced = writeContent(bytes, to: &end)
    out.extend(to: end)
    return replaced
  }

  /// Memory that ``writeContent(_:to:)`` may need for so many bytes: six for one is the worst case (\u00XX), and eight
  /// are written at once.
  @inline(__always)
  public static func room(for count: Int) -> Int { count &* 6 &+ 8 }

  /// As ``appendContent(_:to:)``, to memory that has ``room(for:)`` it; `write` becomes its end.
  public static func writeContent(
    _ bytes: UnsafeRawBufferPointer, to write: inout UnsafeMutableRawPointer
  ) -> Bool {
    guard let source = bytes.baseAddress else { return false }
    let count = bytes.count
    var i = 0
    while i &+ 8 <= count {
      let word = source.loadUnaligned(fromByteOffset: i, as: UInt64.self)
      write.storeBytes(of: word, as: UInt64.self)
      if specialBytes(UInt64(littleEndian: word)) != 0 { return writeRest(bytes, from: i, to: &write) }
      write += 8
      i &+= 8
    }
    if i == count { return false }
    let left = count &- i
    let shift = UInt64(truncatingIfNeeded: (8 &- left) &* 8)
    // The rest is the upper part of the last eight bytes, if there are as many.
    let last =
      count >= 8
      ? UInt64(littleEndian: source.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)) &>> shift
      : source.word(ofFirst: count)
    if specialBytes(last) & (UInt64.max &>> shift) != 0 { return writeRest(bytes, from: i, to: &write) }
    write.storeBytes(of: last.littleEndian, as: UInt64.self)
    write += left
    return false
  }

  /// From a byte on that is, or is near, one that cannot be copied as it is.
  @inline(never)
  private static func writeRest(
    _ bytes: UnsafeRawBufferPointer, from start: Int, to end: inout UnsafeMutableRawPointer
  ) -> Bool {
    guard let source = bytes.baseAddress else { return false }
    let count = bytes.count
    var write = end
    var replaced = false
    var i = start
    while i < count {
      if i &+ 8 <= count {
        let word = source.loadUnaligned(fromByteOffset: i, as: UInt64.self)
        write.storeBytes(of: word, as: UInt64.self)
        let special = specialBytes(UInt64(littleEndian: word))
        if special == 0 {
          write += 8
          i &+= 8
          continue
        }
        let plain = special.trailingZeroBitCount &>> 3
        write += plain
        i &+= plain
      }
      let byte = source.load(fromByteOffset: i, as: UInt8.self)
      if byte < 0x80 {
        if byte >= 0x20 && byte != 0x22 && byte != 0x5C && byte != 0x7F {
          write.storeBytes(of: byte, as: UInt8.self)
          write += 1
        } else {
          write = escape(UInt16(byte), at: write)
        }
        i &+= 1
        continue
      }
      let sequence = UTF8Sequence(source + i, available: count &- i)
      if !sequence.isValid {
        write = put(0xEF, 0xBF, 0xBD, at: write)
        replaced = true
      } else if sequence.scalar < 0xA0 || sequence.scalar == 0x2028 || sequence.scalar == 0x2029 {
        write = escape(UInt16(sequence.scalar), at: write)
      } else {
        write.copyMemory(from: source + i, byteCount: sequence.length)
        write += sequence.length
      }
      i &+= sequence.length
    }
    end = write
    return replaced
  }

  /// Appends `bytes` as a JSON string, with quotes; see ``appendContent(_:to:)``.
  @discardableResult
  public static func appendString(_ bytes: UnsafeRawBufferPointer, to out: inout ByteBuffer) -> Bool {
    out.append(UInt8(ascii: "\""))
    let replaced = appendContent(bytes, to: &out)
    out.append(UInt8(ascii: "\""))
    return replaced
  }

  /// Appends `text` as a JSON string, with quotes.
  public static func appendString(_ text: String, to out: inout ByteBuffer) {
    var text = text
    text.withUTF8 { _ = appendString(UnsafeRawBufferPointer($0), to: &out) }
  }

  /// The high bit of each byte that can't be copied as it is. Exact for the lowest such byte, which is all that is used.
  @inline(__always)
  private static func specialBytes(_ word: UInt64) -> UInt64 {
    let ones: UInt64 = 0x0101_0101_0101_0101
    let highs: UInt64 = 0x8080_8080_8080_8080
    let quote = word ^ (ones &* 0x22)
    let backslash = word ^ (ones &* 0x5C)
    // A difference has its high bit if the byte was too small or was above 0x7F itself, and that one counts anyway;
    // adding one finds 0x7F.
    let below = (word &- ones &* 0x20) | (quote &- ones) | (backslash &- ones) | (word &+ ones)
    return (below | word) & highs
  }

  @inline(__always)
  private static func put(
    _ a: UInt8, _ b: UInt8, _ c: UInt8, at write: UnsafeMutableRawPointer
  ) -> UnsafeMutableRawPointer {
    write.storeBytes(of: a, as: UInt8.self)
    write.storeBytes(of: b, toByteOffset: 1, as: UInt8.self)
    write.storeBytes(of: c, toByteOffset: 2, as: UInt8.self)
    return write + 3
  }

  private static func escape(_ unit: UInt16, at write: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
    let letter: UInt8 =
      switch unit {
      case 0x22: UInt8(ascii: "\"")
      case 0x5C: UInt8(ascii: "\\")
      case 0x08: UInt8(ascii: "b")
      case 0x09: UInt8(ascii: "t")
      case 0x0A: UInt8(ascii: "n")
      case 0x0C: UInt8(ascii: "f")
      case 0x0D: UInt8(ascii: "r")
      default: UInt8(ascii: "u")
      }
    write.storeBytes(of: UInt8(ascii: "\\"), as: UInt8.self)
    write.storeBytes(of: letter, toByteOffset: 1, as: UInt8.self)
    guard letter == UInt8(ascii: "u") else { return write + 2 }
    for digit in 0..<4 {
      let value = UInt8(truncatingIfNeeded: unit &>> UInt16(12 &- digit &* 4)) & 15
      write.storeBytes(of: ByteBuffer.hexDigit(value), toByteOffset: 2 &+ digit, as: UInt8.self)
    }
    return write + 6
  }
}

/// One UTF-8 sequence, or the maximal subpart of one that is not well-formed (Unicode 16, table 3-7).
struct UTF8Sequence {
  /// At least 1.
  let length: Int
  let isValid: Bool
  let scalar: UInt32

  /// Reads from a byte that is not ASCII, of which `available` (at least 1) can be read.
  @inline(__always)
  init(_ bytes: UnsafeRawPointer, available: Int) {
    let lead = bytes.load(as: UInt8.self)
    var low: UInt8 = 0x80
    var high: UInt8 = 0xBF
    let needed: Int
    var value: UInt32
    switch lead {
    case 0xC2...0xDF:
      needed = 1
      value = UInt32(lead & 0x1F)
    case 0xE0...0xEF:
      needed = 2
      value = UInt32(lead & 0x0F)
      if lead == 0xE0 { low = 0xA0 } else if lead == 0xED { high = 0x9F }
    case 0xF0...0xF4:
      needed = 3
      value = UInt32(lead & 0x07)
      if lead == 0xF0 { low = 0x90 } else if lead == 0xF4 { high = 0x8F }
    default:
      needed = 0
      value = 0
    }
    var read = 0
    while read < needed && read &+ 1 < available {
      let byte = bytes.load(fromByteOffset: read &+ 1, as: UInt8.self)
      guard byte >= low && byte <= high else { break }
      low = 0x80
      high = 0xBF
      value = value &<< 6 | UInt32(byte & 0x3F)
      read &+= 1
    }
    length = read &+ 1
    isValid = needed > 0 && read == needed
    scalar = value
  }
}
