/// What a shell takes for one value.
struct ValueSpan {
  let first: Range<Int>
  /// What follows the quote that closes behind `first`: that quote stays, so that those left have their other halves.
  let rest: Range<Int>

  init(_ first: Range<Int>, rest: Range<Int>? = nil) {
    self.first = first
    self.rest = rest.flatMap { $0.isEmpty ? nil : $0 } ?? first.upperBound..<first.upperBound
  }

  var isEmpty: Bool { first.isEmpty && rest.isEmpty }
  var end: Int { max(first.upperBound, rest.upperBound) }
}

/// Which quote encloses an offset, asked for ascending offsets.
struct QuoteTracker {
  private var offset: Int
  private var quote: UInt8 = 0
  /// Of `$'…'`, in which a backslash escapes.
  private var isANSI = false

  init(from offset: Int) { self.offset = offset }

  mutating func quote(_ text: MaskText, at wanted: Int) -> UInt8 {
    while offset < wanted {
      let byte = text[offset]
      if byte == 0x5C && (quote != 0x27 || isANSI) {
        offset += 2
        continue
      }
      if quote == byte {
        quote = 0
      } else if quote == 0 && isQuote(byte) {
        quote = byte
        isANSI = text.opensANSI(at: offset)
      }
      offset += 1
    }
    return quote
  }
}

extension MaskText {
  /// Whether the quote at `offset` is that of `$'…'`.
  func opensANSI(at offset: Int) -> Bool {
    self[offset] == 0x27 && self[offset - 1] == 0x24 && self[offset - 2] != 0x5C
  }

  /// The end of a region that the quote `quote` encloses, 0 meaning that none does: its unescaped closing, or the end.
  func regionEnd(from start: Int, enclosedBy quote: UInt8, isANSI: Bool = false) -> Int {
    guard quote != 0 else { return upper }
    var i = start
    while i < upper && self[i] != quote {
      if self[i] == 0x5C && (quote == 0x22 || isANSI) { i += 1 }
      i += 1
    }
    return min(i, upper)
  }

  /// The end of what neither white space nor quotes nor operators end.
  func plainEnd(from start: Int) -> Int {
    var end = start
    while end < upper && !isSpace(self[end]) && !Self.plainEnds.contains(self[end]) {
      guard self[end] == 0x5C else {
        end += 1
        continue
      }
      let escaped = endOfEscapes(from: end)
      if isQuote(self[escaped]) { break }
      end = escaped
    }
    return end
  }

  private static let plainEnds = ByteSet("\"'`;|&()")
  private static let operators = ByteSet(";|&<>()`")
  /// What ends an element of a list or an object, in programs and data.
  private static let separators = ByteSet(",:]}")

  private func endOfEscapes(from start: Int) -> Int {
    var i = start
    while self[i] == 0x5C { i += 1 }
    return i
  }

  /// Behind the quotes that close a name at `start`, and what then may divide it from its value.
  func closingEnd(from start: Int) -> Int {
    var i = start
    while case let quote = endOfEscapes(from: i), isQuote(self[quote]) { i = quote + 1 }
    return i > start && [0x2C, 0x3A, 0x3D].contains(self[i]) ? i + 1 : i
  }

  /// A word without the quotes around it.
  func unquoted(_ word: Range<Int>) -> Range<Int> {
    var lower = word.lowerBound
    while lower < word.upperBound, isQuote(self[lower]) || self[lower] == 0x5C || self[lower] == 0x24 { lower += 1 }
    var upper = word.upperBound
    guard lower > word.lowerBound else { return word }
    while upper > lower, isQuote(self[upper - 1]) || self[upper - 1] == 0x5C { upper -= 1 }
    return lower..<upper
  }

  /// The value in a script that starts at `start`, where `quote` encloses it: a shell's word. Quotes inside belong to it;
  /// one that is not closed takes everything. An escaped quote at its start takes it to the next that is escaped alike.
  func value(from start: Int, enclosedBy quote: UInt8) -> ValueSpan {
    let opener = endOfEscapes(from: start)
    var from = start
    if opener > start, isQuote(self[opener]) { from = closing(of: start...opener, enclosedBy: quote).end }
    if quote == 0 { return ValueSpan(start..<wordEnd(from: from)) }
    let nested = nestedWord(from: from, enclosedBy: quote)
    return ValueSpan(start..<nested.first.upperBound, rest: nested.rest)
  }

