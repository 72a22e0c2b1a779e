/// A program or library that does TLS, as far as requests over it are concerned.
public struct RequestFile: Sendable, Equatable {
  /// As it was called when it was first seen in the job, secrets masked.
  public var path: String
  /// nil: what it does TLS with is not one that can be read.
  public var library: RequestLibrary?
  /// CLOCK_BOOTTIME; nil: it is not read, and `objection` says why.
  public var readSince: UInt64?
  /// When a process of the job began to use it, CLOCK_BOOTTIME: what was asked for until it was read is not known. nil: none
  /// may have.
  public var usedSince: UInt64?
  /// What it is that cannot be read, or what the kernel has against it.
  public var objection: String?
  /// It is one that can be read, and the kernel did not let us.
  public var isFailure = false

  public init(path: String) { self.path = path }
}

/// Those that a job uses, up to a limit.
public struct RequestFiles: Sendable, Equatable {
  public var files: [RequestFile] = []
  /// That do TLS too: they are not read.
  public var beyond: UInt64 = 0
  /// That were executed, or opened as libraries, and could not be looked at: they were gone, or too many at once.
  public var gone: UInt64 = 0
  /// A filter leaves out that files are opened: the system's libraries are among `files` whether they are used or not, and
  /// others are known only if they are executed.
  public var opensAreLeftOut = false

  public init() {}

  /// What the kernel did not let us read: hooks that are missing, as a job's completeness has them.
  public var missingHooks: [(family: String, reason: String)] {
    files.filter(\.isFailure).map { ("network", "requests of \($0.path): \($0.objection ?? "")") }
  }
}
