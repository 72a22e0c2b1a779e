/// One program image in one process: from a fork or an exec to the next exec or the exit.
public struct ImageLink: Sendable, Hashable {
  /// Unique in the job, from 1; higher than that of the image it came from unless records came late.
  public var id: UInt32 = 0
  /// Id of the process.
  public var process: UInt32 = 0
  /// The image that forked or called exec; 0 for the job's command and for orphans. An image made by a fork
  /// holds whatever its parent held at `startedAt`; one made by an exec only what its own accesses say.
  public var parent: UInt32 = 0
  /// Nanoseconds of CLOCK_BOOTTIME.
  public var startedAt: UInt64 = 0
  /// nil: running at the end.
  public var endedAt: UInt64?
  public var isExec = false

  public init() {}
}

/// How one image had one file or channel open, all its opens taken together.
public struct FileAccess: Sendable, Hashable {
  public struct Mode: OptionSet, Sendable, Hashable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    public static let read = Mode(rawValue: 1)
    public static let write = Mode(rawValue: 2)
    /// It is the image's own executable.
    public static let execute = Mode(rawValue: 4)
    /// A shared mapping that can be written: writes go on until the image ends.
    public static let mapped = Mode(rawValue: 8)
    public static let created = Mode(rawValue: 16)
    public static let truncated = Mode(rawValue: 32)
    /// Open since before the image: by fork or across exec.
    public static let inherited = Mode(rawValue: 64)
    /// Received from another process: SCM_RIGHTS or pidfd_getfd.
    public static let received = Mode(rawValue: 128)
    /// By path, without opening it: truncate(2) and the like.
    public static let byPath = Mode(rawValue: 256)
  }

  /// See ``ImageLink``.
  public var image: UInt32 = 0
  public var process: UInt32 = 0
  public var mode: Mode = []
  /// The first open, in nanoseconds of CLOCK_BOOTTIME.
  public var firstOpenedAt: UInt64 = 0
  /// The last close, or the end of the image; nil while open. Closes are only seen of what can write a file:
  /// for reading this is always the end of the image.
  public var lastClosedAt: UInt64?
  /// lastClosedAt is the end of the image, not a close that was seen.
  public var isUpperBound = false
  /// Bytes by calls, not by way of memory mappings; nil where they were not counted or not all of them.
  public var bytes: ByteCounts?

  public init() {}
}

extension JobSnapshot {
  /// Takes out all numbers of bytes, where some of what was counted is missing and nobody can say of which files.
  ///
  /// - Parameter reason: a sentence without a full stop
  public mutating func forgetBytes(because reason: String) {
    bytes = ByteCounting(unknown: reason)
    for file in files.indices {
      files[file].bytes = nil
      for access in files[file].accesses.indices { files[file].accesses[access].bytes = nil }
    }
  }
}

/// Whether there are numbers of bytes.
public struct ByteCounting: Sendable, Hashable {
  /// Why no file has them; nil if they are there, and exact, but for files that say they have none.
  public var unknown: String?

  public init(unknown: String? = nil) { self.unknown = unknown }
}

/// What was read and written.
public struct ByteCounts: Sendable, Hashable {
  public var read: UInt64
  public var written: UInt64

  public init(read: UInt64 = 0, written: UInt64 = 0) {
    self.read = read
    self.written = written
  }

  public static func + (a: ByteCounts, b: ByteCounts) -> ByteCounts {
    ByteCounts(read: a.read &+ b.read, written: a.written &+ b.written)
  }
}

/// Contents of a file between two moments when nobody could write it.
public struct FileVersion: Sendable, Hashable {
  /// When the first writer opened it, in nanoseconds of CLOCK_BOOTTIME.
  public var writingSince: UInt64 = 0
  /// When the last writer closed it; nil while one is open.
  public var writtenAt: UInt64?
  /// `writtenAt` is the end of an image, not a close that was seen.
  public var isUpperBound = false
  public var isCreation = false
  public var isTruncation = false
  /// Bytes and nanoseconds of CLOCK_REALTIME at the last close; nil where none was seen or the inode was gone.
  public var size: UInt64?
  public var changeTime: Int64?
  /// Later versions are folded into this one: the file was written again and again.
  public var isMerged = false

  public init() {}
}

/// Ways for data to pass other than through named files.
public struct DataEdges: Sendable {
  public var channels: [ChannelSummary] = []
  public var copies: [CopySummary] = []

  public init() {}
}

/// A pipe or a socket, and the images that had it open by themselves; see ``ImageLink/parent`` for those that
/// had it by inheritance.
public struct ChannelSummary: Sendable {
  public enum Kind: String, Sendable { case pipe, socketPair, unixSocket, loopback, socket }

  /// Unique in the job; shares its numbers with ``FileSummary/id``.
  public var id: UInt32 = 0
  public var kind: Kind = .pipe
  /// The channel at the other end, for sockets; 0 unknown or outside the job. Pipes have one id for both ends.
  public var peer: UInt32 = 0
  /// The pipe's inode number or the socket's id.
  public var identity: UInt64 = 0
  public var holders: [FileAccess] = []

  public init() {}
}

/// Data moved between two descriptors inside the kernel.
public struct CopySummary: Sendable {
  public enum Kind: String, Sendable { case sendfile, splice, tee, copyFileRange, reflink }

  public var kind: Kind = .sendfile
  public var image: UInt32 = 0
  public var process: UInt32 = 0
  public var at: UInt64 = 0
  /// Ids of files or channels; 0 unknown.
  public var from: UInt32 = 0
  public var to: UInt32 = 0
  /// Of the first such call of this image; later ones add to the same edge.
  public var bytes: UInt64 = 0

  public init() {}
}

/// How many things came after a limit was reached and were only counted.
public struct NotKept: Sendable, Hashable {
  public var processes: UInt64 = 0
  public var images: UInt64 = 0
  public var directories: UInt64 = 0
  public var names: UInt64 = 0
  public var accesses: UInt64 = 0
  public var descriptors: UInt64 = 0
  public var flows: UInt64 = 0
  public var changes: UInt64 = 0
  public var copies: UInt64 = 0
  /// Actions that concern security.
  public var actions: UInt64 = 0
  /// Addresses whose names were heard.
  public var hosts: UInt64 = 0
  public var denials: UInt64 = 0
  public var requests: UInt64 = 0
  /// Strings (arguments, directories of work) left out of what was kept.
  public var strings: UInt64 = 0
  /// Versions of files that were to be hashed.
  public var digests: UInt64 = 0

  public init() {}

  public var isEmpty: Bool { self == NotKept() }
}
