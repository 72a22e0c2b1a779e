/// Something that martlet wants to see, and the ways to see it.
struct HookFunction: Sendable, Equatable {
  enum Need: Sendable, Equatable {
    /// Without it there is nothing worth watching: opening the sensor fails.
    case required
    /// Without it the report says what is not seen.
    case optional
  }

  /// A program of a way.
  struct Part: Sendable, Equatable, ExpressibleByStringLiteral {
    var program: String
    /// What the tracepoint's arguments must begin with, see ``KernelTypes/objection(to:wanting:)``: for programs that
    /// would misread another kernel's.
    var signature: String?

    init(_ program: String, signature: String? = nil) {
      self.program = program
      self.signature = signature
    }

    init(stringLiteral program: String) { self.init(program) }
  }

  /// `process`, `file`, `path`, `flow`, `network`, `io_uring`.
  var family: String
  /// What it is, within its family.
  var name: String
  var need: Need
  /// The best first. Each is a set of programs that do it together; programs may have a part in several functions.
  var ways: [[Part]]

  init(_ family: String, _ name: String, _ need: Need, _ ways: [Part]...) {
    self.init(family, name, need, ways: ways)
  }

  init(_ family: String, _ name: String, _ need: Need, ways: [[Part]]) {
    self.family = family
    self.name = name
    self.need = need
    self.ways = ways
  }
}

extension HookFunction {
  /// All of them. To add a tier to a function, write its programs and put their names in front of those that are
  /// worse, and what makes them run into ``ProgramName/deed``.
  static let table: [HookFunction] = [
    HookFunction("process", "fork", .required, ["sched_process_fork"]),
    HookFunction("process", "exec", .required, ["sched_process_exec"]),
    HookFunction("process", "exit", .required, ["sched_process_exit"]),

    HookFunction("file", "open", .required, ["sys_exit"]),
    HookFunction("file", "close", .required, ["sys_exit", "on_close"]),
    HookFunction("file", "close of many", .optional, ["sys_exit", "on_close_range"]),
    HookFunction("file", "copies of descriptors", .optional, ["sys_exit", "on_dup"]),
    HookFunction("file", "inherited descriptors", .optional, ["exec_descriptors"]),
    HookFunction("file", "shared mappings", .optional, ["sys_exit", "on_mmap"]),

    HookFunction("path", "operations by name", .required, ["sys_exit", "on_path"]),
    HookFunction("path", "operations by descriptor", .optional, ["sys_exit", "on_descriptor"]),

    HookFunction("flow", "copies between files", .optional, ["sys_exit", "on_copy"]),
    HookFunction("flow", "pipes and socket pairs", .optional, ["sys_exit", "on_pair"]),
    HookFunction("flow", "descriptors in messages", .optional, ["sys_exit", "on_receive"]),

    HookFunction("network", "connect", .required, ["connect4", "connect6"]),
    HookFunction("network", "TCP states", .required, ["inet_sock_set_state"]),
    HookFunction("network", "connections open at the end", .optional, ["tell_open_flows"]),
    HookFunction("network", "datagrams", .optional, ["sendmsg4", "sendmsg6"]),
    HookFunction("network", "bind", .optional, ["post_bind4", "post_bind6"]),
    HookFunction("network", "failed connections", .optional, ["sock_release"]),
    HookFunction("network", "unix sockets", .optional, ["sys_exit", "on_connect"]),
    HookFunction("network", "accept", .optional, ["sys_exit", "on_accept"]),
    HookFunction("network", "other sockets", .optional, ["sys_exit", "on_socket"]),

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
}
