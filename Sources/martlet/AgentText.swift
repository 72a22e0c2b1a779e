import Agent
import KernelSensor
import Observation
import Reporting

/// `martlet agent status` for people.
enum AgentStatusText {
  static func write(_ status: JSONValue) -> String {
    let counts = status["counts"]
    func count(_ name: StaticString) -> UInt64 { counts?[name]?.unsigned ?? 0 }
    var lines = ["martlet agent \(text(status["version"])), process \(status["pid"]?.unsigned ?? 0)"]
    lines.append("  since      \(text(status["startedAt"]))")
    lines.append(
      "  jobs       \(count("running")) running, \(count("closed")) closed, \(count("adopted")) of them there before the agent"
    )
    var reports = "\(count("reportsWritten")) written"
    if count("reportsWaiting") > 0 { reports += ", \(count("reportsWaiting")) being written" }
    if count("recovered") > 0 { reports += ", \(count("recovered")) of an agent before this one" }
    if count("reportsFailed") > 0 { reports += ", \(count("reportsFailed")) COULD NOT BE WRITTEN" }
    lines.append("  reports    \(reports)")
    let lost = status["sensor"]?["lost"]?.unsigned ?? 0
    lines.append(
      "  events     \(count("records")) recorded, \(lost == 0 ? "none" : "\(lost)") lost, "
        + "\(count("unattributed")) of processes whose job is over")
    for container in status["unseenContainers"]?.array ?? [] {
      var what = text(container["id"])
      if let pod = container["pod"], let name = pod["name"] { what = "\(text(pod["namespace"]))/\(text(name))" }
      lines.append("  not seen   \(what): run by \(text(container["runtime"]))")
    }
    let memory = status["memory"]
    func bytes(_ name: StaticString) -> String { Units.bytes(memory?[name]?.unsigned ?? 0) }
    lines.append(
      "  memory     \(bytes("residentBytes")), at most \(bytes("peakResidentBytes")); rings \(bytes("ringBytes"))")
    for other in status["draining"]?.array ?? [] {
      lines.append(
        "  took over  from process \(other["pid"]?.unsigned ?? 0), martlet \(text(other["version"])), which has jobs that are not over"
      )
    }
    if let successor = status["replacedBy"]?.unsigned {
      lines.append("  replaced   by process \(successor): it ends when the jobs below are over")
    }
    lines += warnings(status, count)
    for entry in status["pinned"]?.array ?? [] {
      let owner = entry["ownerLives"]?.bool == true ? "of" : "left by"
      lines.append(
        "  pinned     \(text(entry["name"])), \(owner) process \(entry["owner"]?.unsigned ?? 0): "
          + "\(entry["processes"]?.unsigned ?? 0) processes are denied what their policy denies")
    }
    guard let jobs = status["jobs"]?.array else { return finish(lines) }
    if !jobs.isEmpty { lines.append("") }
    for job in jobs { lines += write(job) }
    let recent = status["recent"]?.array ?? []
    if !recent.isEmpty { lines.append("\nclosed last") }
    for job in recent.prefix(5) { lines.append("  \(text(job["verdict"], "not written"))  \(text(job["path"]))") }
    return finish(lines)
  }

  private static func warnings(_ status: JSONValue, _ count: (StaticString) -> UInt64) -> [String] {
    var lines: [String] = []
    let recognition = status["recognition"]
    func add(_ value: UInt64, _ words: String) { if value > 0 { lines.append("  note       \(value) \(words)") } }
    add(count("unrecorded"), "jobs could not be recorded, as there was no place to write")
    add(count("malformed"), "records could not be decoded")
    add(count("limited"), "times a job was told to keep no more in memory")
    add(count("leftOut"), "events were left out to keep below the agent's ceilings")
    for entry in status["ceilings"]?["givenUp"]?.array ?? [] {
      lines.append(
        "  note       gave up \(text(entry["what"])) to keep below its ceiling (\(text(entry["cause"]))) at \(text(entry["since"]))"
      )
    }
    add(recognition?["unclaimed"]?.unsigned ?? 0, "processes of jobs are not followed: all places were taken")
    add(recognition?["missed"]?.unsigned ?? 0, "programs were not looked at, and may be jobs: the kernel left that out")
    add(recognition?["unfinished"]?.unsigned ?? 0, "environments were too long to be looked at to their ends")
    add(recognition?["unreadable"]?.unsigned ?? 0, "environments or paths could not be read")
    for hook in status["sensor"]?["missingHooks"]?.array ?? [] {
      lines.append("  note       the \(text(hook["family"])) hooks are missing: \(text(hook["reason"]))")
    }
    if let last = status["problems"]?["last"]?.text, !last.isEmpty { lines.append("  last said  \(safe(last))") }
    return lines
  }

  private static func write(_ job: JSONValue) -> [String] {
    var title = text(job["provider"])
    for fact in ["repository", "workflow", "job", "run", "ref"] as [StaticString] {
      if let value = job[fact]?.text { title += "  \(safe(value))" }
    }
    var lines = [title]
    lines.append(
      "  \(job["processes"]?.unsigned ?? 0) processes, \(job["records"]?.unsigned ?? 0) events, "
        + "\(job["lost"]?.unsigned ?? 0) lost; since \(text(job["startedAt"])); rule \(text(job["rule"])) by "
        + "\(text(job["reason"]))\(job["closing"]?.bool == true ? "; closing" : "")")
    if let policy = job["policy"], let digest = policy["sha256"]?.text {
      lines.append("  policy \(text(policy["file"])) \(safe(String(digest.prefix(12))))")
      for note in policy["notes"]?.array ?? [] { lines.append("  note   \(text(note))") }
    }
    if let step = job["steps"]?.array?.last {
      lines.append("  step \(step["number"]?.unsigned ?? 0) \(text(step["name"], ""))")
    }
    return lines
  }

  private static func finish(_ lines: [String]) -> String { lines.joined(separator: "\n") + "\n" }
  private static func text(_ value: JSONValue?, _ otherwise: String = "?") -> String {
    value?.text.map(safe) ?? otherwise
  }

  /// A job chooses what is in its variables.
  private static func safe(_ text: String) -> String { VisibleText.terminal(text, limit: 200) }
}

/// `martlet agent rules` for people.
enum AgentRulesText {
  static func write(_ configuration: AgentConfiguration) -> String {
    var lines: [String] = []
    for rule in configuration.rules {
      var conditions: [String] = []
      if let comm = rule.match.comm { conditions.append("a process named \(comm)") }
      if let path = rule.match.path { conditions.append("the program \(path)") }
      if let user = rule.match.uid { conditions.append("user \(user)") }
      if !rule.match.markers.isEmpty {
        conditions.append(rule.match.markers.joined(separator: " and ") + " in the environment")
      }
      lines.append("\(rule.name): \(conditions.joined(separator: ", "))")
      if let key = rule.match.key { lines.append("  processes with the same \(key) are one job") }
      if rule.match.childrenAreSteps { lines.append("  each child of the first process is a step") }
    }
    lines.append("\nvariables that are stored:")
    var line = " "
    for name in configuration.storedVariables {
      if line.count + name.count > 110 {
        lines.append(line)
        line = " "
      }
      line += " " + name
    }
    return (lines + [line]).joined(separator: "\n") + "\n"
  }
}
