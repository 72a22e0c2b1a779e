/// A program or library that does TLS, as far as requests over it are concerned.
public struct RequestFile: Sendable, Equatable {
  /// As it was called when it was first seen, secrets masked.
  public var path: String
  /// nil: what it does TLS with is not one that can be read.
  public var library: RequestLibrary?
  /// CLOCK_BOOTTIME; nil: it is not read, and `objection` says why.
  public var readSince: UInt64?
  /// When a process began to use it, if that was before: what was asked for until then was not read. CLOCK_BOOTTIME.
  public var usedSince: UInt64?
  /// What it is that cannot be read, or what the kernel has against it.
  public var objection: String?
  /// It is one that can be read, and the kernel did not let us.
  public var isFailure = false

  public init(path: String) { self.path = path }
}

/// All of them, up to a limit.
public struct RequestFiles: Sendable, Equatable {
  public var files: [RequestFile] = []
  /// That do TLS too: they are not read.
  public var beyond: UInt64 = 0
  /// That were executed, or opened as libraries, and were gone before anybody could look at them.
  public var gone: UInt64 = 0

  public init() {}
}
