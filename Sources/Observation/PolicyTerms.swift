public import KernelABI

/// What a policy speaks of, and what is kept without one: `enum mt_section`.
@frozen public enum PolicySectionKind: UInt8, CaseIterable, Sendable {
  case network = 0
  case exec = 1
  case files = 2
  case memory = 3
  case system = 4
  /// Of no policy: what jobs do to martlet itself.
  case selfProtection = 5

  /// The name in every output, and in a policy's file.
  public var name: String {
    switch self {
    case .network: "network"
    case .exec: "exec"
    case .files: "files"
    case .memory: "memory"
    case .system: "system"
    case .selfProtection: "self-protection"
    }
  }
}

/// What was done about a deed that a policy does not allow: `enum mt_effect`.
@frozen public enum DenialEffect: UInt8, CaseIterable, Sendable {
  /// Nothing: it was, or will be, done.
  case observed = 0
  case prevented = 1
  /// The process was killed while it did it.
  case killed = 2

  /// The name in every output.
  public var name: String {
    switch self {
    case .observed: "observed"
    case .prevented: "prevented"
    case .killed: "killed"
    }
  }
}

/// Names of what is denied, `enum mt_operation`: snake case, stable.
public enum DeniedOperation {
  public static func name(_ operation: UInt16) -> String {
    switch mt_operation(rawValue: UInt32(operation)) {
    case MT_OP_CONNECT: "connect"
    case MT_OP_SEND: "send"
    case MT_OP_SOCKET: "socket"
    case MT_OP_QUERY: "dns_query"
    case MT_OP_SERVER_NAME: "tls_server_name"
    case MT_OP_HOST: "http_host"
    case MT_OP_ANSWER: "dns_answer"
    case MT_OP_ACCEPT: "accept"
    case MT_OP_RECEIVE: "receive"
    case MT_OP_EXEC: "exec"
    case MT_OP_READ: "read"
    case MT_OP_WRITE: "write"
    case MT_OP_CREATE: "create"
    case MT_OP_RENAME: "rename"
    case MT_OP_UNLINK: "unlink"
    case MT_OP_LINK: "link"
    case MT_OP_TRUNCATE: "truncate"
    case MT_OP_ATTRIBUTES: "attributes"
    case MT_OP_MAP: "map"
    case MT_OP_CORE_DUMP: "core_dump"
    case MT_OP_SIGNAL: "signal"
    case MT_OP_LIMIT: "resource_limit"
    case MT_OP_OBJECT: "bpf_object"
    default:
      SecurityKind(rawValue: operation &- UInt16(MT_OP_SECURITY.rawValue))?.name ?? "operation_\(operation)"
    }
  }

  /// The number that a name stands for.
  public static func number(_ name: String) -> UInt16? {
    (0...255).first { Self.name($0) == name }
  }
}

extension RecordView {
  /// Of a `denial`.
  @inlinable public var denialSection: PolicySectionKind? { PolicySectionKind(rawValue: denial.section) }
  @inlinable public var denialEffect: DenialEffect { DenialEffect(rawValue: denial.effect) ?? .observed }
}
