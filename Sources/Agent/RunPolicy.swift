internal import CSystem
internal import Glibc
internal import KernelSensor
internal import Observation
internal import Policy

/// What a command may do that a user has watched.
struct RunPolicy: Sendable {
  var policy: NamedPolicy
  var prepared: PreparedPolicy

  /// - Parameters:
  ///   - asked: the user's own; nil: none
  ///   - terms: nil: the agent keeps no policies
  /// - Returns: nil if nothing is to be denied
  static func make(
    _ asked: ControlRequest.AskedPolicy?, _ process: GivenProcess, of peer: PeerProcess, _ policies: AgentPolicies,
    _ terms: PolicyTerms?
  ) throws(RunRefusal) -> RunPolicy? {
    guard let terms else {
      guard asked == nil else {
        throw RunRefusal(
          "the agent that runs here keeps no policies: its machine has no \(Policy.nodePath), nor has its configuration any"
        )
      }
      return nil
    }
    var policy = policies.ofRule(nil)
    if let asked { policy = try narrow(policy, by: asked, of: peer) }
    guard let policy else { return nil }
    // It waits, and lives: what is read of it is its own.
    guard
      let directory = ProcessScan.link("/proc/\(process.pid)/cwd").flatMap({ String(validating: $0, as: UTF8.self) })
    else { throw RunRefusal("it is not known where the command starts") }
    var own = stat()
    var its = stat()
    let isHere =
      stat("/proc/self/ns/mnt", &own) == 0 && stat("/proc/\(process.pid)/ns/mnt", &its) == 0 && own.st_ino == its.st_ino
    do {
      let place = isHere ? PolicyDirectory.here(directory) : .elsewhere(directory)
      return RunPolicy(policy: policy, prepared: try PreparedPolicy(policy.policy, in: place, terms))
    } catch {
      throw RunRefusal("the policy cannot be put in force: \(error)")
    }
  }

  private static func narrow(
    _ policy: NamedPolicy?, by asked: ControlRequest.AskedPolicy, of peer: PeerProcess
  ) throws(RunRefusal) -> NamedPolicy {
    let file = mt_take_sealed_file(peer.pidfd, asked.descriptor)
    guard file >= 0 else { throw RunRefusal("the policy cannot be taken over: \(String(cString: strerror(-file)))") }
    defer { close(file) }
    let (bytes, error) = FileContents.readAll(file, atMost: PolicyPreparer.limit + 1)
    guard error == 0, bytes.count <= PolicyPreparer.limit else { throw RunRefusal("the policy cannot be read") }
    let name = VisibleText.terminal(asked.file, limit: 200)
    do {
      let own = try Policy.read(bytes, file: name)
      guard own.onSensorError == .open || policy?.policy.onSensorError == .closed else {
        throw PolicyRefusal("\(name): onSensorError is the agent's to say")
      }
      return NamedPolicy(try AgentPolicies.narrow(policy?.policy, by: own, name), file: name)
    } catch {
      throw RunRefusal("\(error)")
    }
  }
}
