/// What a kernel allows to be done about one kind of thing that is forbidden. martlet only observes so far: this is a
/// property of the kernel, found out by trying what it would take.
public struct Control: Sendable, Equatable {
  public enum Strength: String, Sendable, CaseIterable {
    /// It can be kept from happening.
    case deny
    /// Who does it can be killed.
    case kill
    /// It can only be told.
    case detect
  }

  /// `network`, `packet sockets`, `exec`, `files`, `memory`.
  public var name: String
  public var strength: Strength
  /// By what, or what is missing.
  public var means: String
  /// What may have happened all the same; empty if nothing.
  public var note = ""

  /// - Parameters:
  ///   - trials: of each kind of hook
  ///   - signals: whether programs can signal who they run for
  static func all(_ trials: [HookTrial], signals: HookTrial?) -> [Control] {
    if trials.isEmpty { return [] }
    func fires(_ kind: HookKind) -> Bool { trials.contains { $0.kind == kind && $0.outcome == .fires } }
    func reason(_ kind: HookKind) -> String { trials.first { $0.kind == kind }?.reason ?? "not tried" }

    let canKill = signals?.outcome == .fires
    // Both decide what one of the kernel's security functions returns.
    let denies: String? =
      fires(.lsm) ? "LSM programs" : fires(.modifyReturn) ? "fmod_ret programs on security functions" : nil
    func control(_ name: String, killed note: String) -> Control {
      if let denies { return Control(name: name, strength: .deny, means: denies) }
      let missing = "no LSM programs: \(reason(.lsm))"
      return canKill
        ? Control(name: name, strength: .kill, means: missing, note: note)
        : Control(name: name, strength: .detect, means: "\(missing); no signals: \(signals?.reason ?? "not tried")")
    }
    var network = control("network", killed: "the connection may have begun")
    if fires(.cgroup) {
      network = Control(
        name: "network", strength: .deny, means: "cgroup programs", note: "TCP, UDP and bind, IPv4 and IPv6")
    }
    return [
      network,
      control("packet sockets", killed: "at the call that makes the socket"),
      control("exec", killed: "before the new program's first instruction"),
      control("files", killed: "the first write, rename or removal may have happened"),
      control("memory", killed: "before another process' memory is read"),
    ]
  }
}
