internal import Observation

/// Text from a job inside Markdown: always in code, where nothing is interpreted.
///
/// GitHub turns much of plain text into something else: emphasis, links, bare addresses, `@mentions`, `#123`,
/// `:emoji:`. None of that happens in a code span, whose only delimiter is a run of backticks of its own length.
public enum MarkdownText {
  /// A code span. A pipe would end the table cell around it, whatever stands before it, and is written as
  /// `\u{7C}`, as are all characters that hide; see ``VisibleText``.
  public static func code(_ text: String, limit: Int = 160) -> String { code(text, limit: limit, keep: .head) }

  static func code(_ text: String, limit: Int, keep: VisibleText.Keep) -> String {
    let content = visible(text, limit: limit, keep: keep)
    if content.isEmpty { return "–" }
    let fence = String(repeating: "`", count: longestRun(of: "`", in: content) + 1)
    // One space at either end is stripped, and only if both have one.
    let first = content.unicodeScalars.first
    let last = content.unicodeScalars.last
    let needsSpace = first == "`" || last == "`" || (first == " " && last == " ")
    return needsSpace ? "\(fence) \(content) \(fence)" : fence + content + fence
  }

  /// A fenced block of lines that hold text from a job. Each line must be passed through `line` before.
  static func block(_ lines: [String]) -> String {
    let longest = lines.reduce(0) { max($0, longestRun(of: "`", in: $1)) }
    let fence = String(repeating: "`", count: max(3, longest + 1))
    return "\(fence)text\n\(lines.joined(separator: "\n"))\n\(fence)\n"
  }

  /// Text for one line of a block; its middle goes if it is too long.
  static func line(_ text: String, limit: Int) -> String { VisibleText.terminal(text, limit: limit, keep: .ends) }

  private static func visible(_ text: String, limit: Int, keep: VisibleText.Keep) -> String {
    var result = ""
    VisibleText.visit(
      text, limit: limit, keep: keep,
      plain: { if $0 == "|" { result += "\\u{7C}" } else { result.unicodeScalars.append($0) } },
      hidden: { result += $0 })
    return result
  }

  private static func longestRun(of scalar: Unicode.Scalar, in text: String) -> Int {
    var longest = 0
    var run = 0
    for candidate in text.unicodeScalars {
      run = candidate == scalar ? run + 1 : 0
      longest = max(longest, run)
    }
    return longest
  }

  /// Our own sentence with foreign words in it, such as a reason from the kernel: every ASCII character that
  /// means something in Markdown becomes a character reference, which never does. `@` and `://` would be linked
  /// after references are resolved and are kept apart by an empty comment.
  public static func escape(_ text: String, limit: Int = 2000) -> String {
    var result = ""
    func append(_ scalar: Unicode.Scalar) {
      switch scalar {
      case "a"..."z", "A"..."Z", "0"..."9", " ", ",", ".", "-", "/", "(", ")", "'": result.unicodeScalars.append(scalar)
      case "@", ":": result += "&#\(scalar.value);<!-- -->"
      case _ where scalar.isASCII: result += "&#\(scalar.value);"
      default: result.unicodeScalars.append(scalar)
      }
    }
    VisibleText.visit(
      text, limit: limit, keep: .head, plain: append, hidden: { $0.unicodeScalars.forEach(append) })
    return result
  }
}
