internal import Configuration
public import KernelSensor
internal import Observation
public import Policy
public import Reporting

extension ReportInput.PolicyInForce {
  /// - Parameter file: where it was read from, or what narrowed another one
  public init(_ policy: Policy, file: String) {
    var lines: [UInt32: Int] = [:]
    for head in policy.heads { lines[head.number] = head.place?.line }
    let name = file.split(separator: "/").last.map(String.init) ?? file
    self.init(file: VisibleText.terminal(name, limit: 80), digest: policy.digest, lines: lines)
  }

  /// Where a rule stands, for people.
  public func place(_ row: RuleEnforcement) -> String {
    guard row.rule != 0 else { return row.section == "files" ? "files protect" : "\(row.section) default" }
    return lines[row.rule].map { "\(file):\($0)" } ?? "rule \(row.rule)"
  }

  /// What is to be stopped and cannot be prevented here, in words.
  public func notPrevented(_ rows: [RuleEnforcement]) -> [String] {
    rows.filter { $0.action >= .deny && $0.strength != .prevented }
      .map { "\(place($0)) (\($0.section), \($0.strength == .killed ? "who does it is killed" : "only told"))" }
  }

  /// What of a policy that says `onSensorError: closed` would go with martlet here, in words; nil: nothing.
  public func notKept(_ rows: [RuleEnforcement]) -> String? {
    let places = rows.filter { $0.action >= .deny && !$0.outlives }.map(place)
    if places.isEmpty { return nil }
    return
      "onSensorError: closed cannot be kept for \(places.joined(separator: ", ")): on this kernel kprobes go with who "
      + "attached them (Linux 5.15 keeps them)"
  }
}
