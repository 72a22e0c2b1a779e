import Glibc

/// What martlet says to people, on standard error: standard output is the command's.
enum Message {
  /// One line, in one write, so that it is not torn by what the command writes to the same place.
  static func say(_ text: String) {
    write("martlet: \(text)\n", to: STDERR_FILENO)
  }

  /// Writes all of `text` unless nobody reads it.
  static func write(_ text: String, to descriptor: Int32) {
    var text = text
    text.withUTF8 { _ = write(UnsafeRawBufferPointer($0), to: descriptor) }
  }

  /// - Returns: whether all was written.
  @discardableResult
  static func write(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) -> Bool {
    var rest = bytes
    while let base = rest.baseAddress, rest.count > 0 {
      let count = Glibc.write(descriptor, base, rest.count)
      if count > 0 {
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      } else if errno == EAGAIN {
        // The command, or whoever shares the description, made it non-blocking.
        var waiting = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        poll(&waiting, 1, -1)
      } else if errno != EINTR {
        return false
      }
    }
    return true
  }
}
