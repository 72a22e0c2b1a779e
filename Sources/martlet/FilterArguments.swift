import ArgumentParser
import Observation

/// `file.read,unix`: what is left out.
struct EventClasses: ExpressibleByArgument, Equatable {
  var classes: Set<EventClass> = []

  init() {}

  init?(argument: String) {
    for word in argument.split(separator: ",", omittingEmptySubsequences: false) {
      guard let named = EventClass.named(String(word)) else { return nil }
      classes.formUnion(named)
    }
  }

  static var allValueStrings: [String] { EventClass.words }

  var defaultValueDescription: String { "none" }
}

/// What `run` can be told to leave out.
struct FilterArguments: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Leave out events of these classes: \(EventClass.words.joined(separator: ", ")); several with commas. Processes, and "
        + "what a policy stops, are always told. The report says what was left out, and how much of it.",
      valueName: "classes"))
  var excludeEvents = EventClasses()

  @Option(
    help: ArgumentHelp(
      "Leave out events of files below this directory, or of this file. May be repeated.", valueName: "path"))
  var excludePath: [String] = []

  @Option(
    help: ArgumentHelp(
      "Tell those of files below this path all the same: of all paths that hold the longest decides. May be repeated.",
      valueName: "path"))
  var includePath: [String] = []

  @Option(
    help: ArgumentHelp(
      "Leave out what processes of this user do, by its number; but for that they ran. May be repeated.",
      valueName: "uid"))
  var excludeUID: [UInt32] = []

  @Option(
    help: ArgumentHelp("Leave out what processes of other users do. May be repeated.", valueName: "uid"))
  var onlyUID: [UInt32] = []

  var filter: EventFilter {
    var filter = EventFilter()
    filter.events = excludeEvents.classes
    filter.excludedPaths = excludePath
    filter.includedPaths = includePath
    if !excludeUID.isEmpty { filter.users = .except(excludeUID) }
    if !onlyUID.isEmpty { filter.users = .only(onlyUID) }
    return filter
  }

  /// The options that were given.
  var given: [(String, Bool)] {
    [
      ("--exclude-events", !excludeEvents.classes.isEmpty), ("--exclude-path", !excludePath.isEmpty),
      ("--include-path", !includePath.isEmpty), ("--exclude-uid", !excludeUID.isEmpty),
      ("--only-uid", !onlyUID.isEmpty),
    ]
  }

  func validate() throws {
    if !excludeUID.isEmpty, !onlyUID.isEmpty {
      throw ValidationError("--exclude-uid and --only-uid exclude each other")
    }
    if let objection = filter.objection { throw ValidationError("the filters cannot be in force: \(objection)") }
  }
}
