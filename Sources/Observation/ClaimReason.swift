public import KernelABI

/// By what a process was recognised as a job's: `enum mt_claim_reason`.
public enum ClaimReason: UInt32, Sendable, CaseIterable {
  case comm = 1
  case path = 2
  case cgroup = 3
  case environment = 4
  case adopted = 5
  case asked = 6
  case container = 7

  /// As in every output.
  public var name: StaticString {
    switch self {
    case .comm: "comm"
    case .path: "path"
    case .cgroup: "cgroup"
    case .environment: "environment"
    case .adopted: "adopted"
    case .asked: "asked"
    case .container: "container"
    }
  }
}

extension mt_claim {
  /// nil for one that this version does not know.
  public var claimReason: ClaimReason? { ClaimReason(rawValue: reason) }
}
