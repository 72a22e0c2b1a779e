/// How a process ended, decoded from the status that wait(2) gives. The numbers are those of Linux on x86-64 and arm64.
public enum ExitStatus: Sendable, Equatable {
  case exited(UInt8)
  case killed(signal: UInt8, coreDumped: Bool)

  public init(waitStatus: UInt32) {
    let signal = UInt8(truncatingIfNeeded: waitStatus & 0x7f)
    if signal == 0 {
      self = .exited(UInt8(truncatingIfNeeded: waitStatus >> 8))
    } else {
      self = .killed(signal: signal, coreDumped: waitStatus & 0x80 != 0)
    }
  }

  public var isSuccess: Bool { self == .exited(0) }

  /// `exited 1`, `killed by SIGSEGV (core dumped)`.
  public var text: String {
    switch self {
    case .exited(let code): "exited \(code)"
    case .killed(let signal, let coreDumped):
      "killed by \(Self.name(ofSignal: signal))\(coreDumped ? " (core dumped)" : "")"
    }
  }

  /// `SIGKILL`; `SIGRTMIN+3` for a real-time signal as glibc counts them.
  public static func name(ofSignal signal: UInt8) -> String {
    let names = [
      "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
      "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
      "WINCH", "IO", "PWR", "SYS",
    ]
    if (1...31).contains(signal) { return "SIG" + names[Int(signal) - 1] }
    if (34...64).contains(signal) { return signal == 34 ? "SIGRTMIN" : "SIGRTMIN+\(signal - 34)" }
    return "signal \(signal)"
  }
}
