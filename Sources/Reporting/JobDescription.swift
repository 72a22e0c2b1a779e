internal import Jobs
public import Observation

extension ReportInput {
  /// What a job is that nobody named on the command line: an agent recognised it. Everything is masked already.
  public struct Job: Sendable, Equatable {
    /// What identifies a build, in the order of the outputs. The raw value is the key in `report.json`.
    public enum Fact: String, Sendable, CaseIterable {
      case repository, ref, commit, workflow, job, run, attempt
    }

    public struct Step: Sendable, Equatable {
      /// From 1, in the order in which they began.
      public var number: UInt32
      /// nil: its processes do not tell.
      public var name: String?
      /// CLOCK_BOOTTIME.
      public var startedAt: UInt64

      public init(number: UInt32, name: String? = nil, startedAt: UInt64) {
        self.number = number
        self.name = name
        self.startedAt = startedAt
      }
    }

    /// A container that a daemon started for the job.
    public struct Container: Sendable, Equatable {
      public var id: String
      /// `docker`, `podman`, `buildkit`…; nil where its cgroup does not say.
      public var runtime: String?
      /// As the job asked for them; nil: not known.
      public var image: String?
      public var name: String?
      /// Path in the v2 hierarchy.
      public var cgroup: String?
      /// By what it was found to be the job's: `created`, `build`, `command`; `cgroup`, `pod`, where no daemon was asked.
      public var foundBy: String
      /// The process that asked for it; 0: not known, or none did.
      public var askedBy: UInt32
      /// CLOCK_BOOTTIME, of the first program in it.
      public var startedAt: UInt64
      /// The job that has what was done in it: it does the same step for several builds; nil: this one.
      public var recordedIn: String?
      /// Of Kubernetes; nil: it is of no pod, or nobody could tell.
      public var pod: PodLabels?
      /// What executes it, if that has a kernel of its own, so that nothing in it is seen.
      public var unseenRuntime: String?

      public init(
        id: String, runtime: String?, image: String?, name: String?, cgroup: String?, foundBy: String, askedBy: UInt32,
        startedAt: UInt64, recordedIn: String? = nil, pod: PodLabels? = nil
      ) {
        self.id = id
        self.runtime = runtime
        self.image = image
        self.name = name
        self.cgroup = cgroup
        self.foundBy = foundBy
        self.askedBy = askedBy
        self.startedAt = startedAt
        self.recordedIn = recordedIn
        self.pod = pod
      }

      /// `image (name) in namespace/pod`, or what is known.
      var title: String {
        let what = image ?? name ?? runtime ?? "container"
        let whole = name.map { $0 == what ? what : "\(what) (\($0))" } ?? what
        return pod.map { "\(whole) in \($0.namespace)/\($0.pod)" } ?? whole
      }
    }

    /// `github`, `jenkins`, or what the rule says.
    public var provider: String
    /// Name of the rule that claimed it, and by what: `comm`, `environment`, `adopted`.
    public var rule: String
    public var reason: String
    public var facts: [Fact: String] = [:]
    /// Other variables that may be stored.
    public var variables: [(name: String, value: String)] = []
    public var steps: [Step] = []
    /// Steps that were not kept, of a job that has too many.
    public var stepsNotKept: UInt64 = 0
    /// A process' ``ProcessSummary/container`` is the place in here, from 1.
    public var containers: [Container] = []
    public var containersNotKept: UInt64 = 0

    public init(provider: String, rule: String, reason: String) {
      self.provider = provider
      self.rule = rule
      self.reason = reason
    }

    public static func == (a: Job, b: Job) -> Bool {
      a.provider == b.provider && a.rule == b.rule && a.reason == b.reason && a.facts == b.facts && a.steps == b.steps
        && a.stepsNotKept == b.stepsNotKept && a.containers == b.containers
        && a.containersNotKept == b.containersNotKept && a.variables.elementsEqual(b.variables, by: ==)
    }

    /// `github · octo/repo · CI / build · run 7.1 · refs/heads/main`, with what is known.
    var title: String {
      var parts = [provider]
      if let repository = facts[.repository] { parts.append(repository) }
      let name = [facts[.workflow], facts[.job]].compactMap(\.self)
      if !name.isEmpty { parts.append(name.joined(separator: " / ")) }
      if let run = facts[.run] { parts.append("run \(run)" + (facts[.attempt].map { ".\($0)" } ?? "")) }
      if let ref = facts[.ref] { parts.append(ref) }
      return parts.joined(separator: " · ")
    }
  }

