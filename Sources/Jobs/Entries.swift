internal import Observation

// What the fold keeps, as plain values in pools. Fields that end in nothing else are indices of other entries;
// 0 is none.

/// 48 bits of nanoseconds since the fold's first record: more than three days in six bytes.
struct ShortTime: BitwiseCopyable {
  private var low: UInt16 = 0
  private var middle: UInt16 = 0
  private var high: UInt16 = 0

  init() {}

  /// Times at or below `base` become the earliest, those above the range the latest.
  @inline(__always)
  init(_ time: UInt64, since base: UInt64) {
    let delta = time > base ? min(time &- base, 0xffff_ffff_ffff) : 1
    low = UInt16(truncatingIfNeeded: delta)
    middle = UInt16(truncatingIfNeeded: delta &>> 16)
    high = UInt16(truncatingIfNeeded: delta &>> 32)
  }

  @inline(__always)
  var isNone: Bool { delta == 0 }
  @inline(__always)
  var delta: UInt64 { UInt64(high) &<< 32 | UInt64(middle) &<< 16 | UInt64(low) }
}

struct ProcessEntry: BitwiseCopyable {
  static let hasEnded: UInt32 = 1
  static let outlivedCommand: UInt32 = 2
  /// Made known by a record of its own and not by a fork.
  static let isOrphan: UInt32 = 4
  static let isChrooted: UInt32 = 8
  static let isInOtherNamespace: UInt32 = 16

  var leaderStart: UInt64 = 0
  var tgid: UInt32 = 0
  var flags: UInt32 = 0
  var parent: UInt32 = 0
  var firstImage: UInt32 = 0
  var image: UInt32 = 0
  var descriptors: UInt32 = 0
  /// Of the job; 0: none.
  var step: UInt32 = 0
  /// Number in the job; 0: none.
  var container: UInt32 = 0
  var startedAt: UInt64 = 0
  var endedAt: UInt64 = 0
  var waitStatus: UInt32 = 0
  var threads: UInt32 = 0
  var userNanoseconds: UInt64 = 0
  var systemNanoseconds: UInt64 = 0
  var readBytes: UInt64 = 0
  var writtenBytes: UInt64 = 0
  var peakResidentBytes: UInt64 = 0
}

struct ImageEntry: BitwiseCopyable {
  static let isExec: UInt32 = 1 << 31
  static let executableIsTruncated: UInt32 = 1 << 30
  static let argumentsAreTruncated: UInt32 = 1 << 29

  var process: UInt32 = 0
  var parent: UInt32 = 0
  var next: UInt32 = 0
  /// mt_exec_flag and those above.
  var flags: UInt32 = 0
  var at: UInt64 = 0
  var endedAt: UInt64 = 0
  var file: UInt32 = 0
  /// Index of an ``ExecEntry``; a fork's image has its parent's.
  var exec: UInt32 = 0
}

struct ExecEntry: BitwiseCopyable {
  var executable = Arena.Reference()
  var filename = Arena.Reference()
  var workingDirectory = Arena.Reference()
  /// Masked, NUL-separated.
  var arguments = Arena.Reference()
  /// The whole length of argv where it was cut, else 0.
  var fullArgumentBytes: UInt64 = 0
  var inode: UInt64 = 0
  var device: UInt32 = 0
  var generation: UInt32 = 0
  var size: UInt64 = 0
  var changeTime: Int64 = 0
  var user: UInt32 = 0
  var group: UInt32 = 0
  /// The set that the image found open, if the records behind its exec tell it.
  var descriptorSet: UInt32 = 0
}

/// Descriptors that images find open when they start.
struct DescriptorSet: BitwiseCopyable {
  /// As the kernel side calls it.
  var identifier: UInt64 = 0
  /// The image that it is told for.
  var owner: UInt32 = 0
  var first: UInt32 = 0
}

struct SetMember: BitwiseCopyable {
  /// A file or a channel.
  var file: UInt32 = 0
  var descriptor: Int32 = 0
  /// FMODE_READ and FMODE_WRITE.
  var mode: UInt32 = 0
  var next: UInt32 = 0
}

