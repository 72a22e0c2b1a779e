/// Finds what is secret in one text or argument after the other.
struct MaskScanner {
  let index: TokenIndex
  let patterns: [MaskPattern]
  /// Bytes that may be read from the start of the whole text.
  let limit: Int
  private(set) var ranges = MaskRanges()
  private var rules = CommandRules()

  // Of the argument at hand.
  private var quotes = QuoteTracker(from: 0)
  /// Values that a name or an address gave away end here.
  private var valueEnd = 0
  private var lastWordStart = -1
  private var firstSpace = Int.max
  private var isScript = false
  private var isHeader = false
  private var address = AddressScan()

  init(index: TokenIndex, patterns: [MaskPattern], limit: Int) {
    self.index = index
    self.patterns = patterns
    self.limit = limit
  }

  /// Looks at the next argument of a command.
  mutating func argument(_ text: MaskText, isCut: Bool) {
    let whole = text.lower..<text.upper
    let isNamed = rules.word(text, whole, into: &ranges)
    isScript = rules.isScript
    isHeader = rules.isHeader
    scan(text, isCut: isCut)
    if isNamed, lastWordStart >= text.lower, valueEnd == text.lower, text.end(ofName: text.lower) == text.upper {
      rules.judgeName(text, whole)
    }
  }

  /// Looks at a text that is no argument: a path, an address.
  mutating func text(_ text: MaskText, isCut: Bool) {
    isScript = false
    isHeader = false
    scan(text, isCut: isCut)
  }

  /// Masks the rest of a path's component that a cut left at its start.
  mutating func addHead(_ text: MaskText) {
    ranges.add(text.lower..<text.first(0x2F, from: text.lower))
  }

  private mutating func scan(_ text: MaskText, isCut: Bool) {
    quotes = QuoteTracker(from: text.lower)
    valueEnd = text.lower
    lastWordStart = -1
    firstSpace = .max
    address = AddressScan()
    var i = text.lower
    while let trigger = index.next(text, from: i, limit: limit) {
      i = trigger.offset + 1
      if trigger.startsWord { lastWordStart = trigger.offset }
      if trigger.group != 0, let found = index.match(trigger.group, text, at: trigger.offset) {
        ranges.add(found)
        i = max(i, found.upperBound)
        continue
      }
      switch text[trigger.offset] {
      case 0x3D: assignment(text, at: trigger.offset)
      case 0x3A:
        if text[i] == 0x2F && text[i + 1] == 0x2F {
          location(text, at: trigger.offset)
        } else {
          field(text, at: trigger.offset)
        }
      case 0x09...0x0D, 0x20:
        if firstSpace == .max {
          firstSpace = trigger.offset
          words(text)
        }
      default: break
      }
    }
    for pattern in patterns { pattern.findAll(text, isCut: isCut, into: &ranges) }
    if isCut {
      // Half a secret may have no shape to be known by, so the word that was cut goes as a whole.
      var start = text.upper
      while start > text.lower && !isSpace(text[start - 1]) { start -= 1 }
      ranges.add(start..<text.upper)
    }
  }

  private mutating func add(_ value: ValueSpan) {
    add(value.first)
    add(value.rest)
  }

  private mutating func add(_ range: Range<Int>) {
    guard !range.isEmpty else { return }
    ranges.add(range)
    valueEnd = max(valueEnd, range.upperBound)
  }

  /// Whether a sensitive word may have begun in the name that ends at `offset`.
  private func mayBeSensitive(_ offset: Int) -> Bool {
    offset >= valueEnd && lastWordStart >= 0 && offset - lastWordStart <= SensitiveName.limit + 8
  }

  // MARK: name=value

