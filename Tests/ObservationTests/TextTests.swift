import Testing

@testable import Observation

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

func json(_ input: [UInt8]) -> (text: String, replaced: Bool) {
  var out = ByteBuffer(capacity: 16)
  let replaced = withExactCopy(input) { JSONText.appendContent($0, to: &out) }
  return (out.text, replaced)
}

@Suite struct JSONTextTests {
  @Test(arguments: [
    ("", ""), ("plain/path-1.c", "plain/path-1.c"), ("a\"b\\c", "a\\\"b\\\\c"), ("\u{8}\t\n\u{C}\r", "\\b\\t\\n\\f\\r"),
    ("\u{0}\u{1B}\u{1F}", "\\u0000\\u001b\\u001f"), ("\u{7F}\u{80}\u{9B}\u{A0}", "\\u007f\\u0080\\u009b\u{A0}"),
    ("\u{2028}\u{2029}\u{202A}", "\\u2028\\u2029\u{202A}"), ("grüße 東京 🐦", "grüße 東京 🐦"),
    ("12345678\"2345678", "12345678\\\"2345678"), ("1234567\u{FF}", "1234567\u{FF}"),
  ])
  func escapes(_ input: String, _ expected: String) {
    let result = json(bytes(input))
    #expect(result.text == expected && !result.replaced)
  }

  @Test func everyASCIIByteAtEveryOffset() {
    for byte in UInt8(0)..<128 {
      for offset in 0..<17 {
        var input = [UInt8](repeating: UInt8(ascii: "x"), count: 17)
        input[offset] = byte
        let text = json(input).text
        let isPlain = byte >= 0x20 && byte != 0x22 && byte != 0x5C && byte != 0x7F
        #expect(text.utf8.first { $0 == byte } != nil || !isPlain)
        #expect((text.utf8.count == 17) == isPlain)
      }
    }
  }

  /// From table 3-8 of the Unicode standard and the tests of the WHATWG's decoder.
  @Test(
    arguments: [
      ([0x61, 0xF1, 0x80, 0x80, 0xE1, 0x80, 0xC2, 0x62, 0x80, 0x63, 0x80, 0xBF, 0x64], "a���b�c��d"),
      ([0xC0, 0xAF, 0xE0, 0x80, 0xBF, 0xF0, 0x81, 0x82, 0x41], "��������A"), ([0xED, 0xA0, 0x80], "���"),
      ([0xED, 0xAF, 0x41], "��A"), ([0xF4, 0x91, 0x92, 0x93, 0xFF, 0x41, 0x80, 0xBF, 0x42], "�����A��B"),
      ([0xE1, 0x80, 0xE2, 0xF0, 0x91, 0x92, 0xF1, 0xBF, 0x41], "����A"), ([0xF0, 0x9F, 0x90], "�"), ([0xC2], "�"),
      ([0xF5], "�"),
    ] as [([UInt8], String)])
  func replacesMaximalSubparts(_ input: [UInt8], _ expected: String) {
    let result = json(input)
    #expect(result.text == expected && result.replaced)
  }

  @Test func agreesWithTheStandardLibraryOnNoise() {
    var random = SystemRandomNumberGenerator()
    let alphabet: [UInt8] = [
      0x41, 0x7E, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xF5,
    ]
    for _ in 0..<20_000 {
      let input = (0..<Int.random(in: 0...12, using: &random)).map { _ in alphabet.randomElement(using: &random) ?? 0 }
      let expected = String(decoding: input, as: UTF8.self)
      // C1 controls are escaped beyond what the decoder does.
      guard !expected.unicodeScalars.contains(where: { $0.value >= 0x80 && $0.value < 0xA0 }) else { continue }
      #expect(json(input).text == expected)
      #expect(json(input).replaced == (String(validating: input, as: UTF8.self) == nil))
    }
  }

  @Test func everyLengthWithAQuoteAtEveryPlace() {
    for count in 1...24 {
      for place in 0..<count {
        var bytes = [UInt8](repeating: 0x61, count: count)
        bytes[place] = 0x22
        var out = ByteBuffer()
        let replaced = bytes.withUnsafeBytes { JSONText.appendContent($0, to: &out) }
        #expect(!replaced)
        let rest = String(repeating: "a", count: count - 1 - place)
        #expect(out.text == String(repeating: "a", count: place) + "\\\"" + rest)
      }
    }
  }

  @Test(arguments: 0..<8) func wordOfFirstBytes(_ count: Int) {
    let bytes: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]
    let word = bytes.withUnsafeBytes { $0.baseAddress?.word(ofFirst: count) }
    #expect(word == (0..<count).reduce(UInt64(0)) { $0 | UInt64(bytes[$1]) << UInt64(8 * $1) })
  }

  @Test func stringsHaveQuotes() {
    var out = ByteBuffer()
    JSONText.appendString("a\"b", to: &out)
    #expect(out.text == "\"a\\\"b\"")
  }
}

@Suite struct ByteBufferTests {
  @Test(arguments: [0, 1, 9, 10, 99, 100, 12345, UInt64.max, UInt64(Int64.max)])
  func decimals(_ value: UInt64) {
    var out = ByteBuffer(capacity: 0)
    out.append(decimal: value)
    #expect(out.text == String(value))
  }

  @Test(arguments: [Int64.min, -10, -1, 0, 7, .max]) func signedDecimals(_ value: Int64) {
    var out = ByteBuffer()
    out.append(decimal: value)
    #expect(out.text == String(value))
  }

