internal import Jobs
internal import Observation

/// What a policy did not allow in words: the same in every form of the report.
enum DenialText {
  /// To whom or to what. Holds names from the job: to be escaped.
  static func object(_ denial: DenialSummary, _ label: (UInt32) -> String) -> String {
    var parts: [String] = []
    if let host = denial.host { parts.append(host.plainText) }
    if let address = denial.address {
      let place = address.utf8.contains(UInt8(ascii: ":")) ? "[\(address)]" : address
      let end = denial.port == 0 ? place : "\(place):\(denial.port)"
      parts.append(denial.host == nil ? end : "(\(end))")
    } else if denial.section == .network, denial.host == nil, let transport = denial.networkProtocol {
      parts.append(transport.rawValue)
    }
    if let target = denial.target {
      parts.append(target.process != 0 ? "\(label(target.process)), pid \(target.pid)" : "pid \(target.pid)")
    }
    if let path = denial.path { parts.append(path.pathText) }
    return parts.joined(separator: " ")
  }

  /// What decided: a rule by its place, or the section's default.
  static func rule(_ denial: DenialSummary, _ policy: ReportInput.PolicyInForce?) -> String {
    if denial.section == .selfProtection { return PolicySectionKind.selfProtection.name }
    guard denial.rule != 0 else { return "\(denial.section?.name ?? "policy") default" }
    guard let policy, let line = policy.lines[denial.rule] else { return "rule \(denial.rule)" }
    return "\(policy.file):\(line)"
  }

  /// Of the section that has them.
  static func heading(_ input: ReportInput) -> StaticString {
    input.snapshot.denials.allSatisfy { $0.section == .selfProtection } ? "Self-protection" : "Policy"
  }

  static func effect(_ denial: DenialSummary) -> String {
    switch denial.effect {
    case .observed: denial.section == .selfProtection ? "done" : "would be denied"
    case .prevented: "prevented"
    case .killed: denial.section == .exec ? "killed before it ran" : "killed, may have been done"
    }
  }
}
