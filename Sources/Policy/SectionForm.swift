import Configuration

/// How a policy's sections are written.
enum SectionForm {
  static let network = Form<NetworkSection>.record(
    NetworkSection(),
    .field("default", "What becomes of connections that no rule is for; allow if left out.", .word, \.defaultAction),
    .field(
      "deny", "Rules that are asked first, in their order; the first that matches decides.",
      .list(of: NetworkText.form.rule(DenyVerb.self), atMost: PolicyLimits.networkRules), \.deny),
    .field(
      "allow", "Rules that are asked then.",
      .list(of: NetworkText.form.rule(AllowVerb.self), atMost: PolicyLimits.networkRules), \.allow),
    .field(
      "resolvers", "Addresses whose answers about names are believed; those of /etc/resolv.conf if left out.",
      .list(of: .address, atMost: PolicyLimits.resolvers), \.resolvers))

  static let exec = Form<ExecSection>.record(
    ExecSection(),
    .field("default", "What becomes of executions that no rule is for; allow if left out.", .word, \.defaultAction),
    .field("deny", "Rules that are asked first, in their order.", rules(ExecText.form.rule(DenyVerb.self)), \.deny),
    .field("allow", "Rules that are asked then.", rules(ExecText.form.rule(AllowVerb.self)), \.allow))

  static let files = Form<FilesSection>.record(
    FilesSection(),
    .field(
      "protect", "Sets of files that may not be changed, nor credentials read: one, or a list.",
      .oneOrMore(of: .word, atMost: FilesSection.Protected.allCases.count).map { words throws(FormError) in
        guard Set(words).count == words.count else { throw FormError("names a set twice") }
        return words
      }, \.protect),
    .field(
      "action", "What becomes of a change of what is protected; deny if left out.",
      Form<DenyVerb>.word.map(\.action), \.protectAction),
    .field("deny", "Rules that are asked first, in their order.", rules(FileText.form.rule(DenyVerb.self)), \.deny),
    .field(
      "allow", "Exceptions: rules that are asked before what is protected.",
      rules(FileText.form.rule(AllowVerb.self)), \.allow))

  static let memory = Form<MemorySection>.record(
    MemorySection(),
    .field(
      "protect", "Processes whose memory, registers and descriptors no other of the job may get at: names, or rules.",
      rules(
        .scalar(
          Form<String>.comm.mapWithPlace { MemoryRule(head: RuleHead(.deny, at: $1), comm: $0) },
          or: MemoryText.form.rule(DenyVerb.self))),
      \.protect))

  static let system = Form<SystemSection>.record(
    SystemSection(),
    .field("default", "What becomes of deeds that no rule is for; allow if left out.", .word, \.defaultAction),
    .field("deny", "Deeds, or rules, that are asked first, in their order.", deeds(DenyVerb.self), \.deny),
    .field("allow", "Deeds, or rules, that are asked then.", deeds(AllowVerb.self), \.allow))

  private static func deeds<V: Verb>(_ verb: V.Type) -> Form<[SystemRule]> {
    let word = Form<SystemRule.Deed>.word.mapWithPlace { deed, place in
      SystemRule(head: RuleHead(V.initial, at: place), deed: deed)
    }
    return rules(.scalar(word, or: DeedText.form.rule(verb)))
  }

  private static func rules<Rule: PolicyRule>(_ form: Form<Rule>) -> Form<[Rule]> {
    .list(of: form, atMost: PolicyLimits.rules)
  }
}

/// What may stand for a rule's action.
protocol Verb: Sendable, CaseIterable, RawRepresentable<String> {
  static var initial: PolicyAction { get }
}

extension Verb {
  var action: PolicyAction { PolicyAction(rawValue: rawValue) ?? Self.initial }
}

enum DenyVerb: String, Verb {
  case observe, deny, kill
  static var initial: PolicyAction { .deny }
}

enum AllowVerb: String, Verb {
  case allow, observe
  static var initial: PolicyAction { .allow }
}

extension RuleHead {
  init(_ action: PolicyAction, at place: Place, scope: RuleScope = RuleScope()) {
    self.init(action: action)
    self.place = place
    self.scope = scope
  }
}

/// A rule as it is written: what all have, and its own.
protocol RuleText: Sendable {
  associatedtype Rule: PolicyRule
  init()
  var common: CommonText { get set }
  func rule(_ head: RuleHead) throws(FormError) -> Rule
}

struct CommonText: Sendable {
  var action: String?
  var scope = RuleScope()
}

/// The fields of a rule's own; the common ones come behind them.
struct RuleForm<Text: RuleText>: Sendable {
  let fields: [Field<Text>]

  init(_ fields: Field<Text>...) { self.fields = fields }

  func rule<V: Verb>(_ verb: V.Type) -> Form<Text.Rule> {
    let common: [Field<Text>] = [
      .field(
        "action", "What the rule does; \(V.initial.rawValue) if left out.", Form<V>.word.map(\.rawValue),
        \.common.action),
      .field(
        "executables", "The rule is for these images alone: path patterns.",
        .list(of: .pathPattern, atLeast: 1, atMost: PolicyLimits.scopePatterns), \.common.scope.executables),
      .field(
        "ancestors", "The rule is for what descends from these images, and for them.",
        .list(of: .pathPattern, atLeast: 1, atMost: PolicyLimits.scopePatterns), \.common.scope.ancestors),
      .field(
        "steps", "The rule is for these steps of a job alone: their names.",
        .list(of: .stepName, atLeast: 1, atMost: PolicyLimits.places), \.common.scope.steps),
      .field(
        "images",
        "The rule is for containers of these images alone: NAME:TAG, NAME@sha256:DIGEST, NAME:* or REGISTRY/**.",
        .list(of: .image, atLeast: 1, atMost: PolicyLimits.places), \.common.scope.images),
    ]
    return Form<Text>.record(Text(), fields + common).mapWithPlace { text, place throws(FormError) in
      let action = text.common.action.flatMap(PolicyAction.init(rawValue:)) ?? V.initial
      return try text.rule(RuleHead(action, at: place, scope: text.common.scope))
    }
  }
}

