/// A strict reader of JSON (RFC 8259): no trailing commas, no duplicate keys, no control characters, UTF-8 only.
/// Says where it stops instead of repairing anything.
struct StrictJSON {
  enum Value: Equatable {
    case null
    case bool(Bool)
    case number(String)
    case string(String)
    case array([Value])
    case object([Member])

    struct Member: Equatable {
      var key: String
      var value: Value
    }

    subscript(_ key: String) -> Value? {
      guard case .object(let members) = self else { return nil }
      return members.first { $0.key == key }?.value
    }

    var string: String? {
      guard case .string(let text) = self else { return nil }
      return text
    }

    var number: Int64? {
      guard case .number(let text) = self else { return nil }
      return Int64(text)
    }

    var array: [Value]? {
      guard case .array(let elements) = self else { return nil }
      return elements
    }

    var keys: [String] {
      guard case .object(let members) = self else { return [] }
      return members.map(\.key)
    }
  }

  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  private let bytes: [UInt8]
  private var position = 0

  static func parse(_ bytes: some Sequence<UInt8>) throws(Failure) -> Value {
    let bytes = Array(bytes)
    guard String(validating: bytes, as: UTF8.self) != nil else { throw Failure(description: "not UTF-8") }
    var parser = StrictJSON(bytes: bytes)
    let value = try parser.value(depth: 0)
    parser.skipSpace()
    guard parser.position == bytes.count else { throw parser.failure("something follows the value") }
    return value
  }

  private init(bytes: [UInt8]) {
    self.bytes = bytes
  }

  private func failure(_ what: String) -> Failure {
    let near = String(decoding: bytes[max(0, position - 40)..<min(bytes.count, position + 20)], as: UTF8.self)
    return Failure(description: "\(what) at \(position), near \(near)")
  }

  private mutating func skipSpace() {
    while let byte = peek, [0x20, 0x0a, 0x0d, 0x09].contains(byte) { position += 1 }
  }

  private var peek: UInt8? { position < bytes.count ? bytes[position] : nil }

  private mutating func expect(_ text: String) throws(Failure) {
    guard bytes[position...].starts(with: text.utf8) else { throw failure("expected \(text)") }
    position += text.utf8.count
  }

  private mutating func value(depth: Int) throws(Failure) -> Value {
    guard depth < 32 else { throw failure("too deep") }
    skipSpace()
    defer { skipSpace() }
    switch peek {
    case UInt8(ascii: "{"): return try object(depth)
    case UInt8(ascii: "["): return try array(depth)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"):
      try expect("true")
      return .bool(true)
    case UInt8(ascii: "f"):
      try expect("false")
      return .bool(false)
    case UInt8(ascii: "n"):
      try expect("null")
      return .null
    default: return .number(try number())
    }
  }

  private mutating func object(_ depth: Int) throws(Failure) -> Value {
    position += 1
    var members: [Value.Member] = []
    skipSpace()
    if peek == UInt8(ascii: "}") {
      position += 1
      return .object([])
    }
    while true {
      skipSpace()
      guard peek == UInt8(ascii: "\"") else { throw failure("expected a key") }
      let key = try string()
      guard !members.contains(where: { $0.key == key }) else { throw failure("\(key) twice") }
      skipSpace()
      try expect(":")
      members.append(.init(key: key, value: try value(depth: depth + 1)))
      if peek == UInt8(ascii: "}") { break }
      try expect(",")
    }
    position += 1
    return .object(members)
  }

  private mutating func array(_ depth: Int) throws(Failure) -> Value {
    position += 1
    var elements: [Value] = []
    skipSpace()
    if peek == UInt8(ascii: "]") {
      position += 1
      return .array([])
    }
    while true {
      elements.append(try value(depth: depth + 1))
      if peek == UInt8(ascii: "]") { break }
      try expect(",")
    }
    position += 1
    return .array(elements)
  }

  private mutating func number() throws(Failure) -> String {
    let start = position
    if peek == UInt8(ascii: "-") { position += 1 }
    let digits = position
    while let byte = peek, (0x30...0x39).contains(byte) { position += 1 }
    guard position > digits else { throw failure("expected a value") }
    guard position == digits + 1 || bytes[digits] != 0x30 else { throw failure("leading zero") }
    return String(decoding: bytes[start..<position], as: UTF8.self)
  }

  private mutating func string() throws(Failure) -> String {
    position += 1
    var units: [UInt8] = []
    while let byte = peek {
      position += 1
      switch byte {
      case UInt8(ascii: "\""): return String(decoding: units, as: UTF8.self)
      case UInt8(ascii: "\\"): units += Array(String(try escaped()).utf8)
      case 0..<0x20: throw failure("control character in a string")
      default: units.append(byte)
      }
    }
    throw failure("string without an end")
  }

  private mutating func escaped() throws(Failure) -> Character {
    guard let byte = peek else { throw failure("escape without an end") }
    position += 1
    switch byte {
    case UInt8(ascii: "\""): return "\""
    case UInt8(ascii: "\\"): return "\\"
    case UInt8(ascii: "/"): return "/"
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{c}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"):
      let high = try unit()
      if (0xd800..<0xdc00).contains(high) {
        try expect("\\u")
        let low = try unit()
        guard (0xdc00..<0xe000).contains(low) else { throw failure("lone surrogate") }
        return try character(0x10000 + (high - 0xd800) << 10 + (low - 0xdc00))
      }
      return try character(high)
    default: throw failure("unknown escape")
    }
  }

  private func character(_ value: UInt32) throws(Failure) -> Character {
    guard let scalar = Unicode.Scalar(value) else { throw failure("no scalar") }
    return Character(scalar)
  }

  private mutating func unit() throws(Failure) -> UInt32 {
    guard position + 4 <= bytes.count,
      let value = UInt32(String(decoding: bytes[position..<position + 4], as: UTF8.self), radix: 16)
    else { throw failure("bad \\u") }
    position += 4
    return value
  }
}
