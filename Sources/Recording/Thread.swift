internal import Glibc
public import Supervision

private final class ThreadStart {
  let run: () -> Void
  init(_ run: @escaping () -> Void) { self.run = run }
}

/// A thread that was started.
public struct RunningThread: Sendable {
  fileprivate let thread: pthread_t

  /// Waits until it has ended. Once.
  public func join() { pthread_join(thread, nil) }
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