struct NetworkText: RuleText {
  var common = CommonText()
  var host: HostPattern?
  var cidr: IPNetwork?
  var address: IPAddress?
  var ports: [ClosedRange<Int>] = []
  var protocols: [NetworkProtocol] = []

  static let form = RuleForm<NetworkText>(
    .field("host", "A name, '*.NAME' for one label in front of it, or '**.NAME' for one or more.", .host, \.host),
    .field("cidr", "A network, such as 10.0.0.0/8 or 2001:db8::/32.", .cidr, \.cidr),
    .field("address", "A single address.", .address, \.address),
    .field(
      "ports", "Numbers and ranges such as 8000-8010; all if left out.",
      .oneOrMore(of: .integers(0...65535), atMost: PolicyLimits.ports), \.ports),
    .field(
      "protocols", "If left out tcp and udp; of a host that is allowed tcp.",
      .oneOrMore(of: .word, atMost: NetworkProtocol.allCases.count),
      \.protocols))

  func rule(_ head: RuleHead) throws(FormError) -> NetworkRule {
    let peers = [host.map { _ in "host" }, cidr.map { _ in "cidr" }, address.map { _ in "address" }].compactMap { $0 }
    guard peers.count <= 1 else {
      throw FormError("\(peers.joined(separator: " and ")) in one rule: write a rule for each")
    }
    guard !peers.isEmpty || !ports.isEmpty || !protocols.isEmpty || !head.scope.isEveryone else {
      throw FormError("the rule names nothing and would be for everything; that is what 'default' says")
    }
    guard Set(protocols).count == protocols.count else { throw FormError("a protocol is named twice") }
    if !ports.isEmpty, let other = protocols.first(where: { $0 == .icmp || $0 == .raw }) {
      throw FormError("\(other.rawValue) has no ports: write a rule of its own for it")
    }
    if !peers.isEmpty, protocols.contains(.raw) {
      throw FormError("raw sockets can send to whomever: a rule for them names no \(peers[0])")
    }
    var rule = NetworkRule(head: head)
    if let host { rule.peer = .host(host) }
    if let network = cidr ?? address.map({ IPNetwork($0) }) { rule.peer = .network(network) }
    rule.ports = ports.map { UInt16($0.lowerBound)...UInt16($0.upperBound) }
    rule.protocols = protocols
    return rule
  }
}

struct ExecText: RuleText {
  var common = CommonText()
  var path: PathPattern?
  var sha256: [[UInt8]] = []
  var memfd = false
  var writtenDuringJob = false

  static let form = RuleForm<ExecText>(
    .field("path", "Of the file; a path pattern.", .pathPattern, \.path),
    .field(
      "sha256", "Of its content, in hexadecimal: one, or a list.", .oneOrMore(of: .sha256, atMost: PolicyLimits.hashes),
      \.sha256),
    .field("memfd", "A file without a place: memfd, or deleted. Only true.", .onlyTrue, \.memfd),
    .field("writtenDuringJob", "A file that the job itself wrote. Only true.", .onlyTrue, \.writtenDuringJob))

  func rule(_ head: RuleHead) throws(FormError) -> ExecRule {
    guard path != nil || !sha256.isEmpty || memfd || writtenDuringJob || !head.scope.isEveryone else {
      throw FormError("the rule names nothing and would be for everything; that is what 'default' says")
    }
    guard path == nil || !memfd else { throw FormError("path and memfd in one rule: what has no place has no path") }
    var rule = ExecRule(head: head)
    rule.path = path
    rule.sha256 = sha256
    rule.memfd = memfd
    rule.writtenDuringJob = writtenDuringJob
    return rule
  }
}

struct FileText: RuleText {
  var common = CommonText()
  var write: PathPattern?
  var read: PathPattern?

  static let form = RuleForm<FileText>(
    .field("write", "Any change of these files, their names or attributes; a path pattern.", .pathPattern, \.write),
    .field("read", "Opening these files for reading; a path pattern.", .pathPattern, \.read))

  func rule(_ head: RuleHead) throws(FormError) -> FileRule {
    guard write == nil || read == nil else { throw FormError("write and read in one rule: write a rule for each") }
    if let write { return FileRule(head: head, access: .write, path: write) }
    if let read { return FileRule(head: head, access: .read, path: read) }
    throw FormError("the rule names neither 'write' nor 'read'")
  }
}

struct MemoryText: RuleText {
  var common = CommonText()
  var comm = ""

  static let form = RuleForm<MemoryText>(
    .field("comm", "The process' name as in /proc/PID/comm.", .comm, required: true, \.comm))

  func rule(_ head: RuleHead) -> MemoryRule { MemoryRule(head: head, comm: comm) }
}

struct DeedText: RuleText {
  var common = CommonText()
  var deed = SystemRule.Deed.bpf

  static let form = RuleForm<DeedText>(.field("deed", "What is done.", .word, required: true, \.deed))

  func rule(_ head: RuleHead) -> SystemRule { SystemRule(head: head, deed: deed) }
}
