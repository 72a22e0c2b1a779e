public import Configuration
internal import KernelSensor
internal import Observation
internal import Supervision

/// `martlet-agent.yaml`:
///
/// ```yaml
/// version: 1
/// output: /var/lib/martlet
/// rules:
///   - name: nightly
///     provider: other
///     comm: nightly-runner
///     steps: children
///   - {name: forge, provider: gitlab, markers: [FORGE_CI], key: FORGE_JOB_ID, linger: 1m}
/// shippedRules: true
/// identity: [FORGE_PIPELINE]
/// limits: {jobs: 200, memoryPerJob: 64M, memory: 512M}
/// hashes: true
/// requests: true
/// filters:
///   - {rules: nightly, excludeEvents: [unix], excludePaths: [/usr, /proc]}
/// ```
extension AgentConfiguration {
  /// Reads a file, all of it or nothing.
  public static func read(_ path: String) throws(ConfigurationError) -> AgentConfiguration {
    var configuration = try form.read(path: path)
    configuration.file = path
    return configuration
  }

  /// The JSON schema of such a file.
  public static var schema: [UInt8] {
    form.schema.document(id: "urn:martlet:agent-configuration:1", title: "martlet-agent.yaml")
  }

  public static let form = Form<AgentFile>.record(
    AgentFile(),
    .field("version", "Of this format: 1.", .integer(1...1), required: true, \.version),
    .field("output", "The directory for reports and the journal; an absolute path.", .absolutePath, \.output),
    .field("socket", "Where the agent is spoken to; an absolute path.", .absolutePath, \.socket),
    .field(
      "rules", "What the first process of a job is known by. They are asked before the shipped ones.",
      .list(of: rule, atMost: JobRule.limit), \.rules),
    .field(
      "shippedRules", "Whether the shipped rules are in force too; true if left out.", .truth, \.keepsShippedRules),
    .field(
      "identity", "Names of environment variables whose values reports may tell, besides the providers' own.",
      .list(of: .variable, atMost: 64), \.identity),
    .field("limits", "How much the agent takes at most.", limits, \.limits),
    .field(
      "hashes", "Whether what jobs execute, and the files that they leave behind, is hashed; false if left out.",
      .truth,
      \.hashes),
    .field(
      "requests", "Whether reports tell what jobs ask for over TLS: method, host and path; false if left out.", .truth,
      \.requests),
    .field(
      "names",
      "Whether reports tell by what names jobs found the addresses that they speak to, and whom they name there; true if left out.",
      .truth, \.names),
    .field(
      "policies", "What jobs of some rules may do, within what /etc/martlet/policy.yaml says.",
      .list(of: policy, atMost: JobRule.limit), \.policies),
    .field(
      "filters", "What is left out of the evidence of jobs of some rules.",
      .list(of: filterForm, atMost: JobRule.limit), \.filters),
    .field(
      "repositoryPolicies",
      "Whether martlet.yaml in a job's directory can narrow what the job may do further; false if left out.", .truth,
      \.keepsRepositoryPolicies)
  ).map { file throws(FormError) in
    var configuration = AgentConfiguration()
    configuration.rules = file.rules + (file.keepsShippedRules ? JobRules.defaults : [])
    var names: Set<String> = []
    for rule in configuration.rules where !names.insert(rule.name).inserted {
      throw FormError("there are two rules named '\(rule.name)'; the shipped ones are listed by 'martlet agent rules'")
    }
    guard configuration.rules.count <= JobRule.limit else {
      throw FormError("there are \(configuration.rules.count) rules with the shipped ones; \(JobRule.limit) at most")
    }
    guard !configuration.rules.isEmpty else { throw FormError("without rules the agent would watch nothing") }
    if let output = file.output { configuration.output = output }
    if let socket = file.socket { configuration.socket = socket }
    configuration.identity = file.identity
    configuration.limits = file.limits
    configuration.hashes = file.hashes
    configuration.requests = file.requests
    configuration.names = file.names
    try each(file.policies.map(\.rules), of: names, hasOne: "policy", "policies")
    configuration.policies = file.policies
    try each(file.filters.map(\.rules), of: names, hasOne: "filter", "filters")
    configuration.filters = file.filters
    configuration.keepsRepositoryPolicies = file.keepsRepositoryPolicies
    return configuration
  }

  /// Whether all rules that something is for are there, and none has two.
  private static func each(
    _ given: [[String]], of names: Set<String>, hasOne one: String, _ several: String
  ) throws(FormError) {
    var seen: Set<String> = []
    for name in given.joined() {
      guard name == RulesPolicy.run || names.contains(name) else {
        throw FormError(
          "there is no rule '\(name)' for a \(one); 'martlet agent rules' lists them, and 'run' is for users' commands")
      }
      guard seen.insert(name).inserted else { throw FormError("the rule '\(name)' has two \(several)") }
    }
  }