  private mutating func assignment(_ text: MaskText, at sign: Int) {
    guard mayBeSensitive(sign), text[sign + 1] != 0x3D else { return }
    var end = sign
    // "==", "!=", ":=" and "+=", spaces around the sign, and a name in quotes or brackets.
    while sign - end < 2 && [0x3D, 0x21, 0x3A, 0x2B, 0x3F].contains(text[end - 1]) { end -= 1 }
    let operatorStart = end
    while operatorStart - end < 4 && (text[end - 1] == 0x20 || text[end - 1] == 0x09) { end -= 1 }
    let isSpaced = end < operatorStart
    let unquoted = end
    while unquoted - end < 4 && [0x22, 0x27, 0x5C, 0x5D].contains(text[end - 1]) { end -= 1 }
    let name = text.start(ofName: end)..<end
    guard !name.isEmpty, SensitiveName.verdict(text, name) != .plain else { return }

    var start = sign + 1
    if isSpaced { while start - sign < 8 && (text[start] == 0x20 || text[start] == 0x09) { start += 1 } }
    let quote = quotes.quote(text, at: name.lowerBound)
    let before = text[name.lowerBound - 1]
    let isFirst = name.lowerBound == text.lower
    let isInWords = isScript || firstSpace < name.lowerBound
    let isNameQuoted = (end..<unquoted).contains { isQuote(text[$0]) }
    let signQuote = quotes.quote(text, at: sign)
    let value: ValueSpan
    if isNameQuoted, !isSpaced, signQuote != 0, signQuote != quote,
      let quoted = text.quotedValue(from: start, ofWordWith: sign, enclosedBy: signQuote)
    {
      // --password"=two words"
      value = quoted
    } else if isSpaced || (isFirst && isScript) || isSpace(before) {
      value = text.value(from: start, enclosedBy: signQuote)
    } else if isNameQuoted {
      let isWord = isInWords || isQuote(text[start]) || text[start] == 0x5C
      value =
        isWord
        ? text.value(from: start, enclosedBy: signQuote)
        : ValueSpan(start..<max(start, text.regionEnd(from: start, enclosedBy: signQuote)))
    } else {
      let quoted = text.quotedValue(from: start, ofWordWith: name.lowerBound, enclosedBy: quote)
      if before == 0x26 || before == 0x3F || before == 0x3B {
        let end = quoted?.first.upperBound ?? text.regionEnd(from: start, enclosedBy: quote)
        value = ValueSpan(start..<text.first(before == 0x3B ? 0x3B : 0x26, in: start..<max(start, end)))
      } else if let quoted {
        value = quoted
      } else if isFirst || !isInWords {
        value = ValueSpan(start..<max(start, text.regionEnd(from: start, enclosedBy: quote)))
      } else {
        value = text.value(from: start, enclosedBy: quote)
      }
    }
    guard !value.rest.isEmpty || !SensitiveName.isTrivial(text, value.first) else { return }
    add(value)
  }

  // MARK: "name": value, Name: value

  private mutating func field(_ text: MaskText, at colon: Int) {
    guard mayBeSensitive(colon) else { return }
    var end = colon
    while colon - end < 4 && [0x22, 0x27, 0x5C].contains(text[end - 1]) { end -= 1 }
    let isQuoted = end < colon
    let name = text.start(ofName: end)..<end
    guard !name.isEmpty, isQuoted || isSpace(text[colon + 1]) || (isHeader && name.lowerBound - text.lower <= 2) else {
      return
    }
    let isCookie = text.equals(max(name.lowerBound, end - 6)..<end, "cookie")
    guard isCookie || SensitiveName.verdict(text, name) == .strong else { return }
    var start = colon + 1
    while start - colon < 8 && (text[start] == 0x20 || text[start] == 0x09) { start += 1 }
    let quote = quotes.quote(text, at: isQuoted ? colon : name.lowerBound)
    if isQuoted {
      add(quotedValue(text, from: start, enclosedBy: quote))
      return
    }
    let isAuthorization = text.equals(max(name.lowerBound, end - 13)..<end, "authorization")
    if isAuthorization { start = schemeEnd(text, from: start) }
    let quoted = text.quotedValue(from: start, ofWordWith: name.lowerBound, enclosedBy: quote)
    let isFirst = name.lowerBound == text.lower || (quote != 0 && text[name.lowerBound - 1] == quote)
    if isAuthorization || isCookie || isHeader || (isFirst && !isScript) {
      let end = quoted?.first.upperBound ?? text.regionEnd(from: start, enclosedBy: quote)
      let stop = text.first(0x0A, in: start..<max(start, end))
      add(ValueSpan(start..<stop, rest: stop == end ? quoted?.rest : nil))
    } else {
      add(text.value(from: start, enclosedBy: quote))
    }
  }

  /// What follows the name of an authorization's scheme; the name tells nothing and helps who reads.
  private func schemeEnd(_ text: MaskText, from start: Int) -> Int {
    for scheme: StaticString in ["bearer ", "basic ", "token ", "digest ", "negotiate "]
    where text.starts(withAnyCase: scheme, at: start) { return start + scheme.utf8CodeUnitCount }
    return start
  }

  /// A value as in JSON: without its quotes, so that the rest stays JSON.
  private func quotedValue(_ text: MaskText, from start: Int, enclosedBy quote: UInt8) -> Range<Int> {
    var opener = start
    while text[opener] == 0x5C { opener += 1 }
    if isQuote(text[opener]), opener > start || text[opener] != quote {
      let stop =
        opener > start
        ? text.closing(of: start...opener).start : text.regionEnd(from: opener + 1, enclosedBy: text[opener])
      return opener + 1..<max(opener + 1, min(stop, text.upper))
    }
    if text[start] == 0x5B { return start..<min(text.first(0x5D, from: start) + 1, text.upper) }
    var stop = start
    while stop < text.upper, !isSpace(text[stop]), ![0x2C, 0x7D, 0x5D, 0x22, 0x27].contains(text[stop]) { stop += 1 }
    return start..<stop
  }

