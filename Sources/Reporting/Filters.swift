public import Observation

extension ReportInput {
  /// What was left out of a report because somebody wanted it so. It makes nothing incomplete, and is said beside every verdict.
  public struct FilterInForce: Sendable, Equatable {
    /// nil: only its words are known, from an agent that was killed.
    public var filter: EventFilter?
    /// `file.read; files below /usr but for those below /usr/local; users 0`
    public var words: String
    /// nil: nobody counted, or the counts are gone.
    public var counts: FilteredCounts?
    /// What is left out of all jobs, so that what is for it alone is not attached: it is not counted in full.
    public var unattached: [EventClass]

    public init(_ filter: EventFilter, unattached: [EventClass] = []) {
      self.filter = filter
      self.unattached = unattached
      words = Self.words(filter)
    }

    public init(words: String) {
      self.words = words
      unattached = []
    }

    private static let namedPaths = 8

    private static func words(_ filter: EventFilter) -> String {
      var parts: [String] = []
      if !filter.events.isEmpty {
        parts.append("events of \(filter.events.sorted().map(\.rawValue).joined(separator: ", "))")
      }
      if !filter.excludedPaths.isEmpty {
        let included = filter.includedPaths.isEmpty ? "" : " but for those below \(list(filter.includedPaths))"
        parts.append("files below \(list(filter.excludedPaths))\(included)")
      }
      switch filter.users {
      case .except(let users)?: parts.append("what users \(list(users.map(String.init))) do")
      case .only(let users)?: parts.append("what users other than \(list(users.map(String.init))) do")
      case nil: break
      }
      return parts.joined(separator: "; ")
    }

    private static func list(_ all: [String]) -> String {
      let more = all.count - namedPaths
      let named = all.prefix(namedPaths).map { VisibleText.terminal($0, limit: 80) }.joined(separator: ", ")
      return more > 0 ? "\(named) and \(more) more" : named
    }

    /// `1,234 events (file.read 1,200, unix 34)`
    private var amount: String {
      guard let counts else { return "not known how many" }
      let classes = counts.classes.map { "\($0.name) \(Units.grouped($0.count))" }.joined(separator: ", ")
      let total = Units.count(counts.total, "event", "events") + (classes.isEmpty ? "" : " (\(classes))")
      if unattached.isEmpty { return total }
      let names = unattached.map(\.rawValue).joined(separator: ", ")
      return "\(total), and what nobody has counted, as not all hooks for \(names) are attached"
    }

    var summary: String { "\(words): \(amount)" }

    var sentence: String {
      "Left out as its filters say: \(words). That is \(amount). This report does not vouch for what was left out."
    }
  }
}

extension JSONReport {
  package static func write(_ force: ReportInput.FilterInForce, to json: inout JSONOutput) {
    json.object("filters") { json in
      if let filter = force.filter {
        json.array("excludeEvents") { json in for one in filter.events.sorted() { json.member(nil, one.rawValue) } }
        json.array("excludePaths") { json in for path in filter.excludedPaths { json.member(nil, path) } }
        json.array("includePaths") { json in for path in filter.includedPaths { json.member(nil, path) } }
        switch filter.users {
        case .except(let users)?:
          json.array("excludeUsers") { json in for user in users { json.member(nil, UInt64(user)) } }
        case .only(let users)?: json.array("onlyUsers") { json in for user in users { json.member(nil, UInt64(user)) } }
        case nil: break
        }
      }
      if let counts = force.counts {
        json.member("filtered", counts.total)
        json.object("types") { json in for type in counts.types { json.member(named: type.name, type.count) } }
        json.object("classes") { json in for one in counts.classes { json.member(named: one.name, one.count) } }
      } else {
        json.null("filtered")
      }
      json.array("notAttached") { json in for one in force.unattached { json.member(nil, one.rawValue) } }
      json.member("sentence", force.sentence)
    }
  }
}
