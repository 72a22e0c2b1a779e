internal import Glibc

/// All that a file, a pipe or an entry of procfs holds.
package enum FileContents {
  /// Reads from where the descriptor stands.
  ///
  /// - Returns: the bytes, at most `limit`, and the errno(3) of what ended them early; 0: the file's end or the limit.
  package static func read(_ descriptor: Int32, atMost limit: Int) -> (bytes: [UInt8], error: Int32) {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 14)
    while bytes.count < limit {
      let count = Glibc.read(descriptor, &chunk, min(chunk.count, limit - bytes.count))
      if count < 0 && errno == EINTR { continue }
      if count < 0 { return (bytes, errno) }
      if count == 0 { break }
      bytes += chunk[..<count]
    }
    return (bytes, 0)
  }
}