  // MARK: scheme://

  private mutating func location(_ text: MaskText, at colon: Int) {
    let quote = quotes.quote(text, at: colon)
    let found = address.scan(text, at: colon, quote: quote, into: &ranges)
    valueEnd = max(valueEnd, found)
  }

  // MARK: words

  /// Applies the rules of commands to the words of an argument: most arguments with spaces are scripts, and those that
  /// are not lose nothing by it. Quotes end words like spaces, as what they enclose may be a script too.
  private mutating func words(_ text: MaskText) {
    var rules = CommandRules()
    /// Of the command that goes on behind a quoted script.
    var outer: CommandRules?
    var quotes = QuoteTracker(from: text.lower)
    var i = text.lower
    while i < text.upper {
      let byte = text[i]
      let quote = quotes.quote(text, at: i)
      if quote == 0, let saved = outer {
        rules = saved
        outer = nil
      }
      if byte == 0x0A || [0x3B, 0x7C, 0x26, 0x28, 0x29].contains(byte) {
        if quote != 0 && outer == nil { outer = rules }
        rules = CommandRules()
        i += 1
        continue
      }
      if isSpace(byte) || byte == 0x3C || byte == 0x3E || byte == 0x7B || byte == 0x7D {
        i += 1
        continue
      }
      if byte == 0x5C && text[i + 1] == 0x0A {
        i += 2
        continue
      }
      guard rules.expectsValue else {
        i = word(text, at: i, enclosedBy: quote, &quotes, &rules)
        continue
      }
      let value = text.value(from: i, enclosedBy: quote)
      if !value.isEmpty {
        _ = rules.word(text, value.first, into: &ranges)
        ranges.add(value.rest)
      }
      i = max(value.end, i + 1)
    }
  }

  /// Shows the word at `offset` to the rules.
  /// - Returns: where to go on.
  private mutating func word(
    _ text: MaskText, at offset: Int, enclosedBy quote: UInt8, _ quotes: inout QuoteTracker, _ rules: inout CommandRules
  ) -> Int {
    var start = offset
    while [0x22, 0x27, 0x5C, 0x24, 0x60].contains(text[start]) { start += 1 }
    let isOpened = start > offset && isQuote(text[start - 1])
    let plainEnd = text.plainEnd(from: start)
    var end = plainEnd
    if text[start] == 0x2D, !isOpened, isQuote(text[end]) || text[end] == 0x5C {
      let dashes = text[start + 1] == 0x2D ? start + 2 : start + 1
      if end == dashes, isQuote(text[end]), case let nameEnd = text.end(ofName: end + 1), nameEnd > end + 1 {
        // Only the dashes are not in quotes: --"password".
        _ = rules.word(text, start..<end, into: &ranges)
        if text[nameEnd] != 0x3D { rules.judgeName(text, end + 1..<nameEnd) }
        return rules.expectsValue ? text.closingEnd(from: nameEnd) : nameEnd
      }
      // An option with a quoted value attached: -p'two words'.
      if dashes == start + 1 { end = max(end, text.value(from: start, enclosedBy: quote).end) }
    }
    let count = ranges.count
    if rules.word(text, start..<end, into: &ranges), text.end(ofName: start) == end {
      rules.judgeName(text, start..<end)
    }
    if isOpened, ranges.count > count, ranges.last?.upperBound == end,
      let more = text.quotedValue(from: end, ofWordWith: start, enclosedBy: quotes.quote(text, at: start))
    {
      // All in quotes: '-ptwo words'.
      ranges.add(more.first)
      ranges.add(more.rest)
      return max(more.end, end, offset + 1)
    }
    // What no rule took may be a script: -c"two words".
    if ranges.count == count { end = plainEnd }
    return max(rules.expectsValue ? text.closingEnd(from: end) : end, offset + 1)
  }
}

extension MaskText {
  /// The start of the name that ends at `end`, not further back than names are looked at.
  func start(ofName end: Int) -> Int {
    var start = end
    while end - start < SensitiveName.limit && isNameByte(self[start - 1]) { start -= 1 }
    return start
  }

  func end(ofName start: Int) -> Int {
    var end = start
    while isNameByte(self[end]) { end += 1 }
    return end
  }
}
