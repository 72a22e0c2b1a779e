internal import Observation
public import Policy

/// What becomes of what one rule of a policy does not allow, on this kernel.
public struct RuleEnforcement: Sendable, Equatable {
  public enum Strength: String, Sendable, CaseIterable {
    /// It is refused; of `kill` the process ends as well.
    case prevented
    /// The process is killed when it is done.
    case killed
    /// It is only told, or not even that: ``RuleEnforcement/reason`` says.
    case detected
  }

  /// As in the policy: `network`, `exec`, `files`, `memory`, `system`.
  public var section: String
  /// ``RuleHead/number``; 0: the section's default, or what `protect` names.
  public var rule: UInt32
  public var action: PolicyAction
  public var strength: Strength
  /// By what, or why not more.
  public var reason: String
  /// With ``SensorOptions/outlives``: it is kept when who loaded the programs is gone.
  public var outlives = true
}

extension Sensor {
  /// What enforces each rule of a policy that does more than allow, by the hooks that were chosen. A sensor that does not
  /// enforce detects nothing of it.
  public func enforcement(of policy: Policy) -> [RuleEnforcement] {
    EnforcementTable(
      choices: choices, hashesExecs: hashesExecs, isPreemptible: Preemption.ofThisKernel.isWithinTheKernel,
      unpinned: pins?.unpinned ?? []
    ).rows(of: policy)
  }

  /// Whether the kernel can hash what is about to be executed.
  var hashesExecs: Bool { hooks.contains { $0.program == "guard_digest" } }
}

/// Which hooks a rule rests on.
struct EnforcementTable {
  var choices: [HookChoice]
  var hashesExecs: Bool
  /// Whether tasks lose their CPU in the middle of such programs, which the kernel then runs for nobody else there.
  var isPreemptible = false
  /// Programs that go with who loaded them, though others stay.
  var unpinned: Set<String> = []

  private static let preempted =
    "fmod_ret programs, which see no deed that comes while another task is preempted within them; these are counted"

  func rows(of policy: Policy) -> [RuleEnforcement] {
    var rows: [RuleEnforcement] = []
    func add(
      _ section: String, _ rule: UInt32, _ action: PolicyAction, _ functions: [String], _ objection: String? = nil
    ) {
      guard action != .allow else { return }
      var (strength, reason) = means(functions)
      if let objection { (strength, reason) = (.detected, objection) }
      if action == .observe { strength = .detected }
      let used = choices.filter { $0.family == "policy" && functions.contains($0.function) }.flatMap(\.hooks)
      rows.append(
        RuleEnforcement(
          section: section, rule: rule, action: action, strength: strength, reason: reason,
          outlives: !used.contains { unpinned.contains($0.program) }))
    }
    if let network = policy.network {
      for rule in network.deny + network.allow where rule.head.action != .allow {
        rows.append(self.network(rule.head.number, rule.head.action, rule.protocols.contains(.raw)))
      }
      if network.defaultAction != .allow { rows.append(self.network(0, network.defaultAction, false)) }
    }
    if let exec = policy.exec {
      for rule in exec.deny + exec.allow {
        let needsHash = !rule.sha256.isEmpty && !hashesExecs
        add(
          "exec", rule.head.number, rule.head.action, ["executed images", "open files"],
          needsHash
            ? "this kernel cannot hash what is about to be executed (BPF LSM and Linux 5.18): reports have the hashes"
            : nil)
      }
      add("exec", 0, exec.defaultAction, ["executed images", "open files"])
    }
    if let files = policy.files {
      for rule in files.deny + files.allow {
        add("files", rule.head.number, rule.head.action, rule.access == .read ? ["open files"] : Self.changes)
      }
      if !files.protect.isEmpty { add("files", 0, files.protectAction, Self.changes) }
    }
    for rule in policy.memory?.protect ?? [] {
      add("memory", rule.head.number, rule.head.action, ["protected processes", "core dumps", "open files"])
    }
    if let system = policy.system {
      for rule in system.deny + system.allow {
        add("system", rule.head.number, rule.head.action, rule.deed.functions)
      }
      add("system", 0, system.defaultAction, SystemRule.Deed.allCases.flatMap(\.functions))
    }
    let placed = Set(policy.heads.filter { $0.scope.hasPlaces && $0.action >= .deny }.map(\.number))
    for index in rows.indices where rows[index].rule != 0 && placed.contains(rows[index].rule) {
      rows[index].reason += "; also where the step or image is not known"
    }
    return rows
  }

  /// Programs on the root cgroup refuse on every kernel; who makes a packet socket, or is handed a socket by somebody
  /// outside the job, may only be killed.
  private func network(_ rule: UInt32, _ action: PolicyAction, _ isRaw: Bool) -> RuleEnforcement {
    var row = RuleEnforcement(
      section: "network", rule: rule, action: action, strength: .prevented, reason: "programs on the root cgroup")
    let functions = ["connect", "datagrams", "names and first bytes", "sockets of other protocols"]
    for choice in choices where choice.family == "network" && functions.contains(choice.function) {
      guard choice.hooks.isEmpty else { continue }
      (row.strength, row.reason) = (.detected, "\(choice.function): \(choice.reasons)")
    }
    for (function, what) in [
      ("packet sockets", "who makes a packet socket is killed when it has one"),
      ("received sockets", "who is handed a socket by another is killed when it has it"),
    ] where row.strength == .prevented && !refuses(function) {
      row.reason += "; \(what)"
      if isRaw { row.strength = .killed }
    }
    if action == .observe { row.strength = .detected }
    return row
  }

  private func refuses(_ function: String) -> Bool {
    guard let choice = choices.first(where: { $0.family == "network" && $0.function == function }) else { return false }
    return choice.tier == .lsm || choice.hooks.contains { $0.kind == "fmod_ret" }
  }

  private static let changes = ["open files", "names of files", "owners of files"]

  /// The weakest of several functions.
  private func means(_ functions: [String]) -> (RuleEnforcement.Strength, String) {
    let all = functions.map(means)
    let order: [RuleEnforcement.Strength] = [.detected, .killed, .prevented]
    for strength in order {
      if let found = all.first(where: { $0.0 == strength }) { return found }
    }
    return (.detected, "")
  }

  private func means(_ function: String) -> (RuleEnforcement.Strength, String) {
    guard let choice = choices.first(where: { $0.family == "policy" && $0.function == function }) else {
      return (.detected, "the sensor was not asked to enforce")
    }
    if choice.hooks.isEmpty { return (.detected, "\(function): \(choice.reasons)") }
    switch choice.tier {
    case .lsm: return (.prevented, "LSM programs")
    case .fentry: return (.prevented, isPreemptible ? Self.preempted : "fmod_ret programs")
    case _ where function == "core dumps": return (.prevented, "a signal before the core is written")
    default:
      let note = function == "executed images" ? "before the first instruction" : "when it has been done"
      return (.killed, "\(function): \(note), as there is no better way: \(choice.reasons)")
    }
  }
}

extension SystemRule.Deed {
  fileprivate var functions: [String] {
    switch self {
    case .moduleLoad: ["kernel modules"]
    case .bpf: ["BPF"]
    case .mount: ["mounts"]
    case .namespace: ["namespaces", "namespaces of new processes"]
    case .containerDaemon: ["container daemons"]
    }
  }
}
