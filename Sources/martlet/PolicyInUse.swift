import Configuration
import Glibc
import KernelSensor
import Observation
import Policy
import Reporting
import Supervision

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

  /// Sockets that the command would have from the beginning, which no hook asks about.
  ///
  /// - Parameter sockets: nil: nobody knows
  /// - Throws: what would be allowed through one of them that the policy does not allow
  func check(_ sockets: [Inherited.Socket]?) throws(Refusal) {
    guard policy.network != nil else { return }
    guard let sockets else {
      throw Refusal(
        message:
          "which descriptors the command would inherit is not known, and a connection among them would be one that "
          + "the policy does not know of: is /proc mounted?")
    }
    for socket in sockets {
      guard let problem = objection(to: socket) else { continue }
      throw Refusal(
        message: "descriptor \(socket.descriptor) is \(problem): close it for martlet (\(socket.descriptor)>&- in a "
          + "shell), or allow it.")
    }
  }

  private func objection(to socket: Inherited.Socket) -> String? {
    // Whoever in the job uses it: rules for some executables do not allow it.
    let anybody = PolicyActor(executable: "")
    func word(_ index: Int) -> UInt64 { socket.remote[index..<index + 8].reduce(0) { $0 << 8 | UInt64($1) } }
    let address = IPAddress(high: word(0), low: word(8))
    if socket.family == AF_PACKET || socket.type == Int32(SOCK_RAW.rawValue) {
      let to = PolicyDestination(address, port: 0, .raw)
      return policy.decide(connect: to, by: anybody).isAllowed ? nil : "a raw socket, which the policy does not allow"
    }
    if socket.isListening {
      return policy.network?.defaultAction ?? .allow >= .deny
        ? "a listening socket, whose callers martlet cannot hold to the policy" : nil
    }
    guard socket.remotePort != 0 else { return nil }
    let isTCP = socket.type == Int32(SOCK_STREAM.rawValue)
    let to = PolicyDestination(address, port: socket.remotePort, isTCP ? .tcp : .udp)
    guard !policy.decide(connect: to, by: anybody).isAllowed else { return nil }
    return "connected to \(address.description) at port \(socket.remotePort), which the policy does not allow"
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
