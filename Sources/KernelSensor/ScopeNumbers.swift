internal import KernelABI
internal import Policy

/// Numbers the patterns that rules' scopes name, each once for a policy: what the bits of `mt_process.subjects` and of
/// `mt_policy_rule.scope` stand for.
struct ScopeNumbers {
  /// Bits of half a word: of a pattern the lower one says that a process' own image matches it, the upper one that an
  /// image does that it descends from.
  static let limit = 32

  private(set) var patterns: [PathPattern] = []

  /// The mask of a scope, see `in_scope` of `bpf/policy.h`; 0 for everyone.
  ///
  /// - Throws: if the policy's scopes name more than ``limit`` different patterns
  mutating func mask(of scope: RuleScope) throws(SensorError) -> UInt64 {
    var mask: UInt64 = 0
    for pattern in scope.executables { mask |= 1 << UInt64(try number(of: pattern)) }
    for pattern in scope.ancestors { mask |= 1 << UInt64(try number(of: pattern) + Self.limit) }
    return mask
  }

  private mutating func number(of pattern: PathPattern) throws(SensorError) -> Int {
    if let known = patterns.firstIndex(of: pattern) { return known }
    guard patterns.count < Self.limit else { throw .policyTooLarge("paths in scopes", Self.limit) }
    patterns.append(pattern)
    return patterns.count - 1
  }
}

extension SensorError {
  static func policyTooLarge(_ what: String, _ limit: Int) -> SensorError {
    SensorError(.policyRefused, "The policy has more than \(limit) \(what), which is all that the kernel side takes")
  }
}
