public import KernelABI

/// Why a file was not hashed: `enum mt_digest_why`.
public enum DigestAbsence: UInt16, Sendable, CaseIterable {
  /// The file was changed before or while it was read.
  case changed = 1
  /// There is no such file any more where it was.
  case gone = 2
  case unreadable = 3
  /// It is in a file system that others may hold up, such as FUSE or NFS.
  case foreign = 4
  case tooLarge = 5
  /// A limit of martlet's own was reached, or nothing told which file it was.
  case notHashed = 6
  /// It was changed so shortly before it was executed that a later change need not show.
  case recent = 7
  /// A process can still write it.
  case open = 8
  /// Of the kernel's own: it uses another algorithm, or none. martlet hashes the file then.
  case otherAlgorithm = 9

  /// As in every output.
  public var name: StaticString {
    switch self {
    case .changed: "changed"
    case .gone: "gone"
    case .unreadable: "unreadable"
    case .foreign: "foreign"
    case .tooLarge: "tooLarge"
    case .notHashed: "notHashed"
    case .recent: "recent"
    case .open: "open"
    case .otherAlgorithm: "otherAlgorithm"
    }
  }
}

extension mt_digest {
  /// nil if the digest is there. A reason that this version does not know counts as `notHashed`.
  public var absence: DigestAbsence? {
    why == UInt16(MT_DIGEST_TAKEN.rawValue) ? nil : DigestAbsence(rawValue: why) ?? .notHashed
  }
}
