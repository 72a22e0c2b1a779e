import CLibbpf
import Glibc

/// While it lives, the kernel counts the runs of every BPF program of the machine and the time they take.
///
/// That costs each run two readings of the clock, some 70 ns (docs/benchmarks.md), so it is off unless somebody wants
/// to know. It is switched on by a descriptor (`BPF_ENABLE_STATS` of bpf(2), Linux 5.8) and not by the sysctl
/// `kernel.bpf_stats_enabled`: when the process ends, however it ends, the kernel closes the descriptor and stops.
public final class RunTimeStatistics: Sendable {
  private let descriptor: Int32

  /// - Throws: if this process may not (it takes CAP_SYS_ADMIN), or the kernel is too old.
  public init() throws(SensorError) {
    descriptor = bpf_enable_stats(BPF_STATS_RUN_TIME)
    guard descriptor >= 0 else {
      throw .refusedToAsk("The kernel would not count the run time of BPF programs", errno: -descriptor)
    }
  }

  deinit { close(descriptor) }
}

extension SensorError {
  /// bpf(2) keeps looking at what others have loaded for CAP_SYS_ADMIN.
  static func refusedToAsk(_ context: String, errno: Int32) -> SensorError {
    guard errno == EPERM else { return systemCall(context, errno: errno) }
    return SensorError(.notRoot, context, errno: errno, advice: "It takes CAP_SYS_ADMIN: run martlet as root")
  }
}
