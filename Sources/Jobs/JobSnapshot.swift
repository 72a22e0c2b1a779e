public import Observation

///
/// Taken once, at the end of a job, from ``JobState``. Names that are not valid UTF-8 carry U+FFFD in their
/// text and the raw bytes beside it.
public struct JobSnapshot: Sendable {
  public var processes: [ProcessSummary] = []
  public var files: [FileSummary] = []
  public var flows: [FlowSummary] = []
  /// Connections that were taken together with equal ones while the job ran, as there were more than are kept apart: they
  /// are in the `repeats` of those.
  public var flowsMerged: UInt64 = 0
  /// Names that resolvers were asked for and answered, in order of the first answer.
  public var names: [AskedName] = []
  /// Directories that the job made, and names that it removed, changed or linked, in order of time.
  public var changes: [PathChange] = []
  /// What concerns security, equal actions of a process as one, in order of the first.
  public var actions: [SecurityAction] = []
  /// What the policy does not allow, in order of the first.
  public var denials: [DenialSummary] = []
  /// Of what the policy stopped, and martlet to protect itself, by preventing it or killing who did it.
  public var stopped: UInt64 = 0
  /// Of these, those to protect itself, as far as ``denials`` has them.
  public var stoppedForItself: UInt64 {
    denials.reduce(0) { $1.section == .selfProtection && $1.effect != .observed ? $0 &+ $1.count : $0 }
  }
  /// Records folded, of all types.
  public var records: UInt64 = 0
  /// Successful opens seen by the fold, and how many distinct files they named.
  public var opens: UInt64 = 0
  /// Opens that failed, from the kernel's own count at exit.
  public var failedOpens: UInt64 = 0
  /// Files read but never written are only counted, not listed, unless asked for.
  public var filesRead: UInt64 = 0
  /// Opens and other mentions of files that came after the limit on files was reached: those files are not in
  /// `files`, `opens` counts them still.
  public var filesNotKept: UInt64 = 0
  /// What else did not fit, by kind. All zero unless the job was extraordinary.
  public var notKept = NotKept()
  /// Processes whose end was not seen, and those whose creation was not.
  public var processesNotExited: UInt64 = 0
  public var orphans: UInt64 = 0
  /// Records that named a directory whose defining record was lost; their paths begin with `?/`.
  public var unknownDirectories: UInt64 = 0
  /// Every image of every process: what `FileAccess.image` and the edges refer to.
  public var imageLinks: [ImageLink] = []
  /// How data could pass between images other than through a named file, and from file to file in the kernel.
  public var edges = DataEdges()
  /// Numbers of bytes were asked for: files have them, or not all could be counted.
  public var bytes: ByteCounting?
  /// Requests over TLS were to be read, and what came of it.
  public var requests: RequestCounting?
  /// Files were to be hashed, and what came of it.
  public var hashing: FileHashing?

  public init() {}
}

/// A name from the kernel: bytes that are usually, but not always, UTF-8.
public struct Name: Sendable, Hashable {
  public var bytes: [UInt8]
  /// Cut by a limit: the tail of a path, the head of anything else.
  public var isTruncated: Bool

  public init(bytes: [UInt8], isTruncated: Bool = false) {
    self.bytes = bytes
    self.isTruncated = isTruncated
  }

  /// With U+FFFD for what is not UTF-8.
  public var text: String { String(decoding: bytes, as: UTF8.self) }
  public var isValidUTF8: Bool { String(validating: bytes, as: UTF8.self) != nil }
}

/// A file's identity while it exists: superblock device (major << 20 | minor), inode, generation.
public struct FileIdentity: Sendable, Hashable {
  public var device: UInt32
  public var inode: UInt64
  public var generation: UInt32

  public init(device: UInt32, inode: UInt64, generation: UInt32) {
    self.device = device
    self.inode = inode
    self.generation = generation
  }
}

/// One program run by one process: a process has an image for each exec, and one from its fork.
public struct ProcessSummary: Sendable {
  /// Unique in the job, from 1 in order of appearance; stable in every output.
  public var id: UInt32 = 0
  /// The creating process' id; 0 for the job's command.
  public var parent: UInt32 = 0
  public var pid: UInt32 = 0
  /// The job's step that it belongs to, from 1; 0: none.
  public var step: UInt32 = 0
  /// Number of the container that it runs in, from 1; 0: of none that somebody else started for the job.
  public var container: UInt32 = 0
  /// Nanoseconds of CLOCK_BOOTTIME; the report adds the offset to wall-clock time.
  public var startedAt: UInt64 = 0
  /// nil: still running when the run ended.
  public var endedAt: UInt64?
  /// As wait(2) gives it, nil while running.
  public var waitStatus: UInt32?
  /// The execs of this process, in order; empty if it only ever ran its parent's image.
  public var images: [ImageSummary] = []
  public var userNanoseconds: UInt64 = 0
  public var systemNanoseconds: UInt64 = 0
  public var readBytes: UInt64 = 0
  public var writtenBytes: UInt64 = 0
  public var peakResidentBytes: UInt64 = 0
  public var threads: UInt32 = 0
  /// Running after the command that `run` started had ended.
  public var outlivedCommand = false
  /// No record told who created it: `parent` is 0 although it is not the job's command.
  public var parentIsUnknown = false

