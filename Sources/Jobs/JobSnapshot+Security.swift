public import Observation

/// Something that a process did, or tried to do, to the system's or another process' security; equal actions are one.
public struct SecurityAction: Sendable {
  public enum Outcome: Sendable, Equatable {
    case success
    /// With an errno.
    case failure(error: Int32)
    /// The hook that saw it comes before the outcome.
    case unknown
  }

  /// Another process.
  public struct Target: Sendable, Equatable {
    /// Its id if it is one of the job's own, else 0.
    public var process: UInt32
    /// With `.byNumber` as the caller numbers it, else as the initial pid namespace does.
    public var pid: UInt32

    public init(process: UInt32, pid: UInt32) {
      self.process = process
      self.pid = pid
    }
  }

  /// nil: a kind that this version does not know.
  public var kind: SecurityKind?
  public var process: UInt32 = 0
  public var image: UInt32 = 0
  public var flags: SecurityFlags = []
  public var outcome = Outcome.unknown
  public var target: Target?
  /// By kind, as `mt_security` says.
  public var argument: UInt64 = 0
  public var identity: FileIdentity?
  /// A module, where something is mounted, a file whose memory is executed.
  public var path: Name?
  /// What is mounted or moved.
  public var source: Name?
  /// A file system's type, a BPF object's name.
  public var detail: Name?
  public var isUnresolved = false
  /// Of credentials, as `mt_security` says; nil: not known.
  public var before: [UInt64]?
  public var after: [UInt64]?
  /// Records of it. Accesses, executable memory and credentials are told once for each image and outcome: the kernel
  /// side counts the rest as deduplicated.
  public var count: UInt64 = 1
  /// Nanoseconds of CLOCK_BOOTTIME.
  public var firstAt: UInt64 = 0
  public var lastAt: UInt64 = 0

  public init(kind: SecurityKind?) { self.kind = kind }
}

extension ImageSummary {
  /// The dynamic loader was run as a program: it executes a file that nobody gave to exec, which no permission to
  /// execute is needed for.
  public var isLoader: Bool { executable.bytes.withUnsafeBytes { LoaderName.matches($0) } }

  /// What an explicit loader runs: its first argument that is not its own option; nil if this is no loader.
  public var loadedProgram: Name? {
    guard isLoader else { return nil }
    var rest = arguments.dropFirst()
    while let option = rest.first, option.bytes.starts(with: "--".utf8) {
      rest = rest.dropFirst(LoaderName.optionsWithValue.contains(option.text) ? 2 : 1)
    }
    return rest.first
  }
}

/// Names of dynamic loaders: glibc's by architecture and by version, musl's.
public enum LoaderName {
  static let optionsWithValue: Set<String> = [
    "--library-path", "--inhibit-rpath", "--audit", "--preload", "--argv0", "--glibc-hwcaps-prepend",
    "--glibc-hwcaps-mask",
  ]

  /// Whether a path ends in such a name. Asked of every exec: the first two bytes tell nearly all.
  public static func matches(_ path: UnsafeRawBufferPointer) -> Bool {
    var start = path.count
    while start > 0 && path[start &- 1] != UInt8(ascii: "/") { start &-= 1 }
    guard path.count &- start > 2, path[start] == UInt8(ascii: "l"), path[start &+ 1] == UInt8(ascii: "d") else {
      return false
    }
    let name = UnsafeRawBufferPointer(rebasing: path[start...])
    for prefix in ["ld-linux", "ld-musl-", "ld64.so.", "ld.so.", "ld-2."] as [StaticString] {
      if Fold.hasPrefix(name, prefix) { return name.contains(UInt8(ascii: ".")) }
    }
    return false
  }
}
