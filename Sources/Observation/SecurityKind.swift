public import KernelABI

/// What a task did to the system's or another process' security. The numbers are those of `enum mt_security_kind` and
/// are never reused.
@frozen public enum SecurityKind: UInt16, CaseIterable, Sendable {
  /// Access to another process, by a way that has no kind of its own.
  case processAccess = 1
  case ptraceAttach = 2
  case ptraceSeize = 3
  case ptraceTraceme = 4
  case procMem = 5
  case vmRead = 6
  case vmWrite = 7
  case pidfdGetfd = 8
  case moduleLoad = 9
  case bpfMap = 10
  case bpfProgram = 11
  case mount = 12
  case moveMount = 13
  case umount = 14
  case pivotRoot = 15
  case unshare = 16
  case clone = 17
  case setns = 18
  case setuid = 19
  case setgid = 20
  case capset = 21
  case execMemory = 22

  /// The name in every output: snake case, stable.
  public var name: String {
    switch self {
    case .processAccess: "process_access"
    case .ptraceAttach: "ptrace_attach"
    case .ptraceSeize: "ptrace_seize"
    case .ptraceTraceme: "ptrace_traceme"
    case .procMem: "proc_mem"
    case .vmRead: "process_vm_read"
    case .vmWrite: "process_vm_write"
    case .pidfdGetfd: "pidfd_getfd"
    case .moduleLoad: "module_load"
    case .bpfMap: "bpf_map"
    case .bpfProgram: "bpf_program"
    case .mount: "mount"
    case .moveMount: "move_mount"
    case .umount: "umount"
    case .pivotRoot: "pivot_root"
    case .unshare: "unshare"
    case .clone: "clone"
    case .setns: "setns"
    case .setuid: "setuid"
    case .setgid: "setgid"
    case .capset: "capset"
    case .execMemory: "exec_memory"
    }
  }

  /// Whether it is about another process' memory, registers or descriptors.
  public var isAccess: Bool { rawValue <= SecurityKind.pidfdGetfd.rawValue }
  /// Whether a record of it has real, effective, saved and file-system ids.
  public var hasIdentifiers: Bool { self == .setuid || self == .setgid }
  /// Whether its argument is CLONE_NEW*.
  public var hasNamespaces: Bool { self == .unshare || self == .clone || self == .setns }
}

/// `enum mt_security_flag`.
@frozen public struct SecurityFlags: OptionSet, Sendable, Hashable {
  public let rawValue: UInt16
  @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue }

  /// Seen when it was over: the error is valid. Without it, nobody knows how it ended.
  @inlinable public static var hasOutcome: SecurityFlags { SecurityFlags(rawValue: 1) }
  @inlinable public static var hasBefore: SecurityFlags { SecurityFlags(rawValue: 2) }
  @inlinable public static var hasAfter: SecurityFlags { SecurityFlags(rawValue: 4) }
  /// `after` was asked for and not granted; all ones where nothing was asked for.
  @inlinable public static var asked: SecurityFlags { SecurityFlags(rawValue: 8) }
  /// The target's pid is the number that the caller gave.
  @inlinable public static var byNumber: SecurityFlags { SecurityFlags(rawValue: 16) }
  @inlinable public static var anonymous: SecurityFlags { SecurityFlags(rawValue: 32) }
  @inlinable public static var memfd: SecurityFlags { SecurityFlags(rawValue: 64) }
  @inlinable public static var deleted: SecurityFlags { SecurityFlags(rawValue: 128) }
  /// A file's memory that can be written as well.
  @inlinable public static var writable: SecurityFlags { SecurityFlags(rawValue: 256) }
  /// A file's memory that was written before.
  @inlinable public static var modified: SecurityFlags { SecurityFlags(rawValue: 512) }
  /// By mprotect, not by mmap.
  @inlinable public static var protect: SecurityFlags { SecurityFlags(rawValue: 1024) }

  /// What memory that is executed is, each with its name in every output.
  public static let memory: [(flag: SecurityFlags, name: StaticString)] = [
    (.anonymous, "anonymous"), (.memfd, "memfd"), (.deleted, "deleted"), (.writable, "writable"),
    (.modified, "modified"),
  ]
}

/// Kinds of namespaces: CLONE_NEW* of linux/sched.h, which are ABI.
public enum NamespaceKind {
  public static let all: [(flag: UInt64, name: StaticString)] = [
    (0x2_0000, "mount"), (0x200_0000, "cgroup"), (0x400_0000, "uts"), (0x800_0000, "ipc"), (0x1000_0000, "user"),
    (0x2000_0000, "pid"), (0x4000_0000, "net"), (0x80, "time"),
  ]
}

extension RecordView {
  /// Of `security`; nil: a kind that this version does not know.
  @inlinable public var securityKind: SecurityKind? { SecurityKind(rawValue: security.kind) }
  @inlinable public var securityFlags: SecurityFlags { SecurityFlags(rawValue: security.security_flags) }
}