  public init() {}
}

/// An exec: what ran, as what, from where.
public struct ImageSummary: Sendable {
  /// Unique in the job; see ``ImageLink``.
  public var id: UInt32 = 0
  public var at: UInt64 = 0
  public var executable = Name(bytes: [])
  /// As given to exec, where it differs: a script, a relative path, a symbolic link.
  public var filename: Name?
  /// Masked already.
  public var arguments: [Name] = []
  /// Bytes of argv before it was cut, nil if it is whole.
  public var fullArgumentBytes: UInt64?
  public var workingDirectory = Name(bytes: [])
  public var identity = FileIdentity(device: 0, inode: 0, generation: 0)
  public var size: UInt64 = 0
  public var user: UInt32 = 0
  public var group: UInt32 = 0
  public var isDeleted = false
  public var isMemoryFile = false
  /// It has a path in a file system that is kept in memory, such as /dev/shm.
  public var isInTmpfs = false
  public var isChrooted = false
  /// Its paths are those of another mount namespace than martlet's.
  public var isInOtherMountNamespace = false
  /// Of the version of the file that ran; nil if files were not to be hashed.
  public var digest: FileDigest?

  public init() {}
}

/// A file that the job touched.
public struct FileSummary: Sendable {
  /// Unique in the job, from 1; what copies refer to.
  public var id: UInt32 = 0
  /// Its name at the end of the job, or its last one. `?/NAME` where the directory is not known.
  public var path = Name(bytes: [])
  /// Its other names at the end of the job: hard links, other mounts.
  public var otherPaths: [Name] = []
  public var identity = FileIdentity(device: 0, inode: 0, generation: 0)
  /// i_mode; 0 unknown.
  public var mode: UInt32 = 0
  public var wasCreated = false
  public var wasRead = false
  public var wasWritten = false
  /// The name is gone at the end of the job as far as the events tell.
  public var isDeleted = false
  /// Ids of processes that held it open for writing, in order of first open.
  public var writers: [UInt32] = []
  /// Ids of processes that opened it for reading; at most the first 32, see `readerCount`.
  public var readers: [UInt32] = []
  public var readerCount: UInt32 = 0
  /// Bytes at the last close after a write; nil where no close was seen or the inode was gone.
  public var size: UInt64?
  /// Nanoseconds of CLOCK_REALTIME at the last close after a write.
  public var changeTime: Int64?
  public var firstOpenedAt: UInt64 = 0
  public var lastClosedAt: UInt64?
  /// lastClosedAt is the end of the image that held it, not a close that was seen.
  public var lastCloseIsUpperBound = false
  /// Device and inode come from looking at the path shortly after the event, not from the event itself; the
  /// generation is then 0.
  public var identityFromStat = false
  /// `path` could not be resolved as the kernel had it: it is what the program said, made absolute.
  public var pathIsUnresolved = false
  /// Of all accesses; nil if that is not known of one.
  public var bytes: ByteCounts?
  /// Of a regular file that the job wrote, as it was when the job had ended; nil for others, and if files were not to be
  /// hashed.
  public var digest: FileDigest?
  /// One for each image that had it open.
  public var accesses: [FileAccess] = []
  /// Its contents over time, oldest first; empty if it was never opened for writing.
  public var versions: [FileVersion] = []

  public init() {}
}

/// A connection, a listener or a datagram destination.
public struct FlowSummary: Sendable {
  public enum Kind: String, Sendable { case tcp, udp, unix, listen, other }
  public enum State: String, Sendable { case requested, established, failed, closed, bound, listening }

  public var kind: Kind = .tcp
  public var state: State = .requested
  public var isInbound = false
  /// Id of the process that connected or accepted.
  public var process: UInt32 = 0
  /// Id of its image at that time.
  public var image: UInt32 = 0
  /// Textual addresses (RFC 5952 for IPv6); a unix socket's path in `remoteAddress`, abstract with a leading `@`.
  public var localAddress = ""
  public var localPort: UInt16 = 0
  public var remoteAddress = ""
  public var remotePort: UInt16 = 0
  /// What a resolver called the remote address before it was asked for; nil: nobody was heard to.
  public var host: Name?
  /// Whom its first bytes name; nil: nobody, or they were not looked at.
  public var serverName: ServerName?
  /// IPPROTO_*.
  public var networkProtocol: UInt16 = 0
  public var startedAt: UInt64 = 0
  /// When the last of equal flows ended or, where that was not seen, began.
  public var lastAt: UInt64 = 0
  public var durationNanoseconds: UInt64?
  public var sentBytes: UInt64?
  public var receivedBytes: UInt64?
  /// errno of a connection that failed.
  public var error: Int32 = 0
  /// Equal flows (same process, kind, remote address and port) beyond the first; their bytes are added up.
  public var repeats: UInt32 = 0
  /// What was asked for over TLS; none if that was not to be read.
  public var requests = FlowRequests()

