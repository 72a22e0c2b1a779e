internal import KernelABI

/// Something that martlet wants to see, and the ways to see it.
struct HookFunction: Sendable, Equatable {
  enum Need: Sendable, Equatable {
    /// Without it there is nothing worth watching: opening the sensor fails.
    case required
    /// Without it the report says what is not seen.
    case optional
    /// As an optional one, and only if it is asked for.
    case onRequest(HookRequest)
  }

  /// A program of a way.
  struct Part: Sendable, Equatable, ExpressibleByStringLiteral {
    var program: String
    /// What the tracepoint's arguments must begin with, see ``KernelTypes/objection(to:wanting:)``: for programs that
    /// would misread another kernel's.
    var signature: String?
    /// Whether the way does without it where the kernel does not have what it is for.
    var isOptional: Bool

    init(_ program: String, signature: String? = nil, isOptional: Bool = false) {
      self.program = program
      self.signature = signature
      self.isOptional = isOptional
    }

    init(stringLiteral program: String) { self.init(program) }
  }

  /// `process`, `file`, `bytes`, `hashes`, `path`, `flow`, `network`, `security`, `io_uring`, `policy`, `self-protection`.
  var family: String
  /// What it is, within its family.
  var name: String
  var need: Need
  /// Only for sensors that are to recognise jobs.
  var isForRecognition: Bool { name.hasPrefix("jobs") }
  /// What has to be asked for to have it; nil: nothing.
  var request: HookRequest? {
    if case .onRequest(let request) = need { request } else { nil }
  }
  /// The best first. Each is a set of programs that do it together; programs may have a part in several functions.
  var ways: [[Part]]
  /// What programs have to know when `sys_exit` has no part in the way chosen.
  var typed: mt_typed?
  /// Only where tasks are preempted in programs: elsewhere others do it along with what they do.
  var isForPreemption = false

  init(
    _ family: String, _ name: String, _ need: Need, _ ways: [Part]..., typed: mt_typed? = nil,
    isForPreemption: Bool = false
  ) {
    self.init(family, name, need, ways: ways, typed: typed)
    self.isForPreemption = isForPreemption
  }

  init(_ family: String, _ name: String, _ need: Need, ways: [[Part]], typed: mt_typed? = nil) {
    self.family = family
    self.name = name
    self.need = need
    self.ways = ways
    self.typed = typed
  }
}

extension HookFunction {
  /// All of them. To add a tier to a function, write its programs and put their names in front of those that are
  /// worse, and what makes them run into ``ProgramName/deed``.
  static let table: [HookFunction] = observing + guarding + shielding

