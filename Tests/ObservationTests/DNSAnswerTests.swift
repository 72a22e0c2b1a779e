import Observation
import Testing

@Suite struct DNSAnswerTests {
  static func question(_ name: String, answers: UInt8) -> [UInt8] {
    var message: [UInt8] = [1, 2, 0x81, 0x80, 0, 1, 0, answers, 0, 0, 0, 0]
    for label in name.split(separator: ".") { message += [UInt8(label.utf8.count)] + Array(label.utf8) }
    return message + [0, 0, 1, 0, 1]
  }

  static func record(_ type: UInt8, _ data: [UInt8], owner: [UInt8] = [0xc0, 12]) -> [UInt8] {
    owner + [0, type, 0, 1, 0, 0, 0, 60, 0, UInt8(data.count)] + data
  }

  static func read(_ message: [UInt8]) -> (name: String, addresses: [[UInt8]])? {
    message.withUnsafeBytes { bytes in
      guard let answer = DNSAnswer(bytes) else { return nil }
      var name = [UInt8](repeating: 0, count: answer.nameLength)
      name.withUnsafeMutableBytes { answer.writeName(to: $0) }
      var addresses: [[UInt8]] = []
      answer.forEachAddress { bytes, isV6 in
        #expect(bytes.count == (isV6 ? 16 : 4))
        addresses.append(Array(bytes))
      }
      return (String(decoding: name, as: UTF8.self), addresses)
    }
  }

  @Test func addressesAndAliases() throws {
    let alias = Self.record(5, [4, 101, 100, 103, 101, 0])
    let v6 = [UInt8](0..<16)
    let message =
      Self.question("WWW.Example.org", answers: 3) + alias
      + Self.record(1, [192, 0, 2, 7], owner: [4, 101, 100, 103, 101, 0])
      + Self.record(28, v6)
    let answer = try #require(Self.read(message))
    #expect(answer.name == "www.example.org" && answer.addresses == [[192, 0, 2, 7], v6])
  }

  @Test func bytesThatNoNameHas() throws {
    let answer = try #require(Self.read(Self.question("a\u{1B}b.x", answers: 0)))
    #expect(answer.name == "a?b.x")
  }

  @Test func questionsAndPiecesAreNoAnswers() {
    var message = Self.question("a.example", answers: 0)
    message[2] = 1
    #expect(Self.read(message) == nil)
    let whole = Self.question("a.example", answers: 1) + Self.record(1, [192, 0, 2, 7])
    for length in 0..<whole.count {
      // A cut answer has no address, and no cut reads behind the end.
      if let answer = Self.read(Array(whole[..<length])) { #expect(answer.addresses.isEmpty) }
    }
    #expect(Self.read(whole)?.addresses.count == 1)
  }

  @Test func pointersInCirclesEnd() {
    let message = Self.question("a.example", answers: 9) + [0xc0, 28, 0xc0, 26]
    #expect(Self.read(message)?.addresses.isEmpty == true)
  }
}
