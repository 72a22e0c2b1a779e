internal import Observation

extension Policy {
  /// The policy as a file, the same text for the same policy: reading it gives an equal one but for places.
  public var yaml: String { yaml(comments: [:]) }

  /// Of ``yaml`` in UTF-8, in hexadecimal: what reports call the policy. What the file looked like does not count, the
  /// order of its rules does.
  public var digest: String {
    var hash = SHA256()
    Array(yaml.utf8).withUnsafeBytes { hash.update($0) }
    var text = ByteBuffer(capacity: 64)
    hash.finish().withUnsafeBytes { text.append(hexOf: $0) }
    return text.text
  }

  /// - Parameters:
  ///   - comments: lines to be put in front of the rules with these numbers
  ///   - header: lines at the file's begin
  public func yaml(comments: [UInt32: [String]], header: [String] = []) -> String {
    var sections: [Section] = []
    if let network {
      var section = Section("network")
      section.add("default", network.defaultAction, unless: .allow)
      section.addList("deny", network.deny, as: PolicyText.map(.deny), comments)
      section.addList("allow", network.allow, as: PolicyText.map(.allow), comments)
      if !network.resolvers.isEmpty {
        section.parts.append((0, ["resolvers: \(PolicyText.list(network.resolvers.map(\.description)))"]))
      }
      sections.append(section)
    }
    if let exec {
      var section = Section("exec")
      section.add("default", exec.defaultAction, unless: .allow)
      section.addList("deny", exec.deny, as: PolicyText.map(.deny), comments)
      section.addList("allow", exec.allow, as: PolicyText.map(.allow), comments)
      sections.append(section)
    }
    if let files {
      var section = Section("files")
      if !files.protect.isEmpty {
        section.parts.append((0, ["protect: \(PolicyText.list(files.protect.map(\.rawValue)))"]))
      }
      section.add("action", files.protectAction, unless: .deny)
      section.addList("deny", files.deny, as: PolicyText.map(.deny), comments)
      section.addList("allow", files.allow, as: PolicyText.map(.allow), comments)
      sections.append(section)
    }
    if let memory {
      var section = Section("memory")
      section.addList("protect", memory.protect, as: PolicyText.map(.deny), comments)
      sections.append(section)
    }
    if let system {
      var section = Section("system")
      section.add("default", system.defaultAction, unless: .allow)
      section.addList("deny", system.deny, as: PolicyText.map(.deny), comments)
      section.addList("allow", system.allow, as: PolicyText.map(.allow), comments)
      sections.append(section)
    }
    var lines = header.map(PolicyText.comment) + ["version: 1"]
    lines += Self.sorted(sections).flatMap(\.lines)
    if requirePrevention { lines.append("requirePrevention: true") }
    if onSensorError != .open { lines.append("onSensorError: \(onSensorError.rawValue)") }
    return lines.map { $0 + "\n" }.joined()
  }

  /// By the numbers of their first rules. What has none stays in front of what is behind it.
  private static func sorted(_ sections: [Section]) -> [Section] {
    var next = UInt32.max
    var keys: [UInt32] = []
    for section in sections.reversed() {
      if section.first != 0 { next = section.first }
      keys.append(next)
    }
    return zip(keys.reversed(), sections).enumerated()
      .sorted { ($0.element.0, $0.offset) < ($1.element.0, $1.offset) }.map(\.element.1)
  }
}

/// A section on its way to text. What has rules comes in the order of their numbers, so that reading gives the same.
private struct Section {
  let name: String
  var parts: [(first: UInt32, lines: [String])] = []

  init(_ name: String) { self.name = name }

  /// The number of its first rule; 0: it has none.
  var first: UInt32 { parts.map(\.first).filter { $0 != 0 }.min() ?? 0 }

  var lines: [String] {
    if parts.isEmpty { return ["\(name): {}"] }
    // What has no rules comes first.
    let sorted = parts.enumerated().sorted { ($0.element.first, $0.offset) < ($1.element.first, $1.offset) }
    return ["\(name):"] + sorted.flatMap(\.element.lines).map { "  " + $0 }
  }

  mutating func add(_ key: String, _ action: PolicyAction, unless usual: PolicyAction) {
    if action != usual { parts.append((0, ["\(key): \(action.rawValue)"])) }
  }

