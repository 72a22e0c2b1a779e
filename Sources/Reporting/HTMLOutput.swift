internal import Observation

/// Builds HTML. Markup is made of literals alone; everything else goes through `text` or `attribute`, so that a
/// name from a job cannot become part of the page, whatever it holds.
struct HTMLOutput {
  private(set) var bytes: [UInt8] = []

  /// Our own markup.
  mutating func markup(_ literal: StaticString) {
    literal.withUTF8Buffer { bytes += $0 }
  }

  /// Text for the content of an element. What hides is marked, as `\u{202E}` in a style of its own.
  mutating func text(_ text: String, limit: Int = 4096) { self.text(text, limit: limit, keep: .head) }

  mutating func text(_ text: String, limit: Int, keep: VisibleText.Keep) {
    var marked = false
    VisibleText.visit(
      text, limit: limit, keep: keep,
      plain: { scalar in
        if marked { markup("</span>") }
        marked = false
        escape(scalar)
      },
      hidden: { escaped in
        if !marked { markup("<span class=\"esc\">") }
        marked = true
        bytes += escaped.utf8
      })
    if marked { markup("</span>") }
  }

  /// Text for the value of an attribute that the caller has put in double quotes.
  mutating func attribute(_ text: String, limit: Int = 1024) {
    VisibleText.visit(
      text, limit: limit, keep: .head, plain: { escape($0) }, hidden: { bytes += $0.utf8 })
  }

  mutating func number(_ value: some BinaryInteger) {
    bytes += String(value).utf8
  }

  /// `<code>…</code>`, which the style sheet isolates from its surroundings' direction.
  mutating func code(_ text: String, limit: Int = 300) { code(text, limit: limit, keep: .head) }

  mutating func code(_ text: String, limit: Int, keep: VisibleText.Keep) {
    markup("<code>")
    self.text(text, limit: limit, keep: keep)
    markup("</code>")
  }

  /// A path with its last component set apart from the directory.
  mutating func path(_ path: String, limit: Int = 300) {
    markup("<code>")
    let scalars = path.unicodeScalars
    if let slash = scalars.lastIndex(of: "/"), scalars.index(after: slash) != scalars.endIndex {
      let tail = scalars.index(after: slash)
      markup("<span class=\"dir\">")
      text(String(scalars[..<tail]), limit: limit, keep: .tail)
      markup("</span>")
      text(String(scalars[tail...]), limit: limit)
    } else {
      text(path, limit: limit, keep: .tail)
    }
    markup("</code>")
  }

  private mutating func escape(_ scalar: Unicode.Scalar) {
    switch scalar {
    case "&": markup("&amp;")
    case "<": markup("&lt;")
    case ">": markup("&gt;")
    case "\"": markup("&quot;")
    case "'": markup("&#39;")
    case "`": markup("&#96;")
    default:
      if scalar.isASCII {
        bytes.append(UInt8(truncatingIfNeeded: scalar.value))
      } else {
        bytes += UTF8.encode(scalar) ?? .init()
      }
    }
  }
}

extension HTMLOutput {
  /// A cell of numbers, empty for nil.
  mutating func numberCell(_ text: String?) {
    markup("<td class=\"num\">")
    if let text { self.text(text) }
    markup("</td>")
  }

  mutating func cell(_ body: (inout HTMLOutput) -> Void) {
    markup("<td>")
    body(&self)
    markup("</td>")
  }

  /// The line under a table or list that was cut.
  mutating func more(_ count: Int, _ what: String) {
    guard count > 0 else { return }
    markup("<p class=\"more\">and ")
    text("\(Units.grouped(count)) more \(what)")
    markup(", see report.json</p>\n")
  }
}
