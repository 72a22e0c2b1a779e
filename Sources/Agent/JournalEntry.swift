internal import Observation

/// What of a job has to be known to close it after a crash.
struct JournalEntry: Sendable, Equatable {
  /// The job's identifier.
  var job: String
  /// The hidden directory that its event log grows in, a name beneath the output directory.
  var directory: String
  /// What the report will be called.
  var name: String
  var rule: String
  var provider: String
  var reason: String
  /// CLOCK_BOOTTIME.
  var startedAt: UInt64
  /// To be added to that to get CLOCK_REALTIME.
  var clockOffset: Int64
  /// Of the boot that CLOCK_BOOTTIME belongs to.
  var boot: String
  /// That it began under, and its file; nil: none.
  var policy: Policy?
  /// What was left out of it, in words; nil: nothing.
  var filter: String?

  struct Policy: Sendable, Equatable {
    var file: String
    var digest: String
  }
}

/// Lines of the journal: JSON objects.
enum JournalText {
  static func opened(_ entry: JournalEntry) -> [UInt8] {
    line { json in
      json.member("fact", "opened")
      json.member("job", entry.job)
      json.member("directory", entry.directory)
      json.member("name", entry.name)
      json.member("rule", entry.rule)
      json.member("provider", entry.provider)
      json.member("reason", entry.reason)
      json.member("startedAt", entry.startedAt)
      json.member("clockOffset", entry.clockOffset)
      json.member("boot", entry.boot)
      json.member(named: "policy", entry.policy?.digest)
      json.member(named: "policyFile", entry.policy?.file)
      json.member(named: "filter", entry.filter)
    }
  }

  static func closed(job: String, path: String) -> [UInt8] {
    line { json in
      json.member("fact", "closed")
      json.member("job", job)
      json.member("path", path)
    }
  }

  private static func line(_ body: (inout JSONOutput) -> Void) -> [UInt8] {
    var json = JSONOutput()
    json.object { body(&$0) }
    json.endDocument()
    return json.bytes
  }

  /// What was opened and not closed.
  static func parse(_ bytes: [UInt8]) -> (entries: [JournalEntry], unreadable: Int) {
    var open: [String: JournalEntry] = [:]
    var order: [String] = []
    var unreadable = 0
    for line in bytes.split(separator: UInt8(ascii: "\n")) {
      guard let value = JSONValue(parsing: line, depth: 2, values: 32), let job = value["job"]?.text else {
        unreadable += 1
        continue
      }
      switch value["fact"]?.text {
      case "opened":
        guard let entry = JournalEntry(value) else {
          unreadable += 1
          continue
        }
        if open.updateValue(entry, forKey: job) == nil { order.append(job) }
      case "closed":
        if open.removeValue(forKey: job) != nil { order.removeAll { $0 == job } }
      default: unreadable += 1
      }
    }
    return (order.compactMap { open[$0] }, unreadable)
  }
}

extension JournalEntry {
  /// nil if something is missing, or a name would lead out of the output directory.
  init?(_ value: JSONValue) {
    func isComponent(_ text: String) -> Bool {
      !text.isEmpty && text != "." && text != ".." && text.utf8.count <= 240
        && !text.utf8.contains { $0 == UInt8(ascii: "/") || $0 == 0 }
    }
    guard let job = value["job"]?.text, let directory = value["directory"]?.text, isComponent(directory),
      let name = value["name"]?.text, isComponent(name), let rule = value["rule"]?.text,
      let provider = value["provider"]?.text, let reason = value["reason"]?.text,
      let startedAt = value["startedAt"]?.unsigned, let clockOffset = value["clockOffset"]?.signed,
      let boot = value["boot"]?.text
    else { return nil }
    self.init(
      job: job, directory: directory, name: name, rule: rule, provider: provider, reason: reason, startedAt: startedAt,
      clockOffset: clockOffset, boot: boot)
    if let digest = value["policy"]?.text, let file = value["policyFile"]?.text {
      policy = Policy(file: file, digest: digest)
    }
    filter = value["filter"]?.text.map { VisibleText.terminal($0, limit: 2000) }
  }
}