  /// A time in which the job ran and nothing of it was seen.
  public struct Unseen: Sendable, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
      /// The job began before the agent.
      case adopted
      /// The agent was told to stop.
      case stopped
      /// The agent was killed, or the machine went down.
      case died
      /// The record that begins a job was lost, so whose it is was not told.
      case claimLost = "claim_lost"
      /// A daemon ran something for it, and it was not found out, or not seen, what.
      case container
      /// A container ran for it under a runtime with a kernel of its own: ``Unseen/detail`` is what it is called.
      case runtime
    }

    public var reason: Reason
    /// CLOCK_BOOTTIME; nil: from the job's beginning.
    public var from: UInt64?
    /// nil: for good.
    public var until: UInt64?
    /// What the reason is about; nil: it says all.
    public var detail: String?

    public init(reason: Reason, from: UInt64?, until: UInt64?, detail: String? = nil) {
      self.reason = reason
      self.from = from
      self.until = until
      self.detail = detail
    }

    func sentence(_ clock: WallClock) -> String {
      let from = from.map { clock.rfc3339($0) }
      let until = until.map { clock.rfc3339($0) }
      switch reason {
      case .adopted: return "The job ran before the agent: nothing before \(until ?? "it was found") was seen."
      case .stopped: return "The agent was stopped while the job ran: nothing after \(from ?? "that") was seen."
      case .died:
        let end = until.map { " until \($0), when the next agent began a report of its own," } ?? ""
        return "The agent ended unexpectedly: nothing of the job after \(from ?? "its beginning")\(end) was seen."
      case .container:
        return "A container ran for the job, and what was done in it is not in this report."
      case .runtime:
        let runtime = detail ?? "A runtime"
        return "\(runtime) ran a container for the job with a kernel of its own: what was done in it was not seen."
      case .claimLost: return "The record that tells whose job this is was lost."
      }
    }
  }
}

extension JSONReport {
  package static func write(_ job: ReportInput.Job, clock: WallClock, to json: inout JSONOutput) {
    json.member("provider", job.provider)
    json.member("rule", job.rule)
    json.member("reason", job.reason)
    for fact in ReportInput.Job.Fact.allCases { json.member(named: fact.rawValue, job.facts[fact]) }
    json.object("variables") { json in
      for variable in job.variables { json.member(named: variable.name, variable.value) }
    }
    json.array("steps") { json in
      for step in job.steps {
        json.object { json in
          json.member("number", step.number)
          if let name = step.name { json.member("name", name) } else { json.null("name") }
          json.member("startedAt", clock.rfc3339(step.startedAt))
        }
      }
    }
    if job.stepsNotKept > 0 { json.member("stepsNotKept", job.stepsNotKept) }
    json.array("containers") { json in
      for (index, container) in job.containers.enumerated() {
        json.object { json in
          json.member("number", UInt32(index + 1))
          json.member("id", container.id)
          json.member(named: "runtime", container.runtime)
          json.member(named: "image", container.image)
          json.member(named: "name", container.name)
          json.member(named: "cgroup", container.cgroup)
          json.member("foundBy", container.foundBy)
          json.member("askedBy", container.askedBy)
          json.member("startedAt", clock.rfc3339(container.startedAt))
          json.member(named: "recordedIn", container.recordedIn)
          write(container.pod, to: &json)
          json.member(named: "unseenRuntime", container.unseenRuntime)
        }
      }
    }
    if job.containersNotKept > 0 { json.member("containersNotKept", job.containersNotKept) }
  }

  package static func write(_ pod: PodLabels?, to json: inout JSONOutput) {
    guard let pod else { return json.null("pod") }
    json.object("pod") { json in
      json.member("name", pod.pod)
      json.member("namespace", pod.namespace)
      json.member(named: "uid", pod.uid)
      json.member(named: "serviceAccount", pod.serviceAccount)
    }
  }

  package static func write(_ unseen: [ReportInput.Unseen], clock: WallClock, to json: inout JSONOutput) {
    json.array("unseen") { json in
      for time in unseen {
        json.object { json in
          json.member("reason", time.reason.rawValue)
          if let from = time.from { json.member("from", clock.rfc3339(from)) } else { json.null("from") }
          if let until = time.until { json.member("until", clock.rfc3339(until)) } else { json.null("until") }
          json.member(named: "detail", time.detail)
        }
      }
    }
  }
}

extension ReportInput.Job.Container {
  /// How many processes of it were seen, or why none.
  fileprivate func whatOfIt(_ processes: Int) -> String {
    if recordedIn != nil { return "in another job" }
    return unseenRuntime.map { "not seen: \(MarkdownText.code($0, limit: 40))" } ?? Units.grouped(processes)
  }
}

