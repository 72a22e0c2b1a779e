/// Turns times of CLOCK_BOOTTIME, which records carry, into wall-clock time.
///
///     let clock = WallClock(offset: realtime - boottime)
///     clock.rfc3339(record.time)  // "2026-03-01T12:00:00.123Z"
public struct WallClock: Sendable, Equatable {
  /// Nanoseconds to add to CLOCK_BOOTTIME to get CLOCK_REALTIME, as measured when the run began.
  public var offset: Int64

  public init(offset: Int64) {
    self.offset = offset
  }

  /// Nanoseconds since the epoch; a sum that no 64-bit number holds is clamped.
  public func nanoseconds(_ bootTime: UInt64) -> Int64 {
    let (sum, overflow) = Int64(clamping: bootTime).addingReportingOverflow(offset)
    return overflow ? (offset < 0 ? .min : .max) : sum
  }

  /// RFC 3339 in UTC with milliseconds.
  public func rfc3339(_ bootTime: UInt64) -> String {
    Self.rfc3339(nanoseconds: nanoseconds(bootTime))
  }

  /// RFC 3339 in UTC with milliseconds, of nanoseconds since the epoch.
  public static func rfc3339(nanoseconds: Int64) -> String {
    text(of: nanoseconds)
  }

  /// The date and, with milliseconds, the time of day in UTC.
  static func parts(_ nanoseconds: Int64) -> (date: String, time: String) {
    let text = text(of: nanoseconds)
    return (String(Substring(text.utf8.prefix(10))), String(Substring(text.utf8.dropFirst(11).dropLast())))
  }

  /// Each event has one: digit by digit, without a string for each number.
  private static func text(of nanoseconds: Int64) -> String {
    let milliseconds = floorDivide(nanoseconds, 1_000_000)
    let days = floorDivide(milliseconds, 86_400_000)
    let inDay = milliseconds - days * 86_400_000
    let (year, month, day) = civil(fromDays: days)
    // What 64 bits hold lies in years of four digits.
    return String(unsafeUninitializedCapacity: 24) { bytes in
      var end = 0
      func put(_ value: Int64, _ width: Int, _ mark: Unicode.Scalar) {
        var rest = value
        for index in (end..<end + width).reversed() {
          bytes[index] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
          rest /= 10
        }
        bytes[end + width] = UInt8(ascii: mark)
        end += width + 1
      }
      put(year, 4, "-")
      put(month, 2, "-")
      put(day, 2, "T")
      put(inDay / 3_600_000, 2, ":")
      put(inDay / 60_000 % 60, 2, ":")
      put(inDay / 1000 % 60, 2, ".")
      put(inDay % 1000, 3, "Z")
      return end
    }
  }

  /// Howard Hinnant's civil_from_days: eras of 400 years that begin on 1 March.
  private static func civil(fromDays days: Int64) -> (Int64, Int64, Int64) {
    let shifted = days + 719_468
    let era = floorDivide(shifted, 146_097)
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let marchMonth = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * marchMonth + 2) / 5 + 1
    let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
  }

  private static func floorDivide(_ value: Int64, _ divisor: Int64) -> Int64 {
    value >= 0 ? value / divisor : -1 - (-1 - value) / divisor
  }
}
