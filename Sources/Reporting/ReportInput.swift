public import Jobs
public import Observation

/// Everything that the reports of one run are made from.
public struct ReportInput: Sendable {
  /// What the event log came to; see `LogSummary` in EventLog.
  public struct Log: Sendable, Equatable {
    /// SHA-256 of the last compressed frame, in hex.
    public var head: String
    public var frames: UInt64
    /// Events, without the header lines of frames.
    public var lines: UInt64
    /// Size of the file.
    public var bytes: UInt64

    public init(head: String, frames: UInt64, lines: UInt64, bytes: UInt64) {
      self.head = head
      self.frames = frames
      self.lines = lines
      self.bytes = bytes
    }
  }

  /// What watching took, from when the hooks were attached until the last record was in the event log.
  public struct Cost: Sendable, Equatable {
    /// CLOCK_BOOTTIME, nanoseconds.
    public var attachedAt: UInt64 = 0
    public var lastRecordAt: UInt64 = 0
    /// CPU time of martlet's own process until then.
    public var startNanoseconds: UInt64 = 0
    /// CPU time of martlet's own process in between. What the hooks cost is in the job's own times.
    public var userNanoseconds: UInt64 = 0
    public var systemNanoseconds: UInt64 = 0
    /// Of both, what taking the programs off their hooks took: once for a run, however long it is.
    public var detachNanoseconds: UInt64 = 0
    /// Of martlet's process, with the pages of the rings that it has touched.
    public var peakResidentBytes: UInt64 = 0
    public var ringBytes: UInt64 = 0

    public init() {}
  }

  /// What came of a kind of hooks that was preferred on request.
  public struct ForcedHooks: Sendable, Equatable {
    /// `lsm`, `tp_btf`.
    public var tier: String
    /// What is seen by hooks of another kind all the same: `file: open`.
    public var others: [String]

    public init(tier: String, others: [String]) {
      self.tier = tier
      self.others = others
    }
  }

  /// A policy, as far as a report speaks of it.
  public struct PolicyInForce: Sendable, Equatable {
    /// As people call it; made safe for a report already.
    public var file: String
    /// SHA-256 of its canonical form, in hex.
    public var digest: String
    /// The line that each rule stands in, by its number.
    public var lines: [UInt32: Int]
    /// What people have to know of how it was in force; safe for a report.
    public var notes: [String] = []

    public init(file: String, digest: String, lines: [UInt32: Int]) {
      self.file = file
      self.digest = digest
      self.lines = lines
    }
  }

  public var snapshot = JobSnapshot()
  public var completeness = Completeness()
  public var hooks: [Hook] = []
  public var forcedHooks: ForcedHooks?
  /// Why the kernel does not hash images, although it was asked to; nil if its hooks are there, or nobody asked.
  public var hashObjection: String?
  /// What does TLS, and whether it is read; nil: nobody asked.
  public var requestFiles: RequestFiles?
  /// As uname(2) gives it: `6.18.1`.
  public var kernelRelease = ""
  /// martlet's own version.
  public var version = ""
  /// Unique for the run; empty if it has no name.
  public var jobIdentifier = ""
  /// What an agent knows of a job that it recognised; nil for a command that somebody ran.
  public var job: Job?
  /// When nothing of the job was seen; makes it incomplete.
  public var unseen: [Unseen] = []
  /// What an agent left out of it.
  public var sheds: [Shed] = []
  /// Of which part of the job it is.
  public var span = Span()
  /// The command that `run` started, or the job's first process; masked already.
  public var command: [Name] = []
  public var workingDirectory = Name(bytes: [])
  /// Nanoseconds of CLOCK_BOOTTIME: when the command was started and when it, or the recording, ended.
  public var startedAt: UInt64 = 0
  public var endedAt: UInt64 = 0
  public var clock = WallClock(offset: 0)
  /// Of the command, as wait(2) gives it; nil if it was not waited for.
  public var waitStatus: UInt32?
  public var cost: Cost?
  public var health = SensorHealth()
  public var log: Log?
  /// Why the event log is not whole: a write that failed. Makes the run incomplete.
  public var logError: String?
  /// The policy that was in force; nil: none.
  public var policy: PolicyInForce?
  /// What was left out of it; nil: nothing.
  public var filter: FilterInForce?
  /// The policy that the run suggests; nil: it was not asked for yet.
  public var suggestion: Suggestion?
  /// Findings of the rules.
  public var findings = 0

  public init() {}

  /// What is said beside the verdict.
  var sentences: [String] { (filter.map { [$0.sentence] } ?? []) + span.sentences(clock) + (policy?.notes ?? []) }

  /// What is said right behind the verdict, in a few words; empty: nothing.
  var heading: String {
    [filter == nil ? nil : "with filters", span.heading(clock)].compactMap { $0.map { ", \($0)" } }.joined()
  }

  /// How its first process ended; nil: not known.
  var result: String? {
    waitStatus.map { ExitStatus(waitStatus: $0).text } ?? (span.until == nil ? nil : "still ran")
  }

  var durationNanoseconds: UInt64 { endedAt > startedAt ? endedAt - startedAt : 0 }
}
