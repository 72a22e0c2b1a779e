/// JSON (RFC 8259) that came from elsewhere, as values. Total: any bytes give a value or nil, and no more of anything
/// than the limits allow.
///
/// ```swift
/// guard let request = JSONValue(parsing: line), let command = request["command"]?.text else { return refuse() }
/// ```
public enum JSONValue: Sendable, Equatable {
  case null
  case bool(Bool)
  /// A number without a fraction or exponent that fits 64 bits; negative ones have `isNegative`.
  case integer(magnitude: UInt64, isNegative: Bool)
  /// Any other number, as it stands there.
  case number(String)
  /// With escapes resolved: UTF-8, as text that is not is no JSON. A lone surrogate becomes U+FFFD.
  case string([UInt8])
  case array([JSONValue])
  /// In the order of the text; of members with the same name the first counts.
  case object([(name: [UInt8], value: JSONValue)])

  /// Parses one value with nothing but white space around it.
  ///
  /// - Parameters:
  ///   - depth: how deep arrays and objects may be nested.
  ///   - values: how many values there may be in all.
  public init?(parsing bytes: some Collection<UInt8>, depth: Int = 16, values: Int = 65_536) {
    let parsed = Array(bytes).withUnsafeBytes { bytes -> JSONValue? in
      guard String(validating: bytes, as: UTF8.self) != nil else { return nil }
      var parser = JSONParser(bytes: bytes, values: values)
      return parser.document(depth: depth)
    }
    guard let parsed else { return nil }
    self = parsed
  }

  /// A member of an object; nil for anything else.
  public subscript(name: StaticString) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    return name.withUTF8Buffer { name in members.first { $0.name.elementsEqual(name) }?.value }
  }

  public var bytes: [UInt8]? { if case .string(let bytes) = self { bytes } else { nil } }
  public var text: String? { bytes.map { String(decoding: $0, as: UTF8.self) } }
  public var array: [JSONValue]? { if case .array(let elements) = self { elements } else { nil } }
  public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }

  public var unsigned: UInt64? {
    guard case .integer(let magnitude, let isNegative) = self, !isNegative || magnitude == 0 else { return nil }
    return magnitude
  }

  public var signed: Int64? {
    guard case .integer(let magnitude, let isNegative) = self else { return nil }
    if !isNegative { return Int64(exactly: magnitude) }
    return magnitude <= UInt64(Int64.max) + 1 ? Int64(truncatingIfNeeded: 0 &- magnitude) : nil
  }

  public static func == (a: JSONValue, b: JSONValue) -> Bool {
    switch (a, b) {
    case (.null, .null): true
    case (.bool(let a), .bool(let b)): a == b
    case (.integer(let a, let aSign), .integer(let b, let bSign)): a == b && aSign == bSign
    case (.number(let a), .number(let b)): a == b
    case (.string(let a), .string(let b)): a == b
    case (.array(let a), .array(let b)): a == b
    case (.object(let a), .object(let b)): a.elementsEqual(b) { $0.name == $1.name && $0.value == $1.value }
    default: false
    }
  }
}

private struct JSONParser {
  let bytes: UnsafeRawBufferPointer
  /// How many more there may be.
  var values: Int
  private var at = 0

  init(bytes: UnsafeRawBufferPointer, values: Int) {
    self.bytes = bytes
    self.values = values
  }

  mutating func document(depth: Int) -> JSONValue? {
    guard let value = value(depth: depth) else { return nil }
    skipSpace()
    return at == bytes.count ? value : nil
  }

  private var next: UInt8? { at < bytes.count ? bytes[at] : nil }

  private mutating func skipSpace() {
    while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { at += 1 }
  }

  private mutating func take(_ byte: UInt8) -> Bool {
    guard next == byte else { return false }
    at += 1
    return true
  }

  private mutating func take(_ word: StaticString) -> Bool {
    let matches = word.withUTF8Buffer { word in
      bytes.count - at >= word.count && bytes[at..<(at + word.count)].elementsEqual(word)
    }
    if matches { at += word.utf8CodeUnitCount }
    return matches
  }

