public import KernelABI
public import Observation

/// What a file's contents hash to, or why that is not known: a digest is right or absent.
public struct FileDigest: Sendable, Hashable {
  public enum How: String, Sendable {
    /// By the kernel's integrity module, before the program's first instruction.
    case kernel
    /// By martlet, a little later, from the same file if nothing had changed it.
    case userSpace
  }

  /// 32 bytes.
  public var sha256: [UInt8]?
  /// Why there is none.
  public var absence: DigestAbsence?
  public var how = How.userSpace
  /// When it was known, in nanoseconds of CLOCK_BOOTTIME; 0: nobody tried.
  public var at: UInt64 = 0
  /// Of a written file: it was not changed after the last close that was seen, not even in its name.
  public var isAsClosed = false

  public init() {}

  /// `sha256:` and 64 lower-case digits.
  public var text: String? {
    guard let sha256 else { return nil }
    var text = ByteBuffer(capacity: 80)
    text.append("sha256:")
    sha256.withUnsafeBytes { text.append(hexOf: $0) }
    return text.text
  }
}

/// What came of hashing files.
public struct FileHashing: Sendable, Hashable {
  /// Why the kernel does not do it; nil if it does.
  public var kernelObjection: String?
  /// Versions of images, and files written, that have a digest, by how it was taken.
  public var byKernel: UInt64 = 0
  public var byUserSpace: UInt64 = 0
  /// Those that have none, by why.
  public var absent: [DigestAbsence: UInt64] = [:]

  public init() {}
}

/// A file that is to be hashed, and which version of it.
public struct DigestRequest: Sendable, Equatable {
  public var body: mt_digest
  /// The process that executed it, and when that began; 0: none.
  public var process: UInt32 = 0
  public var processStart: UInt64 = 0
  public var parent: UInt32 = 0
  /// When it was executed, CLOCK_BOOTTIME.
  public var at: UInt64 = 0
  /// In the root of its mount namespace; secrets are not masked.
  public var path: [UInt8] = []
  public var isInOtherMountNamespace = false

  public init(body: mt_digest) { self.body = body }

  public static func == (a: DigestRequest, b: DigestRequest) -> Bool {
    withUnsafeBytes(of: a.body) { a in withUnsafeBytes(of: b.body) { a.elementsEqual($0) } } && a.path == b.path
  }
}
