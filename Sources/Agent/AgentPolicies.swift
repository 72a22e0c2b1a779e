internal import KernelSensor
internal import Observation
internal import Policy
internal import Recording
internal import Reporting

/// A policy, and how reports speak of it.
struct NamedPolicy: Sendable {
  var policy: Policy
  var inForce: ReportInput.PolicyInForce

  init(_ policy: Policy, file: String) {
    self.policy = policy
    inForce = .init(policy, file: file)
  }
}

/// What jobs may do: the machine's policy, and what the configuration adds for those of some rules.
struct AgentPolicies: Sendable {
  /// Each once; the machine's first, if it has one.
  private(set) var all: [NamedPolicy] = []
  /// The machine's has a place in ``all``.
  private(set) var hasNodes = false
  /// Place in ``all``, by the rule's index.
  private(set) var rules: [Int: Int] = [:]
  /// Of what no rule makes: what users have watched.
  private(set) var asked: Int?
  let keepsRepositories: Bool

  /// Without any, nothing is denied to anybody but by a user's own, and no program is loaded that could.
  var isEmpty: Bool { all.isEmpty && !keepsRepositories }
  /// Of containers of which it is not known yet whose they are.
  var containers: Int? { hasNodes ? 0 : nil }
  var ofContainers: NamedPolicy? { containers.map { all[$0] } }

  /// Reads all that are named.
  ///
  /// - Throws: what is wrong with a file, or why it cannot narrow the machine's
  init(_ configuration: AgentConfiguration) throws(PolicyRefusal) {
    keepsRepositories = configuration.keepsRepositoryPolicies
    let node = try Policy.ofNode()
    if let node {
      hasNodes = true
      all.append(NamedPolicy(node, file: Policy.nodePath))
      asked = 0
      for index in configuration.rules.indices { rules[index] = 0 }
    }
    for given in configuration.policies {
      let own = try Policy.readOwned(given.file)
      let place = all.count
      all.append(NamedPolicy(try Self.narrow(node, by: own, given.file), file: given.file))
      for (index, rule) in configuration.rules.enumerated() where given.rules.contains(rule.name) {
        rules[index] = place
      }
      if given.rules.contains(RulesPolicy.run) { asked = place }
    }
  }

  /// What they deny stays denied when the agent is gone: of all, if one says so, as one sensor keeps them.
  var isClosed: Bool { all.contains { $0.policy.onSensorError == .closed } }

  /// Both, in this order: whose answers about names are believed is the first one's to say.
  static func narrow(_ first: Policy?, by other: Policy, _ file: String) throws(PolicyRefusal) -> Policy {
    guard let first else { return other }
    do {
      return try first.narrowed(by: other)
    } catch {
      throw PolicyRefusal("\(file) cannot narrow the machine's policy: \(error)")
    }
  }

  /// What an agent before this one wrote down; where its rules stand is known if the file is still the same.
  func inForce(_ entry: JournalEntry.Policy) -> ReportInput.PolicyInForce {
    all.first { $0.inForce.digest == entry.digest }?.inForce
      ?? .init(file: VisibleText.terminal(entry.file, limit: 80), digest: entry.digest, lines: [:])
  }

  /// The place in ``all`` of what a job gets that this rule makes; nil: that no rule makes.
  private func place(ofRule index: Int?) -> Int? {
    guard let index else { return asked }
    return rules[index]
  }

  /// What a job gets that this rule makes; nil: that no rule makes.
  func ofRule(_ index: Int?) -> NamedPolicy? { place(ofRule: index).map { all[$0] } }

  /// Each, and of which rules' jobs it is.
  func write(of configuration: AgentConfiguration, to json: inout JSONOutput) {
    json.array("policies") { json in
      for (place, one) in all.enumerated() {
        json.object { json in
          json.member("file", one.inForce.file)
          json.member("sha256", one.inForce.digest)
          json.array("rules") { json in
            for (index, rule) in configuration.rules.enumerated() where rules[index] == place {
              json.member(nil, rule.name)
            }
            if asked == place { json.member(nil, RulesPolicy.run) }
          }
        }
      }
    }
    json.member("repositoryPolicies", keepsRepositories)
  }

