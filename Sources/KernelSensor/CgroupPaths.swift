import CSystem
import Glibc
import Observation

/// Where cgroups of the v2 hierarchy are, by the ids that records have, and the other way round.
///
/// Of an agent in a container, too, whose own view of the hierarchy begins at its group.
public final class CgroupPaths {
  private let root: CgroupRoot
  private let prefix: [UInt8]

  /// A cgroup was removed.
  public struct Gone: Error {}

  /// - Throws: if there is no such hierarchy, or it may not be reached
  public init() throws(SensorError) {
    root = try CgroupRoot()
    // Of a mount in no directory it is `/`.
    let target = Self.target(root.descriptor) ?? []
    prefix = target == [UInt8(ascii: "/")] ? [] : target
  }

  /// From the root of the hierarchy, beginning with `/`; nil: it may not be opened by its id, which takes CAP_DAC_READ_SEARCH.
  ///
  /// - Throws: ``Gone``, if there is no such group any more
  public func path(of id: UInt64) throws(Gone) -> [UInt8]? {
    let descriptor = mt_open_cgroup(root.descriptor, id)
    guard descriptor >= 0 else {
      if descriptor == -ESTALE { throw Gone() }
      return nil
    }
    defer { close(descriptor) }
    guard let target = Self.target(descriptor), target.starts(with: prefix) else { return nil }
    let path = Array(target.dropFirst(prefix.count))
    return path.isEmpty ? [UInt8(ascii: "/")] : path
  }

  /// - Parameter path: from the root of the hierarchy, beginning with `/`
  /// - Returns: nil: there is none
  public func id(of path: String) -> UInt64? {
    var status = stat()
    guard fstatat(root.descriptor, "." + path, &status, AT_SYMLINK_NOFOLLOW) == 0 else { return nil }
    return UInt64(status.st_ino)
  }

  /// Processes in a group itself.
  public func processes(in path: String) -> [UInt32] {
    let descriptor = openat(root.descriptor, ".\(path)/cgroup.procs", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    return FileContents.read(descriptor, atMost: 1 << 20).bytes.split(separator: UInt8(ascii: "\n")).compactMap {
      UInt32(String(decoding: $0, as: UTF8.self))
    }
  }

  private static func target(_ descriptor: Int32) -> [UInt8]? {
    var count = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: 8192) { buffer, filled in
      buffer.withMemoryRebound(to: CChar.self) { buffer in
        if let base = buffer.baseAddress { count = readlink("/proc/self/fd/\(descriptor)", base, buffer.count) }
      }
      filled = max(0, count)
    }
    return count > 0 ? bytes : nil
  }
}
