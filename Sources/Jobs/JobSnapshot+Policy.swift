internal import KernelABI
public import Observation

/// Something that the job's policy does not allow, or would not; equal ones of a process are one.
public struct DenialSummary: Sendable {
  public enum Transport: String, Sendable, CaseIterable {
    case tcp, udp, icmp, raw

    /// `enum mt_protocol`
    init?(bit: UInt16) {
      switch mt_protocol(rawValue: UInt32(bit)) {
      case MT_PROTOCOL_TCP: self = .tcp
      case MT_PROTOCOL_UDP: self = .udp
      case MT_PROTOCOL_ICMP: self = .icmp
      case MT_PROTOCOL_RAW: self = .raw
      default: return nil
      }
    }
  }

  public var process: UInt32 = 0
  public var image: UInt32 = 0
  /// nil: one that this version does not know.
  public var section: PolicySectionKind?
  /// ``DeniedOperation``
  public var operation = ""
  public var effect = DenialEffect.observed
  /// Its number in the policy; 0: no rule, the section's default.
  public var rule: UInt32 = 0
  /// Of the network: whom it wanted to speak to.
  public var address: String?
  public var port: UInt16 = 0
  public var networkProtocol: Transport?
  /// The name that was asked for, or that the address was given by.
  public var host: Name?
  public var path: Name?
  /// Whose memory it wanted.
  public var target: SecurityAction.Target?
  /// Records of it. Each is told once for each image and rule: the kernel side counts the rest as deduplicated.
  public var count: UInt64 = 1
  /// Nanoseconds of CLOCK_BOOTTIME.
  public var firstAt: UInt64 = 0
  public var lastAt: UInt64 = 0

  public init() {}
}