  private static let rule = Form<RuleText>.record(
    RuleText(),
    .field("name", "Short and unique: what status and reports call it.", .identifier, required: true, \.name),
    .field("provider", "Whose jobs they are: says what their variables mean.", .identifier, required: true, \.provider),
    .field("comm", "The name of the first process: 15 bytes of what was executed.", .text(atMost: 15), \.comm),
    .field("path", "The image: a whole path from / on, or its last components.", .text(atMost: 256), \.path),
    .field("uid", "The effective user id.", .integer(0...4_294_967_294), \.uid),
    .field(
      "cgroup", "Its cgroup, or one above it: a path below / in the v2 hierarchy; with * at its end, how that begins.",
      .text(atMost: 251), \.cgroup),
    .field("markers", "Variables that all have to be in its environment.", .list(of: .variable, atMost: 8), \.markers),
    .field("key", "A variable that tells jobs apart: what has the same value joins the job.", .variable, \.key),
    .field("steps", "What begins a step: each of its children, or nothing.", .word, \.steps),
    .field(
      "linger", "How long a job stays open when it has no process.", .duration(.zero...(.seconds(3600))), \.linger)
  ).map { text throws(FormError) in
    guard text.comm != nil || text.path != nil || text.cgroup != nil || !text.markers.isEmpty else {
      throw FormError("the rule '\(text.name)' names no comm, path, cgroup or markers, and would claim every process")
    }
    if let cgroup = text.cgroup {
      let isBelow = cgroup.hasPrefix("/") && cgroup.contains { $0 != "/" && $0 != "*" }
      guard isBelow, !cgroup.dropLast().contains("*"), !cgroup.contains("//") else {
        throw FormError("the cgroup of the rule '\(text.name)' has to be a path below /, with a * at its end at most")
      }
    }
    let match = JobRule(
      comm: text.comm, path: text.path, uid: text.uid.map { UInt32($0) }, cgroup: text.cgroup,
      markers: text.markers, key: text.key, childrenAreSteps: text.steps == .children)
    return AgentRule(
      name: text.name, provider: text.provider, match: match,
      linger: text.linger.map { UInt64($0 / .nanoseconds(1)) })
  }

  private static let policy = Form<RulesPolicy>.record(
    RulesPolicy(),
    .field(
      "rules", "Of which rules' jobs it is: a name, or a list; 'run' for commands of users.",
      .oneOrMore(of: .identifier, atMost: JobRule.limit + 1), required: true, \.rules),
    .field("file", "The policy: an absolute path.", .absolutePath, required: true, \.file))

  private static let limits = Form<AgentLimits>.record(
    AgentLimits(),
    .field("jobs", "Jobs at once.", .integer(1...1023), \.jobs),
    .field("runsPerUser", "Commands at once that a user has watched by martlet run.", .integer(0...255), \.runsPerUser),
    .field(
      "memoryPerJob", "Kept of one job; what comes beyond is counted.", .bytes((1 << 20)...(1 << 36)), \.bytesPerJob),
    .field("memory", "Kept of all jobs together.", .bytes((1 << 20)...(1 << 40)), \.bytes),
    .field(
      "agentMemory", "Memory of the agent itself, without rings, above which it gives up detail, and counts it.",
      .bytes((1 << 20)...(1 << 40)), \.agentBytes),
    .field(
      "cpu", "Percent of one CPU, over ten seconds, above which it gives up detail, and counts it.",
      .integer(1...25600), \.cpuPercent))
}

/// The file as it is written.
public struct AgentFile: Sendable {
  var version = 1
  var output: String?
  var socket: String?
  var rules: [AgentRule] = []
  var keepsShippedRules = true
  var identity: [String] = []
  var limits = AgentLimits()
  var hashes = false
  var requests = false
  var names = true
  var policies: [RulesPolicy] = []
  var filters: [RulesFilter] = []
  var keepsRepositoryPolicies = false
}

private struct RuleText: Sendable {
  enum Steps: String, CaseIterable { case children, none }

  var name = ""
  var provider = ""
  var comm: String?
  var path: String?
  var uid: Int?
  var cgroup: String?
  var markers: [String] = []
  var key: String?
  var steps = Steps.none
  var linger: Duration?
}

extension Form where Value == String {
  /// The name of an environment variable.
  fileprivate static var variable: Form {
    text(atMost: 47).map { name throws(FormError) in
      let letters = name.utf8.allSatisfy { isAlphanumeric($0) || $0 == UInt8(ascii: "_") }
      guard letters, name.utf8.first.map({ !isDigit($0) }) == true else {
        throw FormError("the name of a variable has letters, digits and _ only, and begins with no digit")
      }
      return name
    }
  }

  /// What can be a part of a directory's name.
  static var identifier: Form {
    text(atMost: 32).map { name throws(FormError) in
      guard name.utf8.allSatisfy({ isAlphanumeric($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_") }) else {
        throw FormError("has to be made of letters, digits, - and _")
      }
      return name
    }
  }

  fileprivate static var absolutePath: Form {
    text(atMost: 4095).map { path throws(FormError) in
      guard path.hasPrefix("/") else { throw FormError("has to begin with /") }
      return path
    }
  }
}