  /// The value from `start` on of a word that is quoted from its own start on, as in `'--password=x'`; nil if it is not.
  /// - Parameters:
  ///   - offset: in the word, in front of `start`.
  ///   - quote: what encloses `offset`.
  func quotedValue(from start: Int, ofWordWith offset: Int, enclosedBy quote: UInt8) -> ValueSpan? {
    var word = offset
    while offset - word < SensitiveName.limit, word > lower, !isSpace(self[word - 1]), !isQuote(self[word - 1]) {
      word -= 1
    }
    let opener = self[word - 1]
    guard isQuote(opener) else { return nil }
    var escapes = word - 1
    while self[escapes - 1] == 0x5C { escapes -= 1 }
    if opener == quote, let again = reopening(before: word, from: start) {
      return ValueSpan(
        start..<again.lowerBound, rest: again.upperBound..<value(from: again.upperBound, enclosedBy: quote).end)
    }
    if opener == quote && escapes == word - 1 {
      let close = max(start, regionEnd(from: start, enclosedBy: quote, isANSI: opensANSI(at: word - 1)))
      guard close < upper, !Self.separators.contains(self[close + 1]) else { return ValueSpan(start..<close) }
      return ValueSpan(start..<close, rest: close + 1..<wordEnd(from: close + 1))
    }
    guard quote != 0 || escapes < word - 1 else { return nil }
    let close = closing(of: escapes...word - 1, from: start, enclosedBy: quote)
    guard close.end > close.start, !Self.separators.contains(self[close.end]) else {
      return ValueSpan(start..<close.start)
    }
    return ValueSpan(start..<close.start, rest: close.end..<value(from: close.end, enclosedBy: quote).end)
  }

  /// Where a quote within quotes of the same kind closes: `'\''` or `'"'"'` stands before `word`, and again there.
  private func reopening(before word: Int, from start: Int) -> Range<Int>? {
    let quote = self[word - 1]
    let count: Int
    if self[word - 2] == quote && self[word - 3] == 0x5C && self[word - 4] == quote {
      count = 4
    } else if self[word - 3] == quote && isQuote(self[word - 2]) && self[word - 4] == self[word - 2]
      && self[word - 5] == quote
    {
      count = 5
    } else {
      return nil
    }
    var i = start
    while i + count <= upper {
      if (0..<count).allSatisfy({ self[i + $0] == self[word - count + $0] }) { return i..<i + count }
      i += 1
    }
    return nil
  }

  /// Where the quote that `opener` ends with stands again, with as many backslashes; if it does not, where the quotes
  /// around it close, or the end.
  /// - Parameter start: the end of `opener`, or later.
  func closing(
    of opener: ClosedRange<Int>, from start: Int? = nil, enclosedBy enclosing: UInt8 = 0
  ) -> (start: Int, end: Int) {
    let quote = self[opener.upperBound]
    let escapes = opener.count - 1
    var i = start ?? opener.upperBound + 1
    var run = 0
    while i < upper {
      let byte = self[i]
      if byte == quote && run == escapes { return (i - escapes, i + 1) }
      if byte == enclosing && (byte == 0x27 || run & 1 == 0) { return (i, i) }
      run = byte == 0x5C ? run + 1 : 0
      i += 1
    }
    return (upper, upper)
  }

  /// The end of the word of a shell that starts at `start`.
  private func wordEnd(from start: Int) -> Int {
    var i = start
    while i < upper && !isSpace(self[i]) && !Self.operators.contains(self[i]) {
      if isQuote(self[i]) {
        i = regionEnd(from: i + 1, enclosedBy: self[i], isANSI: opensANSI(at: i)) + 1
      } else {
        i += self[i] == 0x5C ? 2 : 1
      }
    }
    return min(i, upper)
  }

  /// The end of the word that starts at `start` in a script that stands in quotes itself, for a shell's shell: its bytes
  /// are what is left when the quotes around it are undone, which may close and open again within the word, as in
  /// `'x --password='"$WORD"' y'`.
  private func nestedWord(from start: Int, enclosedBy quote: UInt8) -> ValueSpan {
    var outer = quote
    var close: Int?
    var inner: UInt8 = 0
    var isANSI = false
    var isEscaped = false
    var previous: UInt8 = 0
    var i = start
    while i < upper {
      var byte = self[i]
      var next = i + 1
      if outer == 0 {
        if isSpace(byte) || Self.operators.contains(byte) { break }
        if isQuote(byte) {
          outer = byte
          i = next
          continue
        }
      } else if byte == outer {
        if close == nil { close = i }
        outer = 0
        i = next
        continue
      }
      if byte == 0x5C && (outer == 0 || (outer == 0x22 && Self.escapable.contains(self[next]))) {
        byte = self[next]
        next += 1
      }
      if isEscaped {
        isEscaped = false
      } else if byte == 0x5C && (inner != 0x27 || isANSI) {
        isEscaped = true
      } else if inner != 0 {
        if byte == inner { inner = 0 }
      } else if isQuote(byte) {
        inner = byte
        isANSI = byte == 0x27 && previous == 0x24
      } else if outer == quote && (isSpace(byte) || Self.operators.contains(byte)) {
        break
      }
      previous = byte
      i = next
    }
    i = min(i, upper)
    guard let close, outer != quote else { return ValueSpan(start..<i) }
    return ValueSpan(start..<close, rest: close + 1..<max(close + 1, i))
  }

  /// What a backslash escapes in double quotes.
  private static let escapable = ByteSet("\"\\$`")
}
