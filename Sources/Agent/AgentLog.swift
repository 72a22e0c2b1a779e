internal import Glibc
internal import Recording
internal import Reporting
internal import Synchronization

/// What the agent has to say while it runs: lines with a time, on standard error, which is a file, the journal of the
/// system or nothing.
public final class AgentLog: Sendable {
  private let said = Mutex<(count: UInt64, last: String)>((0, ""))

  public init() {}

  public func say(_ text: String) {
    said.withLock { $0 = ($0.count &+ 1, text) }
    tell(text)
  }

  /// What is no problem of the agent's.
  public func tell(_ text: String) {
    var line = "\(WallClock(offset: Clock.wallOffset).rfc3339(Clock.boottime)) martlet: \(text)\n"
    line.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }

  /// A line would be taken at once, as far as that can be told.
  static var isReady: Bool {
    var ready = pollfd(fd: STDERR_FILENO, events: Int16(POLLOUT), revents: 0)
    return poll(&ready, 1, 0) == 1 && ready.revents & Int16(POLLOUT) != 0
  }

  /// How much there was to say, and the last of it.
  var problems: (count: UInt64, last: String) { said.withLock { $0 } }
}
