internal import Jobs
package import Observation

/// A report that somebody asked for before its job had ended.
public struct AskedReport: Sendable, Equatable {
  public enum Asker: String, Sendable {
    /// A process of the job.
    case job
    /// Root, or somebody with the agent's token.
    case other
  }

  /// CLOCK_BOOTTIME: everything that happened until then is in it.
  public var at: UInt64
  public var by: Asker
  /// Of the job, that lived then.
  public var processes: UInt64
  /// Of the event log as it was then: the beginning of that of every later report.
  public var logHead: String?
  public var logFrames: UInt64 = 0

  public init(at: UInt64, by: Asker, processes: UInt64) {
    self.at = at
    self.by = by
    self.processes = processes
  }
}

extension ReportInput {
  /// Which part of a job a report is of, if not all of it, because somebody wanted it so. It makes nothing incomplete, and is
  /// said beside every verdict.
  public struct Span: Sendable, Equatable {
    /// When an agent was started that was told to begin there, CLOCK_BOOTTIME; nil: it is from the job's beginning.
    public var from: UInt64?
    /// nil: it is to the job's end.
    public var until: AskedReport?
    /// Those that were asked for before, the earliest first.
    public var earlier: [AskedReport] = []
    public var earlierNotKept: UInt64 = 0

    public init() {}

    /// `up to 12:45:02 UTC`; nil: to the end.
    func heading(_ clock: WallClock) -> String? {
      until.map { "up to \(WallClock.parts(clock.nanoseconds($0.at)).time.prefix(8)) UTC" }
    }

    func sentences(_ clock: WallClock) -> [String] {
      var sentences: [String] = []
      if let from {
        sentences.append(
          "This begins at \(clock.rfc3339(from)), when martlet was started while the job ran: what ran by then may have done "
            + "more before, and what it had open then is not known.")
      }
      if let until {
        let who = until.by == .job ? "the job itself" : "root, or who has the agent's token,"
        let lived = Units.count(until.processes, "process of it lived", "processes of it lived")
        sentences.append(
          "This is up to \(clock.rfc3339(until.at)), when \(who) asked for it and \(lived): what was done afterwards is in "
            + "the report that takes its place when the job has ended.")
      }
      let before = UInt64(earlier.count) &+ earlierNotKept
      if before > 0, let first = earlier.first {
        let byItself = earlier.contains { $0.by == .job } ? ", by the job itself" : ""
        sentences.append(
          "\(Units.count(before, "report was", "reports were")) asked for before this one, from \(clock.rfc3339(first.at)) "
            + "on\(byItself).")
      }
      return sentences
    }
  }
}

extension JSONReport {
  package static func write(_ span: ReportInput.Span, clock: WallClock, to json: inout JSONOutput) {
    func write(_ report: AskedReport, to json: inout JSONOutput) {
      json.member("at", clock.rfc3339(report.at))
      json.member("by", report.by.rawValue)
      json.member("processes", report.processes)
      json.member(named: "logHead", report.logHead)
      json.member("logFrames", report.logFrames)
    }
    json.object("span") { json in
      if let from = span.from { json.member("from", clock.rfc3339(from)) } else { json.null("from") }
      if let until = span.until {
        json.object("until") { write(until, to: &$0) }
      } else {
        json.null("until")
      }
      json.array("earlier") { json in for report in span.earlier { json.object { write(report, to: &$0) } } }
      if span.earlierNotKept > 0 { json.member("earlierNotKept", span.earlierNotKept) }
      json.array("sentences") { json in for sentence in span.sentences(clock) { json.member(nil, sentence) } }
    }
  }
}
