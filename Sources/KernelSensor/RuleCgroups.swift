import Glibc

/// Where cgroups are found by their paths, for rules that ask where a process is.
public struct RuleCgroups {
  private let paths: CgroupPaths

  /// - Throws: where such rules could hold for no process, or for others than their author has in mind: there is no v2
  ///   hierarchy, or what we see of it is a part
  public init() throws(SensorError) {
    let root = try CgroupRoot()
    guard root.path != nil else {
      throw .systemCall(
        "A rule names a cgroup, and this system has not mounted the v2 hierarchy: no process is in a cgroup of it",
        errno: ENOENT)
    }
    guard root.isWhole, !Self.isInNamespace else {
      throw .systemCall(
        "A rule names a cgroup, and martlet is in a cgroup namespace, where paths are others than the kernel's: start it in "
          + "the host's", errno: EXDEV)
    }
    paths = try CgroupPaths()
  }

  /// The initial namespace has this number (PROC_CGROUP_INIT_INO of linux/proc_ns.h).
  private static var isInNamespace: Bool {
    var status = stat()
    return stat("/proc/self/ns/cgroup", &status) == 0 && status.st_ino != 0xEFFF_FFFB
  }

  /// nil: there is no such cgroup any more.
  public func id(of path: String) -> UInt64? { paths.id(of: path) }
}
