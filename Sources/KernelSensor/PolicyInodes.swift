internal import Glibc
internal import KernelABI
internal import Policy

/// What lies under the paths of a policy's rules about files when it is put in force: a bind mount or a hard link gives a
/// file another path, but not another identity.
struct PolicyInodes {
  struct Identity: Hashable {
    /// As the kernel has it: major << 20 | minor.
    var device: UInt32
    var inode: UInt64
  }

  /// Directories deeper than this are not looked into.
  private static let depth = 64

  private(set) var masks: [Identity: mt_inode_masks] = [:]
  /// Files that there was no room for: these are known by their path alone.
  private(set) var leftOut = 0
  private let limit: Int

  /// - Parameter limit: of files
  init(_ files: [(pattern: PathPattern, masks: mt_inode_masks)], in directory: String, limit: Int) {
    self.limit = limit
    for (pattern, masks) in files where pattern.form != .named {
      for name in PathTable.names(of: pattern, in: directory) {
        switch pattern.form {
        case .file: add(name, masks)
        case .children: addContents(of: name, masks, depth: 1)
        case .below: addContents(of: name, masks, depth: Self.depth)
        case .named: break
        }
      }
    }
  }

  private mutating func add(_ path: String, _ bits: mt_inode_masks) {
    var status = stat()
    guard lstat(path, &status) == 0 else { return }
    add(status, bits)
  }

  private mutating func add(_ status: stat, _ bits: mt_inode_masks) {
    // A device or a socket is what others use it for, whatever its name.
    guard [S_IFREG, S_IFDIR].contains(status.st_mode & S_IFMT) else { return }
    let identity = Identity(device: Self.device(status.st_dev), inode: UInt64(status.st_ino))
    guard masks[identity] != nil || masks.count < limit else { return leftOut += 1 }
    masks[identity, default: mt_inode_masks()].write |= bits.write
    masks[identity, default: mt_inode_masks()].read |= bits.read
  }

  /// As in glibc's bits/sysmacros.h, for numbers as small as the kernel has them.
  static func device(_ number: dev_t) -> UInt32 {
    let major = number >> 8 & 0xfff
    let minor = number & 0xff | number >> 12 & 0xfff00
    return UInt32(major << 20 | minor)
  }

  private mutating func addContents(of directory: String, _ bits: mt_inode_masks, depth: Int) {
    guard depth > 0, masks.count < limit, let entries = opendir(directory.isEmpty ? "/" : directory) else { return }
    defer { closedir(entries) }
    while let entry = readdir(entries) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if name == "." || name == ".." { continue }
      var status = stat()
      let path = "\(directory)/\(name)"
      guard lstat(path, &status) == 0 else { continue }
      add(status, bits)
      if masks.count >= limit, leftOut > 0 { return }
      if status.st_mode & S_IFMT == S_IFDIR { addContents(of: path, bits, depth: depth - 1) }
    }
  }
}
