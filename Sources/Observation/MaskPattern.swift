/// A secret that the user names: a literal, or a glob in which `*` stands for any run of bytes without white space and `?`
/// for any one byte.
///
/// It is looked for anywhere in a text and matches as much as it can. It never matches the mask itself.
struct MaskPattern: Sendable {
  /// Literal stretches between the stars; 256 is `?`.
  private let segments: [[UInt16]]
  private let startsWithStar: Bool
  private let endsWithStar: Bool

  /// Literal bytes that a pattern needs at least: with fewer it would mask everything.
  static let minimumLiteral = 2

  init?(_ pattern: String) {
    let units = pattern.utf8.map { $0 == UInt8(ascii: "?") ? 256 : UInt16($0) }
    guard units.filter({ $0 != 256 && $0 != 0x2A }).count >= Self.minimumLiteral, !units.contains(0) else { return nil }
    segments = units.split(separator: 0x2A).map(Array.init)
    startsWithStar = units.first == 0x2A
    endsWithStar = units.last == 0x2A
  }

  /// Appends all matches. In a text whose end is cut off, the start of a match that the cut interrupts is one.
  func findAll(_ text: MaskText, isCut: Bool, into ranges: inout MaskRanges) {
    var i = text.lower
    let head = segments[0]
    while i < text.upper {
      let fits = matches(head, text, i)
      guard fits != .no else {
        i += 1
        continue
      }
      if fits == .interrupted {
        if isCut { ranges.add(start(text, i)..<text.upper) }
        i += 1
        continue
      }
      guard let end = rest(text, from: i + head.count, isCut: isCut) else {
        // What the other segments did not find from here they will not find from a later start before the next space.
        i = runEnd(text, i + 1)
        continue
      }
      ranges.add(start(text, i)..<end)
      i = max(end, i + 1)
    }
  }

  private enum Fit { case yes, no, interrupted }

  private func matches(_ segment: [UInt16], _ text: MaskText, _ offset: Int) -> Fit {
    for i in 0..<segment.count {
      guard offset + i < text.upper else { return .interrupted }
      let byte = text[offset + i]
      guard byte != 0x2A, segment[i] == 256 || segment[i] == UInt16(byte) else { return .no }
    }
    return .yes
  }

  /// The end of the match whose first segment ends at `offset`.
  private func rest(_ text: MaskText, from offset: Int, isCut: Bool) -> Int? {
    var at = offset
    for (number, segment) in segments.enumerated().dropFirst() {
      let last = runEnd(text, at)
      var found: Int?
      var i = at
      while i <= last {
        let fits = matches(segment, text, i)
        if fits == .yes {
          found = i + segment.count
          // Of the last segment, the last place: rather too much than half a secret.
          if number < segments.count - 1 { break }
        } else if fits == .interrupted {
          if isCut { return text.upper }
          break
        }
        i += 1
      }
      guard let found else { return isCut && last == text.upper ? text.upper : nil }
      at = found
    }
    return endsWithStar ? runEnd(text, at) : at
  }

  private func runEnd(_ text: MaskText, _ offset: Int) -> Int {
    var i = offset
    while i < text.upper && !isSpace(text[i]) && text[i] != 0x2A { i += 1 }
    return i
  }

  private func start(_ text: MaskText, _ offset: Int) -> Int {
    guard startsWithStar else { return offset }
    var i = offset
    while i > text.lower && !isSpace(text[i - 1]) && text[i - 1] != 0x2A { i -= 1 }
    return i
  }
}

/// Stretches of a text that are to be masked, in any order. Allocates with the first one only.
struct MaskRanges {
  private var ranges: [Range<Int>] = []

  var isEmpty: Bool { ranges.isEmpty }
  var count: Int { ranges.count }
  /// The one that was added last.
  var last: Range<Int>? { ranges.last }

  mutating func add(_ range: Range<Int>) {
    if !range.isEmpty { ranges.append(range) }
  }

  mutating func removeAll() { ranges.removeAll(keepingCapacity: true) }

  /// In order; those that meet or overlap are one.
  func merged() -> [Range<Int>] {
    var out: [Range<Int>] = []
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if let last = out.last, range.lowerBound <= last.upperBound {
        out[out.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
      } else {
        out.append(range)
      }
    }
    return out
  }
}
