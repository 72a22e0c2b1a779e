/// A place in the kernel where one of martlet's programs runs.
public struct Hook: Sendable, Hashable {
  /// What it is needed for: `process`, `file`, `path`, `flow`, `network`, `io_uring`.
  public var family: String
  /// How it is attached: `tp_btf`, `cgroup`, `fentry`, `lsm`.
  public var kind: String
  /// The tracepoint or function, or the operation of a cgroup.
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