  private static let observing: [HookFunction] = [
    HookFunction("process", "fork", .required, ["sched_process_fork"]),
    HookFunction("process", "members by fork", .optional, ["inherit_tag"], isForPreemption: true),
    HookFunction("process", "exec", .required, ["sched_process_exec"]),
    HookFunction("process", "exit", .required, ["sched_process_exit"]),
    HookFunction("process", "jobs by their rules", .optional, ["recognise"]),
    HookFunction("process", "jobs that were there first", .optional, ["adopt"]),
    HookFunction(
      "process", "jobs' containers", .optional, ["fentry_unix_stream_sendmsg", "cgroup_mkdir", "cgroup_rmdir"],
      ["socket_sent", "cgroup_mkdir", "cgroup_rmdir"], ["kprobe_unix_stream_sendmsg", "cgroup_mkdir", "cgroup_rmdir"]),

    HookFunction(
      "file", "open", .required,
      ["fentry_fd_install", "fentry_put_unused_fd", "fentry_do_pipe2", "fexit_do_pipe2"], ["sys_exit"],
      ["kprobe_fd_install", "kprobe_put_unused_fd", "kprobe_do_pipe2", "kretprobe_do_pipe2"], typed: MT_TYPED_OPEN),
    // Up to 6.6 it is close_fd, which later kernels have for other things.
    HookFunction(
      "file", "close", .required, ["fentry_file_close_fd"], ["fentry_close_fd"], ["sys_exit", "on_close"],
      ["kprobe_file_close_fd"], ["kprobe_close_fd"]),
    HookFunction(
      "file", "close of many", .optional,
      ["fentry___x64_sys_close_range", Part("fentry___ia32_sys_close_range", isOptional: true)],
      ["sys_exit", "on_close_range"],
      ["kprobe___x64_sys_close_range", Part("kprobe___ia32_sys_close_range", isOptional: true)]),
    HookFunction(
      "file", "copies of descriptors", .optional, ["fentry_fd_install", "fentry_do_dup2"], ["sys_exit", "on_dup"],
      ["kprobe_fd_install", "kprobe_do_dup2"], typed: MT_TYPED_DUP),
    HookFunction("file", "inherited descriptors", .optional, ["exec_descriptors"]),
    HookFunction(
      "file", "shared mappings", .optional, ["lsm_mmap_file"], ["fentry_security_mmap_file"], ["sys_exit", "on_mmap"],
      ["kprobe_security_mmap_file"]),

    HookFunction(
      "bytes", "read and written", .onRequest(.bytes), bytes("lsm_file_free_security"),
      bytes("fentry_security_file_free")),
    HookFunction("bytes", "by io_submit", .onRequest(.bytes), ["bytes_io_submit_one", "bytes_aio_complete_rw"]),
    HookFunction(
      "bytes", "by io_uring", .onRequest(.bytes),
      [Part("bytes_uring", signature: "pppp"), "bytes_io_read", "bytes_io_write"],
      [Part("bytes_uring_result", signature: "pppi"), "bytes_io_read", "bytes_io_write"]),

    HookFunction("hashes", "executed images", .onRequest(.hashes), ["hash_image"]),

    HookFunction(
      "path", "operations by name", .required, names("lsm_"), names("fentry_security_"), ["sys_exit", "on_path"],
      typed: MT_TYPED_PATH),
    HookFunction(
      "path", "operations by descriptor", .optional, names("lsm_"), names("fentry_security_"),
      ["sys_exit", "on_descriptor"]),

    HookFunction(
      "flow", "copies between files", .optional,
      [
        "fexit_do_sendfile", "fexit_do_splice", "fexit_do_tee", "fexit_vfs_copy_file_range", "fexit_ioctl_file_clone",
      ], ["sys_exit", "on_copy"]),
    HookFunction(
      "flow", "pipes and socket pairs", .optional,
      ["fentry_fd_install", "fentry_do_pipe2", "fexit_do_pipe2", "fexit___sys_socketpair"], ["sys_exit", "on_pair"]),
    // Up to 6.7 what comes in messages goes through __receive_fd, and what pidfd_getfd gets through receive_fd.
    HookFunction(
      "flow", "descriptors in messages", .optional,
      ["fentry_fd_install", "fentry___receive_fd", "fentry_receive_pidfd"],
      ["fentry_fd_install", "fentry_security_file_receive", "fentry_receive_fd"], ["sys_exit", "on_receive"],
      ["kprobe_fd_install", "kprobe___receive_fd", "kprobe_receive_pidfd"],
      ["kprobe_fd_install", "kprobe_security_file_receive", "kprobe_receive_fd"],
      typed: MT_TYPED_RECEIVE),

    HookFunction("network", "connect", .required, ["connect4", "connect6"]),
    // Where tasks are preempted, or functions have no hooks, others of its kind see the calls that it is left out of.
    HookFunction(
      "network", "TCP states", .required, ["inet_sock_set_state", "fentry_tcp_done", "fentry_tcp_init_transfer"],
      ["inet_sock_set_state"]),
    HookFunction("network", "connections open at the end", .optional, ["tell_open_flows"]),
    HookFunction("network", "datagrams", .optional, ["sendmsg4", "sendmsg6"]),
    HookFunction("network", "bind", .optional, ["post_bind4", "post_bind6"]),
    HookFunction("network", "names", .onRequest(.names), ["names_arrive"]),
    HookFunction("network", "server names", .onRequest(.names), ["names_leave"]),
    HookFunction("network", "names and first bytes", .onRequest(.policy), ["messages_leave", "messages_arrive"]),
    HookFunction(
      "network", "requests over TLS", .onRequest(.requests), requests("tls_sent"), requests("fentry_tcp_sendmsg"),
      requests("kprobe_tcp_sendmsg")),
    HookFunction("network", "sockets of other protocols", .onRequest(.policy), ["sock_create"]),
    HookFunction(
      "network", "packet sockets", .onRequest(.policy), ["guard_lsm_socket_create"], ["guard_fmod_socket_create"],
      ["fentry_fd_install"], ["sys_exit", "on_socket"], ["guard_kprobe_socket_create"]),
    HookFunction(
      "network", "received sockets", .onRequest(.policy), ["guard_lsm_file_receive"], ["guard_fmod_file_receive"],
      ["guard_kprobe_file_receive"], ["guard_received"]),
    HookFunction("network", "failed connections", .optional, ["sock_release"]),
    HookFunction(
      "network", "unix sockets", .optional, ["lsm_unix_stream_connect", "lsm_unix_may_send"],
      ["fentry_security_unix_stream_connect", "fentry_security_unix_may_send"], ["sys_exit", "on_connect"],
      ["kprobe_security_unix_stream_connect", "kprobe_security_unix_may_send"]),
    HookFunction(
      "network", "accept", .optional, ["fentry_fd_install"], ["sys_exit", "on_accept"], ["kprobe_fd_install"],
      typed: MT_TYPED_ACCEPT),
    HookFunction(
      "network", "other sockets", .optional, ["fentry_fd_install"], ["sys_exit", "on_socket"], ["kprobe_fd_install"],
      typed: MT_TYPED_SOCKET),

    // At the ends of calls it is known how they ended, and they cost less than kprobes; before them every way is seen.
    HookFunction(
      "security", "access to processes", .optional, security("lsm_", ["ptrace_access_check", "ptrace_traceme"]),
      security("fentry_security_", ["ptrace_access_check", "ptrace_traceme"]), ["sys_exit", "on_access"],
      security("kprobe_security_", ["ptrace_access_check", "ptrace_traceme"]), typed: MT_TYPED_ACCESS),
    HookFunction(
      "security", "executable memory", .optional, ["lsm_mmap_executable", "lsm_file_mprotect"],
      ["fentry_mmap_executable", "fentry_security_file_mprotect"], ["sys_exit", "on_memory"],
      ["kprobe_mmap_executable", "kprobe_security_file_mprotect"]),
    HookFunction(
      "security", "credentials", .optional, security("lsm_", ["task_fix_setuid", "task_fix_setgid", "capset"]),
      security("fentry_security_", ["task_fix_setuid", "task_fix_setgid", "capset"]), ["sys_exit", "on_credential"],
      security("kprobe_security_", ["task_fix_setuid", "task_fix_setgid", "capset"])),
    // The security modules are asked behind the capability: who lacks it would go unseen.
    HookFunction(
      "security", "kernel modules", .optional, calls("fexit_", ["init_module", "finit_module"]),
      ["sys_exit", "on_module"], calls("kprobe_", ["init_module", "finit_module"])),
    HookFunction(
      "security", "BPF", .optional, ["lsm_bpf"], ["fentry_security_bpf"], ["sys_exit", "on_bpf"],
      ["kprobe_security_bpf"], typed: MT_TYPED_BPF),
    HookFunction(
      "security", "mounts", .optional, security("lsm_", ["sb_mount", "sb_umount", "move_mount", "sb_pivotroot"]),
      security("fentry_security_", ["sb_mount", "sb_umount", "move_mount", "sb_pivotroot"]), ["sys_exit", "on_mount"],
      security("kprobe_security_", ["sb_mount", "sb_umount", "move_mount", "sb_pivotroot"])),
    HookFunction(
      "security", "namespaces", .optional, calls("fexit_", ["unshare", "setns"]), ["sys_exit", "on_namespace"],
      calls("kprobe_", ["unshare", "setns"])),
    HookFunction("security", "namespaces of new processes", .optional, ["fork_namespaces"]),

    // Linux 6.3 and later give the request alone, 6.0 to 6.2 (by the older name) the request and a flag, 5.15 and what
    // has its io_uring the request behind the ring.
    HookFunction(
      "io_uring", "submission", .optional, [Part("uring_submit_req", signature: "pp")],
      [Part("uring_submit_sqe", signature: "ppi.")],
      [Part("uring_submit_ring", signature: "pppi")]),
    // The first two take the request second; older kernels do not have it, but a number that a program chose: there
    // opens are told as asked for.
    HookFunction(
      "io_uring", "completion", .optional, [Part("uring_complete", signature: "pppp")],
      [Part("uring_complete_result", signature: "pppi")],
      ["uring_submit_ring", Part("uring_complete_any", signature: "ppi")]),
  ]

