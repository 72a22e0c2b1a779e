internal import Jobs
package import Observation

extension ReportInput {
  /// What an agent left out of a job to keep below one of its ceilings, for a time.
  public struct Shed: Sendable, Equatable {
    public enum What: String, Sendable, CaseIterable {
      /// Files were not hashed; how many, says the snapshot.
      case hashes
      /// Files that were opened to be read, by a name in a directory that is known already.
      case reads
      /// Likewise all that was done with files.
      case files
      /// What was kept in memory grew no more; the event log has it.
      case keeping
    }

    public enum Cause: String, Sendable, CaseIterable {
      case cpu, memory
    }

    public var what: What
    public var cause: Cause
    /// CLOCK_BOOTTIME.
    public var from: UInt64
    /// nil: to the job's end.
    public var until: UInt64?
    /// Events that were left out; of hashes and of what is kept it is counted elsewhere.
    public var events: UInt64 = 0

    public init(_ what: What, _ cause: Cause, from: UInt64) {
      self.what = what
      self.cause = cause
      self.from = from
    }

    /// nil: nothing was left out by it that is not told elsewhere.
    func sentence(_ clock: WallClock) -> String? {
      guard events > 0 else { return nil }
      let events = Units.count(events, "event", "events")
      let ceiling = cause == .cpu ? "of CPU time" : "of memory"
      let kind = what == .reads ? "files that were opened to be read" : "files"
      return "The agent left out \(events) of \(kind) to keep below its ceiling \(ceiling), from "
        + "\(clock.rfc3339(from))\(until.map { " until \(clock.rfc3339($0))" } ?? " on")."
    }
  }
}

extension JSONReport {
  package static func write(_ sheds: [ReportInput.Shed], clock: WallClock, to json: inout JSONOutput) {
    json.array("shed") { json in
      for shed in sheds {
        json.object { json in
          json.member("what", shed.what.rawValue)
          json.member("cause", shed.cause.rawValue)
          json.member("from", clock.rfc3339(shed.from))
          if let until = shed.until { json.member("until", clock.rfc3339(until)) } else { json.null("until") }
          json.member("events", shed.events)
        }
      }
    }
  }
}
