internal import CCrypto

/// A SHA-256 that is taken piece by piece.
///
/// By libcrypto's functions for SHA-256 alone: the first use of EVP builds tables of providers, names and error texts,
/// four million instructions in every run. Both use the CPU's SHA instructions.
public struct SHA256: ~Copyable {
  private var context = SHA256_CTX()

  // They only compute, in memory that they are given, and always return 1.

  public init() { _ = SHA256_Init(&context) }

  public mutating func update(_ bytes: UnsafeRawBufferPointer) {
    _ = SHA256_Update(&context, bytes.baseAddress, bytes.count)
  }

  /// 32 bytes.
  public consuming func finish() -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
    _ = SHA256_Final(&digest, &context)
    return digest
  }
}
