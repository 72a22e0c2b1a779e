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

/// libcrypto's SHA-256 with one context for all frames. Through EVP, which uses the CPU's SHA instructions.
struct Digester: ~Copyable {
  private let context: OpaquePointer
  private let algorithm: OpaquePointer

  init() throws(EventLogError) {
    // Fetched once: EVP_sha256() would look the algorithm up again for each frame.
    guard let algorithm = EVP_MD_fetch(nil, "SHA256", nil) else { throw EventLogError(.digest, "fetch SHA-256") }
    guard let context = EVP_MD_CTX_new() else {
      EVP_MD_free(algorithm)
      throw EventLogError(.outOfMemory, "create digest")
    }
    self.algorithm = algorithm
    self.context = context
  }

  deinit {
    EVP_MD_CTX_free(context)
    EVP_MD_free(algorithm)
  }

  func digest(_ bytes: UnsafeRawBufferPointer) throws(EventLogError) -> FrameDigest {
    var output = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
    var length: UInt32 = 0
    guard EVP_DigestInit_ex2(context, algorithm, nil) == 1,
      EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) == 1,
      EVP_DigestFinal_ex(context, &output, &length) == 1, length == 32
    else { throw EventLogError(.digest, "digest") }
    return FrameDigest(bytes: Array(output.prefix(32)))
  }
}
