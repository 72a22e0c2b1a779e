/// Why an event log could not be written or read.
public struct EventLogError: Error, Equatable, CustomStringConvertible {
  public enum Code: Sendable, Equatable {
    /// A library could not allocate its state.
    case outOfMemory
    /// libzstd refused to compress or decompress; always a fault of the data when reading.
    case compression
    /// The file system or the quota is full.
    case noSpace
    /// Another error of a system call; see `errno`.
    case inputOutput
  }

  public let code: Code
  /// What was being done: `write`, `compress`.
  public let operation: StaticString
  /// Of the system call; 0 where none failed.
  public let errno: Int32

  init(_ code: Code, _ operation: StaticString, errno: Int32 = 0) {
    self.code = code
    self.operation = operation
    self.errno = errno
  }

  public var description: String {
    let cause: String =
      switch code {
      case .outOfMemory: "out of memory"
      case .compression: "libzstd reports an error"
      case .noSpace: "no space left"
      case .inputOutput: "error \(errno)"
      }
    return "\(operation): \(cause)"
  }

  public static func == (a: EventLogError, b: EventLogError) -> Bool {
    a.code == b.code && a.errno == b.errno && a.operation.description == b.operation.description
  }
}