  @Test func hexadecimal() {
    var out = ByteBuffer()
    out.append(hex: 0)
    out.append(UInt8(ascii: " "))
    out.append(hex: 0xBEEF, digits: 8)
    out.append(UInt8(ascii: " "))
    out.append(hex: .max)
    ([0x00, 0xAB, 0xFF] as [UInt8]).withUnsafeBytes { out.append(hexOf: $0) }
    #expect(out.text == "0 0000beef ffffffffffffffff00abff")
  }

  @Test(arguments: [
    ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
    ("foobar", "Zm9vYmFy"),
  ])
  func base64OfTheRFC(_ input: String, _ expected: String) {
    var out = ByteBuffer()
    withExactCopy(bytes(input)) { out.append(base64: $0) }
    #expect(out.text == expected)
  }

  @Test func growsAndKeepsItsMemory() {
    var out = ByteBuffer(capacity: 1)
    for i in 0..<10_000 { out.append(decimal: i % 10) }
    #expect(out.count == 10_000)
    let capacity = out.capacity
    out.removeAll()
    #expect(out.count == 0)
    #expect(out.capacity == capacity)
    out.append("literal")
    out.append(text: "–")
    out.append([1, 2])
    out.append(upTo: 10) { room in
      room[0] = 3
      return 1
    }
    #expect(out.array == bytes("literal–") + [1, 2, 3])
    out.removeFirst(7)
    out.truncate(to: 3)
    #expect(out.text == "–")
    out.removeFirst(100)
    #expect(out.count == 0)
  }
}

@Suite struct AddressTextTests {
  private func v6(_ groups: [UInt16]) -> AddressText.Bytes {
    let b = groups.flatMap { [UInt8($0 >> 8), UInt8($0 & 255)] }
    return (b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15])
  }

  /// The examples of RFC 5952 among them.
  @Test(
    arguments: [
      ([0, 0, 0, 0, 0, 0, 0, 0], "::"), ([0, 0, 0, 0, 0, 0, 0, 1], "::1"), ([1, 0, 0, 0, 0, 0, 0, 0], "1::"),
      ([0x2001, 0xdb8, 0, 0, 0, 0, 2, 1], "2001:db8::2:1"),
      ([0x2001, 0xdb8, 0, 1, 1, 1, 1, 1], "2001:db8:0:1:1:1:1:1"),
      ([0x2001, 0, 0, 1, 0, 0, 0, 1], "2001:0:0:1::1"), ([0x2001, 0xdb8, 0, 0, 1, 0, 0, 1], "2001:db8::1:0:0:1"),
      ([0x2001, 0xdb8, 0xaaaa, 0xbbbb, 0xcccc, 0xdddd, 0xeeee, 1], "2001:db8:aaaa:bbbb:cccc:dddd:eeee:1"),
      ([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0201], "::ffff:192.0.2.1"), ([0xfe80, 0, 0, 0, 0, 0, 0, 0], "fe80::"),
      ([0, 0, 1, 0, 0, 0, 0, 0], "0:0:1::"), ([0, 1, 0, 1, 0, 1, 0, 1], "0:1:0:1:0:1:0:1"),
      ([0, 0, 0, 0, 0, 0, 0xc000, 0x0201], "::c000:201"),
    ] as [([UInt16], String)])
  func v6Text(_ groups: [UInt16], _ expected: String) {
    #expect(AddressText.string(family: 10, v6(groups)) == expected)
  }

  @Test func v4AndPorts() {
    let address: AddressText.Bytes = (192, 0, 2, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    #expect(AddressText.string(family: 2, address) == "192.0.2.255")
    #expect(AddressText.string(family: 1, address) == "")
    #expect(AddressText.string(peer: v6([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x02ff])) == "192.0.2.255")
    #expect(AddressText.string(peer: v6([0, 0, 0, 0, 0, 0, 0xc000, 0x02ff])) == "::c000:2ff")
    #expect(AddressText.ipv4(in: v6([0x2001, 0, 0, 0, 0, 0xffff, 0xc000, 0x02ff])) == nil)
    var out = ByteBuffer()
    #expect(AddressText.append(family: 2, address, port: 443, to: &out))
    #expect(!AddressText.append(family: 16, address, port: 1, to: &out))
    out.append(UInt8(ascii: " "))
    AddressText.append(family: 10, v6([0, 0, 0, 0, 0, 0, 0, 1]), port: 65535, to: &out)
    #expect(out.text == "192.0.2.255:443 [::1]:65535")
  }
}

@Suite struct SipHashTests {
  /// The first vectors of the reference's `vectors_sip128`: the key is 00…0f, the input 00, 01, 02 and so on.
  @Test(
    arguments: [
      (0, 0xe6a8_25ba_047f_81a3, 0x9302_55c7_1472_f66d), (1, 0x44af_996b_d8c1_87da, 0x45fc_229b_1159_7634),
      (2, 0xc75d_a4a4_8d22_7781, 0xe4ff_0af6_de8b_a3fc),
    ] as [(Int, UInt64, UInt64)])
  func reference(_ length: Int, _ first: UInt64, _ second: UInt64) {
    let hash = SipHash(key: (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908))
    let result = withExactCopy((0..<length).map { UInt8($0) }) { hash.hash($0) }
    #expect(result.0 == first && result.1 == second)
  }
}
