import Glibc

/// What uname(2) says.
public struct KernelName: Sendable {
  /// `6.18.1`; empty if it cannot be told.
  public var release = ""
  /// `x86_64`.
  public var machine = ""
  /// When and how it was built: `#1 SMP PREEMPT_DYNAMIC Debian 6.12.1-1`.
  public var build = ""

  public init() {
    var names = utsname()
    guard uname(&names) == 0 else { return }
    release = withUnsafeBytes(of: names.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    build = withUnsafeBytes(of: names.version) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    machine = withUnsafeBytes(of: names.machine) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }

  /// Whether the release begins with this version or a later one.
  func isAtLeast(_ major: Int, _ minor: Int) -> Bool {
    let numbers = release.split(maxSplits: 2) { !$0.isNumber }.prefix(2).map { Int($0) ?? 0 }
    return numbers.count == 2 && (numbers[0], numbers[1]) >= (major, minor)
  }
}

/// All of a small file of procfs or sysfs, at most 1 MiB; nil if it cannot be read.
func readText(_ path: String) -> String? {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { return nil }
  defer { close(descriptor) }
  var bytes: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 16384)
  while bytes.count < 1 << 20 {
    let count = read(descriptor, &chunk, chunk.count)
    if count < 0 {
      if errno == EINTR { continue }
      return nil
    }
    if count == 0 { break }
    bytes += chunk[..<count]
  }
  return String(decoding: bytes, as: UTF8.self)
}

/// A small file that holds one number.
func readNumber(_ path: String) -> UInt64? {
  readText(path).flatMap { UInt64($0.prefix { !$0.isWhitespace }) }
}

/// As strerror(3), with the errno's number.
func errorText(_ number: Int32) -> String {
  // strerror_r, as strerror's buffer is shared between threads.
  let text = withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
    guard let start = buffer.baseAddress, strerror_r(number, start, buffer.count) == 0 else { return "unknown error" }
    return String(cString: start)
  }
  return "\(text) (errno \(number))"
}

/// A list of the kernel's kind, as in `0-3,8`: what `/sys/devices/system/cpu/online` holds.
func parseCPUList(_ text: String) -> [Int] {
  var numbers: [Int] = []
  for part in text.split(whereSeparator: { $0 == "," || $0.isWhitespace }) {
    let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
    guard let first = ends.first ?? nil, let last = ends.last ?? nil, ends.count <= 2, first >= 0, last >= first,
      last < 1 << 16
    else { continue }
    numbers += first...last
  }
  return numbers
}

/// Where a cgroup v2 hierarchy, or a part of one, is mounted, from `/proc/self/mountinfo`.
///
/// Fields are separated by blanks: id, parent, device, root, mount point, options, optional fields, "-", type,
/// source, super options; blanks and backslashes in paths are octal escapes (proc_pid_mountinfo(5)). Mounts that show a
/// root come first. Which of them shows the hierarchy's is not told: in a cgroup namespace it is counted from there.
func cgroup2Mounts(mountInfo: String) -> [String] {
  var roots: [String] = []
  var parts: [String] = []
  for line in mountInfo.split(separator: "\n") {
    let fields = line.split(separator: " ")
    guard let dash = fields.firstIndex(of: "-"), dash >= 6, dash + 1 < fields.count, fields[dash + 1] == "cgroup2"
    else { continue }
    let path = unescapeOctal(fields[4])
    if fields[3] == "/" { roots.append(path) } else { parts.append(path) }
  }
  return roots + parts
}

private func unescapeOctal(_ text: Substring) -> String {
  var output: [UInt8] = []
  let bytes = Array(text.utf8)
  var index = 0
  while index < bytes.count {
    let digits = bytes[(index + 1)...].prefix(3)
    if bytes[index] == UInt8(ascii: "\\"), digits.count == 3, digits.allSatisfy({ (48...55).contains($0) }) {
      output.append(UInt8(truncatingIfNeeded: digits.reduce(0) { $0 * 8 + Int($1 - 48) }))
      index += 4
    } else {
      output.append(bytes[index])
      index += 1
    }
  }
  return String(decoding: output, as: UTF8.self)
}
