/// What keeps policies. A way is as good as what it can do about a deed: the security modules and `fmod_ret` refuse it,
/// kprobes and the ends of system calls have the process killed.
extension HookFunction {
  static let guarding: [HookFunction] = [
    HookFunction("policy", "scopes of rules", .onRequest(.policy), ["guard_scope"]),
    HookFunction(
      "policy", "executed images", .onRequest(.policy),
      ["guard_lsm_bprm_check_security", Part("guard_digest", isOptional: true)], ["guard_fmod_bprm_check_security"],
      ["guard_kprobe_bprm_check_security"], ["guard_exec"]),
    guarding("open files", ["file_open", "mmap_file"], calls: openedByURing),
    // Truncation by descriptor has a hook of its own from 6.2 on.
    guarding(
      "names of files",
      [
        "path_unlink", "path_rmdir", "path_mkdir", "path_mknod", "path_symlink", "path_rename", "path_link",
        "path_truncate", "path_chmod",
      ], optional: ["file_truncate"], calls: namedByURing),
    // Before 5.11 no program can change what a function returns that is given structures.
    guarding("owners of files", ["path_chown"]),
    guarding(
      "protected processes", ["ptrace_access_check", "task_kill"], calls: ["guard_sys_enter"] + openedByURing),
    HookFunction("policy", "core dumps", .onRequest(.policy), ["guard_core_dump"]),
    guarding("kernel modules", ["kernel_read_file", "kernel_load_data"]),
    guarding("BPF", ["bpf"]),
    guarding("mounts", ["sb_mount", "sb_umount", "move_mount", "sb_pivotroot"]),
    // The kernel asks nobody else for these, and lets their result be changed where it can inject errors.
    HookFunction(
      "policy", "namespaces", .onRequest(.policy), namespaces("fmod"), namespaces("kprobe"), ["guard_sys_exit"]),
    // A kprobe would kill the parent.
    HookFunction(
      "policy", "namespaces of new processes", .onRequest(.policy), ["guard_lsm_task_alloc"],
      ["guard_fmod_task_alloc"], ["guard_sys_exit"]),
    guarding("container daemons", ["unix_stream_connect"]),
  ]

  private static func guarding(
    _ name: String, _ hooks: [String], optional: [String] = [], calls: [Part] = []
  ) -> HookFunction {
    let ways = ["lsm", "fmod", "kprobe"].map { kind in
      hooks.map { Part("guard_\(kind)_\($0)") } + optional.map { Part("guard_\(kind)_\($0)", isOptional: true) }
    }
    return HookFunction("policy", name, .onRequest(.policy), ways: ways + [["guard_sys_exit"] + calls])
  }

  /// As those that tell of io_uring, of which each kernel has one.
  private static let openedByURing = [
    Part("guard_uring_complete", signature: "pppp", isOptional: true),
    Part("guard_uring_complete_result", signature: "pppi", isOptional: true),
  ]
  private static let namedByURing = [
    Part("guard_uring_submit_req", signature: "pp", isOptional: true),
    Part("guard_uring_submit_sqe", signature: "ppi.", isOptional: true),
  ]

  /// On the functions of the system calls; without 32-bit programs there are none for theirs.
  private static func namespaces(_ kind: String) -> [Part] {
    ["unshare", "setns"].flatMap {
      [Part("guard_\(kind)_\($0)"), Part("guard_\(kind)_compat_\($0)", isOptional: true)]
    }
  }
}
