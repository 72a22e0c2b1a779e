import Glibc

/// The kernel side numbers processes as the host does: in a pid namespace of our own we would name it another one.
enum PidNamespace {
  /// What is wrong with it, and what to do; nil if nothing is. Both without a full stop.
  static var objection: (problem: String, advice: String)? {
    // PROC_PID_INIT_INO of linux/proc_ns.h.
    let initial: UInt64 = 0xEFFF_FFFC
    var namespace = stat()
    guard stat("/proc/self/ns/pid", &namespace) == 0 else { return ("cannot look at /proc/self/ns/pid", "Mount /proc") }
    if UInt64(namespace.st_ino) == initial { return nil }
    return (
      "this is a pid namespace of its own, whose processes the kernel programs cannot tell apart",
      "Start the container in the host's (docker run --pid=host)"
    )
  }
}