  private mutating func value(depth: Int) -> JSONValue? {
    skipSpace()
    values -= 1
    guard values >= 0, let first = next else { return nil }
    switch first {
    case UInt8(ascii: "{"): return depth > 0 ? object(depth: depth - 1) : nil
    case UInt8(ascii: "["): return depth > 0 ? array(depth: depth - 1) : nil
    case UInt8(ascii: "\""): return string().map { .string($0) }
    case UInt8(ascii: "t"): return take("true") ? .bool(true) : nil
    case UInt8(ascii: "f"): return take("false") ? .bool(false) : nil
    case UInt8(ascii: "n"): return take("null") ? .null : nil
    default: return number()
    }
  }

  private mutating func object(depth: Int) -> JSONValue? {
    at += 1
    var members: [(name: [UInt8], value: JSONValue)] = []
    skipSpace()
    if take(UInt8(ascii: "}")) { return .object(members) }
    while true {
      skipSpace()
      guard next == UInt8(ascii: "\""), let name = string() else { return nil }
      skipSpace()
      guard take(UInt8(ascii: ":")), let value = value(depth: depth) else { return nil }
      members.append((name, value))
      skipSpace()
      if take(UInt8(ascii: "}")) { return .object(members) }
      guard take(UInt8(ascii: ",")) else { return nil }
    }
  }

  private mutating func array(depth: Int) -> JSONValue? {
    at += 1
    var elements: [JSONValue] = []
    skipSpace()
    if take(UInt8(ascii: "]")) { return .array(elements) }
    while true {
      guard let value = value(depth: depth) else { return nil }
      elements.append(value)
      skipSpace()
      if take(UInt8(ascii: "]")) { return .array(elements) }
      guard take(UInt8(ascii: ",")) else { return nil }
    }
  }

  private mutating func string() -> [UInt8]? {
    at += 1
    var content: [UInt8] = []
    while let byte = next {
      at += 1
      switch byte {
      case UInt8(ascii: "\""): return content
      case UInt8(ascii: "\\"): guard escape(into: &content) else { return nil }
      case 0..<0x20: return nil
      default: content.append(byte)
      }
    }
    return nil
  }

  private mutating func escape(into content: inout [UInt8]) -> Bool {
    guard let letter = next else { return false }
    at += 1
    switch letter {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): content.append(letter)
    case UInt8(ascii: "b"): content.append(0x08)
    case UInt8(ascii: "f"): content.append(0x0C)
    case UInt8(ascii: "n"): content.append(0x0A)
    case UInt8(ascii: "r"): content.append(0x0D)
    case UInt8(ascii: "t"): content.append(0x09)
    case UInt8(ascii: "u"):
      guard let unit = hex() else { return false }
      var scalar = UInt32(unit)
      if unit & 0xFC00 == 0xD800 {
        // The other half, if it follows; what else follows is read for itself.
        let start = at
        if take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")), let low = hex(), low & 0xFC00 == 0xDC00 {
          scalar = 0x10000 + (UInt32(unit & 0x3FF) << 10 | UInt32(low & 0x3FF))
        } else {
          at = start
        }
      }
      content += UTF8.encode(Unicode.Scalar(scalar) ?? "\u{FFFD}") ?? .init()
    default: return false
    }
    return true
  }

  private mutating func hex() -> UInt16? {
    guard bytes.count - at >= 4 else { return nil }
    var value: UInt16 = 0
    for _ in 0..<4 {
      let digit: UInt8
      switch bytes[at] {
      case let byte where (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte): digit = byte - UInt8(ascii: "0")
      case let byte where (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte): digit = byte - UInt8(ascii: "a") + 10
      case let byte where (UInt8(ascii: "A")...UInt8(ascii: "F")).contains(byte): digit = byte - UInt8(ascii: "A") + 10
      default: return nil
      }
      value = value << 4 | UInt16(digit)
      at += 1
    }
    return value
  }

  private mutating func digits() -> Bool {
    let start = at
    while let byte = next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { at += 1 }
    return at > start
  }

  private mutating func number() -> JSONValue? {
    let start = at
    let isNegative = take(UInt8(ascii: "-"))
    let first = at
    guard digits(), bytes[first] != UInt8(ascii: "0") || at == first + 1 else { return nil }
    let whole = at
    if take(UInt8(ascii: ".")) { guard digits() else { return nil } }
    if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
      if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
      guard digits() else { return nil }
    }
    if at == whole, let magnitude = UInt64(String(decoding: bytes[first..<whole], as: UTF8.self)) {
      return .integer(magnitude: magnitude, isNegative: isNegative)
    }
    return .number(String(decoding: bytes[start..<at], as: UTF8.self))
  }
}
