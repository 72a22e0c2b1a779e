internal import KernelSensor
internal import Observation
internal import Reporting

/// What the configuration leaves out of jobs' reports, by the rules that make the jobs.
struct AgentFilters: Sendable {
  /// By the rule's index.
  private let rules: [Int: EventFilter]
  /// Of what no rule makes: what users have watched.
  private let asked: EventFilter?
  /// Left out of all jobs that there can be.
  let leftOut: Set<EventClass>
  /// Of it, what is not even seen.
  var unattached: [EventClass] = []

  var isEmpty: Bool { rules.isEmpty && asked == nil }

  init(_ configuration: AgentConfiguration) {
    var rules: [Int: EventFilter] = [:]
    for given in configuration.filters {
      for (index, rule) in configuration.rules.enumerated() where given.rules.contains(rule.name) {
        rules[index] = given.filter
      }
    }
    let asked = configuration.filters.first { $0.rules.contains(RulesPolicy.run) }?.filter
    self.rules = rules
    self.asked = asked
    var all = configuration.rules.indices.map { rules[$0]?.events ?? [] }
    if configuration.limits.runsPerUser > 0 { all.append(asked?.events ?? []) }
    leftOut = all.dropFirst().reduce(all.first ?? []) { $0.intersection($1) }
  }

  /// - Parameter index: nil: of a job that no rule makes
  func ofRule(_ index: Int?) -> ReportInput.FilterInForce? {
    (index.map { rules[$0] } ?? asked).map { .init($0, unattached: unattached) }
  }

  /// Of a job whose claim was lost.
  var ofUnknownRule: ReportInput.FilterInForce? {
    isEmpty ? nil : .init(words: "what the filters of its rule say, which is not known")
  }

  func apply(to options: inout SensorOptions) {
    options.filters = Array(rules.values) + (asked.map { [$0] } ?? [])
    options.leftOut = leftOut
    if leftOut.contains(.network) { options.names = false }
  }

  mutating func place(in sensor: Sensor) throws(SensorError) {
    unattached = sensor.unattached
    if !isEmpty { try sensor.setFilters(rules: rules, asked: asked) }
  }

  /// Each, and of which rules' jobs it is.
  func write(of configuration: AgentConfiguration, to json: inout JSONOutput) {
    json.array("filters") { json in
      for given in configuration.filters {
        json.object { json in
          json.array("rules") { json in for rule in given.rules { json.member(nil, rule) } }
          json.member("leavesOut", ReportInput.FilterInForce(given.filter).words)
        }
      }
    }
  }
}
