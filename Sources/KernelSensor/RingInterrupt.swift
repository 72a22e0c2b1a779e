import CSystem
import Glibc

/// Ends a ``RingSet/wait(milliseconds:)`` from any thread, or the next one if none is going on.
public final class RingInterrupt: Sendable {
  let fileDescriptor: Int32

  init() throws(SensorError) {
    fileDescriptor = mt_eventfd_create()
    guard fileDescriptor >= 0 else { throw .systemCall("Could not make an eventfd", errno: errno) }
  }

  deinit { close(fileDescriptor) }

  /// Wakes the waiting thread. Calls before it has woken count as one.
  public func interrupt() {
    mt_eventfd_signal(fileDescriptor)
  }
}

/// The epoll set of a ``RingSet``.
final class RingWaiter {
  let interrupt: RingInterrupt
  private let epoll: Int32

  init(rings: [RingMemory]) throws(SensorError) {
    interrupt = try RingInterrupt()
    epoll = mt_epoll_create()
    guard epoll >= 0 else { throw .systemCall("Could not make an epoll set", errno: errno) }
    var result = mt_epoll_add(epoll, interrupt.fileDescriptor, false)
    for ring in rings where result == 0 && ring.fileDescriptor >= 0 {
      // Edge-triggered: a ring is readable as long as a record in it waits for its turn.
      result = mt_epoll_add(epoll, ring.fileDescriptor, true)
    }
    guard result == 0 else { throw .systemCall("Could not watch the rings", errno: -result) }
  }

  deinit { if epoll >= 0 { close(epoll) } }

  func wait(milliseconds: Int32) {
    _ = mt_epoll_wait(epoll, interrupt.fileDescriptor, milliseconds)
  }
}