extension MarkdownReport {
  /// Which build it was, and its steps, in at most a few kilobytes.
  static func job(_ job: ReportInput.Job, tree: ProcessTree) -> String {
    var text = "\(MarkdownText.escape(job.title, limit: 400))"
    text += " (rule \(MarkdownText.code(job.rule, limit: 60)))\n\n"
    if !job.steps.isEmpty {
      let processes = Dictionary(grouping: tree.processes) { $0.step }.mapValues(\.count)
      var rows = Rows(budget: 4 * 1024)
      for step in job.steps {
        rows.append(
          "| \(step.number) | \(step.name.map { MarkdownText.code($0, limit: 80) } ?? "")"
            + " | \(Units.grouped(processes[step.number] ?? 0)) |\n")
      }
      text += "| step | | processes |\n|--:|---|--:|\n" + rows.text { "\nand \($0) more, see report.json\n" } + "\n"
    }
    if !job.containers.isEmpty {
      let processes = Dictionary(grouping: tree.processes) { $0.container }.mapValues(\.count)
      var rows = Rows(budget: 4 * 1024)
      for (index, container) in job.containers.enumerated() {
        rows.append(
          "| \(MarkdownText.code(container.title, limit: 80)) | `\(container.id.prefix(12))`"
            + " | \(container.whatOfIt(processes[UInt32(index + 1)] ?? 0)) |\n")
      }
      text +=
        "| container | | processes |\n|---|---|--:|\n" + rows.text { "\nand \($0) more, see report.json\n" } + "\n"
    }
    return text
  }
}

extension HTMLReport {
  static func writeJob(_ job: ReportInput.Job, _ input: ReportInput, _ tree: ProcessTree, to html: inout HTMLOutput) {
    html.markup("<section>\n<h2>Job</h2>\n<p>")
    html.text(job.title, limit: 1000)
    html.markup("</p>\n<dl class=\"facts\">")
    func fact(_ label: String, _ value: String) {
      html.markup("<dt>")
      html.text(label, limit: 60)
      html.markup("</dt><dd>")
      html.code(value, limit: 600)
      html.markup("</dd>")
    }
    fact("rule", "\(job.rule), by \(job.reason)")
    for key in ReportInput.Job.Fact.allCases { if let value = job.facts[key] { fact(key.rawValue, value) } }
    for variable in job.variables.prefix(64) { fact(variable.name, variable.value) }
    html.markup("</dl>\n")
    if !job.steps.isEmpty {
      let processes = Dictionary(grouping: tree.processes) { $0.step }.mapValues(\.count)
      html.markup("<table><thead><tr><th>step</th><th>name</th><th>began</th><th>processes</th></tr></thead><tbody>\n")
      for step in job.steps.prefix(500) {
        html.markup("<tr><td>")
        html.number(step.number)
        html.markup("</td><td>")
        html.text(step.name ?? "", limit: 200)
        html.markup("</td><td>")
        html.text(WallClock.parts(input.clock.nanoseconds(step.startedAt)).time)
        html.markup("</td><td>")
        html.text(Units.grouped(processes[step.number] ?? 0))
        html.markup("</td></tr>\n")
      }
      html.markup("</tbody></table>\n")
      html.more(job.steps.count - 500, "steps")
    }
    writeContainers(job, input, tree, to: &html)
    html.markup("</section>\n")
  }

  private static func writeContainers(
    _ job: ReportInput.Job, _ input: ReportInput, _ tree: ProcessTree, to html: inout HTMLOutput
  ) {
    if job.containers.isEmpty { return }
    let processes = Dictionary(grouping: tree.processes) { $0.container }.mapValues(\.count)
    html.markup(
      "<table><thead><tr><th>container</th><th>id</th><th>began</th><th>processes</th></tr></thead><tbody>\n")
    for (index, container) in job.containers.prefix(500).enumerated() {
      html.markup("<tr><td>")
      html.text(container.title, limit: 200)
      html.markup("</td><td>")
      html.code(String(container.id.prefix(12)), limit: 64)
      html.markup("</td><td>")
      html.text(WallClock.parts(input.clock.nanoseconds(container.startedAt)).time)
      html.markup("</td><td>")
      if let other = container.recordedIn {
        html.text("in the report of job \(other), whose build shares the step", limit: 200)
      } else if let runtime = container.unseenRuntime {
        html.text("not seen: \(runtime) has a kernel of its own", limit: 200)
      } else {
        html.text(Units.grouped(processes[UInt32(index + 1)] ?? 0))
      }
      html.markup("</td></tr>\n")
    }
    html.markup("</tbody></table>\n")
    html.more(job.containers.count - 500, "containers")
  }
}