struct DirectoryEntry: BitwiseCopyable {
  /// Its path as last put together, valid if `epoch` is the fold's.
  var path = Arena.Reference()
  var epoch: UInt32 = 0
  var parent: UInt32 = 0
  /// 0 for the roots.
  var name: UInt32 = 0
  var hasSecret = false
}

/// A kernel's directory id and what it stands for.
struct DirectoryIdentifier: BitwiseCopyable {
  var identifier: UInt64 = 0
  var directory: UInt32 = 0
  var isTruncated = false
}

struct NameEntry: BitwiseCopyable {
  static let isLive: UInt8 = 1
  static let isDirectory: UInt8 = 2
  static let hasSecret: UInt8 = 4
  static let isTruncated: UInt8 = 8
  static let isUnresolved: UInt8 = 16

  var directory: UInt32 = 0
  var offset: UInt32 = 0
  /// A file's, or a directory's if the flag says so.
  var target: UInt32 = 0
  /// Of the same file.
  var next: UInt32 = 0
  var length: UInt16 = 0
  var flags: UInt8 = 0
}

struct FileEntry: BitwiseCopyable {
  static let wasCreated: UInt16 = 1
  static let isDeleted: UInt16 = 2
  static let identityFromStat: UInt16 = 4
  /// Its first name is one that masking changes.
  static let nameHasSecret: UInt16 = 8
  /// A pipe or a socket: `detail` is the peer, not a ``WrittenFile``.
  static let isChannel: UInt16 = 16
  static let wasRead: UInt16 = 32
  /// The table of identities leads to it.
  static let isIdentified: UInt16 = 64
  static let isSocketPair: UInt16 = 128
  static let isUnixSocket: UInt16 = 256
  static let wasWritten: UInt16 = 512
  /// More was read or written than was counted.
  static let bytesAreUnknown: UInt16 = 1024

  var inode: UInt64 = 0
  var device: UInt32 = 0
  var generation: UInt32 = 0
  var name: UInt32 = 0
  /// Of the first name and its directory if the name is live, else 0: on the hot path the name itself, two cache
  /// misses away, need not be looked at. The hash is keyed, so nobody can make two names with the same.
  var nameHash: UInt32 = 0
  var accesses: UInt32 = 0
  /// The image of the first in the list.
  var lastImage: UInt32 = 0
  var detail: UInt32 = 0
  var mode: UInt16 = 0
  var flags: UInt16 = 0
}

/// An image has one for each run of opens that no other image came between; a snapshot takes them together.
struct AccessEntry: BitwiseCopyable {
  /// Flags are those of ``FileAccess/Mode``, and this: no close was seen, `last` is the end of the image.
  static let isUpperBound: UInt16 = 1 << 15

  var image: UInt32 = 0
  /// Of the same file, earlier.
  var next: UInt32 = 0
  var first = ShortTime()
  var last = ShortTime()
  var flags: UInt16 = 0
}

/// Bytes through open files, summed over all opens of one access.
struct TransferEntry: BitwiseCopyable {
  /// The latest access of its image to its file then.
  var access: UInt32 = 0
  var read: UInt64 = 0
  var written: UInt64 = 0
}

/// What a version of a file hashes to, or why that is not known.
struct DigestEntry: BitwiseCopyable {
  typealias SHA256 = (UInt64, UInt64, UInt64, UInt64)

  var inode: UInt64 = 0
  var device: UInt32 = 0
  var generation: UInt32 = 0
  var size: UInt64 = 0
  var changeTime: Int64 = 0
  var at: UInt64 = 0
  var sha256: SHA256 = (0, 0, 0, 0)
  /// mt_digest_of, mt_digest_how and mt_digest_why.
  var of: UInt16 = 0
  var how: UInt16 = 0
  var why: UInt16 = 0
  /// How often it was asked for.
  var requests: UInt16 = 0
}

/// Of a file that was open for writing: its latest version, which leads to the earlier ones.
struct WrittenFile: BitwiseCopyable {
  var openDescriptors: UInt32 = 0
  var olderCount: UInt32 = 0
  var version = VersionEntry()
}

