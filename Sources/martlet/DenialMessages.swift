import Glibc
import Jobs
import Observation
import Recording
import Reporting

/// Tells people in the job's log what its policy, or martlet to protect itself, stopped, a line each: what, which rule,
/// and how to allow it. For the reader's thread: where nobody takes the lines they are left out, as the report has everything.
struct DenialMessages {
  let policy: ReportInput.PolicyInForce?
  private var told = 0
  private static let limit = 50

  init(_ policy: ReportInput.PolicyInForce?) { self.policy = policy }

  mutating func take(_ record: RecordView, _ applied: borrowing Applied) {
    guard record.type == .denial, record.denialEffect != .observed, told <= Self.limit else { return }
    var ready = pollfd(fd: STDERR_FILENO, events: Int16(POLLOUT), revents: 0)
    // A pipe that is ready takes as much as a line at once.
    guard poll(&ready, 1, 0) == 1, ready.revents & Int16(POLLOUT) != 0 else { return }
    told += 1
    Message.say(
      told > Self.limit
        ? "more is stopped; see the report" : DenialSentence.text(record, applied, policy))
  }
}
