import Observation
import Testing

@testable import Reporting

@Suite("Names from the job in every form of the report")
struct EscapingTests {
  @Test(
    "what hides is written out",
    arguments: [
      ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
      ("\u{1B}[31m", "\\u{1B}[31m"),
      ("x\u{202E}y", "x\\u{202E}y"),
      ("\u{200B}\u{FEFF}", "\\u{200B}\\u{FEFF}"),
      ("\u{9B}2J\u{7F}\u{0}", "\\u{9B}2J\\u{7F}\\u{0}"),
      ("\u{A0}\u{3164}\u{2800}\u{E0041}", "\\u{A0}\\u{3164}\\u{2800}\\u{E0041}"),
      ("\u{FE0F}\u{AD}", "\\u{FE0F}\\u{AD}"),
      ("e\u{301} naïve 日本語 🐦", "e\u{301} naïve 日本語 🐦"),
    ])
  func visible(text: String, expected: String) {
    #expect(VisibleText.terminal(text) == expected)
  }

  @Test("a text that is cut says so, at the end that went")
  func cut() {
    #expect(VisibleText.terminal("abcdef", limit: 6) == "abcdef")
    #expect(VisibleText.terminal("abcdefg", limit: 6) == "abcde…")
    var tail = ""
    VisibleText.visit(
      "abcdefg", limit: 4, keep: .tail, plain: { tail.unicodeScalars.append($0) }, hidden: { tail += $0 })
    #expect(tail == "…efg")
    #expect(VisibleText.terminal("äöü", limit: 3) == "äöü")
    #expect(VisibleText.terminal("abc", limit: 0) == "…")
  }

  @Test(
    "HTML text and attributes",
    arguments: [
      ("<b>&\"'`", "&lt;b&gt;&amp;&quot;&#39;&#96;"),
      ("</script>", "&lt;/script&gt;"),
      ("a\u{202E}\nb", "a<span class=\"esc\">\\u{202E}\\n</span>b"),
    ])
  func html(text: String, expected: String) {
    var output = HTMLOutput()
    output.text(text)
    #expect(output.bytes.text == expected)
    var attribute = HTMLOutput()
    attribute.attribute(text)
    #expect(!attribute.bytes.text.contains { "<>\"'`".contains($0) })
  }

  @Test("a hostile name adds no element to the page", arguments: Hostile.names)
  func page(text: String) {
    let hostile = HTMLReport.write(Sample.input(named: text)).text
    let plain = HTMLReport.write(Sample.input(named: "plain")).text
    #expect(tags(in: hostile).subtracting(tags(in: plain)).isEmpty)
    #expect(tags(in: plain).subtracting(tags(in: hostile)).isEmpty)
  }

  /// All tags with their attributes but the marks of hidden characters and the parts of a path. Each has its count
  /// in front: rows are sorted by name, so their order tells nothing.
  private func tags(in page: String) -> Set<String> {
    var tags: [String: Int] = [:]
    var rest = page.unicodeScalars[...]
    while let open = rest.firstIndex(of: "<") {
      rest = rest[open...]
      guard let close = rest.firstIndex(of: ">") else { break }
      let tag = String(rest[...close])
      rest = rest[close...]
      let isMark = ["esc", "dir", "args", "tail"].contains { tag == "<span class=\"\($0)\">" } || tag == "</span>"
      if !isMark { tags[tag, default: 0] += 1 }
    }
    return Set(tags.map { "\($0.value) \($0.key)" })
  }

  @Test("a code span holds any text", arguments: Hostile.names)
  func codeSpan(text: String) throws {
    let span = MarkdownText.code(text)
    #expect(!span.contains { $0.isNewline })
    #expect(!span.unicodeScalars.contains("|"))
    let fence = span.prefix { $0 == "`" }
    #expect(!fence.isEmpty)
    // The first run of exactly as many backticks must be the one at the end.
    var runs: [Int] = []
    var run = 0
    for scalar in span.unicodeScalars.dropFirst(fence.count) {
      if scalar == "`" {
        run += 1
      } else {
        if run > 0 { runs.append(run) }
        run = 0
      }
    }
    if run > 0 { runs.append(run) }
    #expect(runs.last == fence.count)
    #expect(runs.filter { $0 == fence.count }.count == 1)
  }

