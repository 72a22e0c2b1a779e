import CSystem
import Glibc
import Synchronization

/// Publishes the metrics of a run in a file, at an HTTP endpoint or both, on a thread of its own: who makes the
/// numbers never waits for who wants them.
public final class MetricsExporter: @unchecked Sendable {
  /// Nanoseconds between two versions of the file.
  private static let interval: UInt64 = 5_000_000_000

  private let latest = Mutex<RunMetrics?>(nil)
  private let file: MetricsFile?
  /// The thread's, once it runs.
  private var listener: MetricsListener?
  /// Becomes readable at the end.
  private let stop: Int32
  private var thread: pthread_t?
  /// Of the thread, read after it ended.
  private var failure: ExportError?

  /// Where the endpoint is.
  public let address: ListenAddress?

  public init(file: String?, listen: ListenAddress?) throws(ExportError) {
    self.file = if let file { try MetricsFile(path: file) } else { nil }
    listener = if let listen { try MetricsListener(listen) } else { nil }
    address = listener?.address
    stop = mt_eventfd_create()
    guard stop >= 0 else { throw ExportError("make an eventfd", errno: errno) }
  }

  deinit { if stop >= 0 { close(stop) } }

  /// To be called once, after the first ``publish(_:)``.
  public func start() throws(ExportError) {
    var thread = pthread_t()
    let code = pthread_create(
      &thread, nil,
      { context in
        guard let context else { return nil }
        Unmanaged<MetricsExporter>.fromOpaque(context).takeRetainedValue().run()
        return nil
      }, Unmanaged.passRetained(self).toOpaque())
    guard code == 0 else {
      Unmanaged.passUnretained(self).release()
      throw ExportError("start a thread for metrics", errno: code)
    }
    self.thread = thread
  }

  public func publish(_ metrics: RunMetrics) { latest.withLock { $0 = metrics } }

  /// Ends the thread, and writes the file a last time.
  public func finish(_ metrics: RunMetrics) throws(ExportError) {
    publish(metrics)
    if let thread {
      mt_eventfd_signal(stop)
      pthread_join(thread, nil)
      self.thread = nil
    }
    if let failure { throw failure }
    try file?.write(metrics.text())
  }

  private func run() {
    mt_thread_describe("martlet-metrics", 0)
    var listener = listener.take()
    while true {
      if failure == nil, let file {
        do { try file.write(text()) } catch { failure = error }
      }
      let deadline = MetricsListener.now + Self.interval
      listener?.serve(until: deadline, stop: stop, metrics: text)
      // The listener returns early for `stop` alone.
      let now = MetricsListener.now
      var polled = pollfd(fd: stop, events: Int16(POLLIN), revents: 0)
      let left = listener == nil && now < deadline ? (deadline - now) / 1_000_000 + 1 : 0
      if poll(&polled, 1, Int32(clamping: left)) > 0 { return }
    }
  }

  private func text() -> [UInt8] { latest.withLock { $0 }?.text() ?? [] }
}