  public init() {}
}

/// Whom a connection names in its first bytes.
public struct ServerName: Sendable, Hashable {
  public enum Source: String, Sendable {
    /// The `server_name` of a ClientHello (RFC 6066, 3).
    case tls
    /// The target or Host field of a request (RFC 9112, 3.2).
    case http
  }

  /// nil: the beginning was not seen whole.
  public var source: Source?
  /// In lower case; nil: it was said in a way that is not read.
  public var name: Name?
  /// That came with it, of what a proxy is asked for; 0: none.
  public var port: UInt16 = 0
  /// `name` may be for show: there is an `encrypted_client_hello` (RFC 9849), or what looks like one.
  public var helloIsEncrypted = false

  public init() {}
}

/// A name that a resolver answered.
public struct AskedName: Sendable {
  /// Of the question, in lower case.
  public var name: Name
  /// That it was answered with, as text; empty: it has none, or there is no such name.
  public var addresses: [String] = []

  public init(name: Name) { self.name = name }
}

/// A change to a name rather than to contents.
public struct PathChange: Sendable {
  public enum Kind: String, Sendable {
    case rename, unlink, rmdir, link, symlink, mkdir, mknod, truncate, chmod, chown
  }
  public var kind: Kind = .rename
  public var process: UInt32 = 0
  public var at: UInt64 = 0
  public var path = Name(bytes: [])
  public var target: Name?
  /// Mode for chmod, mkdir and mknod; length for truncate; uid << 32 | gid for chown.
  public var argument: UInt64 = 0
  /// `path` and `target` are what the kernel saw, with symbolic links and `..` resolved.
  public var isResolved = true
  /// Handed to io_uring: whether it succeeded is not known.
  public var isUnconfirmed = false

  public init() {}
}

/// What the sensor can say about its own completeness; sums over all CPUs.
public struct Completeness: Sendable, Equatable {
  public typealias Counts = EventCounts

  /// By record type name (`exec`, `open`, …).
  public var types: [(name: String, isCritical: Bool, counts: Counts)] = []
  /// Map name to number of entries refused.
  public var mapFull: [(name: String, count: UInt64)] = []
  /// Records that reached user space: equal to the sum of `sent` when nothing is missing.
  public var received: UInt64 = 0
  /// Records that a reader could not decode: always a bug, never ignored.
  public var malformed: UInt64 = 0
  /// Records that came after a later one had been handed on.
  public var late: UInt64 = 0
  /// Gaps in the sequence numbers, in records.
  public var sequenceGaps: UInt64 = 0
  /// Times that the kernel left a program out because it was running on that CPU already: events that nobody saw.
  public var missedRuns: UInt64 = 0
  /// Times that a producer took longer than a second and was not waited for.
  public var stalled: UInt64 = 0
  /// Records that were left out of evidence and event log, to keep an agent below its ceilings.
  public var shed: UInt64 = 0
  /// A hook was attached after the job had started.
  public var lateAttach = false
  /// Hooks that could not be attached: (family, reason). Makes the run incomplete.
  public var missingHooks: [(family: String, reason: String)] = []

  public init() {}

  public var lostCritical: UInt64 { types.reduce(0) { $0 + ($1.isCritical ? $1.counts.lost : 0) } }
  public var lostBulk: UInt64 { types.reduce(0) { $0 + ($1.isCritical ? 0 : $1.counts.lost) } }
  public var sent: UInt64 { types.reduce(0) { $0 + $1.counts.sent } }

  /// Nothing lost, nothing refused, nothing missing: the evidence covers everything that the hooks saw.
  public var isComplete: Bool {
    lostCritical == 0 && lostBulk == 0 && malformed == 0 && sequenceGaps == 0 && received == sent
      && missedRuns == 0 && shed == 0 && !lateAttach && missingHooks.isEmpty && mapFull.allSatisfy { $0.count == 0 }
  }

  public static func == (a: Completeness, b: Completeness) -> Bool {
    a.types.elementsEqual(b.types, by: { $0.name == $1.name && $0.counts == $1.counts })
      && a.mapFull.elementsEqual(b.mapFull, by: { $0.name == $1.name && $0.count == $1.count })
      && a.received == b.received && a.malformed == b.malformed && a.late == b.late
      && a.sequenceGaps == b.sequenceGaps && a.missedRuns == b.missedRuns && a.stalled == b.stalled
      && a.shed == b.shed && a.lateAttach == b.lateAttach
      && a.missingHooks.elementsEqual(b.missingHooks, by: { $0.family == $1.family && $0.reason == $1.reason })
  }
}
