import Glibc

private struct Settings: Sendable {
  var names: [String] = []
  var number = 0
  var size = 0
  var isOn = false
  var wait = Duration.zero

  static let form = Form.record(
    Settings(),
    .field("names", "", .list(of: .text(atMost: 16), atMost: 8), \.names),
    .field("number", "", .integer(-5...5), \.number),
    .field("size", "", .bytes(0...4096), \.size),
    .field("on", "", .truth, \.isOn),
    .field("wait", "", .duration(.zero...(.seconds(9))), \.wait))
}

/// A file of any bytes is read as a whole or refused with a place in it, in words that do nothing to a terminal.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  let lines = bytes.count { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") } + bytes.count / 2 + 2
  do {
    let settings = try Settings.form.read(bytes, file: "f")
    require(settings.names.count <= 8 && settings.names.allSatisfy { (1...16).contains($0.utf8.count) }, "names")
    require((-5...5).contains(settings.number) && (0...4096).contains(settings.size), "numbers")
  } catch {
    require(!error.problems.isEmpty && error.problems.count <= Problems.limit, "no reason")
    for problem in error.problems {
      require((1...lines).contains(problem.place.line) && problem.place.column >= 1, "\(problem.place)")
      require(!problem.message.unicodeScalars.contains(where: VisibleText.isHidden), problem.message)
    }
  }
  return 0
}