struct VersionEntry: BitwiseCopyable {
  static let isUpperBound: UInt16 = 1
  static let isCreation: UInt16 = 2
  static let isTruncation: UInt16 = 4
  static let hasState: UInt16 = 8
  static let isMerged: UInt16 = 16

  var size: UInt64 = 0
  var changeTime: Int64 = 0
  var since = ShortTime()
  var until = ShortTime()
  var flags: UInt16 = 0
  /// Older versions of the same file.
  var next: UInt32 = 0
}

/// A table of descriptors: one process', or several processes' that share it.
struct DescriptorTable: BitwiseCopyable {
  var first: UInt32 = 0
  var users: UInt32 = 0
}

/// A descriptor open for writing on a regular file.
struct DescriptorEntry: BitwiseCopyable {
  var table: UInt32 = 0
  var descriptor: Int32 = 0
  var file: UInt32 = 0
  var access: UInt32 = 0
  var next: UInt32 = 0
  var previous: UInt32 = 0
}

/// A socket's inode number in sockfs, which is all that a copy tells, and its channel.
struct SocketInode: BitwiseCopyable {
  var inode: UInt64 = 0
  var file: UInt32 = 0
}

/// A name in a directory, as it was then: strings in the arena never change.
struct PathText: BitwiseCopyable {
  var directory: UInt32 = 0
  var name: UInt32 = 0
  var directoryLength: UInt16 = 0
  var nameLength: UInt16 = 0
}

struct ChangeEntry: BitwiseCopyable {
  static let hasTarget: UInt8 = 1
  static let isUnresolved: UInt8 = 2
  static let isUnconfirmed: UInt8 = 4
  static let isTruncated: UInt8 = 8

  var at: UInt64 = 0
  var argument: UInt64 = 0
  var path = PathText()
  var target = PathText()
  var process: UInt32 = 0
  var type: UInt16 = 0
  var flags: UInt8 = 0
}

struct CopyEntry: BitwiseCopyable {
  var at: UInt64 = 0
  var bytes: UInt64 = 0
  var image: UInt32 = 0
  var from: UInt32 = 0
  var to: UInt32 = 0
  var kind: UInt32 = 0
}

struct Address: BitwiseCopyable, Hashable {
  var high: UInt64 = 0
  var low: UInt64 = 0

  var bytes: AddressText.Bytes {
    withUnsafeBytes(of: self) { $0.loadUnaligned(as: AddressText.Bytes.self) }
  }
}

struct FlowEntry: BitwiseCopyable {
  static let isInbound: UInt16 = 1
  static let hasBytes: UInt16 = 2
  static let isUnix: UInt16 = 4
  static let isListener: UInt16 = 8
  /// No flow any more: it was taken together with an equal one.
  static let isFree: UInt16 = 16
  static let isNamedByTLS: UInt16 = 32
  static let isNamedByHTTP: UInt16 = 64
  /// Whom its first bytes name was not read.
  static let hidesName: UInt16 = 128
  static let encryptsHello: UInt16 = 256
  static let serverName = isNamedByTLS | isNamedByHTTP | hidesName | encryptsHello
  /// Nothing but its first bytes was told yet.
  static let isForeshadowed: UInt16 = 512

  var sock: UInt64 = 0
  var startedAt: UInt64 = 0
  var duration: UInt64 = 0
  var sent: UInt64 = 0
  var received: UInt64 = 0
  var local = Address()
  var remote = Address()
  /// A unix socket's; else the host that the remote address was given by when it was asked for.
  var path = Arena.Reference()
  /// Whom its first bytes name.
  var named = Arena.Reference()
  /// When the last of those ended that this stands for; 0: it stands for itself.
  var lastAt: UInt64 = 0
  /// Equal flows that this stands for beyond the first.
  var repeats: UInt32 = 0
  var image: UInt32 = 0
  var type: UInt32 = 0
  var error: Int32 = 0
  var localPort: UInt16 = 0
  var remotePort: UInt16 = 0
  var family: UInt16 = 0
  var protocolNumber: UInt16 = 0
  var flags: UInt16 = 0
  /// That came with ``named``; 0: none.
  var namedPort: UInt16 = 0
  var state: UInt8 = 0
}
