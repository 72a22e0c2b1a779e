import CSystem
import Glibc

/// The root of the cgroup v2 hierarchy, which programs that watch connections are attached to.
///
/// A system that uses v1 alone has mounted none. The hierarchy exists all the same, with every process in it, so a mount
/// is made for martlet alone: it is in no directory, and gone with the descriptor.
struct CgroupRoot: ~Copyable {
  let descriptor: Int32
  /// Where the system has mounted it; nil: nowhere.
  let path: String?

  /// - Throws: if there is none, or it may not be reached
  init() throws(SensorError) {
    try self.init(mountInfo: readText("/proc/self/mountinfo") ?? "")
  }

  init(mountInfo: String) throws(SensorError) {
    path = cgroup2Root(mountInfo: mountInfo)
    descriptor = path.map { open($0, O_RDONLY | O_DIRECTORY | O_CLOEXEC) } ?? mt_mount_nowhere("cgroup2")
    guard descriptor < 0 else { return }
    if let path { throw .systemCall("Could not open the cgroup hierarchy \(path)", errno: errno) }
    throw .cgroup2Missing(errno: -descriptor)
  }

  deinit { close(descriptor) }
}
