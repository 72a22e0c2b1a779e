import Glibc

/// Why metrics or an archive cannot be written.
public struct ExportError: Error, Sendable, CustomStringConvertible {
  public let description: String

  init(_ doing: String, errno: Int32) {
    let reason = withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
      guard let start = buffer.baseAddress, strerror_r(errno, start, buffer.count) == 0 else { return "error \(errno)" }
      return String(cString: start)
    }
    description = "cannot \(doing): \(reason)"
  }
}
