internal import Glibc
public import Supervision
internal import Synchronization

private final class ThreadStart {
  let run: () -> Void
  init(_ run: @escaping () -> Void) { self.run = run }
}

/// A thread that was started.
public struct RunningThread: Sendable {
  fileprivate let thread: pthread_t

  /// Waits until it has ended. Once.
  public func join() { pthread_join(thread, nil) }

  /// Waits for a thread that may itself wait for a disk: one that does not end in time is left to itself, and goes with
  /// the process.
  ///
  /// - Parameter isOver: what the thread sets last
  /// - Returns: whether it has ended
  func join(milliseconds: Int, isOver: borrowing Atomic<Bool>) -> Bool {
    for _ in 0..<milliseconds / 2 where !isOver.load(ordering: .acquiring) { usleep(2_000) }
    guard isOver.load(ordering: .acquiring) else { return false }
    join()
    return true
  }
}

/// Starts a thread that runs `body` with an object, which lives until it returns.
public func startThread<Context: AnyObject>(
  _ whose: String, _ context: Context, _ body: @escaping (Context) -> Void
) throws(SystemError) -> RunningThread {
  let start = Unmanaged.passRetained(ThreadStart { body(context) })
  var thread = pthread_t()
  let code = pthread_create(
    &thread, nil,
    { context in
      guard let context else { return nil }
      Unmanaged<ThreadStart>.fromOpaque(context).takeRetainedValue().run()
      return nil
    }, start.toOpaque())
  guard code == 0 else {
    start.release()
    throw SystemError("start \(whose) thread", code: code)
  }
  return RunningThread(thread: thread)
}
