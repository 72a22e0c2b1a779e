internal import CSystem
internal import Glibc
public import Supervision

/// Wakes a thread that waits for it: an eventfd. Rings before it has woken count as one.
public final class Doorbell: Sendable {
  public let descriptor: Int32

  public init() throws(SystemError) {
    descriptor = mt_eventfd_create()
    guard descriptor >= 0 else { throw SystemError("make an eventfd", code: errno) }
  }

  deinit { close(descriptor) }

  public func ring() { mt_eventfd_signal(descriptor) }

  /// Makes it silent; true if it rang.
  @discardableResult
  public func silence() -> Bool {
    var count: UInt64 = 0
    return read(descriptor, &count, 8) == 8
  }

  /// Waits until it rings or the time is up; -1: for ever.
  public func wait(milliseconds: Int32) {
    var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    poll(&waiting, 1, milliseconds)
    silence()
  }
}
