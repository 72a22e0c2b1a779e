import Policy

/// Numbers that are the same in every run.
struct Dice {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }

  mutating func roll(_ count: Int) -> Int {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return Int(state >> 33) % count
  }

  mutating func pick<T>(_ all: [T]) -> T { all[roll(all.count)] }
}

/// A small world: every policy of its words can be asked about everything that happens in it.
enum World {
  static let executables = ["/usr/bin/curl", "/usr/bin/make", "/opt/tool"]
  static let actors = executables.flatMap { one in
    ([[]] + executables.map { [$0] }).map {
      PolicyActor(executable: one, ancestors: $0, step: .nowhere, image: .nowhere)
    }
  }
  static let images: [Whereabouts<ImageReference>] =
    [.nowhere] + ["alpine:3.20", "ghcr.io/acme/tools/x"].compactMap { ImageReference($0) }.map { .inside($0) }
  static let placed = [.nowhere, .inside("build"), .inside("test")].flatMap { step in
    images.map { PolicyActor(executable: executables[0], step: step, image: $0) }
  }
  /// Whose step, image or both nobody knows.
  static let unknown =
    executables.map { PolicyActor(executable: $0) }
    + images.map { PolicyActor(executable: executables[0], image: $0) }
    + [PolicyActor(executable: executables[0], step: .inside("build"))]
  static let scopes = ["/usr/bin/curl", "/usr/bin/*", "/opt/**", "make"]
  static let names = ["x.example", "a.x.example", "b.a.x.example", "y.example"]
  static let addresses = ["10.0.0.1", "10.1.0.1", "192.0.2.1", "2001:db8::1"]
  static let destinations: [PolicyDestination] = addresses.flatMap { address in
    [[], [names[0]], [names[1]], [names[2]], [names[0], names[3]]].flatMap { names in
      [(53, .udp), (443, .tcp), (443, .udp), (8080, .tcp), (0, .icmp), (0, .raw)].map {
        (port: UInt16, spoken: NetworkProtocol) in
        PolicyDestination(IPAddress(address) ?? IPAddress(v4: 0), port: port, spoken, names: names)
      }
    }
  }
  static let paths = ["/tmp/a", "/tmp/b/a", "/tmp/b/c", "/etc/c", "/etc"]
  static let patterns = ["/tmp/**", "/tmp/*", "/tmp/b/*", "/tmp/b/c", "/etc/c", "a", "c", "/**"]

  /// Each rule as a text, by dice; `default` and all.
  static func policy(_ dice: inout Dice) -> String {
    var text = "version: 1\n"
    if dice.roll(6) > 0 {
      text += section("network", &dice) { dice in
        switch dice.roll(4) {
        case 0: "host: \"\(dice.pick(names + ["*.x.example", "**.x.example", "*.a.x.example"]))\"" + ports(&dice)
        case 1:
          "cidr: \"\(dice.pick(["10.0.0.0/8", "10.0.0.0/16", "0.0.0.0/0", "::/0", "2001:db8::/32"]))\"" + ports(&dice)
        case 2: dice.pick(["ports: 443", "ports: [0-1000]", "ports: [53, 8000-9000]"])
        default: "protocols: \(dice.pick(["icmp", "raw", "tcp", "[udp, icmp]", "[tcp, udp, raw]"]))"
        }
      }
    }
    if dice.roll(6) > 0 {
      text += section("exec", &dice) { dice in
        dice.pick([
          "memfd: true", "writtenDuringJob: true", "path: \"\(dice.pick(patterns))\"",
          "path: \"\(dice.pick(patterns))\"",
        ])
      }
    }
    if dice.roll(6) > 0 {
      text += section("files", hasDefault: false, &dice) { dice in
        "\(dice.pick(["write", "read"])): \"\(dice.pick(patterns))\""
      }
      if dice.roll(2) == 0 {
        text += "  protect: \(dice.pick(["sources", "credentials", "[sources, credentials]"]))\n"
        text += "  action: \(dice.pick(["observe", "deny", "kill"]))\n"
      }
    }
    if dice.roll(6) > 0 {
      text += section("memory", hasDefault: false, lists: ["protect"], &dice) { dice in "comm: \(dice.pick(["w", "v"]))"
      }
    }
    if dice.roll(6) > 0 {
      text += section("system", &dice) { dice in "deed: \(dice.pick(["bpf", "mount", "moduleLoad"]))" }
    }
    return text
  }

  private static func ports(_ dice: inout Dice) -> String {
    dice.pick(["", ", ports: 443", ", ports: [443, 8000-9000]"])
  }

  private static func section(
    _ name: String, hasDefault: Bool = true, lists: [String] = ["deny", "allow"], _ dice: inout Dice,
    rule: (inout Dice) -> String
  ) -> String {
    var text = "\(name):\n  \(lists[0]): []\n"
    if hasDefault { text += "  default: \(dice.pick(["allow", "observe", "deny", "kill"]))\n" }
    for list in lists {
      let count = dice.roll(4)
      if list == lists[0] {
        text = text.replacing("  \(list): []\n", with: count > 0 ? "  \(list):\n" : "  \(list): []\n")
      }
      if list != lists[0], count > 0 { text += "  \(list):\n" }
      var rules = ""
      for _ in 0..<count {
        var members = rule(&dice)
        let actions = list == "allow" ? ["allow", "allow", "observe"] : ["observe", "deny", "deny", "kill"]
        members += ", action: \(dice.pick(actions))"
        if dice.roll(3) == 0 { members += ", executables: [\"\(dice.pick(scopes))\"]" }
        if dice.roll(5) == 0 { members += ", ancestors: [\"\(dice.pick(scopes))\"]" }
        if dice.roll(5) == 0 { members += ", steps: [\(dice.pick(["build", "test", "build, test", "other"]))]" }
        if dice.roll(6) == 0 {
          let patterns = [
            "alpine:*", "alpine:3.20", "alpine:3.19", "docker.io/library/**", "ghcr.io/**", "ghcr.io/acme/**",
          ]
          members += ", images: [\"\(dice.pick(patterns))\"]"
        }
        rules += "    - {\(members)}\n"
      }
      if list == lists[0], count > 0 {
        text = text.replacing("  \(list):\n", with: "  \(list):\n\(rules)")
      } else {
        text += rules
      }
    }
    return text
  }

  /// What a policy says of all that can happen.
  static func decisions(_ policy: Policy, of actors: [PolicyActor] = actors + placed) -> [PolicyDecision] {
    var all: [PolicyDecision] = []
    for actor in actors {
      all += destinations.map { policy.decide(connect: $0, by: actor) }
      for path in paths {
        for flags in 0..<3 {
          var file = PolicyExecutable(path: path)
          file.isWithoutPlace = flags == 1
          file.isWrittenDuringJob = flags == 2
          all.append(policy.decide(execOf: file, by: actor))
        }
        for access in FileRule.Access.allCases {
          for sets in [[], FilesSection.Protected.allCases, [.sources]] {
            all.append(policy.decide(access, path, by: actor, isProtected: sets.contains))
          }
        }
      }
      all += ["w", "v"].map { policy.decide(memoryOf: $0, by: actor) }
      all += SystemRule.Deed.allCases.map { policy.decide($0, by: actor) }
    }
    return all
  }
}
