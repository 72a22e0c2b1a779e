public import EventLog
internal import Glibc
public import Jobs
internal import KernelABI
public import Observation
public import Reporting

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
  private let hasher: FileHasher?
  private let aftermath: Aftermath?
  private let digests = DigestBox()
  private let uses: RequestUse?
  private var requests = RequestDecoder()

  /// - Parameters:
  ///   - hasher: of the files that the job executes and writes, if its options ask for that
  ///   - uses: what the job does TLS with, likewise
  ///   - aftermath: of what a policy refuses, where one is in force
  public init(
    state: JobState, log: consuming EventLogWriter?, hasher: FileHasher? = nil, uses: RequestUse? = nil,
    aftermath: Aftermath? = nil
  ) {
    self.state = state
    self.log = log
    self.hasher = hasher
    self.uses = uses
    self.aftermath = aftermath
  }

  /// Folds a record and writes its line.
  public mutating func take(_ record: RecordView) {
    if RequestDecoder.reads(record) { return takePlain(record) }
    if firstEnd != 0, record.time > firstEnd { tellFirstEnd() }
    tallies.count(record)
    state.apply(record)
    if logError == nil {
      do {
        try log?.append(record, state.applied)
      } catch {
        giveUpLog(error)
      }
    }
    if record.type == .denial { aftermath?.take(record) }
    if record.type == .exec, let hasher, let request = state.digestRequest(for: record) {
      digests.ask(request, hasher)
    }
    uses?.saw(record, state.applied)
  }

  /// Counts a record, and forgets it.
  public mutating func leaveOut(_ record: RecordView) { tallies.count(record) }

  // MARK: - Requests

  private mutating func takePlain(_ record: RecordView) {
    var made: [RecordBuilder] = []
    requests.take(record) { made.append($0) }
    take(made)
  }

  /// Takes over what is known of writes of which the records went by: all that comes of them is the job's from now on.
  public mutating func takeOver(_ other: consuming RequestDecoder) { requests.takeOver(other) }

  /// Files are being looked at for what they do TLS with, or wait for it.
  public var isLookingAtFiles: Bool { uses?.isWaiting ?? false }

  private mutating func take(_ made: [RecordBuilder]) {
    for builder in made {
      builder.withRecord { take($0) }
    }
  }

  /// Requests whose connection nobody told in time are told without it.
  private mutating func finishRequests() {
    var made: [RecordBuilder] = []
    requests.finish { made.append($0) }
    take(made)
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

  /// Takes what was hashed meanwhile, and writes lines that have waited for a second.
  public mutating func flush(now: UInt64) {
    if hasher != nil { takeDigests(now: now) }
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

  // MARK: - Digests

  private mutating func takeDigests(now: UInt64) {
    for request in digests.take() {
      var builder = RecordBuilder(.digest, time: now, tgid: request.process, leaderStart: request.processStart)
      builder.setBody(request.body)
      builder.withRecord { take($0) }
    }
  }

  /// No record comes any more: has the files hashed that the job leaves behind. They are there when ``isHashing`` is
  /// false, or sooner by ``giveUpHashing(now:)``.
  public mutating func hashWrittenFiles(now: UInt64) {
    guard let hasher else { return }
    for var request in state.writtenFiles() {
      request.at = now
      if request.body.why == UInt16(MT_DIGEST_TAKEN.rawValue) {
        digests.ask(request, hasher)
      } else {
        request.body.how = UInt16(MT_DIGEST_USER.rawValue)
        digests.put(request)
      }
    }
  }

  /// Whether files are being hashed, or wait for it.
  public var isHashing: Bool { digests.isAwaiting }

  /// No record comes any more: waits until what the job leaves behind is hashed, for as long as the limits say.
  public mutating func finishHashing() {
    guard let hasher else { return }
    let start = Clock.boottime
    hashWrittenFiles(now: start)
    while isHashing, Clock.boottime &- start < hasher.limits.patience {
      usleep(2_000)
      takeDigests(now: Clock.boottime)
    }
    giveUpHashing(now: Clock.boottime)
  }

  /// What is not hashed by now is not waited for; the report says so.
  public mutating func giveUpHashing(now: UInt64) {
    digests.giveUp()
    takeDigests(now: now)
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

  /// The denial that was just taken, in words for a log.
  public func sentence(ofDenial record: RecordView, _ policy: ReportInput.PolicyInForce?) -> String {
    DenialSentence.text(record, state.applied, policy)
  }

  /// What is known of a process by now: its id in the snapshot and its step, 0 if there is none.
  public func process(_ pid: UInt32, start: UInt64) -> (id: UInt32, step: UInt32) {
    state.process(pid, start: start)
  }

  /// Keeps no more of the job from now on than this, in bytes; what comes beyond is counted.
  public mutating func limit(bytes: Int) {
    requests.limit(bytes: max(0, bytes - state.bytes))
    state.limit(bytes: max(0, bytes - requests.bytes))
  }

  /// Memory that the fold uses, and what is known of requests that are not told yet, in bytes.
  public var bytes: Int { state.bytes + requests.bytes }

  /// What there is of a job that goes on: all that was taken by now, and the event log up to there.
  ///
  /// Takes time and memory in proportion to the job.
  public mutating func soFar() -> RecordedSoFar {
    if logError == nil {
      do {
        try log?.flushNow()
      } catch {
        giveUpLog(error)
      }
    }
    var recorded = RecordedSoFar(snapshot: state.snapshot(), tallies: tallies)
    recorded.logError = logError
    recorded.requestFiles = uses?.files
    if logError != nil { recorded.log = lastSummary } else { recorded.log = log?.summary }
    return recorded
  }

  /// Writes what is left of the log. The fold is left to be asked for its snapshot, by whoever has the time.
  public consuming func finish() -> RecordedJob {
    finishRequests()
    giveUpHashing(now: Clock.boottime)
    tellFirstEnd()
    var recorded = RecordedJob(state: state, tallies: tallies)
    recorded.requestFiles = uses?.end()
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

/// A job that goes on, as it was at one moment.
public struct RecordedSoFar: Sendable {
  public var snapshot: JobSnapshot
  public let tallies: RecordTallies
  /// Of the file as it was then: what comes behind ``LogSummary/bytes`` is younger.
  public var log: LogSummary?
  /// Why the event log is not whole.
  public var logError: String?
  /// What the job does TLS with; nil: nobody asked.
  public var requestFiles: RequestFiles?
}

/// A job of which no record comes any more.
public struct RecordedJob {
  public let state: JobState
  public let tallies: RecordTallies
  public var log: LogSummary?
  /// Why the event log is not whole.
  public var logError: String?
  /// What the job does TLS with; nil: nobody asked.
  public var requestFiles: RequestFiles?

  init(state: JobState, tallies: RecordTallies) {
    self.state = state
    self.tallies = tallies
  }
}

@available(*, unavailable)
extension RecordedJob: Sendable {}
