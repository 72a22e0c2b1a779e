internal import CCrypto
internal import Glibc

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

  /// Of a regular file, from its beginning; nil: it is something else, is longer, or cannot be read.
  package static func ofFile(_ descriptor: Int32, atMost limit: Int) -> [UInt8]? {
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_size <= limit else {
      return nil
    }
    var hash = SHA256()
    var left = limit
    let isWhole = withUnsafeTemporaryAllocation(byteCount: 1 << 16, alignment: 16) { buffer in
      while true {
        let count = read(descriptor, buffer.baseAddress, buffer.count)
        if count <= 0 || count > left { return count == 0 }
        left -= count
        hash.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
      }
    }
    return isWhole ? hash.finish() : nil
  }

  /// 32 bytes.
  public consuming func finish() -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
    _ = SHA256_Final(&digest, &context)
    return digest
  }
}
