import Glibc
import KernelABI
import Policy
import Testing

@testable import KernelSensor

/// An index as git writes it, without extensions and the hash at its end.
private func index(version: UInt8, _ paths: [String], hashSize: Int = 20, extended: Bool = false) -> [UInt8] {
  var bytes = [UInt8]("DIRC".utf8) + [0, 0, 0, version, 0, 0, 0, UInt8(paths.count)]
  var last = ""
  for path in paths {
    let start = bytes.count
    bytes += [UInt8](repeating: 1, count: 40 + hashSize)
    bytes += [extended ? 0x40 : 0, UInt8(path.utf8.count)]
    if extended { bytes += [0, 0] }
    if version == 4 {
      let common = zip(last.utf8, path.utf8).prefix { $0 == $1 }.count
      let removed = last.utf8.count - common
      // As git's encode_varint.
      var digits = [UInt8(removed & 0x7f)]
      var left = removed >> 7
      while left > 0 {
        left -= 1
        digits.insert(UInt8(left & 0x7f) | 0x80, at: 0)
        left >>= 7
      }
      bytes += digits + path.utf8.dropFirst(common) + [0]
    } else {
      bytes += Array(path.utf8)
      bytes += [UInt8](repeating: 0, count: 8 - (bytes.count - start) % 8)
    }
    last = path
  }
  return bytes + [UInt8](repeating: 7, count: hashSize)
}

@Suite struct GitIndexTests {
  static let paths = [
    ".github/workflows/ci.yml", "README.md", "a", "src/" + String(repeating: "long/", count: 40) + "x", "src/y",
  ]

  @Test(arguments: [UInt8(2), 3, 4], [20, 32]) func hasThePaths(version: UInt8, hashSize: Int) {
    let bytes = index(version: version, Self.paths, hashSize: hashSize, extended: version == 3)
    #expect(GitIndex.paths(bytes, hashSize: hashSize, limit: 100) == Self.paths)
    #expect(GitIndex.paths(bytes, hashSize: hashSize, limit: 2) == Array(Self.paths.prefix(2)))
  }

  @Test(arguments: [UInt8(2), 3, 4]) func isNothingWhenItIsCut(version: UInt8) {
    let whole = index(version: version, Self.paths)
    for length in 0..<whole.count - 20 - 8 { #expect(GitIndex.paths(Array(whole[..<length]), limit: 100) == nil) }
  }

  @Test func isTotal() {
    var generator = SystemRandomNumberGenerator()
    for version: UInt8 in 2...4 {
      let whole = index(version: version, Self.paths)
      for _ in 0..<2000 {
        var bytes = whole
        for _ in 0..<3 { bytes[Int.random(in: 12..<bytes.count, using: &generator)] = .random(in: 0...255) }
        _ = GitIndex.paths(bytes, limit: 100)
      }
    }
    #expect(GitIndex.paths([], limit: 1) == nil)
    #expect(GitIndex.paths([UInt8]("DIRC\0\0\0\u{5}\0\0\0\0".utf8), limit: 1) == nil)
  }
}

@Suite struct PolicyInodeTests {
  @Test func knowsWhatLiesThere() throws {
    var template = Array("/tmp/martlet-inodes-XXXXXX".utf8CString)
    let directory = try #require(mkdtemp(&template).map { String(cString: $0) })
    defer {
      for name in ["dir/b", "a", "link"] { unlink("\(directory)/\(name)") }
      rmdir("\(directory)/dir")
      rmdir(directory)
    }
    mkdir("\(directory)/dir", 0o755)
    for name in ["a", "dir/b"] { close(open("\(directory)/\(name)", O_CREAT | O_WRONLY, 0o644)) }
    symlink("dir/b", "\(directory)/link")
    func identity(_ name: String) throws -> PolicyInodes.Identity {
      var status = stat()
      try #require(stat("\(directory)/\(name)", &status) == 0)
      return PolicyInodes.Identity(device: PolicyInodes.device(status.st_dev), inode: UInt64(status.st_ino))
    }
    let file = [(PathPattern(.file, "link", isRelative: true), mt_inode_masks(write: 1, read: 0))]
    #expect(Array(PolicyInodes(file, in: directory, limit: 9).masks.keys) == [try identity("dir/b")])
    let below = [(PathPattern(.below, directory), mt_inode_masks(write: 0, read: 2))]
    let all = PolicyInodes(below, in: "/", limit: 9)
    #expect(Set(all.masks.keys) == [try identity("a"), try identity("dir"), try identity("dir/b")])
    #expect(all.masks.values.allSatisfy { $0.read == 2 && $0.write == 0 } && all.leftOut == 0)
    let few = PolicyInodes(below, in: "/", limit: 1)
    #expect(few.masks.count == 1 && few.leftOut > 0)
  }
}
