/// When the kernel takes the CPU from a task that is in the kernel: the choice of `PREEMPT_NONE`, `_VOLUNTARY`, `_FULL`
/// and `_LAZY`, made when it was built, by `preempt=` or by whoever writes to debugfs.
public enum Preemption: String, Sendable, CaseIterable {
  /// Never.
  case none
  /// Where the kernel's code offers it.
  case voluntary
  /// Anywhere.
  case full
  /// Anywhere, if the task does not give the CPU up within a tick.
  case lazy
  /// Nothing says so.
  case unknown

  /// Whether tasks can lose their CPU in the middle of a program of ours.
  public var isWithinTheKernel: Bool { self != .none && self != .voluntary }

  /// As this kernel does it now.
  public static var ofThisKernel: Preemption {
    let kernel = KernelName()
    return Preemption(
      build: kernel.build, chosen: readText("/sys/kernel/debug/sched/preempt"), commandLine: readText("/proc/cmdline")
    ) { KernelConfiguration.lines(release: kernel.release) }
  }

  /// - Parameters:
  ///   - build: as uname(2) gives it
  ///   - chosen: debugfs' `sched/preempt`: "none voluntary (full)"
  ///   - commandLine: the kernel's
  ///   - configuration: what it was built with, if anything tells
  init(build: String, chosen: String?, commandLine: String?, configuration: () -> [String]?) {
    let words = build.split(separator: " ")
    guard words.contains("PREEMPT_DYNAMIC") else {
      // A kernel that can be preempted says so.
      let flag = words.first { $0.hasPrefix("PREEMPT") }
      self = flag == nil ? .voluntary : flag == "PREEMPT_LAZY" ? .lazy : .full
      return
    }
    if let chosen, let marked = chosen.split(separator: " ").first(where: { $0.hasPrefix("(") }),
      let mode = Preemption(rawValue: String(marked.dropFirst().prefix { $0 != ")" }))
    {
      self = mode
      return
    }
    let asked = commandLine?.split(whereSeparator: \.isWhitespace).last { $0.hasPrefix("preempt=") }
    if let asked, let mode = Preemption(rawValue: String(asked.dropFirst("preempt=".count))) {
      self = mode
      return
    }
    let built = configuration() ?? []
    let choices: [(String, Preemption)] = [
      ("CONFIG_PREEMPT_NONE=y", .none), ("CONFIG_PREEMPT_VOLUNTARY=y", .voluntary), ("CONFIG_PREEMPT=y", .full),
      ("CONFIG_PREEMPT_LAZY=y", .lazy),
    ]
    self = choices.first { built.contains($0.0) }?.1 ?? .unknown
  }
}
