internal import CCrypto

/// A SHA-256, the link between two frames.
public struct FrameDigest: Sendable, Hashable {
  /// 32 bytes.
  public let bytes: [UInt8]

  /// Stands for the frame before the first.
  public static let zero = FrameDigest(bytes: [UInt8](repeating: 0, count: 32))

  init(bytes: [UInt8]) {
    self.bytes = bytes
  }

  /// The digest of a frame.
  ///
  /// By libcrypto's functions for SHA-256 alone: the first use of EVP builds tables of providers, names and error texts,
  /// four million instructions in every run. Both use the CPU's SHA instructions.
  init(of frame: UnsafeRawBufferPointer) {
    var context = SHA256_CTX()
    var digest = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
    // They only compute, in memory that they are given, and always return 1.
    _ = SHA256_Init(&context)
    _ = SHA256_Update(&context, frame.baseAddress, frame.count)
    _ = SHA256_Final(&digest, &context)
    bytes = digest
  }

  /// 64 lower-case digits.
  public var hex: String {
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
  }

  /// Reads what ``hex`` writes; nil for anything else.
  public init?(hex: some Collection<UInt8>) {
    guard hex.count == 64 else { return nil }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(32)
    var high: UInt8?
    for digit in hex {
      let value: UInt8
      switch digit {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = digit - UInt8(ascii: "0")
      case UInt8(ascii: "a")...UInt8(ascii: "f"): value = digit - UInt8(ascii: "a") + 10
      default: return nil
      }
      if let first = high {
        bytes.append(first << 4 | value)
        high = nil
      } else {
        high = value
      }
    }
    self.bytes = bytes
  }
}
