import CSystem
import KernelABI
import Observation

/// A program's name and the section of the object that it comes from.
struct ProgramName: Sendable, Hashable {
  var name: String
  var section: String

  /// "tp_btf" of "tp_btf/sys_exit", "lsm" of "lsm.s/bprm_check_security".
  var kind: String {
    let prefix = section.prefix { $0 != "/" }
    if prefix == "cgroup_skb" { return "cgroup" }
    return String(prefix.hasSuffix(".s") ? prefix.dropLast(2) : prefix)
  }
  /// "sys_exit" of "tp_btf/sys_exit".
  var target: String { String(decoding: section.utf8.drop { $0 != UInt8(ascii: "/") }.dropFirst(), as: UTF8.self) }
  /// Whether it is called from the program array `handlers` instead of being attached.
  var isTail: Bool { Self.isTail(name) }
  static func isTail(_ name: String) -> Bool { name.hasPrefix("on_") }
  /// Whether user space runs it instead.
  var isCalled: Bool { section == "raw_tp" }
  /// Whether it waits until a policy asks for it, see ``LoadedObjects/attachLate(_:)``.
  var isLate: Bool { name == "guard_sys_enter" }
  /// What programs that are attached to files of user space are said to be on.
  static let onFiles = "TLS libraries"
  /// Whether it is attached to files of user space, as they come, see ``RequestProbes``.
  var isOnFiles: Bool { section == "uprobe" || section == "uretprobe" }
  var isAttached: Bool { !isTail && !isCalled && !isLate && !isOnFiles }
  /// Whether user space has it look at everything of a kind.
  var isIterator: Bool { kind == "iter" }
  /// The names of those that take turns at this program, the first first, see hooks.h.
  var turns: [String] {
    (0..<Int(MT_TURNS)).map { $0 == 0 && isRunByInterrupts ? name : "turn\($0)_\(name)" }
  }
  /// The program that it takes turns at, and which one of them it is.
  var turn: (program: String, place: Int)? {
    guard name.hasPrefix("turn"), let place = name.dropFirst(4).first?.wholeNumberValue else {
      return isRunByInterrupts ? (name, 0) : nil
    }
    return (String(name.dropFirst("turn0_".count)), place)
  }
  /// Whether it is there for nothing but to take turns.
  var isTurn: Bool { turn.map { $0.program != name } ?? false }
  /// Whether interrupts come to its hook too. Of a row of such programs each does the deed itself.
  var isRunByInterrupts: Bool { target == "inet_sock_set_state" }
  /// Whether the kernel may run it after the call that is the reason for it has returned.
  var mayRunLater: Bool { target == "ingress" }
  /// Whether it is in place of the second of such a row, see network.h.
  var isInPlaceOfTurn: Bool { target == "tcp_done" || target == "tcp_init_transfer" }
  /// What the kernel's BTF has if it has what the program is attached to: the typedef of a tracepoint, or a function.
  var attachType: (name: String, isTypedef: Bool)? {
    return switch kind {
    case "tp_btf": ("btf_trace_\(target)", true)
    case "lsm": ("bpf_lsm_\(target)", false)
    case "fentry", "fexit", "fmod_ret", "kprobe", "kretprobe": (target, false)
    default: nil
    }
  }

  func hook(family: String) -> Hook {
    Hook(family: family, kind: kind, target: isOnFiles ? Self.onFiles : target, program: name)
  }

  /// Whether programs of this kind can be attached and yet never run: LSM programs of a kernel that was not told to
  /// use them, and whatever sits on a function that another version of the kernel calls in another way.
  var canBeSilent: Bool { isAttached && kind != "tp_btf" && kind != "cgroup" && !isIterator }

  /// What makes the program run, whoever does it; nil if nothing simple does.
  var deed: mt_deed? {
    if !isAttached { return nil }
    return switch target {
    case "sched_process_fork", "sched_process_exec", "sched_process_exit", "bprm_committed_creds",
      "bprm_check_security", "security_bprm_check", "task_alloc", "security_task_alloc":
      MT_DEED_PROCESS
    case "sys_enter", "sys_exit": MT_DEED_CALL
    case "file_open", "security_file_open", "file_free_security", "security_file_free": MT_DEED_OPEN
    case "connect4", "sendmsg4", "post_bind4", "inet_sock_set_state", "sock_release", "sock_create", "egress":
      MT_DEED_IPV4
    case "connect6", "sendmsg6", "post_bind6": MT_DEED_IPV6
    // What arrives for nobody is no socket's.
    case "tcp_done", "tcp_init_transfer", "tcp_sendmsg", "ingress": MT_DEED_CONNECTION
    case "io_uring_submit_req", "io_uring_submit_sqe", "io_uring_complete", "io_read", "io_write": MT_DEED_URING
    case "fd_install", "put_unused_fd", "receive_fd", "__receive_fd", "security_file_receive", "file_close_fd",
      "close_fd", "do_dup2",
      "__x64_sys_close_range", "mmap_file", "security_mmap_file", "do_pipe2", "__sys_socketpair",
      "unix_stream_sendmsg", "sock_send_length", "unix_stream_connect", "security_unix_stream_connect", "unix_may_send",
      "security_unix_may_send":
      MT_DEED_DESCRIPTORS
    case "io_submit_one", "aio_complete_rw", "do_sendfile", "do_splice", "do_tee", "vfs_copy_file_range",
      "ioctl_file_clone", "notify_change", "path_mount", "__x64_sys_move_mount", "__x64_sys_pivot_root",
      "file_truncate", "security_file_truncate":
      MT_DEED_NAMES
    case "ptrace_access_check", "security_ptrace_access_check", "ptrace_traceme", "security_ptrace_traceme":
      MT_DEED_ACCESS
    case "file_mprotect", "security_file_mprotect": MT_DEED_MEMORY
    case "task_fix_setuid", "security_task_fix_setuid", "task_fix_setgid", "security_task_fix_setgid", "capset",
      "security_capset":
      MT_DEED_RIGHTS
    case "__x64_sys_init_module", "__x64_sys_finit_module", "__x64_sys_unshare", "__x64_sys_setns": MT_DEED_SYSTEM
    case "bpf", "security_bpf", "bpf_map", "security_bpf_map", "bpf_prog", "security_bpf_prog": MT_DEED_BPF
    case "task_kill", "security_task_kill", "task_setrlimit", "security_task_setrlimit", "file_send_sigiotask",
      "security_file_send_sigiotask", "signal_generate":
      MT_DEED_SIGNAL
    case "sb_mount", "security_sb_mount", "sb_umount", "security_sb_umount", "sb_pivotroot", "security_sb_pivotroot",
      "move_mount", "security_move_mount":
      MT_DEED_MOUNT
    case "cgroup_mkdir", "cgroup_rmdir": MT_DEED_CGROUP
    case _ where target.hasPrefix("__ia32_sys_"): MT_DEED_COMPAT
    case _ where target.hasPrefix("path_") || target.hasPrefix("security_path_") || target.hasPrefix("vfs_"):
      MT_DEED_NAMES
    default: nil
    }
  }
}
