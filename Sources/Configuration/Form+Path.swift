internal import Glibc
internal import Observation

extension Form {
  /// Reads the file at a path, all of it or nothing. One that cannot be read is a problem of its first line.
  public func read(path: String) throws(ConfigurationError) -> Value {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw Self.unreadable(path, errno) }
    defer { close(descriptor) }
    // A byte more than may be there shows that there is too much.
    let (bytes, error) = FileContents.read(descriptor, atMost: YAMLReader.maximumBytes + 1)
    guard error == 0 else { throw Self.unreadable(path, error) }
    return try read(bytes, file: path)
  }

  private static func unreadable(_ path: String, _ code: Int32) -> ConfigurationError {
    let reason = strerror(code).map { String(cString: $0) } ?? "error \(code)"
    return ConfigurationError(
      file: path, problems: [.init("cannot be read: \(reason)", at: Place(line: 1, column: 1))])
  }
}
