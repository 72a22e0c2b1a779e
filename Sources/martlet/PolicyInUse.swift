import Configuration
import Glibc
import KernelSensor
import Observation
import Policy
import Recording
import Reporting
import Supervision

/// The policy of a run: the one that was asked for, narrowed by that of the machine.
struct PolicyInUse {
  /// Why there is none, in words.
  struct Refusal: Error { var message: String }

  var policy: Policy
  /// How reports speak of it.
  var inForce: ReportInput.PolicyInForce

  /// - Parameter path: of the policy that was asked for; nil: none was
  /// - Returns: nil if neither it nor the machine's is there
  static func read(_ path: String?) throws(Refusal) -> PolicyInUse? {
    let node: Policy?
    do {
      node = try Policy.ofNode()
    } catch {
      throw Refusal(message: error.description)
    }
    guard let path else { return node.map { PolicyInUse($0, file: Policy.nodePath) } }
    let own: Policy
    do {
      own = try Policy.read(path)
    } catch {
      throw Refusal(message: "\(error)")
    }
    guard let node else { return PolicyInUse(own, file: path) }
    let narrowed: Policy
    do {
      // In this order: whose answers are believed is the machine's to say.
      narrowed = try node.narrowed(by: own)
    } catch {
      throw Refusal(message: "\(VisibleText.terminal(path)) cannot be narrowed by \(Policy.nodePath): \(error)")
    }
    return PolicyInUse(narrowed, file: path)
  }

  private init(_ policy: Policy, file: String) {
    self.policy = policy
    inForce = ReportInput.PolicyInForce(policy, file: file)
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
}
