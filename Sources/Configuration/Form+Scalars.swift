internal import Observation

extension Form where Value == String {
  /// Text of at least one and at most `limit` bytes of UTF-8, without a zero.
  public static func text(atMost limit: Int = 4096) -> Form {
    Form(.text(atMost: limit)) { node, problems in
      guard case .scalar(let text, let isPlain) = node.content, !(isPlain && text.isEmpty) else {
        problems.add("has to be text, not \(node.kind)", at: node.place)
        return nil
      }
      guard !text.isEmpty, text.utf8.count <= limit, !text.utf8.contains(0) else {
        let fault =
          text.isEmpty ? "is empty" : text.utf8.contains(0) ? "holds a zero byte" : "is longer than \(limit) bytes"
        problems.add("the text \(fault)", at: node.place)
        return nil
      }
      return text
    }
  }
}

extension Form where Value == Int {
  public static func integer(_ range: ClosedRange<Int>) -> Form {
    Form(.integer(range)) { node, problems in
      guard case .scalar(let text, isPlain: true) = node.content, let number = decimal(text[...]) else {
        problems.add("has to be a whole number, not \(node.kind)", at: node.place)
        return nil
      }
      return within(range, number, shown: String(number), at: node.place, &problems)
    }
  }

  /// A number of bytes: `64K`, `250M`, `1G`, powers of 1,024.
  public static func bytes(_ range: ClosedRange<Int>) -> Form {
    Form(.text(pattern: "^[0-9]+[KMG]?$")) { node, problems in
      guard case .scalar(let text, _) = node.content,
        let count = scaled(text, ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30])
      else {
        problems.add("has to be a size such as 64K, 250M or 1G, not \(node.kind)", at: node.place)
        return nil
      }
      return within(range, count, shown: quoted(text), unit: " bytes", at: node.place, &problems)
    }
  }
}

extension Form where Value == Duration {
  /// A time: `500ms`, `30s`, `5m`, `2h`.
  public static func duration(_ range: ClosedRange<Duration>) -> Form {
    Form(.text(pattern: "^[0-9]+(ms|s|m|h)$")) { node, problems in
      let units = ["ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000]
      guard case .scalar(let text, _) = node.content, text.utf8.last.map({ !isDigit($0) }) == true,
        let milliseconds = scaled(text, units)
      else {
        problems.add("has to be a time such as 500ms, 30s or 5m, not \(node.kind)", at: node.place)
        return nil
      }
      return within(range, .milliseconds(milliseconds), shown: quoted(text), at: node.place, &problems)
    }
  }
}

extension Form where Value == Bool {
  /// `true` or `false`, without YAML 1.1's other words for them.
  public static var truth: Form {
    Form(.boolean) { node, problems in
      if case .scalar(let text, isPlain: true) = node.content {
        if text == "true" { return true }
        if text == "false" { return false }
      }
      problems.add("has to be true or false, not \(node.kind)", at: node.place)
      return nil
    }
  }
}

extension Form where Value: CaseIterable & RawRepresentable, Value.RawValue == String {
  /// One of the type's words.
  public static var word: Form {
    let words = Value.allCases.map(\.rawValue)
    return Form(.words(words)) { node, problems in
      guard case .scalar(let text, _) = node.content else {
        problems.add("has to be one of \(names(words)), not \(node.kind)", at: node.place)
        return nil
      }
      if let value = Value(rawValue: text) { return value }
      problems.add(unknown("word", text, among: words), at: node.place)
      return nil
    }
  }
}

extension Form where Value == ClosedRange<Int> {
  /// A number, or two with a dash between them: `443`, `8000-8010`.
  public static func integers(_ range: ClosedRange<Int>) -> Form {
    Form(.either(.integer(range), .text(pattern: "^[0-9]+-[0-9]+$"))) { node, problems in
      guard case .scalar(let text, let isPlain) = node.content,
        let bounds = Optional(text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)),
        bounds.count == 2 || isPlain, let first = decimal(bounds[0]), let last = decimal(bounds[bounds.count - 1])
      else {
        problems.add("has to be a number such as 443 or a range such as 8000-8010, not \(node.kind)", at: node.place)
        return nil
      }
      for bound in [first, last] {
        guard within(range, bound, shown: String(bound), at: node.place, &problems) != nil else { return nil }
      }
      guard first <= last else {
        problems.add("\(quoted(text)) ends before it begins", at: node.place)
        return nil
      }
      return first...last
    }
  }
}

/// nil, with a problem, if the value is outside of the range.
private func within<Value: Comparable>(
  _ range: ClosedRange<Value>, _ value: Value, shown: String, unit: String = "", at place: Place,
  _ problems: inout Problems
) -> Value? {
  if range.contains(value) { return value }
  problems.add("\(shown) is not between \(range.lowerBound) and \(range.upperBound)\(unit)", at: place)
  return nil
}

/// Digits alone, with a minus in front; no underscores, octal or hexadecimal numbers, which readers disagree about.
private func decimal(_ text: Substring) -> Int? {
  let digits = text.hasPrefix("-") ? text.dropFirst() : text
  guard !digits.isEmpty, digits.utf8.allSatisfy(isDigit),
    digits.utf8.count == 1 || digits.utf8.first != UInt8(ascii: "0")
  else { return nil }
  return Int(text)
}

/// A number and a unit.
private func scaled(_ text: String, _ units: [String: Int]) -> Int? {
  let unit = text.drop { $0.isASCII && $0.isNumber }
  guard let number = decimal(text[..<unit.startIndex]), let factor = unit.isEmpty ? 1 : units[String(unit)] else {
    return nil
  }
  let (result, overflow) = number.multipliedReportingOverflow(by: factor)
  return overflow ? nil : result
}
