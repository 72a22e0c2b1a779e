/// Lines of text of a fixed width, with a style for each piece; what a frame of the screen is made of.
public struct Canvas: Sendable, Equatable {
  public enum Style: Sendable {
    case plain, bold, dim, heading, warning, alarm
  }

  /// How to tell styles to a terminal.
  public enum Rendering: Sendable {
    /// Nothing but text: for files and pipes.
    case text
    /// Bold and reverse, no colours.
    case monochrome
    case colour
  }

  struct Span: Sendable, Equatable {
    var text: String
    var style: Style
  }

  public let width: Int
  private(set) var lines: [[Span]] = []

  init(width: Int) { self.width = max(1, width) }

  var count: Int { lines.count }

  /// Adds a line; what does not fit is cut.
  mutating func line(_ spans: (String, Style)...) {
    var left = width
    var line: [Span] = []
    for (text, style) in spans where left > 0 {
      let visible = String(Self.visible(text).prefix(left))
      left -= visible.unicodeScalars.count
      if !visible.isEmpty { line.append(Span(text: visible, style: style)) }
    }
    lines.append(line)
  }

  /// Adds empty lines until there are so many.
  mutating func fill(to count: Int) {
    while lines.count < count { lines.append([]) }
  }

  /// Puts `right` beside what this has, from column `at`.
  mutating func append(_ right: Canvas, at column: Int) {
    for (index, spans) in right.lines.enumerated() {
      if index == lines.count { lines.append([]) }
      let used = lines[index].reduce(0) { $0 + $1.text.unicodeScalars.count }
      lines[index].append(Span(text: String(repeating: " ", count: max(0, column - used)), style: .plain))
      lines[index] += spans
    }
  }

  mutating func append(_ below: Canvas) { lines += below.lines }

  /// The text alone, a line each, without blanks at their ends.
  public var text: String {
    lines.map { spans in
      var line = spans.map(\.text).joined()
      while line.hasSuffix(" ") { line.removeLast() }
      return line + "\n"
    }.joined()
  }

  /// Bytes that show this on a terminal from its upper left corner, over whatever was there, without flicker.
  public func frame(height: Int, _ rendering: Rendering) -> String {
    var frame = "\u{1b}[H"
    for (index, spans) in lines.prefix(height).enumerated() {
      if index > 0 { frame += "\r\n" }
      for span in spans { frame += Self.paint(span, width: width, rendering) }
      frame += "\u{1b}[K"
    }
    // Nothing behind the last line; but only where there is room for it, or the last line would go.
    return lines.count < height ? frame + "\r\n\u{1b}[J" : frame
  }

  private static func paint(_ span: Span, width: Int, _ rendering: Rendering) -> String {
    let code: String
    switch (rendering, span.style) {
    case (.text, _), (_, .plain): return span.text
    case (_, .bold): code = "1"
    case (_, .heading): code = "7"
    case (.monochrome, .dim): return span.text
    case (.monochrome, .warning), (.monochrome, .alarm): code = "1"
    case (.colour, .dim): code = "2"
    case (.colour, .warning): code = "33"
    case (.colour, .alarm): code = "1;31"
    }
    return "\u{1b}[\(code)m\(span.text)\u{1b}[0m"
  }

  /// One column a character, whatever somebody named a program.
  private static func visible(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: { !(" "..."~").contains($0) }) else { return text }
    return String(String.UnicodeScalarView(text.unicodeScalars.map { (" "..."~").contains($0) ? $0 : "?" }))
  }
}

extension String {
  /// To the right end of a column, or whole where it does not fit.
  func right(_ width: Int) -> String { String(repeating: " ", count: max(0, width - unicodeScalars.count)) + self }

  /// To the left end of a column; cut where it does not fit, with a mark.
  func left(_ width: Int) -> String {
    let count = unicodeScalars.count
    if count <= width { return self + String(repeating: " ", count: width - count) }
    return width > 1 ? prefix(width - 1) + "~" : String(prefix(max(0, width)))
  }
}
