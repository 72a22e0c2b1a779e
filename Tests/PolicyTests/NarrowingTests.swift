import Testing

@testable import Policy

@Suite("Two policies that both hold")
struct NarrowingTests {
  private func narrowed(_ node: String, _ repository: String) throws -> Policy {
    try policy("version: 1\n" + node).narrowed(by: policy("version: 1\n" + repository))
  }

  @Test("whatever happens, neither is widened", arguments: 0..<150)
  func neverWider(seed: Int) throws {
    var dice = Dice(UInt64(seed + 1))
    let texts = (World.policy(&dice), World.policy(&dice))
    let (node, repository) = (try policy(texts.0), try policy(texts.1))
    let both: Policy
    do {
      both = try node.narrowed(by: repository)
    } catch {
      // The one thing that cannot be said.
      #expect(error.description.contains("without 'action: observe'"))
      return
    }
    let decisions = zip(World.decisions(both), zip(World.decisions(node), World.decisions(repository)))
    let wider = decisions.contains { $0.action < max($1.0.action, $1.1.action) }
    #expect(!wider, "\(texts.0)\n\(texts.1)\n\(both.yaml)")
    // Where it is not known what a rule is for, deny may stand for kill.
    let unknown = [both, node, repository].map { World.decisions($0, of: World.unknown).map { min($0.action, .deny) } }
    let isWider = unknown[0].indices.contains { unknown[0][$0] < max(unknown[1][$0], unknown[2][$0]) }
    #expect(!isWider, "\(texts.0)\n\(texts.1)\n\(both.yaml)")
    // It can be written down and is the same then.
    #expect(try policy(both.yaml).withoutPlaces == both)
  }

  @Test("where rules can say it, it is exactly the graver of both", arguments: 0..<60)
  func exact(seed: Int) throws {
    var dice = Dice(UInt64(seed + 1000))
    func section(_ dice: inout Dice) -> String {
      func list(_ actions: [String], _ dice: inout Dice) -> String {
        (0..<dice.roll(4)).map { _ in
          let deed = dice.pick(["bpf", "mount", "moduleLoad", "namespace"])
          let scope =
            dice.roll(2) == 0 ? "" : ", executables: [\(dice.pick(["/usr/bin/curl", "/usr/bin/*", "/usr/**"]))]"
          return "{deed: \(deed), action: \(dice.pick(actions))\(scope)}"
        }.joined(separator: ", ")
      }
      let initial = dice.pick(["allow", "observe", "deny"])
      return "system: {default: \(initial), deny: [\(list(["observe", "deny"], &dice))], "
        + "allow: [\(list(["allow", "observe"], &dice))]}"
    }
    let texts = (section(&dice), section(&dice))
    let both = try narrowed(texts.0, texts.1)
    let (node, repository) = (try policy("version: 1\n" + texts.0), try policy("version: 1\n" + texts.1))
    for actor in World.actors {
      for deed in SystemRule.Deed.allCases {
        let expected = max(node.decide(deed, by: actor).action, repository.decide(deed, by: actor).action)
        #expect(both.decide(deed, by: actor).action == expected, "\(texts)\n\(both.yaml)")
      }
    }
  }

  @Test("a repository can not make room for itself")
  func hosts() throws {
    let both = try narrowed(
      "network: {default: deny, allow: [{host: \"**.example.org\", ports: [443]}, {cidr: 10.0.0.0/8}]}",
      "network: {default: allow, allow: [{host: evil.example}], deny: [{cidr: 10.1.0.0/16}]}")
    #expect(
      both.yaml == """
        version: 1
        network:
          default: deny
          deny:
            - {cidr: 10.1.0.0/16}
          allow:
            - {host: "**.example.org", ports: [443]}
            - {cidr: 10.0.0.0/8}

        """)
  }

  @Test("what both allow is what they have in common")
  func common() throws {
    let both = try narrowed(
      "network: {default: deny, allow: [{host: \"**.example.org\", ports: [443, 8000-9000]}, {host: a.test}]}",
      "network: {default: deny, allow: [{host: \"*.example.org\", ports: [80, 8500-9500]}, {host: b.test}]}")
    #expect(
      both.network?.allow.map { PolicyText.rule($0, usual: .allow) } == [
        "{host: \"*.example.org\", ports: [8500-9000]}"
      ])
  }

  @Test("a section that one does not have is the other's")
  func sections() throws {
    let both = try narrowed("exec: {deny: [{memfd: true}]}", "system: {default: deny}\nonSensorError: closed")
    #expect(both.exec?.deny.map(\.memfd) == [true] && both.system?.defaultAction == .deny)
    #expect(both.onSensorError == .closed && !both.requirePrevention)
  }

  @Test("whose answers are believed is the node's to say")
  func resolvers() throws {
    let both = try narrowed("network: {resolvers: [10.0.0.1, 10.0.0.2]}", "network: {resolvers: [10.0.0.2, 6.6.6.6]}")
    #expect(both.network?.resolvers == [IPAddress(v4: 0x0a00_0002)])
    #expect(try narrowed("network: {}", "network: {resolvers: [6.6.6.6]}").network?.resolvers == [])
    #expect(throws: NarrowingError.self) {
      try narrowed("network: {resolvers: [10.0.0.1]}", "network: {resolvers: [6.6.6.6]}")
    }
  }

  @Test("what one protects the other's exceptions do not except")
  func exceptions() throws {
    let both = try narrowed("files: {protect: sources}", "files: {protect: credentials, allow: [{write: /docs/**}]}")
    #expect(both.files?.allow == [] && both.files?.protect == [.sources, .credentials])
    // What is not protected stays as it was, even if what is would only be told.
    let told = try narrowed("files: {protect: sources, action: observe}", "files: {allow: [{write: /docs/**}]}")
    #expect(told.files?.allow == [] && told.files?.protectAction == .observe)
    #expect(throws: NarrowingError.self) {
      try narrowed("files: {protect: sources}", "files: {allow: [{write: /docs/**, action: observe}]}")
    }
  }

  @Test("what does not fit the kernel's limits is refused")
  func limits() throws {
    func files(_ letter: String) -> String {
      "files: {deny: [\((0..<40).map { "{write: \(letter)\($0)}" }.joined(separator: ", "))]}"
    }
    let error = #expect(throws: NarrowingError.self) { try narrowed(files("a"), files("b")) }
    #expect(
      error?.description == "the policies cannot be put together: files for writing has 80 rules; 63 at most")
  }
}
