internal import Glibc

/// CPU time of martlet's own process, in nanoseconds, and the moment at which it was read.
public struct ProcessCost: Sendable {
  /// CLOCK_BOOTTIME.
  public var at = Clock.boottime
  public var user: UInt64 = 0
  public var system: UInt64 = 0
  public var peakResidentBytes: UInt64 = 0

  public init() {
    var usage = rusage()
    guard getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return }
    user = Self.nanoseconds(usage.ru_utime)
    system = Self.nanoseconds(usage.ru_stime)
    peakResidentBytes = UInt64(clamping: usage.ru_maxrss) * 1024
  }

  public var total: UInt64 { user &+ system }

  private static func nanoseconds(_ time: timeval) -> UInt64 {
    UInt64(clamping: time.tv_sec) * 1_000_000_000 + UInt64(clamping: time.tv_usec) * 1000
  }
}
