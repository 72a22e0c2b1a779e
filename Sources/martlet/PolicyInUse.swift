import Configuration
import Glibc
import KernelSensor
import Observation
import Policy
import Reporting

/// The policy of a run: the one that was asked for, narrowed by that of the machine.
struct PolicyInUse {
  /// Why there is none, in words.
  struct Refusal: Error { var message: String }

  var policy: Policy
  /// How reports speak of it.
  var inForce: ReportInput.PolicyInForce

  /// What root lays down for all jobs of the machine: a job's own policy can narrow it only.
  static let nodePath = "/etc/martlet/policy.yaml"

  /// - Parameter path: of the policy that was asked for; nil: none was
  /// - Returns: nil if neither it nor the machine's is there
  static func read(_ path: String?) throws(Refusal) -> PolicyInUse? {
    let node = try nodePolicy()
    guard let path else { return try node.map { node throws(Refusal) in try PolicyInUse(node, file: nodePath) } }
    let own: Policy
    do {
      own = try Policy.read(path)
    } catch {
      throw Refusal(message: "\(error)")
    }
    guard let node else { return try PolicyInUse(own, file: path) }
    let narrowed: Policy
    do {
      // In this order: whose answers are believed is the machine's to say.
      narrowed = try node.narrowed(by: own)
    } catch {
      throw Refusal(message: "\(VisibleText.terminal(path)) cannot be narrowed by \(nodePath): \(error)")
    }
    return try PolicyInUse(narrowed, file: path)
  }

  private init(_ policy: Policy, file: String) throws(Refusal) {
    guard policy.onSensorError == .open else {
      throw Refusal(
        message:
          "\(VisibleText.terminal(file)): onSensorError: closed cannot be kept yet: without martlet nothing is denied")
    }
    self.policy = policy
    var lines: [UInt32: Int] = [:]
    for head in policy.heads { lines[head.number] = head.place?.line }
    let name = file.split(separator: "/").last.map(String.init) ?? file
    inForce = ReportInput.PolicyInForce(
      file: VisibleText.terminal(name, limit: 80), digest: policy.digest, lines: lines)
  }

  /// Where a rule stands, for people.
  func place(_ row: RuleEnforcement) -> String {
    guard row.rule != 0 else { return row.section == "files" ? "files protect" : "\(row.section) default" }
    return inForce.lines[row.rule].map { "\(inForce.file):\($0)" } ?? "rule \(row.rule)"
  }

  /// What is to be stopped and cannot be prevented here, in words.
  func notPrevented(_ rows: [RuleEnforcement]) -> [String] {
    rows.filter { $0.action >= .deny && $0.strength != .prevented }
      .map { "\(place($0)) (\($0.section), \($0.strength == .killed ? "who does it is killed" : "only told"))" }
  }

  private static func nodePolicy() throws(Refusal) -> Policy? {
    var entry = stat()
    guard stat(nodePath, &entry) == 0 else {
      if errno == ENOENT || errno == ENOTDIR { return nil }
      throw Refusal(message: "\(nodePath) cannot be looked at: \(String(cString: strerror(errno)))")
    }
    guard entry.st_uid == 0, entry.st_mode & 0o022 == 0 else {
      throw Refusal(
        message: "\(nodePath) can be written by others than root, so that it protects nothing: "
          + "chown root \(nodePath) && chmod go-w \(nodePath)")
    }
    do {
      return try Policy.read(nodePath)
    } catch {
      throw Refusal(message: "\(error)")
    }
  }
}
