import Testing

@testable import Observation

@Suite struct JSONValueTests {
  private func parse(_ text: String, depth: Int = 16) -> JSONValue? { JSONValue(parsing: text.utf8, depth: depth) }

  @Test func values() throws {
    let value = try #require(
      parse(#" { "a" : [1, -2, 0, 18446744073709551615, 1.5, -0, 2e3], "b":{"c":null,"d":true,"e":false}, "s":"x" } "#))
    let numbers = try #require(value["a"]?.array)
    #expect(numbers[0].unsigned == 1 && numbers[1].signed == -2 && numbers[1].unsigned == nil)
    #expect(numbers[3].unsigned == .max && numbers[3].signed == nil)
    #expect(numbers[4] == .number("1.5") && numbers[5].unsigned == 0 && numbers[6] == .number("2e3"))
    #expect(value["b"]?["c"] == .null && value["b"]?["d"]?.bool == true && value["b"]?["e"]?.bool == false)
    #expect(value["s"]?.text == "x" && value["missing"] == nil && numbers[0]["x"] == nil)
    #expect(parse("-9223372036854775808")?.signed == .min && parse("-9223372036854775809")?.signed == nil)
  }

  @Test(arguments: [
    (#""\u0041\n\t\\\/\"""#, "A\n\t\\/\""), (#""\ud83d\udc26""#, "🐦"), (#""\ud83dx""#, "\u{FFFD}x"),
    (#""\udc26""#, "\u{FFFD}"), (#""\ud83d\u0041""#, "\u{FFFD}A"), ("\"grüße\"", "grüße"),
  ])
  func strings(_ text: String, _ expected: String) { #expect(parse(text)?.text == expected) }

  @Test(arguments: [
    "", " ", "{", "}", "[", "[1,]", "{\"a\"}", "{\"a\":}", "{a:1}", "{\"a\":1,}", "01", "-", "1.", "1e", "+1", ".5",
    "nul",
    "tru", "\"", "\"\\x\"", "\"\\u12\"", "\"a\nb\"", "1 2", "[1 2]", "'a'", "NaN", "{\"a\":1 \"b\":2}", "\u{FEFF}1",
  ])
  func refused(_ text: String) { #expect(parse(text) == nil) }

  @Test func bytesThatAreNoText() { #expect(JSONValue(parsing: [0x22, 0xFF, 0x22]) == nil) }

  @Test func limits() {
    #expect(parse("[[1]]", depth: 2) != nil && parse("[[[1]]]", depth: 2) == nil)
    #expect(parse(String(repeating: "[", count: 100_000)) == nil)
    #expect(
      JSONValue(parsing: "[1,2,3]".utf8, values: 4) != nil && JSONValue(parsing: "[1,2,3,4]".utf8, values: 4) == nil)
  }

  @Test func whatIsWrittenIsRead() {
    for text in ["", "a\u{0}b\u{7F}\u{80}\u{2028}", "\u{1F426}\"\\", "ends with \\"] {
      var out = ByteBuffer(capacity: 16)
      JSONText.appendString(text, to: &out)
      #expect(JSONValue(parsing: out.array)?.text == text)
    }
  }

  @Test func numbersAndStringsAsTheyAreWritten() {
    var json = JSONOutput()
    json.array { json in
      for number in [0, 7, 10, 1_234_567_890] { json.member(nil, number) }
      json.member(nil, UInt64.max)
      json.member(nil, Int64.min)
      json.member(nil, UInt8.max)
      for text in ["", "plain ~", "a\"b\\c", "a\u{7F}b", "tab\t", "grüße\u{202E}"] { json.member(nil, text) }
    }
    let numbers = "0,7,10,1234567890,18446744073709551615,-9223372036854775808,255"
    let texts = #""","plain ~","a\"b\\c","a\u007fb","tab\t","grüße\u202e""#
    #expect(String(decoding: json.bytes, as: UTF8.self) == "[\(numbers),\(texts)]")
  }

  @Test func base64ThereAndBack() {
    for count in 0..<64 {
      let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 200) }
      var out = ByteBuffer(capacity: 16)
      bytes.withUnsafeBytes { out.append(base64: $0) }
      #expect(Base64Text.decode(out.array) == bytes)
    }
    for wrong in ["A", "AB=A", "====", "A===", "AB C", "Zm9v\n"] {
      #expect(Base64Text.decode(Array(wrong.utf8)) == nil)
    }
  }
}
