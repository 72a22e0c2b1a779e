internal import Glibc

/// Nanoseconds of the kernel's clocks.
public enum Clock {
  public static var boottime: UInt64 { UInt64(clamping: now(CLOCK_BOOTTIME)) }

  /// What to add to CLOCK_BOOTTIME to get CLOCK_REALTIME, from one look at both.
  public static var wallOffset: Int64 {
    let before = now(CLOCK_BOOTTIME)
    let wall = now(CLOCK_REALTIME)
    let after = now(CLOCK_BOOTTIME)
    return wall - (before + (after - before) / 2)
  }

  private static func now(_ clock: clockid_t) -> Int64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }
}
