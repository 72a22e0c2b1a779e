/// Kinds of hooks that there is a choice between, the best first: each sees all that the next one sees, or costs less.
///
/// Return hooks count as what they are attached to, fexit as fentry and kretprobe as kprobe.
public enum HookTier: String, Sendable, CaseIterable {
  case lsm
  case fentry
  case kprobe
  case typedTracepoint = "tp_btf"
  case rawTracepoint = "raw_tp"
  case tracepoint

  /// nil for kinds that nothing competes with, such as programs of a cgroup: they belong to every tier.
  init?(_ program: ProgramName) {
    if program.isCalled { return nil }
    switch program.kind {
    case "fexit", "fmod_ret": self = .fentry
    case "kretprobe": self = .kprobe
    default:
      guard let tier = HookTier(rawValue: program.kind) else { return nil }
      self = tier
    }
  }

  /// Of programs that work together: the best among them. Typed tracepoints do not count beside others, as they are
  /// there for all tiers, the scheduler's above all.
  ///
  /// - Returns: nil for a way that belongs to every tier
  static func of(_ programs: [ProgramName]) -> HookTier? {
    let tiers = Set(programs.compactMap { HookTier($0) })
    let own = tiers.subtracting([.typedTracepoint])
    return (own.isEmpty ? tiers : own).max()
  }
}

extension HookTier: Comparable {
  /// Whether the left one is worse.
  public static func < (left: HookTier, right: HookTier) -> Bool { left.rank < right.rank }

  private var rank: Int {
    switch self {
    case .lsm: 6
    case .fentry: 5
    case .kprobe: 4
    case .typedTracepoint: 3
    case .rawTracepoint: 2
    case .tracepoint: 1
    }
  }
}
