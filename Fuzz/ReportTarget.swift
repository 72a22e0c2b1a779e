import Glibc

/// Any bytes as a name in the report: it stays text in HTML, Markdown and on a terminal.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let text = String(decoding: UnsafeRawBufferPointer(start: data, count: count), as: UTF8.self)
  let shown = VisibleText.terminal(text, limit: .max)
  require(!shown.unicodeScalars.contains(where: VisibleText.isHidden), "something hides: \(Array(shown.utf8))")
  for limit in [0, 1, 7, 160] {
    let cut = VisibleText.terminal(text, limit: limit)
    // An escape is at most ten characters for one.
    require(cut.unicodeScalars.count <= 10 * max(1, limit), "not cut")
  }
  checkHTML(text, shown)
  checkMarkdown(text, shown)
  return 0
}

private func checkHTML(_ text: String, _ shown: String) {
  var output = HTMLOutput()
  output.text(text, limit: .max)
  var attribute = HTMLOutput()
  attribute.attribute(text, limit: .max)
  for bytes in [output.bytes, attribute.bytes] {
    let html = remove("</span>", from: remove("<span class=\"esc\">", from: String(decoding: bytes, as: UTF8.self)))
    require(!html.utf8.contains { "<>\"'`\n\r\0".utf8.contains($0) }, "markup: \(html)")
    require(unescaped(html).map { Array($0.utf8) == Array(shown.utf8) } == true, "another text: \(html)")
  }
}

private func checkMarkdown(_ text: String, _ shown: String) {
  let span = MarkdownText.code(text, limit: .max)
  require(!span.utf8.contains { "|\n\r".utf8.contains($0) }, "the cell ends: \(span)")
  if text.isEmpty { return }
  let scalars = Array(span.unicodeScalars)
  let fence = scalars.prefix { $0 == "`" }.count
  require(fence > 0 && scalars.count > 2 * fence, "no code: \(span)")
  var runs: [Int] = []
  var run = 0
  for scalar in scalars.dropFirst(fence) {
    if scalar == "`" {
      run += 1
    } else {
      if run > 0 { runs.append(run) }
      run = 0
    }
  }
  runs.append(run)
  require(runs.last == fence && runs.count(where: { $0 == fence }) == 1, "the code ends early: \(span)")

  let escaped = remove("<!-- -->", from: MarkdownText.escape(text, limit: .max))
  require(!escaped.utf8.contains { "<>[]*_`|~@:!\\\"\n\r".utf8.contains($0) }, "not escaped: \(escaped)")
  require(unescaped(escaped).map { Array($0.utf8) == Array(shown.utf8) } == true, "another text: \(escaped)")
}

private func remove(_ part: String, from text: String) -> String {
  var result = String.UnicodeScalarView()
  var rest = text.unicodeScalars[...]
  let length = part.unicodeScalars.count
  while let first = rest.first {
    if rest.starts(with: part.unicodeScalars) {
      rest = rest.dropFirst(length)
    } else {
      result.append(first)
      rest = rest.dropFirst()
    }
  }
  return String(result)
}

/// What character references mean; nil if an ampersand does not begin one of ours.
private func unescaped(_ text: String) -> String? {
  let named: [String: Unicode.Scalar] = ["amp": "&", "lt": "<", "gt": ">", "quot": "\""]
  var result = String.UnicodeScalarView()
  var rest = text.unicodeScalars[...]
  while let first = rest.popFirst() {
    guard first == "&" else {
      result.append(first)
      continue
    }
    guard let end = rest.firstIndex(of: ";") else { return nil }
    let reference = String(rest[..<end])
    rest = rest[rest.index(after: end)...]
    if let scalar = named[reference] {
      result.append(scalar)
    } else if reference.hasPrefix("#"), let scalar = UInt32(reference.dropFirst()).flatMap(Unicode.Scalar.init) {
      result.append(scalar)
    } else {
      return nil
    }
  }
  return String(result)
}
