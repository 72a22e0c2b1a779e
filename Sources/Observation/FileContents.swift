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

  /// As ``read(_:atMost:)``, by name; empty if it cannot be opened.
  package static func read(path: String, atMost limit: Int) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    return read(descriptor, atMost: limit).bytes
  }

  /// Where a link of procfs leads to; nil, with errno(3): nobody may say.
  package static func link(_ path: String) -> [UInt8]? {
    var count = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: 8192) { buffer, filled in
      buffer.withMemoryRebound(to: CChar.self) { buffer in
        if let base = buffer.baseAddress { count = readlink(path, base, buffer.count) }
      }
      filled = max(0, count)
    }
    return count > 0 ? undeleted(bytes) : nil
  }

  /// An absolute path without links; nil, with errno(3): there is none.
  package static func resolved(_ path: String) -> [UInt8]? {
    guard let found = realpath(path, nil) else { return nil }
    defer { free(found) }
    return Array(UnsafeRawBufferPointer(start: found, count: strlen(found)))
  }

  /// Without what the kernel adds to the path of a file that has no name any more.
  package static func undeleted(_ path: some BidirectionalCollection<UInt8>) -> [UInt8] {
    let deleted = Array(" (deleted)".utf8)
    return Array(path.suffix(deleted.count).elementsEqual(deleted) ? path.dropLast(deleted.count) : path[...])
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
