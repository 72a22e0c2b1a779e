/// How much a policy may hold: what the kernel side has room for.
public enum PolicyLimits {
  /// Rules of a list of the network section.
  public static let networkRules = 512
  /// Rules of any other list.
  public static let rules = 64
  /// Path patterns in all of a list's rules: their own, and those of executables and ancestors.
  public static let pathPatterns = 64
  public static let ports = 16
  public static let hashes = 64
  public static let resolvers = 8
  /// Bytes of UTF-8 of all host names of a policy.
  public static let hostBytes = 16 << 10
  /// Likewise of all path patterns.
  public static let pathBytes = 16 << 10
  /// Bytes of a pattern.
  public static let path = 4095
  /// Bytes of one name in it.
  public static let component = 255
  /// Bytes of /proc/PID/comm.
  public static let comm = 15

  /// What is too much in one list; nil: nothing.
  static func objection(toPatterns patterns: [PathPattern]) -> String? {
    patterns.count > pathPatterns
      ? "its rules have \(patterns.count) path patterns; \(pathPatterns) at most in one list" : nil
  }

  /// What is too much in the policy as a whole; nil: nothing.
  static func objection(to policy: Policy) -> String? {
    let hosts = policy.hosts.reduce(0) { $0 + $1.name.utf8.count }
    if hosts > hostBytes { return "the host names have \(hosts) bytes; \(hostBytes) at most" }
    let paths = policy.patternLists.joined().reduce(0) { $0 + $1.text.utf8.count }
    if paths > pathBytes { return "the path patterns have \(paths) bytes; \(pathBytes) at most" }
    return nil
  }

  /// What is too much in a policy that was made, not read; nil: nothing.
  static func objection(toAll policy: Policy) -> String? {
    for (name, count, limit) in policy.listSizes where count > limit {
      return "there would be \(count) rules under \(name); \(limit) at most"
    }
    if let objection = policy.patternLists.lazy.compactMap(objection(toPatterns:)).first { return objection }
    let rules = (policy.network?.deny ?? []) + (policy.network?.allow ?? [])
    if let rule = rules.first(where: { $0.ports.count > ports }) {
      return "a rule would have \(rule.ports.count) ports and ranges; \(ports) at most"
    }
    return objection(to: policy)
  }
}

extension Policy {
  fileprivate var listSizes: [(name: String, count: Int, limit: Int)] {
    [
      ("network.deny", network?.deny.count ?? 0, PolicyLimits.networkRules),
      ("network.allow", network?.allow.count ?? 0, PolicyLimits.networkRules),
      ("exec.deny", exec?.deny.count ?? 0, PolicyLimits.rules),
      ("exec.allow", exec?.allow.count ?? 0, PolicyLimits.rules),
      ("files.deny", files?.deny.count ?? 0, PolicyLimits.rules),
      ("files.allow", files?.allow.count ?? 0, PolicyLimits.rules),
      ("memory.protect", memory?.protect.count ?? 0, PolicyLimits.rules),
      ("system.deny", system?.deny.count ?? 0, PolicyLimits.rules),
      ("system.allow", system?.allow.count ?? 0, PolicyLimits.rules),
    ]
  }

  var hosts: [HostPattern] {
    guard let network else { return [] }
    return (network.deny + network.allow).compactMap { if case .host(let host) = $0.peer { host } else { nil } }
  }

  /// All path patterns, list by list.
  var patternLists: [[PathPattern]] {
    [
      network?.deny.flatMap(\.patterns), network?.allow.flatMap(\.patterns), exec?.deny.flatMap(\.patterns),
      exec?.allow.flatMap(\.patterns), files?.deny.flatMap(\.patterns), files?.allow.flatMap(\.patterns),
      memory?.protect.flatMap(\.patterns), system?.deny.flatMap(\.patterns), system?.allow.flatMap(\.patterns),
    ].compactMap { $0 }
  }
}

/// What the rules of all sections have.
public protocol PolicyRule: Sendable, Equatable {
  var head: RuleHead { get set }
  /// All path patterns in it.
  var patterns: [PathPattern] { get }
}

extension NetworkRule: PolicyRule {
  public var patterns: [PathPattern] { head.scope.patterns }
}

extension ExecRule: PolicyRule {
  public var patterns: [PathPattern] { (path.map { [$0] } ?? []) + head.scope.patterns }
}

extension FileRule: PolicyRule {
  public var patterns: [PathPattern] { [path] + head.scope.patterns }
}

extension MemoryRule: PolicyRule {
  public var patterns: [PathPattern] { head.scope.patterns }
}

extension SystemRule: PolicyRule {
  public var patterns: [PathPattern] { head.scope.patterns }
}

extension RuleScope {
  var patterns: [PathPattern] { executables + ancestors }
}
