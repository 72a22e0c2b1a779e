public import EventLog
public import Jobs
public import Observation

/// One job's records on their way to its fold and its event log: what `run` has one of, and the agent one a job.
///
/// Owned by one thread at a time, the one that reads the rings. Nothing is allocated for a record.
///
/// ```swift
/// var recorder = JobRecorder(state: JobState(options: options), log: log)
/// recorder.take(record)          // for each record
/// recorder.flush(now: bootTime)  // every few milliseconds
/// let recorded = recorder.finish()
/// ```
public struct JobRecorder: ~Copyable {
  /// What has come so far.
  public private(set) var tallies = RecordTallies()
  /// When the job's first process ended, CLOCK_BOOTTIME; 0: not yet, or told to the fold already.
  private var firstEnd: UInt64 = 0
  private let state: JobState
  private var log: EventLogWriter?
  private var logError: String?
  private var lastSummary = LogSummary()

  public init(state: JobState, log: consuming EventLogWriter?) {
    self.state = state
    self.log = log
  }

  /// Folds a record and writes its line.
  public mutating func take(_ record: RecordView) {
    if firstEnd != 0, record.time > firstEnd { tellFirstEnd() }
    tallies.count(record)
    state.apply(record)
    guard logError == nil else { return }
    do {
      try log?.append(record, state.applied)
    } catch {
      giveUpLog(error)
    }
  }

  /// The job's command has ended: whatever of it still runs when a later record comes, or at the end, outlived it.
  ///
  /// - Parameter time: CLOCK_BOOTTIME, nanoseconds.
  public mutating func firstProcessEnded(at time: UInt64) { firstEnd = max(1, time) }

  private mutating func tellFirstEnd() {
    guard firstEnd != 0 else { return }
    state.commandEnded(at: firstEnd)
    firstEnd = 0
  }

  /// Writes lines that have waited for a second.
  public mutating func flush(now: UInt64) {
    guard logError == nil else { return }
    do {
      try log?.flushIfDue(now: now)
    } catch {
      giveUpLog(error)
    }
  }

  /// The rest of the job is still folded: a full disk costs the log, not the report.
  private mutating func giveUpLog(_ error: EventLogError) {
    logError = error.description
    if let summary = log?.summary { lastSummary = summary }
  }

  /// The variables of the claim or step that was just taken, masked; what is not UTF-8 in them is U+FFFD.
  public var variables: [(name: String, value: String)] {
    state.applied.variables.split(separator: 0).compactMap { entry in
      guard let equals = entry.firstIndex(of: UInt8(ascii: "=")) else { return nil }
      return (
        String(decoding: entry[..<equals], as: UTF8.self), String(decoding: entry[(equals + 1)...], as: UTF8.self)
      )
    }
  }

  /// Keeps no more of the job from now on than this, in bytes; what comes beyond is counted.
  public mutating func limit(bytes: Int) { state.limit(bytes: bytes) }

  /// Memory that the fold uses, in bytes.
  public var bytes: Int { state.bytes }

  /// Writes what is left of the log. The fold is left to be asked for its snapshot, by whoever has the time.
  public consuming func finish() -> RecordedJob {
    tellFirstEnd()
    var recorded = RecordedJob(state: state, tallies: tallies)
    if let logError {
      recorded.log = lastSummary
      recorded.logError = logError
      return recorded
    }
    guard let log = log.take() else { return recorded }
    let before = log.summary
    do {
      recorded.log = try log.finish()
    } catch {
      recorded.log = before
      recorded.logError = error.description
    }
    return recorded
  }
}

/// A job of which no record comes any more.
public struct RecordedJob {
  public let state: JobState
  public let tallies: RecordTallies
  public var log: LogSummary?
  /// Why the event log is not whole.
  public var logError: String?

  init(state: JobState, tallies: RecordTallies) {
    self.state = state
    self.tallies = tallies
  }
}

@available(*, unavailable)
extension RecordedJob: Sendable {}
