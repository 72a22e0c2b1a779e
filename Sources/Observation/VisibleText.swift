/// Makes what a job named harmless to look at.
///
/// Names come from whoever wrote the job: they can hold terminal escapes, right-to-left overrides that make
/// `gpj.exe` read as `exe.jpg`, and characters that have no width at all. Here every scalar that does not show
/// itself as what it is becomes `\n`, `\t`, `\r` or `\u{202E}`. That is for eyes: the exact bytes are in report.json.
public enum VisibleText {
  /// What stays when a text is too long; `ends` loses its middle.
  package enum Keep { case head, tail, ends }

  /// The text with everything that hides written out; safe for a terminal.
  public static func terminal(_ text: String, limit: Int = 4096) -> String {
    terminal(text, limit: limit, keep: .head)
  }

  package static func terminal(_ text: String, limit: Int, keep: Keep) -> String {
    var result = ""
    visit(text, limit: limit, keep: keep, plain: { result.unicodeScalars.append($0) }, hidden: { result += $0 })
    return result
  }

  /// Hands out the scalars of `text` that can be shown as they are and, in their place, the escapes of those that
  /// cannot. Beyond `limit` scalars an ellipsis stands for what is left out.
  package static func visit(
    _ text: String, limit: Int, keep: Keep, plain: (Unicode.Scalar) -> Void, hidden: (String) -> Void
  ) {
    func show(_ scalars: some Sequence<Unicode.Scalar>) {
      for scalar in scalars {
        if isHidden(scalar) { hidden(escape(scalar)) } else { plain(scalar) }
      }
    }
    let scalars = text.unicodeScalars
    // A string of at most `limit` bytes has no more scalars than that; most are, and need no counting.
    if text.utf8.count <= limit || scalars.count <= limit { return show(scalars) }
    let kept = max(0, limit - 1)
    let tail =
      switch keep {
      case .head: 0
      case .tail: kept
      case .ends: kept / 3
      }
    show(scalars.prefix(kept - tail))
    plain("…")
    show(scalars.suffix(tail))
  }

  /// Whether a reader cannot tell from looking that this scalar is there, or what it does.
  package static func isHidden(_ scalar: Unicode.Scalar) -> Bool {
    let value = scalar.value
    if value < 0x7f { return value < 0x20 }
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .spaceSeparator, .surrogate, .privateUse, .unassigned:
      return true
    default:
      // U+2800 is a Braille cell without dots: a blank that is no space.
      return value == 0x2800 || scalar.properties.isDefaultIgnorableCodePoint
    }
  }

  package static func escape(_ scalar: Unicode.Scalar) -> String {
    switch scalar {
    case "\n": "\\n"
    case "\t": "\\t"
    case "\r": "\\r"
    default: "\\u{\(String(scalar.value, radix: 16, uppercase: true))}"
    }
  }
}
