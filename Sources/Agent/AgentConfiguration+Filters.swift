internal import Configuration
internal import KernelSensor
internal import Observation

extension AgentConfiguration {
  static let filterForm = Form<FilterText>.record(
    FilterText(),
    .field(
      "rules", "Of which rules' jobs it is: a name, or a list; 'run' for commands of users.",
      .oneOrMore(of: .identifier, atMost: JobRule.limit + 1), required: true, \.rules),
    .field(
      "excludeEvents", "Classes of events that are left out: a word, or a list.",
      .oneOrMore(of: .word, atMost: EventClassWord.allCases.count), \.events),
    .field(
      "excludePaths", "Absolute paths: events of files there and below are left out.",
      .list(of: .text(atMost: 251), atMost: EventFilter.prefixLimit), \.excludedPaths),
    .field(
      "includePaths", "Absolute paths within these that are told all the same: the longest that holds decides.",
      .list(of: .text(atMost: 251), atMost: EventFilter.prefixLimit), \.includedPaths),
    .field(
      "excludeUsers", "What processes of these user ids do is left out.",
      .list(of: .integer(0...4_294_967_294), atLeast: 1, atMost: EventFilter.userLimit), \.excludedUsers),
    .field(
      "onlyUsers", "What processes of other user ids do is left out.",
      .list(of: .integer(0...4_294_967_294), atLeast: 1, atMost: EventFilter.userLimit), \.onlyUsers)
  ).map { text throws(FormError) in
    var filter = EventFilter()
    filter.events = text.events.reduce(into: []) { $0.formUnion($1.classes) }
    filter.excludedPaths = text.excludedPaths
    filter.includedPaths = text.includedPaths
    guard text.excludedUsers == nil || text.onlyUsers == nil else {
      throw FormError("excludeUsers and onlyUsers exclude each other")
    }
    filter.users = text.excludedUsers.map { .except($0.map { UInt32($0) }) }
    if let only = text.onlyUsers { filter.users = .only(only.map { UInt32($0) }) }
    guard !filter.isEmpty else { throw FormError("the filter leaves out nothing") }
    if let objection = filter.objection { throw FormError(objection) }
    return RulesFilter(rules: text.rules, filter: filter)
  }
}

/// A class of events, or `file`.
struct EventClassWord: RawRepresentable, CaseIterable, Sendable {
  let rawValue: String
  let classes: Set<EventClass>

  init?(rawValue: String) {
    guard let classes = EventClass.named(rawValue) else { return nil }
    self.rawValue = rawValue
    self.classes = classes
  }

  static let allCases = EventClass.words.compactMap(EventClassWord.init)
}

struct FilterText: Sendable {
  var rules: [String] = []
  var events: [EventClassWord] = []
  var excludedPaths: [String] = []
  var includedPaths: [String] = []
  var excludedUsers: [Int]?
  var onlyUsers: [Int]?
}
