internal import KernelABI

/// What keeps jobs off martlet itself: where neither security modules nor `fmod_ret` can refuse a deed, who does it is killed
/// at the end of the call.
extension HookFunction {
  static let selfProtection = "self-protection"

  static let shielding: [HookFunction] = [
    shielding(
      "process", ["task_kill", "ptrace_access_check", "task_setrlimit", "file_send_sigiotask"],
      calls: ["shield_signal_generate", "sys_exit", "on_access"], typed: MT_TYPED_SHIELD_PROCESS),
    // Truncation by descriptor has a hook of its own from 6.2 on; before 5.11 no program refuses changes of owners.
    shielding(
      "files",
      [
        "file_open", "path_unlink", "path_rmdir", "path_mkdir", "path_mknod", "path_symlink", "path_rename",
        "path_link", "path_truncate", "path_chmod",
      ], optional: ["path_chown", "file_truncate"], calls: ["sys_exit"], typed: MT_TYPED_SHIELD_FILES,
      setUp: ["shield_descriptor"]),
    shielding(
      "BPF objects", ["bpf", "bpf_map", "bpf_prog"], calls: ["sys_exit", "on_bpf"], typed: MT_TYPED_SHIELD_OBJECTS),
  ]

  private static func shielding(
    _ name: String, _ hooks: [String], optional: [String] = [], calls: [Part], typed: mt_typed,
    setUp: [Part] = ["shield_self"]
  ) -> HookFunction {
    let ways = ["lsm", "fmod"].map { kind in
      hooks.map { Part("shield_\(kind)_\($0)") }
        + optional.map { Part("shield_\(kind)_\($0)", isOptional: true) } + setUp
    }
    return HookFunction(selfProtection, name, .optional, ways: ways + [calls + setUp], typed: typed)
  }
}
