/// Numbers as people read them. Fixed to English and to binary units: reports are compared between machines.
package enum Units {
  /// `1234567` as `1,234,567`.
  package static func grouped(_ value: some BinaryInteger) -> String {
    let digits = String(value.magnitude)
    var result = value < 0 ? "-" : ""
    for (index, digit) in digits.enumerated() {
      if index > 0, (digits.count - index) % 3 == 0 { result.append(",") }
      result.append(digit)
    }
    return result
  }

  package static func count(_ value: some BinaryInteger, _ singular: String, _ plural: String) -> String {
    "\(grouped(value)) \(value == 1 ? singular : plural)"
  }

  /// Two or three significant digits: `420 µs`, `12 ms`, `3.41 s`, `2 min 5 s`, `3 h 2 min`.
  package static func duration(_ nanoseconds: UInt64) -> String {
    let milliseconds = nanoseconds / 1_000_000
    if milliseconds == 0 { return "\(nanoseconds / 1000) µs" }
    if milliseconds < 1000 { return "\(milliseconds) ms" }
    if milliseconds < 10_000 { return fraction(milliseconds / 10, places: 2) + " s" }
    if milliseconds < 60_000 { return fraction(milliseconds / 100, places: 1) + " s" }
    let seconds = milliseconds / 1000
    if seconds < 3600 { return "\(seconds / 60) min \(seconds % 60) s" }
    return "\(grouped(seconds / 3600)) h \(seconds / 60 % 60) min"
  }

  /// `512 B`, `1.2 KiB`, `3.4 GiB`.
  package static func bytes(_ value: UInt64) -> String {
    if value < 1024 { return "\(value) B" }
    var scaled = value
    for unit in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
      if scaled < 1024 * 1024 {
        let tenths = scaled / 1024 * 10 + scaled % 1024 * 10 / 1024
        return (tenths < 1000 ? fraction(tenths, places: 1) : grouped(tenths / 10)) + " " + unit
      }
      scaled /= 1024
    }
    return "\(grouped(scaled / 1024)) EiB"
  }

  private static func fraction(_ value: UInt64, places: Int) -> String {
    let scale: UInt64 = places == 1 ? 10 : 100
    let tail = String(value % scale)
    return "\(value / scale).\(String(repeating: "0", count: places - tail.count))\(tail)"
  }
}
