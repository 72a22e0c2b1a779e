/// A place in the kernel where one of martlet's programs runs.
public struct Hook: Sendable, Hashable {
  /// What it is needed for: "process", "file", "network" or "io_uring".
  public var family: String
  /// How it is attached: "tp_btf" or "cgroup".
  public var kind: String
  /// The tracepoint, or the operation of a cgroup.
  public var target: String
  /// The program's name.
  public var program: String

  public init(family: String, kind: String, target: String, program: String) {
    self.family = family
    self.kind = kind
    self.target = target
    self.program = program
  }
}

/// What the sensor knows about a program before it meets the kernel.
struct HookRule: Sendable, Equatable {
  enum Need: Sendable, Equatable {
    /// Without it there is nothing worth watching: opening the sensor fails.
    case required
    /// Without it the report says what is not seen.
    case optional
    /// As optional, but one of the group is enough.
    case oneOf(String)
  }

  var family: String
  var need: Need
  /// What the tracepoint's arguments must begin with, see ``KernelTypes/signature(_:)``: for programs that
  /// would misread another kernel's.
  var signature: String?

  /// By the name of programs that share their section with another, else by section. What is not in the table
  /// is optional and belongs to the family of its object.
  static let table: [String: HookRule] = [
    "tp_btf/sched_process_fork": HookRule(family: "process", need: .required),
    "tp_btf/sched_process_exec": HookRule(family: "process", need: .required),
    "tp_btf/sched_process_exit": HookRule(family: "process", need: .required),
    "sys_exit": HookRule(family: "file", need: .required),
    "on_close": HookRule(family: "file", need: .required),
    "on_path": HookRule(family: "file", need: .required),
    // On the tracepoint of sched_process_exec.
    "exec_descriptors": HookRule(family: "file", need: .optional),
    "on_descriptor": HookRule(family: "file", need: .optional),
    "on_copy": HookRule(family: "file", need: .optional),
    "on_pair": HookRule(family: "file", need: .optional),
    "on_receive": HookRule(family: "file", need: .optional),
    "on_connect": HookRule(family: "network", need: .optional),
    "on_accept": HookRule(family: "network", need: .optional),
    "on_socket": HookRule(family: "network", need: .optional),
    "cgroup/connect4": HookRule(family: "network", need: .required),
    "cgroup/connect6": HookRule(family: "network", need: .required),
    "tp_btf/inet_sock_set_state": HookRule(family: "network", need: .required),
    "tell_open_flows": HookRule(family: "network", need: .optional),
    // Linux 6.3 and later give the request alone, 6.0 to 6.2 (by the older name) the request and a flag.
    "uring_submit_req": HookRule(family: "io_uring", need: .oneOf("io_uring submission"), signature: "pp"),
    "uring_submit_sqe": HookRule(family: "io_uring", need: .oneOf("io_uring submission"), signature: "ppi"),
    // Both take the request second; older kernels do not have it, but a number that a program chose.
    "uring_complete": HookRule(family: "io_uring", need: .oneOf("io_uring completion"), signature: "pppp"),
    "uring_complete_result": HookRule(family: "io_uring", need: .oneOf("io_uring completion"), signature: "pppi"),
  ]

  static func of(_ program: ProgramName, object: String) -> HookRule {
    table[program.name] ?? table[program.section] ?? HookRule(family: object, need: .optional)
  }
}

/// A program's name and the section of the object that it comes from.
struct ProgramName: Sendable, Hashable {
  var name: String
  var section: String

  /// "tp_btf" of "tp_btf/sys_exit".
  var kind: String { String(section.prefix { $0 != "/" }) }
  /// "sys_exit" of "tp_btf/sys_exit".
  var target: String { String(section.drop { $0 != "/" }.dropFirst()) }
  /// Whether it is called from the program array `handlers` instead of being attached.
  var isTail: Bool { name.hasPrefix("on_") }
  /// Whether user space runs it instead.
  var isCalled: Bool { section == "raw_tp" }
  var isAttached: Bool { !isTail && !isCalled }
  /// The typedef that the kernel's BTF has if it has the tracepoint.
  var traceType: String? { kind == "tp_btf" ? "btf_trace_\(target)" : nil }
}
