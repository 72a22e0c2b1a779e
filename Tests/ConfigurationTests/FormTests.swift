import Testing

@testable import Configuration

private enum Verb: String, CaseIterable { case observe, deny, kill }

private struct Rule: Sendable, Equatable {
  var name = ""
  var verb = Verb.observe
  var ports: [Int] = []
  var comment: String?

  static let form = Form.record(
    Rule(),
    .field("name", "What reports call it.", .text(atMost: 64), required: true, \.name),
    .field("action", "What happens.", .word, \.verb),
    .field("ports", "Which ports.", .list(of: .integer(1...65535), atMost: 3), \.ports),
    .field("comment", "For people.", .text(), \.comment))
}

private struct File: Sendable, Equatable {
  var rules: [Rule] = []
  var linger = Duration.seconds(2)
  var memory = 250 << 20
  var isOn = false

  static let form = Form.record(
    File(),
    .field("rules", "What to do.", .list(of: Rule.form, atMost: 64), \.rules),
    .field("linger", "How long.", .duration(.zero...(.seconds(3600))), \.linger),
    .field("memory", "How much.", .bytes(1...(1 << 30)), \.memory),
    .field("on", "Whether at all.", .truth, \.isOn))
}

@Suite("Files with a form")
struct FormTests {
  private func problems(_ text: String) -> [String] {
    do {
      _ = try File.form.read(Array(text.utf8), file: "f")
      return []
    } catch {
      return error.problems.map { "\($0.place.line):\($0.place.column): \($0.message)" }
    }
  }

  @Test("what is left out stays as it was")
  func defaults() throws {
    #expect(try File.form.read([], file: "f") == File())
    let text = """
      rules:
        - name: egress   # why
          action: deny
          ports: [80, 443]
        - {name: "1", comment: 'x'}
      linger: 500ms
      memory: 64M
      on: true
      """
    let rules = [Rule(name: "egress", verb: .deny, ports: [80, 443]), Rule(name: "1", comment: "x")]
    #expect(
      try File.form.read(Array(text.utf8), file: "f")
        == File(rules: rules, linger: .milliseconds(500), memory: 64 << 20, isOn: true))
  }

  @Test(
    "each mistake is told, where it is and what would be right",
    arguments: [
      ("rule: []", ["1:1: there is no key 'rule'; did you mean 'rules'?"]),
      ("wibble: 1", ["1:1: there is no key 'wibble'; there is rules, linger, memory or on"]),
      ("on: yes", ["1:5: has to be true or false, not 'yes'"]),
      ("on: 'true'", ["1:5: has to be true or false, not 'true'"]),
      ("on:", ["1:4: has to be true or false, not nothing"]),
      ("linger: 2", ["1:9: has to be a time such as 500ms, 30s or 5m, not '2'"]),
      ("linger: 2d", ["1:9: has to be a time such as 500ms, 30s or 5m, not '2d'"]),
      ("linger: 2h", ["1:9: '2h' is not between 0.0 seconds and 3600.0 seconds"]),
      ("memory: 99999999999G", ["1:9: has to be a size such as 64K, 250M or 1G, not '99999999999G'"]),
      ("rules: {name: a}", ["1:8: has to be a list, not a map"]),
      ("rules: [{}]", ["1:9: name is missing: What reports call it."]),
      ("rules: [{name: ''}]", ["1:16: the text is empty"]),
      ("rules: [{name: a, action: dney}]", ["1:27: there is no word 'dney'; did you mean 'deny'?"]),
      (
        "rules: [{name: a, ports: [0, 070, 0x1f, 1e3, 70000]}]",
        ["1:26: has 5 elements; at most 3 are allowed"]
      ),
      (
        "rules:\n- {name: a, ports: [0, 070]}\n- [b]\nmemory: no\n",
        [
          "2:21: 0 is not between 1 and 65535", "2:24: has to be a whole number, not '070'",
          "3:3: has to be a map with name, action, ports or comment, not a list",
          "4:9: has to be a size such as 64K, 250M or 1G, not 'no'",
        ]
      ),
      ("[]", ["1:1: has to be a map with rules, linger, memory or on, not a list"]),
    ])
  func mistakes(text: String, expected: [String]) {
    #expect(problems(text) == expected)
  }

  @Test("a file with many mistakes does not fill the screen")
  func many() {
    #expect(problems("rules:\n" + String(repeating: "- {}\n", count: 60)).count == 20)
  }

  @Test("the schema says the same as the reader")
  func schema() {
    let text = String(decoding: Rule.form.schema.document(id: "urn:x", title: "Rule"), as: UTF8.self)
    #expect(
      text == """
        {"$schema":"https://json-schema.org/draft/2020-12/schema","$id":"urn:x","title":"Rule","type":"object",\
        "additionalProperties":false,"required":["name"],"properties":{\
        "name":{"description":"What reports call it.","type":"string","minLength":1,"maxLength":64},\
        "action":{"description":"What happens.","enum":["observe","deny","kill"]},\
        "ports":{"description":"Which ports.","type":"array","maxItems":3,\
        "items":{"type":"integer","minimum":1,"maximum":65535}},\
        "comment":{"description":"For people.","type":"string","minLength":1,"maxLength":4096}}}

        """)
  }

  @Test("swapped, missing and added letters are one mistake each")
  func distances() {
    func between(_ a: String, _ b: String) -> Int { distance(Array(a.utf8), Array(b.utf8)) }
    #expect(between("deny", "dney") == 1)
    #expect(between("deny", "den") == 1)
    #expect(between("", "kill") == 4)
    #expect(between("kitten", "sitting") == 3)
    #expect(between("same", "same") == 0)
  }
}
