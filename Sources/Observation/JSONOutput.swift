/// Builds JSON. Structure comes from the callers, so that the order of keys is theirs; names from a job go through
/// `string`, which lets nothing out of its quotes.
package struct JSONOutput {
  package private(set) var bytes: [UInt8] = []
  private var needsComma = false

  package init() {}

  package mutating func object(_ key: StaticString? = nil, _ body: (inout JSONOutput) -> Void) {
    enclosed(key, "{", "}", body)
  }

  package mutating func array(_ key: StaticString? = nil, _ body: (inout JSONOutput) -> Void) {
    enclosed(key, "[", "]", body)
  }

  /// An array with one element a line: what a diff, a pager or grep wants of a long list.
  package mutating func lines<Element>(
    _ key: StaticString, _ elements: some Collection<Element>, _ body: (inout JSONOutput, Element) -> Void
  ) {
    array(key) { json in
      for element in elements {
        json.separate()
        json.bytes += "\n    ".utf8
        json.object { body(&$0, element) }
      }
      if !elements.isEmpty { json.bytes += "\n  ".utf8 }
    }
  }

  /// Puts the next member of the outermost object on a line of its own.
  package mutating func newLine() {
    separate()
    bytes += "\n  ".utf8
  }

  /// The line break in front of the brace that closes the outermost object.
  package mutating func lastLine() {
    bytes.append(UInt8(ascii: "\n"))
  }

  package mutating func endDocument() {
    bytes.append(UInt8(ascii: "\n"))
  }

  private mutating func enclosed(
    _ key: StaticString?, _ open: Unicode.Scalar, _ close: Unicode.Scalar, _ body: (inout JSONOutput) -> Void
  ) {
    self.key(key)
    bytes.append(UInt8(ascii: open))
    needsComma = false
    body(&self)
    bytes.append(UInt8(ascii: close))
    needsComma = true
  }

  private mutating func separate() {
    if needsComma { bytes.append(UInt8(ascii: ",")) }
    needsComma = false
  }

  private mutating func key(_ key: StaticString?) {
    separate()
    guard let key else { return }
    bytes.append(UInt8(ascii: "\""))
    key.withUTF8Buffer { bytes.append(contentsOf: $0) }
    bytes.append(UInt8(ascii: "\""))
    bytes.append(UInt8(ascii: ":"))
  }

  package mutating func member(_ key: StaticString? = nil, _ value: some BinaryInteger) {
    self.key(key)
    if let number = UInt64(exactly: value) { digits(number) } else { bytes += String(value).utf8 }
    needsComma = true
  }

  /// A report has tens of thousands of them.
  private mutating func digits(_ number: UInt64) {
    var rest = number
    let first = bytes.count
    repeat {
      bytes.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10))
      rest /= 10
    } while rest > 0
    bytes[first...].reverse()
  }

  package mutating func member(_ key: StaticString? = nil, _ value: Bool) {
    self.key(key)
    bytes += (value ? "true" : "false").utf8
    needsComma = true
  }

  package mutating func null(_ key: StaticString? = nil) {
    self.key(key)
    bytes += "null".utf8
    needsComma = true
  }

  package mutating func member(_ key: StaticString, orNull value: (some BinaryInteger)?) {
    if let value { member(key, value) } else { null(key) }
  }

  package mutating func member(_ key: StaticString, orNull value: Double?) {
    if let value { member(key, value) } else { null(key) }
  }

  package mutating func member(_ key: StaticString? = nil, _ value: String) {
    self.key(key)
    string(value)
    needsComma = true
  }

  /// Rounded to three digits behind the point; null if it is not a number.
  package mutating func member(_ key: StaticString? = nil, _ value: Double) {
    guard value.isFinite else { return null(key) }
    self.key(key)
    let rounded = (value * 1000).rounded() / 1000
    bytes += (rounded.isFinite ? rounded : value).description.utf8
    needsComma = true
  }

  /// A member whose key is made at run time: a name of ours that comes as a string, such as that of a map.
  package mutating func member(named key: String, _ value: some BinaryInteger) {
    self.key(named: key)
    member(nil, value)
  }

  package mutating func member(named key: String, _ value: String?) {
    self.key(named: key)
    if let value { member(nil, value) } else { null(nil) }
  }

  /// Likewise of an object.
  package mutating func object(named key: String, _ body: (inout JSONOutput) -> Void) {
    self.key(named: key)
    object(nil, body)
  }

  private mutating func key(named key: String) {
    separate()
    string(key)
    bytes.append(UInt8(ascii: ":"))
  }

  /// Quoted; control characters and those that reorder or hide text are escaped, so that the file can be
  /// looked at with `cat`. A parser gets the same string either way.
  private mutating func string(_ value: String) {
    bytes.append(UInt8(ascii: "\""))
    if !appendPlain(value) { appendEscaped(value) }
    bytes.append(UInt8(ascii: "\""))
  }

  /// False if there is anything in it that has to be escaped or looked at: in nearly all there is not.
  private mutating func appendPlain(_ value: String) -> Bool {
    var value = value
    return value.withUTF8 { text in
      for byte in text
      where !(0x20..<0x7f).contains(byte) || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
        return false
      }
      bytes.append(contentsOf: text)
      return true
    }
  }

  private mutating func appendEscaped(_ value: String) {
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\"": bytes += "\\\"".utf8
      case "\\": bytes += "\\\\".utf8
      case "\n": bytes += "\\n".utf8
      case "\t": bytes += "\\t".utf8
      case "\r": bytes += "\\r".utf8
      case _ where VisibleText.isHidden(scalar):
        for unit in UTF16.encode(scalar) ?? .init() {
          let digits = String(unit, radix: 16)
          bytes += "\\u".utf8
          bytes += String(repeating: "0", count: 4 - digits.utf8.count).utf8
          bytes += digits.utf8
        }
      default: bytes += UTF8.encode(scalar) ?? .init()
      }
    }
  }
}
