/// The Huffman code of HTTP/2's headers: RFC 7541, 5.2 and appendix B. It is canonical, so the lengths say all.
enum HPACKHuffman {
  /// Bits of the code of each byte, and of the end-of-string symbol.
  private static let lengths: [UInt8] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28,
    28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6,
    12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15,
    5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20,
    22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22,
    23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26,
    27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
  ]
  private static let longest = 30

  /// By the length of a code: the first code, where its symbols begin in `symbols`, and how many there are.
  private static let groups: [(first: UInt32, place: Int, count: UInt32)] = {
    var groups: [(first: UInt32, place: Int, count: UInt32)] = []
    var code: UInt32 = 0
    var place = 0
    for length in 0...longest {
      code <<= 1
      let count = length == 0 ? 0 : lengths.count { Int($0) == length }
      groups.append((code, place, UInt32(count)))
      code += UInt32(count)
      place += count
    }
    return groups
  }()
  private static let symbols: [UInt16] = (UInt16(0)..<257).sorted {
    (lengths[Int($0)], $0) < (lengths[Int($1)], $1)
  }

  /// Calls `body` with each byte. Returns false if `bytes` are not of this code, or do not end as they have to.
  static func decode(_ bytes: UnsafeRawBufferPointer, _ body: (UInt8) -> Void) -> Bool {
    var code: UInt32 = 0
    var length = 0
    for byte in bytes {
      for bit in 0..<8 {
        code = code << 1 | UInt32(byte >> UInt8(7 - bit) & 1)
        length += 1
        let group = groups[length]
        if code >= group.first, code - group.first < group.count {
          let symbol = symbols[group.place + Int(code - group.first)]
          guard symbol < 256 else { return false }
          body(UInt8(symbol))
          code = 0
          length = 0
        } else if length == longest {
          return false
        }
      }
    }
    // What is left are the first bits of the end-of-string symbol: ones, fewer than a byte.
    return length < 8 && code == (1 << UInt32(length)) - 1
  }
}
