/// The paths in a git index, versions 2 to 4: gitformat-index(5).
///
/// It lies in a directory that jobs write, so any bytes give paths or nothing, in time and memory that are bounded by
/// what they are.
enum GitIndex {
  /// Paths as long as the kernel takes them.
  private static let longestPath = 4096

  /// - Parameter hashSize: bytes of an object's name: 20, or 32 in repositories with SHA-256
  /// - Returns: nil if it is no index, or one that is cut or of another version
  static func paths(_ bytes: [UInt8], hashSize: Int = 20, limit: Int) -> [String]? {
    func number(_ at: Int, _ count: Int) -> Int {
      bytes[at..<at + count].reduce(0) { $0 << 8 | Int($1) }
    }
    guard bytes.count >= 12, bytes[..<4].elementsEqual("DIRC".utf8) else { return nil }
    let version = number(4, 4)
    let count = number(8, 4)
    guard (2...4).contains(version) else { return nil }
    var paths: [String] = []
    var last: [UInt8] = []
    var at = 12
    for _ in 0..<min(count, limit) {
      let start = at
      // Times, device, inode, mode, owner, size, the object's name, flags.
      guard start + 40 + hashSize + 2 <= bytes.count else { return nil }
      let flags = number(start + 40 + hashSize, 2)
      at = start + 40 + hashSize + 2
      if version >= 3, flags & 0x4000 != 0 { at += 2 }
      if version == 4 {
        guard let removed = variable(bytes, &at), removed <= last.count else { return nil }
        last.removeLast(removed)
      } else {
        last = []
      }
      guard let end = bytes[min(at, bytes.count)...].prefix(longestPath).firstIndex(of: 0) else { return nil }
      last += bytes[at..<end]
      guard last.count < longestPath else { return nil }
      at = end + 1
      // Entries are padded to a multiple of 8, with 1 to 8 zeros.
      if version < 4 { at = start + (end - start + 8) / 8 * 8 }
      paths.append(String(decoding: last, as: UTF8.self))
    }
    return paths
  }

  /// A number of as many bytes as it needs: each but the last has its upper bit set, and stands for one more.
  private static func variable(_ bytes: [UInt8], _ at: inout Int) -> Int? {
    var value = 0
    for index in 0..<4 {
      guard at < bytes.count else { return nil }
      let byte = bytes[at]
      at += 1
      value = (index == 0 ? 0 : value + 1) << 7 | Int(byte & 0x7f)
      if byte & 0x80 == 0 { return value }
    }
    return nil
  }
}
