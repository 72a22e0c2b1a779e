internal import Jobs
internal import Observation

/// What a run comes to. A case that stands further down is graver and hides those above it.
public enum Verdict: String, Sendable, CaseIterable, Comparable {
  /// Nothing was found and nothing is missing.
  case clean
  /// A rule matched.
  case findings
  /// The policy stopped something, or martlet what would have hurt itself.
  case blocked
  /// Some of what happened is not in the evidence: no statement about the rest can be made.
  case incomplete

  private var gravity: Int {
    switch self {
    case .clean: 0
    case .findings: 1
    case .blocked: 2
    case .incomplete: 3
    }
  }

  public static func < (a: Verdict, b: Verdict) -> Bool { a.gravity < b.gravity }
}

/// The verdicts that apply to a run and why, in plain words.
///
///     let judgement = Judgement(of: input)
///     judgement.verdict             // .incomplete
///     judgement.reasons[0].sentence // "The sensor lost 12 of 41,233 events."
public struct Judgement: Sendable, Equatable {
  /// Why one verdict applies.
  public struct Reason: Sendable, Equatable {
    public var verdict: Verdict
    /// One sentence, made of our own words and numbers and, for hooks and errors, the kernel's.
    public var sentence: String
  }

  /// All that apply, the gravest first; never empty.
  public let verdicts: [Verdict]
  /// At least one for each verdict, in the same order.
  public let reasons: [Reason]

  /// The gravest.
  public var verdict: Verdict { verdicts[0] }

  public init(of input: ReportInput) {
    var reasons = Self.gaps(in: input).map { Reason(verdict: .incomplete, sentence: $0) }
    let own = input.snapshot.stoppedForItself
    if input.snapshot.stopped > own {
      let sentence = "The policy stopped \(Units.count(input.snapshot.stopped - own, "action", "actions"))."
      reasons.append(Reason(verdict: .blocked, sentence: sentence))
    }
    if own > 0 {
      let verb = own == 1 ? "was" : "were"
      let sentence = "\(Units.count(own, "action", "actions")) against martlet itself \(verb) stopped."
      reasons.append(Reason(verdict: .blocked, sentence: sentence))
    }
    if input.findings > 0 {
      let verb = input.findings == 1 ? "needs" : "need"
      let sentence = "\(Units.count(input.findings, "finding", "findings")) \(verb) a look."
      reasons.append(Reason(verdict: .findings, sentence: sentence))
    }
    if reasons.isEmpty {
      reasons.append(
        Reason(
          verdict: .clean,
          sentence: "Every event that \(input.filter == nil ? "the sensor saw" : "its filters let through") is in the "
            + "evidence, no rule matched and nothing was blocked."))
    }
    var verdicts: [Verdict] = []
    for reason in reasons where !verdicts.contains(reason.verdict) { verdicts.append(reason.verdict) }
    self.reasons = reasons
    self.verdicts = verdicts
  }

  /// A sentence for each thing that is missing from the evidence.
  private static func gaps(in input: ReportInput) -> [String] {
    let completeness = input.completeness
    var gaps: [String] = []
    let critical = completeness.lostCritical
    let (lost, overflow) = critical.addingReportingOverflow(completeness.lostBulk)
    if lost > 0 || overflow {
      let seen = completeness.types.reduce(UInt64(0)) { $0 &+ $1.counts.seen }
      let tail = critical > 0 ? ", \(Units.grouped(critical)) of them about processes or the network" : ""
      gaps.append("The sensor lost \(Units.grouped(lost)) of \(Units.count(seen, "event", "events"))\(tail).")
    }
    for time in input.unseen { gaps.append(time.sentence(input.clock)) }
    for shed in input.sheds { if let sentence = shed.sentence(input.clock) { gaps.append(sentence) } }
    for hook in completeness.missingHooks {
      gaps.append("The \(hook.family) hooks could not be attached: \(hook.reason).")
    }
    if completeness.missedRuns > 0 {
      gaps.append(
        "The kernel skipped \(Units.count(completeness.missedRuns, "run", "runs")) of the sensor's programs.")
    }
    if completeness.lateAttach, !input.unseen.contains(where: { $0.reason == .adopted }) {
      gaps.append("The sensor was attached after the job had started, so its beginning was not seen.")
    }
    for map in completeness.mapFull where map.count > 0 {
      gaps.append(
        "The kernel map \u{201C}\(map.name)\u{201D} was full and refused \(Units.count(map.count, "entry", "entries"))."
      )
    }
    if completeness.malformed > 0 {
      gaps.append("\(Units.count(completeness.malformed, "record", "records")) could not be decoded.")
    }
    if completeness.sequenceGaps > 0 {
      let verb = completeness.sequenceGaps == 1 ? "is" : "are"
      gaps.append(
        "\(Units.count(completeness.sequenceGaps, "record", "records")) \(verb) missing between sequence numbers.")
    }
    if completeness.received != completeness.sent {
      gaps.append(
        "The kernel sent \(Units.count(completeness.sent, "record", "records")) "
          + "but \(Units.grouped(completeness.received)) arrived.")
    }
    let omissions = Omissions(input.snapshot).rows
    if !omissions.isEmpty {
      let list = omissions.map { "\(Units.grouped($0.count)) \($0.what)" }.joined(separator: ", ")
      gaps.append("The job did more than a report keeps; only the event log has the rest: \(list).")
    }
    if let shed = input.snapshot.hashing?.absent[.notHashed], shed > 0 {
      gaps.append("For \(Units.count(shed, "file", "files")) there was no time or place to be hashed.")
    }
    if let error = input.logError {
      gaps.append("The event log is not whole: \(error).")
    }
    if gaps.isEmpty, !completeness.isComplete {
      gaps.append("The sensor did not see everything.")
    }
    return gaps
  }
}
