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
  /// Every process of the machine is beneath it.
  ///
  /// In a cgroup namespace, as a container has one, what looks like the root is the container's own group, unless the
  /// host's hierarchy is mounted there as well. That is enough for a command that runs in the container.
  let isWhole: Bool

  /// - Throws: if there is none, or it may not be reached
  init() throws(SensorError) {
    try self.init(mountInfo: readText("/proc/self/mountinfo") ?? "")
  }

  init(mountInfo: String) throws(SensorError) {
    var part: (descriptor: Int32, path: String)?
    var refusal: (path: String, errno: Int32)?
    for path in cgroup2Mounts(mountInfo: mountInfo) {
      let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
      guard descriptor >= 0 else {
        refusal = refusal ?? (path, errno)
        continue
      }
      if mt_is_cgroup2_root(descriptor) {
        if let part { close(part.descriptor) }
        (self.descriptor, self.path, isWhole) = (descriptor, path, true)
        return
      }
      if part == nil { part = (descriptor, path) } else { close(descriptor) }
    }
    if let part {
      (descriptor, path, isWhole) = (part.descriptor, part.path, false)
      return
    }
    if let refusal { throw .systemCall("Could not open the cgroup hierarchy \(refusal.path)", errno: refusal.errno) }
    let made = mt_mount_nowhere("cgroup2")
    guard made >= 0 else { throw .cgroup2Missing(errno: -made) }
    (descriptor, path, isWhole) = (made, nil, mt_is_cgroup2_root(made))
  }

  deinit { close(descriptor) }
}
