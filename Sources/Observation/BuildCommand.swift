/// What a step of a build executes, to be compared with what is said of it.
public struct BuildCommand {
  /// Of a shell's script, and as a JSON array without spaces.
  private let parts: [[UInt8]]
  private let list: [UInt8]
  private let variable: (String) -> [UInt8]?

  /// - Parameter variable: of its environment; what it does not know may stand for anything
  public init(_ arguments: [[UInt8]], variable: @escaping (String) -> [UInt8]? = { _ in nil }) {
    self.variable = variable
    let isScript = arguments.count >= 3 && arguments[arguments.count - 2] == Array("-c".utf8)
    parts = isScript ? Self.parts(of: arguments[arguments.count - 1], variable) : []
    let words = arguments.map { "\"" + String(decoding: $0, as: UTF8.self) + "\"" }
    list = Array(("[" + words.joined(separator: ",") + "]").utf8)
  }

  /// Whether this is what is executed. In what is said, `$NAME` and `${…}` of the script may have their values; options of
  /// the instruction come first.
  public func matches(_ said: String) -> Bool {
    var said = Array(said.utf8)[...]
    while said.starts(with: "--".utf8), let end = said.firstIndex(of: UInt8(ascii: " ")) {
      said = said[(end + 1)...].drop { $0 == UInt8(ascii: " ") }
    }
    if said.first == UInt8(ascii: "[") {
      return said.filter { $0 != UInt8(ascii: " ") } == list.filter { $0 != UInt8(ascii: " ") }
    }
    if Self.matches(said, parts) { return true }
    // Only variables that the build knows have their values there: not those that the runtime sets, such as HOME.
    let whole = Self.parts(of: Array(said), variable, leavesUnknown: true)[0]
    return Self.matches(whole[...], parts)
  }

  /// The script without its variables: what stands before, between and behind those whose values are not known. All of it, if
  /// these are left as they are.
  private static func parts(
    of script: [UInt8], _ variable: (String) -> [UInt8]?, leavesUnknown: Bool = false
  ) -> [[UInt8]] {
    var parts: [[UInt8]] = [[]]
    var start = 0
    var at = 0
    while at < script.count {
      guard script[at] == UInt8(ascii: "$"), at + 1 < script.count else {
        at += 1
        continue
      }
      var end = at + 1
      if script[end] == UInt8(ascii: "{") {
        guard let close = script[end...].firstIndex(of: UInt8(ascii: "}")) else {
          at += 1
          continue
        }
        end = close + 1
      } else {
        while end < script.count, isNamePart(script[end]) { end += 1 }
        if end == at + 1 {
          at += 1
          continue
        }
      }
      parts[parts.count - 1] += script[start..<at]
      let name = script[(at + 1)..<end].filter { isNamePart($0) }
      if name.count + (script[at + 1] == UInt8(ascii: "{") ? 3 : 1) == end - at,
        let value = variable(String(decoding: name, as: UTF8.self))
      {
        parts[parts.count - 1] += value
      } else if leavesUnknown {
        parts[parts.count - 1] += script[at..<end]
      } else {
        parts.append([])
      }
      start = end
      at = end
    }
    parts[parts.count - 1] += script[start...]
    return parts
  }

  private static func isNamePart(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: "_") || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
      || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
  }

  /// Whether the text is these parts with anything in between: the first at its beginning, the last at its end.
  private static func matches(_ text: ArraySlice<UInt8>, _ parts: [[UInt8]]) -> Bool {
    guard let first = parts.first, let last = parts.last, text.starts(with: first) else { return false }
    if parts.count == 1 { return text.count == first.count }
    guard text.count >= first.count + last.count, text.suffix(last.count).elementsEqual(last) else { return false }
    var rest = text.dropFirst(first.count).dropLast(last.count)
    for part in parts.dropFirst().dropLast() where !part.isEmpty {
      guard let end = find(part, in: rest) else { return false }
      rest = rest[end...]
    }
    return true
  }

  /// Where the first occurrence ends.
  private static func find(_ part: [UInt8], in text: ArraySlice<UInt8>) -> Int? {
    guard text.count >= part.count else { return nil }
    for at in text.startIndex...(text.endIndex - part.count) where text[at...].starts(with: part) {
      return at + part.count
    }
    return nil
  }
}
