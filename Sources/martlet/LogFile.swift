import Glibc
import Recording
import Supervision

/// An event log that the user named, by itself or by its report's directory.
final class LogFile {
  let descriptor: Int32
  /// The head in report.json beside it; nil for a single file.
  let reportedHead: String?

  init(path: String) throws(SystemError) {
    let directory = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else {
      guard errno == ENOTDIR else { throw SystemError("open '\(path)'", code: errno) }
      descriptor = try Self.open(path, beneath: AT_FDCWD)
      reportedHead = nil
      return
    }
    defer { close(directory) }
    let log = try Self.open(ReportFiles.logName, beneath: directory)
    do throws(SystemError) {
      let report = try Self.open("report.json", beneath: directory)
      defer { close(report) }
      reportedHead = try Self.head(in: report)
      descriptor = log
    } catch {
      close(log)
      throw error
    }
  }

  deinit { close(descriptor) }

  private static func open(_ name: String, beneath directory: Int32) throws(SystemError) -> Int32 {
    let descriptor = openat(directory, name, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw SystemError("open '\(name)'", code: errno) }
    return descriptor
  }

  /// The value of `head` in the object `log`, which stands before everything that the job has a say in.
  private static func head(in report: Int32) throws(SystemError) -> String {
    let bytes = [UInt8](unsafeUninitializedCapacity: 16 << 20) { buffer, count in
      count = 0
      while count < buffer.count {
        let more = read(report, buffer.baseAddress.map { $0 + count }, buffer.count - count)
        if more > 0 { count += more } else if more == 0 || errno != EINTR { break }
      }
    }
    let space: Set<UInt8> = [UInt8(ascii: " "), UInt8(ascii: "\n"), UInt8(ascii: ":"), UInt8(ascii: "{")]
    for key in starts(of: "\"log\"", in: bytes) {
      let rest = bytes[key...].drop { space.contains($0) }
      guard rest.starts(with: "\"head\"".utf8) else { continue }
      let value = rest.dropFirst(6).drop { space.contains($0) }.dropFirst()
      let digits = value.prefix { $0 != UInt8(ascii: "\"") }
      if digits.count == 64 { return String(decoding: digits, as: UTF8.self) }
    }
    throw SystemError("find the log's head in report.json", code: EINVAL)
  }

  /// The indices behind each occurrence of `text`.
  private static func starts(of text: StaticString, in bytes: [UInt8]) -> [Int] {
    let pattern = text.withUTF8Buffer { Array($0) }
    guard bytes.count >= pattern.count else { return [] }
    return (0...(bytes.count - pattern.count)).filter { bytes[$0...].starts(with: pattern) }.map { $0 + pattern.count }
  }
}