  /// What sees plain text that is given to TLS, and by `sends` what is sent.
  private static func requests(_ sends: String) -> [Part] {
    let functions = [
      "openssl_write", "openssl_write_ex", "openssl_cipher", "gnutls_send", "written", "free", "go_write",
    ]
    return [Part(sends)] + functions.map { Part("tls_\($0)") }
  }

  private static func security(_ kind: String, _ hooks: [String]) -> [Part] { hooks.map { Part(kind + $0) } }

  /// What counts bytes, and tells the sums when `last` says that nobody uses an open file any more, or at the end.
  private static func bytes(_ last: String) -> [Part] {
    let functions = [
      "vfs_read", "vfs_write", "vfs_readv", "vfs_writev", "do_sendfile", "do_splice", "vfs_copy_file_range",
    ]
    return [Part(last)] + functions.map { Part("bytes_\($0)") } + ["tell_open_files"]
  }

  /// Programs on the functions of system calls; without 32-bit programs there are none for theirs.
  private static func calls(_ kind: String, _ calls: [String]) -> [Part] {
    // To the types of some kernels the registers that such a function gets are no more than a name.
    let signature = kind == "fexit_" ? "p" : nil
    return calls.map { Part(kind + $0, signature: signature) }
      + calls.map { Part("\(kind)compat_\($0)", signature: signature, isOptional: true) }
  }

  /// What sees operations on names: the hooks before them, which know the mount, and those that tell how they ended.
  private static func names(_ kind: String) -> [Part] {
    let before = ["unlink", "rmdir", "mkdir", "mknod", "symlink", "rename", "link", "chmod", "chown", "truncate"]
    let after = [
      "vfs_unlink", "vfs_rmdir", "vfs_mkdir", "vfs_mknod", "vfs_create", "vfs_symlink", "vfs_link", "vfs_rename",
      "notify_change", "path_mount", "__x64_sys_move_mount", "__x64_sys_pivot_root",
    ]
    // Truncation by descriptor has a hook of its own from 6.2 on. Without 32-bit programs there are no such calls.
    let optional = ["\(kind)file_truncate", "fexit___ia32_sys_move_mount", "fexit___ia32_sys_pivot_root"]
    return before.map { Part("\(kind)path_\($0)") } + after.map { Part("fexit_\($0)") }
      + optional.map { Part($0, isOptional: true) }
  }
}