  /// Puts all of them where new jobs get them.
  ///
  /// - Returns: what those of single jobs have to be prepared by
  /// - Throws: also if one requires prevention that this kernel cannot do
  func place(in sensor: Sensor, log: AgentLog) throws -> PolicyTerms {
    let terms = try sensor.policyTerms(for: all.map(\.policy))
    for one in all {
      let rows = sensor.enforcement(of: one.policy)
      if isClosed, let objection = one.inForce.notKept(rows) {
        throw PolicyRefusal("\(one.inForce.file): \(objection)")
      }
      let weak = one.inForce.notPrevented(rows)
      guard let first = weak.first else { continue }
      let rest = weak.count > 1 ? "; and \(weak.count - 1) more" : ""
      let text = "not prevented on this kernel: \(first)\(rest), see 'martlet doctor --policy'"
      if one.policy.requirePrevention {
        throw PolicyRefusal("\(one.inForce.file) requires prevention: \(text)")
      }
      log.tell(text)
    }
    // Where a job works is not known when it begins: what the policy says of that comes later.
    let prepared = try all.map { try PreparedPolicy($0.policy, in: .unknown, terms) }
    try sensor.setPolicies(prepared, rules: rules, asked: asked, containers: containers)
    return terms
  }
}

/// The policy that one job is under, as far as its report speaks of it.
struct JobPolicy {
  /// What its rule gave it; nil: nothing.
  let given: NamedPolicy?
  /// What is in force; nil: nothing.
  private(set) var inForce: ReportInput.PolicyInForce?
  /// What it says of the directory that the job works in is in force.
  private(set) var hasDirectory = false
  /// Digests of what the repository's own said, each once.
  private(set) var repositories: [[UInt8]] = []
  private(set) var narrowed: Policy?
  /// The rest of it is being made.
  var isAwaited = false
  /// A process that has begun a step meanwhile.
  var next: Process?

  struct Process {
    var pid: UInt32
    var start: UInt64
  }

  static let repositoryLimit = 8
  private static let noteLimit = 20

  init(_ given: NamedPolicy?) {
    self.given = given
    inForce = given?.inForce
    if given?.policy.isRelative ?? false {
      note("What the policy says of paths in the directory that the job works in is in force when that is known.")
    }
  }

  /// What a further one narrows; nil: nothing is in force.
  var current: NamedPolicy? { narrowed.map { NamedPolicy($0, file: PolicyPreparer.fileName) } ?? given }

  /// Whether the job's directory would add to what is in force.
  func wantsDirectory(_ policies: AgentPolicies) -> Bool {
    policies.keepsRepositories || !hasDirectory && given?.policy.isRelative ?? false
  }

  mutating func note(_ sentence: String) {
    if inForce == nil { inForce = .init(file: "(none)", digest: "", lines: [:]) }
    guard let notes = inForce?.notes, notes.count < Self.noteLimit, !notes.contains(sentence) else { return }
    inForce?.notes.append(sentence)
  }

  /// It was made for the job's directory.
  mutating func isWhole() {
    hasDirectory = true
    inForce?.notes = []
  }

  /// Another one takes its place.
  mutating func replace(_ answer: PolicyAnswer, at time: String) {
    hasDirectory = true
    let last = inForce
    if let repository = answer.repository {
      repositories.append(repository)
      narrowed = answer.policy.policy
    }
    var next = answer.policy.inForce
    next.notes = (last?.notes ?? []).filter { !$0.hasPrefix("What the policy says of paths") }
    inForce = next
    note("What it says of paths in the job's directory, \(answer.directory), is in force since \(time).")
    if answer.repository != nil {
      let before = last.map { $0.digest.isEmpty ? "no policy" : "the policy \($0.digest.prefix(12))" } ?? "no policy"
      note("Until \(time), \(before) was in force; since then the repository's martlet.yaml narrows it.")
    }
  }
}
