internal import Glibc

/// All that a file, a pipe or an entry of procfs holds.
package enum FileContents {
  /// Reads from where the descriptor stands.
  ///
  /// - Returns: the bytes, at most `limit`, and the errno(3) of what ended them early; 0: the file's end or the limit.
  package static func read(_ descriptor: Int32, atMost limit: Int) -> (bytes: [UInt8], error: Int32) {
    all(atMost: limit) { chunk, size, _ in Glibc.read(descriptor, chunk, size) }
  }

  /// As ``read(_:atMost:)``, a file from its beginning, wherever the descriptor stands: others may have it, too.
  package static func readAll(_ descriptor: Int32, atMost limit: Int) -> (bytes: [UInt8], error: Int32) {
    all(atMost: limit) { chunk, size, offset in pread(descriptor, chunk, size, off_t(offset)) }
  }

  private static func all(
    atMost limit: Int, _ read: (_ chunk: UnsafeMutableRawPointer?, _ size: Int, _ offset: Int) -> Int
  ) -> (bytes: [UInt8], error: Int32) {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 14)
    while bytes.count < limit {
      let count = chunk.withUnsafeMutableBytes {
        read($0.baseAddress, min($0.count, limit - bytes.count), bytes.count)
      }
      if count < 0 && errno == EINTR { continue }
      if count < 0 { return (bytes, errno) }
      if count == 0 { break }
      bytes += chunk[..<count]
    }
    return (bytes, 0)
  }
}