  mutating func addList<Rule: PolicyRule>(
    _ key: String, _ rules: [Rule], as text: (Rule) -> String, _ comments: [UInt32: [String]]
  ) {
    guard let first = rules.first else { return }
    let lines = rules.flatMap { rule in
      (comments[rule.head.number] ?? []).map { "  " + PolicyText.comment($0) } + ["  - " + text(rule)]
    }
    parts.append((first.head.number, ["\(key):"] + lines))
  }
}

/// Rules in YAML's flow style, a line each.
enum PolicyText {
  /// - Parameter usual: the action that need not be said in this list
  static func map<Rule: PolicyRule>(_ usual: PolicyAction) -> (Rule) -> String {
    { rule in self.rule(rule, usual: usual) }
  }

  static func rule(_ rule: some PolicyRule, usual: PolicyAction) -> String {
    text(rule, rule.head.action == usual ? nil : rule.head.action)
  }

  /// What a rule is for, without what it does.
  static func condition(_ rule: some PolicyRule) -> String { text(rule, nil) }

  private static func text(_ rule: some PolicyRule, _ action: PolicyAction?) -> String {
    var members = members(of: rule)
    if let action { members.append("action: \(action.rawValue)") }
    func add(_ key: String, _ patterns: [PathPattern]) {
      if !patterns.isEmpty { members.append("\(key): \(list(patterns.map(\.written)))") }
    }
    add("executables", rule.head.scope.executables)
    add("ancestors", rule.head.scope.ancestors)
    if !rule.head.scope.steps.isEmpty { members.append("steps: \(list(rule.head.scope.steps))") }
    if !rule.head.scope.images.isEmpty { members.append("images: \(list(rule.head.scope.images.map(\.written)))") }
    return "{\(members.joined(separator: ", "))}"
  }

  private static func members(of rule: any PolicyRule) -> [String] {
    switch rule {
    case let rule as NetworkRule:
      var members: [String] = []
      switch rule.peer {
      case .any: break
      case .host(let host): members.append("host: \(scalar(host.written))")
      case .network(let network):
        members.append(
          network.length == 128
            ? "address: \(scalar(network.address.description))" : "cidr: \(scalar(network.description))")
      }
      if !rule.ports.isEmpty {
        let ports = rule.ports.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
        members.append("ports: [\(ports.joined(separator: ", "))]")
      }
      if !rule.protocols.isEmpty { members.append("protocols: \(list(rule.protocols.map(\.rawValue)))") }
      return members
    case let rule as ExecRule:
      var members = rule.path.map { ["path: \(scalar($0.written))"] } ?? []
      if !rule.sha256.isEmpty { members.append("sha256: \(list(rule.sha256.map(hexadecimal)))") }
      if rule.memfd { members.append("memfd: true") }
      if rule.writtenDuringJob { members.append("writtenDuringJob: true") }
      return members
    case let rule as FileRule: return ["\(rule.access.rawValue): \(scalar(rule.path.written))"]
    case let rule as MemoryRule: return ["comm: \(scalar(rule.comm))"]
    case let rule as SystemRule: return ["deed: \(rule.deed.rawValue)"]
    default: return []
    }
  }

  static func hexadecimal(_ bytes: [UInt8]) -> String {
    var text = ByteBuffer(capacity: bytes.count * 2)
    bytes.withUnsafeBytes { text.append(hexOf: $0) }
    return text.text
  }

  static func list(_ texts: [String]) -> String { "[\(texts.map(scalar).joined(separator: ", "))]" }

  /// Plain where it is nothing but a word, a name or a path.
  static func scalar(_ text: String) -> String {
    let isPlain =
      text.utf8.first.map { isAlphanumeric($0) || $0 == UInt8(ascii: "/") } == true
      && text.utf8.allSatisfy { isAlphanumeric($0) || "/._-".utf8.contains($0) }
    return isPlain ? text : quoted(text)
  }

  /// With YAML's escapes, so that nothing hides in the text or ends it.
  private static func quoted(_ text: String) -> String {
    var out = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"", "\\": out += "\\" + String(scalar)
      // Outside of what YAML lets stand for itself, or invisible.
      case _ where scalar != " " && VisibleText.isHidden(scalar), "\u{FEFF}", "\u{FFFE}", "\u{FFFF}":
        let digits = String(scalar.value, radix: 16)
        out += "\\U" + String(repeating: "0", count: 8 - digits.utf8.count) + digits
      default: out.unicodeScalars.append(scalar)
      }
    }
    return out + "\""
  }

  /// One line, whatever is in it.
  static func comment(_ text: String) -> String { text.isEmpty ? "#" : "# " + VisibleText.terminal(text) }
}