  @Test(
    "code spans with backticks, spaces and pipes",
    arguments: [
      ("a", "`a`"), ("a`b", "``a`b``"), ("`a", "`` `a ``"), (" a ", "`  a  `"), ("a|b", "`a\\u{7C}b`"), ("", "–"),
      ("``", "``` `` ```"),
    ])
  func codeSpanForms(text: String, expected: String) {
    #expect(MarkdownText.code(text) == expected)
  }

  @Test("a sentence with foreign words has nothing that Markdown interprets", arguments: Hostile.names)
  func sentence(text: String) {
    let escaped = MarkdownText.escape(text)
    let rest = escaped.replacing(reference: "<!-- -->")
    #expect(!rest.contains { "<>[]*_`|~@:!\\\"".contains($0) })
    #expect(!rest.contains { $0.isNewline })
  }

  @Test("a block's fence is longer than any in it")
  func block() {
    let block = MarkdownText.block(["a ```` b"])
    #expect(block == "`````text\na ```` b\n`````\n")
  }

  @Test("hostile names leave the structure of the Markdown alone", arguments: Hostile.names)
  func markdownStructure(text: String) {
    let hostile = MarkdownReport.write(Sample.input(named: text)).text
    let plain = MarkdownReport.write(Sample.input(named: "plain")).text
    let hostileLines = hostile.split(separator: "\n", omittingEmptySubsequences: false)
    let plainLines = plain.split(separator: "\n", omittingEmptySubsequences: false)
    #expect(hostileLines.count == plainLines.count)
    for (a, b) in zip(hostileLines, plainLines) {
      if b.hasPrefix("|") { #expect(a.count { $0 == "|" } == b.count { $0 == "|" }) }
      if b.hasPrefix("#") || b.hasPrefix("<") { #expect(a == b) }
    }
  }

  @Test("the summary on the terminal obeys nobody else", arguments: Hostile.names)
  func terminal(text: String) {
    let plain = TerminalSummary.write(Sample.input(named: text), reportDirectory: text, colour: false).text
    for scalar in plain.unicodeScalars where scalar != "\n" { #expect(!VisibleText.isHidden(scalar)) }
    let lines = plain.split(separator: "\n")
    #expect(lines.count <= 25)
    let coloured = TerminalSummary.write(Sample.input(named: text), reportDirectory: text, colour: true).text
    var bare = coloured
    for code in ["1", "2", "0", "1;32", "1;33", "1;31", "1;35"] { bare = bare.replacing(reference: "\u{1B}[\(code)m") }
    #expect(bare == plain)
  }

  @Test("report.json means the same names, with nothing hidden in it", arguments: Hostile.names)
  func json(text: String) throws {
    let bytes = JSONReport.write(Sample.input(named: text))
    for scalar in bytes.text.unicodeScalars where scalar != "\n" { #expect(!VisibleText.isHidden(scalar)) }
    let report = try StrictJSON.parse(bytes)
    #expect(report["job"]?["command"]?.array?.last?.string == text)
    #expect(report["files"]?.array?.first?["path"]?.string == "/work/" + text)
  }
}

extension String {
  /// Without any occurrence of a part. Foundation would have this.
  func replacing(reference part: String) -> String {
    var result = ""
    var rest = unicodeScalars[...]
    while !rest.isEmpty {
      if rest.starts(with: part.unicodeScalars) {
        rest = rest.dropFirst(part.unicodeScalars.count)
      } else if let first = rest.popFirst() {
        result.unicodeScalars.append(first)
      }
    }
    return result
  }
}
