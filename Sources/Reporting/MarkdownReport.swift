internal import Jobs
internal import Observation

/// `report.md`: the run for a CI step summary, in GitHub's Markdown.
///
/// Always smaller than ``maximumBytes``: each section has a share of it, and rows that do not fit become "and N
/// more". GitHub takes 1 MiB a step, but its readers scroll.
public enum MarkdownReport {
  public static let maximumBytes = 60 * 1024

  /// What each section may take; the head and the headings have the rest.
  private static let treeBytes = 18 * 1024
  private static let networkBytes = 10 * 1024
  private static let filesBytes = 10 * 1024
  private static let securityBytes = 4 * 1024
  private static let programBytes = 4 * 1024
  private static let reasonsBytes = 4 * 1024
  private static let sensorBytes = 6 * 1024

  public static func write(_ input: ReportInput) -> [UInt8] {
    let judgement = Judgement(of: input)
    let tree = ProcessTree(input.snapshot.processes)
    let tally = Tally(input, tree: tree)
    var text = head(input, judgement, tally)
    if let job = input.job { text += self.job(job, tree: tree) }
    text += processes(input, tree)
    if input.snapshot.hashing != nil { text += programs(input.snapshot.processes) }
    text += denials(input, tree)
    text += security(input.snapshot.actions, tree)
    text += network(input.snapshot, tree)
    text += requests(input)
    text += files(input.snapshot.files, tree)
    text += suggestion(input)
    text += sensor(input)
    return Array(text.utf8)
  }

  private static func head(_ input: ReportInput, _ judgement: Judgement, _ tally: Tally) -> String {
    var text = "## \(symbol(judgement.verdict)) martlet: \(judgement.verdict.rawValue)\(input.heading)\n\n"
    var rows = Rows(budget: reasonsBytes)
    for reason in judgement.reasons {
      let line = MarkdownText.escape(reason.sentence, limit: 300)
      rows.append(judgement.reasons.count == 1 ? "\(line)\n" : "- \(line)\n")
    }
    text += rows.text { "- and \($0) more, see report.json\n" } + "\n"
    for sentence in input.sentences { text += "\(MarkdownText.escape(sentence, limit: 400))\n\n" }
    let status = input.result ?? "exit status not known"
    let mark = input.waitStatus.map { ExitStatus(waitStatus: $0).isSuccess } ?? false ? "" : "**"
    let (date, time) = WallClock.parts(input.clock.nanoseconds(input.startedAt))
    text += MarkdownText.code(CommandLine.text(input.command), limit: 300)
    text += " \(mark)\(status)\(mark) after \(Units.duration(input.durationNanoseconds))"
    text += " (began \(date) \(time.prefix(8)) UTC)\n\n"
    text += "| processes | failed | files written | connections | events | lost |\n"
    text += "|--:|--:|--:|--:|--:|--:|\n"
    text += "| \(Units.grouped(tally.processes)) | \(Units.grouped(tally.failures))"
    text += " | \(Units.grouped(tally.filesWritten)) | \(Units.grouped(tally.connections))"
    let lost = tally.lost == 0 ? "0" : "**\(Units.grouped(tally.lost))**"
    text += " | \(Units.grouped(input.completeness.received)) | \(lost) |\n\n"
    return text
  }

  private static func symbol(_ verdict: Verdict) -> String {
    switch verdict {
    case .clean: "✅"
    case .findings: "🔎"
    case .blocked: "⛔"
    case .incomplete: "⚠️"
    }
  }

  private static func processes(_ input: ReportInput, _ tree: ProcessTree) -> String {
    if tree.processes.isEmpty { return "" }
    var outline = ProcessOutline(tree: tree, endedAt: input.endedAt, budget: treeBytes)
    return "### Processes\n\n" + MarkdownText.block(outline.write()) + "\n"
  }

  /// What was executed, each version of each program once.
  private static func programs(_ processes: [ProcessSummary]) -> String {
    struct Program: Hashable {
      var path: Name
      var digest: String
      var isKnown: Bool
    }
    var counts: [Program: Int] = [:]
    for image in processes.flatMap(\.images) {
      guard let digest = image.digest else { continue }
      let program = Program(
        path: image.executable, digest: DigestText.markdown(digest), isKnown: digest.sha256 != nil)
      counts[program, default: 0] += 1
    }
    if counts.isEmpty { return "" }
    var rows = Rows(budget: programBytes)
    let sorted = counts.sorted {
      ($0.key.path.text, $0.key.digest) < ($1.key.path.text, $1.key.digest)
    }
    for (program, count) in sorted {
      rows.append(
        "| \(MarkdownText.code(program.path.pathText, limit: 120, keep: .tail)) | \(program.digest)"
          + " | \(Units.grouped(count)) |\n")
    }
    let known = counts.keys.count { $0.isKnown }
    return
      "<details><summary>Programs executed: \(Units.grouped(counts.count)), \(Units.grouped(known)) hashed</summary>\n\n"
      + "| program | SHA-256 | times |\n|---|---|--:|\n"
      + rows.text { "\nand \($0) more, see report.html or report.json\n" } + "\n</details>\n\n"
  }

  /// What was asked for over TLS, the most frequent first.
  private static func requests(_ input: ReportInput) -> String {
    guard let counting = input.snapshot.requests else { return "" }
    let flows = input.snapshot.flows.filter { $0.requests.count > 0 }
    let kinds = flows.flatMap(\.requests.distinct).sorted { $0.count > $1.count }
    var text = "### Requests over TLS\n\n\(Units.grouped(counting.count)).\n\n"
    for request in kinds.prefix(requestLimit) {
      text += "- \(MarkdownText.code(RequestText.text(request), limit: 200))\n"
    }
    if kinds.count > requestLimit { text += "- and \(Units.grouped(kinds.count - requestLimit)) more kinds\n" }
    if !kinds.isEmpty { text += "\n" }
    for gap in RequestText.gaps(input).prefix(20) { text += "\(MarkdownText.escape(gap, limit: 500))\n\n" }
    return text
  }

  private static let requestLimit = 30

  private static func network(_ snapshot: JobSnapshot, _ tree: ProcessTree) -> String {
    let flows = snapshot.flows
    let remote = flows.filter { $0.kind != .unix }
    if remote.isEmpty { return flows.isEmpty ? "" : "### Network\n\nNone but unix sockets.\n\n" }
    var rows = Rows(budget: networkBytes)
    for flow in remote {
      let arrow = FlowText.isListener(flow) ? "listen" : (flow.isInbound ? "in" : "out")
      let repeats = flow.repeats > 0 ? " ×\(Units.grouped(UInt64(flow.repeats) + 1))" : ""
      rows.append(
        "| \(arrow) | \(MarkdownText.code(FlowText.named(flow), limit: 80))\(repeats) | \(FlowText.kind(flow))"
          + " | \(MarkdownText.code(tree.label(ofProcess: flow.process), limit: 40)) | \(FlowText.state(flow))"
          + " | \(flow.sentBytes.map(Units.bytes) ?? "") | \(flow.receivedBytes.map(Units.bytes) ?? "") |\n")
    }
    return "### Network\n\n| | address | protocol | process | state | sent | received |\n"
      + "|---|---|---|---|---|--:|--:|\n" + rows.text { "\nand \($0) more, see report.html or report.json\n" } + "\n"
      + (FlowText.merging(snapshot).map { $0 + "\n\n" } ?? "")
  }

  private static func denials(_ input: ReportInput, _ tree: ProcessTree) -> String {
    let denials = input.snapshot.denials
    if denials.isEmpty { return "" }
    var rows = Rows(budget: securityBytes)
    for denial in denials {
      let object = DenialText.object(denial) { tree.label(ofProcess: $0) }
      rows.append(
        "| \(denial.operation) | \(object.isEmpty ? "" : MarkdownText.code(object, limit: 120))"
          + " | \(MarkdownText.code(tree.label(ofProcess: denial.process), limit: 40))"
          + " | \(MarkdownText.code(DenialText.rule(denial, input.policy), limit: 80))"
          + " | \(DenialText.effect(denial)) |\n")
    }
    return "### \(DenialText.heading(input))\n\n| what | to what | process | rule | effect |\n|---|---|---|---|---|\n"
      + rows.text { "\nand \($0) more, see report.html or report.json\n" } + "\n"
  }

  private static func security(_ actions: [SecurityAction], _ tree: ProcessTree) -> String {
    if actions.isEmpty { return "" }
    var rows = Rows(budget: securityBytes)
    for action in actions {
      let repeats = action.count > 1 ? " ×\(Units.grouped(action.count))" : ""
      let object = SecurityText.object(action) { tree.label(ofProcess: $0) }
      rows.append(
        "| \(MarkdownText.escape(action.kind?.name ?? "unknown", limit: 24))\(repeats)"
          + " | \(object.isEmpty ? "" : MarkdownText.code(object, limit: 120))"
          + " | \(MarkdownText.code(tree.label(ofProcess: action.process), limit: 40))"
          + " | \(SecurityText.outcome(action)) |\n")
    }
    return "### Security\n\n| what | of what | process | outcome |\n|---|---|---|---|\n"
      + rows.text { "\nand \($0) more, see report.html or report.json\n" } + "\n"
  }

  private static func files(_ files: [FileSummary], _ tree: ProcessTree) -> String {
    let written = files.filter(\.wasWritten)
    let kept = written.filter { !$0.isDeleted }
    if written.isEmpty { return "" }
    let hasBytes = kept.contains { $0.bytes != nil }
    let hasDigests = kept.contains { $0.digest != nil }
    var rows = Rows(budget: filesBytes)
    for file in kept.sortedByPath() {
      let writers = file.writers.prefix(2).map { MarkdownText.code(tree.label(ofProcess: $0), limit: 32) }
      let more = file.writers.count > 2 ? " and \(file.writers.count - 2) more" : ""
      let path = MarkdownText.code(file.path.pathText, limit: 120, keep: .tail)
      rows.append(
        "| \(path) | \(file.wasCreated ? "created" : "changed") |"
          + " \(file.size.map(Units.bytes) ?? "") |"
          + (hasBytes ? " \(file.bytes.map { Units.grouped($0.written) } ?? "") |" : "")
          + (hasDigests ? " \(file.digest.map(DigestText.markdown) ?? "") |" : "")
          + " \(writers.joined(separator: ", "))\(more) |\n")
    }
    var text = "<details><summary>Files written: \(Units.grouped(kept.count))"
    let removed = written.count - kept.count
    if removed > 0 { text += " and \(Units.grouped(removed)) that were removed again" }
    text += "</summary>\n\n"
    if !kept.isEmpty {
      text += "| path | | size |\(hasBytes ? " bytes written |" : "")\(hasDigests ? " SHA-256 |" : "") written by |\n"
      text += "|---|---|--:|\(hasBytes ? "--:|" : "")\(hasDigests ? "---|" : "")---|\n"
      text += rows.text { "\nand \($0) more, see report.html or report.json\n" }
    }
    return text + "\n</details>\n\n"
  }

  /// The report does not know where it will lie: people put it into a summary.
  private static func suggestion(_ input: ReportInput) -> String {
    guard let suggestion = input.suggestion else { return "" }
    if let objection = suggestion.objection {
      return "No policy is suggested: \(MarkdownText.escape(objection, limit: 300)).\n\n"
    }
    let file = MarkdownText.code(SuggestedPolicy.fileName, limit: 80)
    let command = MarkdownText.code(SuggestedPolicy.command(in: "DIR"), limit: 120)
    return "\(file) beside this report is the narrowest policy under which this run would have passed. "
      + "To keep to it: \(command)\n\n"
  }

  private static func sensor(_ input: ReportInput) -> String {
    var rows = Rows(budget: sensorBytes)
    for type in input.completeness.types where type.counts.seen > 0 || type.counts.lost > 0 {
      let counts = type.counts
      rows.append(
        "| \(MarkdownText.escape(type.name, limit: 24)) | \(Units.grouped(counts.seen)) | \(Units.grouped(counts.sent))"
          + " | \(Units.grouped(counts.deduplicated)) | \(Units.grouped(counts.aggregated))"
          + " | \(Units.grouped(counts.lost)) | \(Units.grouped(counts.truncated)) |\n")
    }
    let complete = input.completeness.isComplete && input.logError == nil
    var text = "<details><summary>Sensor: \(complete ? "complete" : "incomplete"), "
    text += "\(Units.count(input.hooks.count, "hook", "hooks"))</summary>\n\n"
    text += "Linux \(MarkdownText.code(input.kernelRelease, limit: 64)), "
    text += "martlet \(MarkdownText.code(input.version, limit: 64))"
    if let log = input.log { text += ", event log head \(MarkdownText.code(log.head, limit: 64))" }
    text += "\n\n| event | seen | sent | same again | folded | lost | cut |\n|---|--:|--:|--:|--:|--:|--:|\n"
    text += rows.text { "\nand \($0) more, see report.json\n" } + "\n"
    return text + input.health.markdown + "</details>\n"
  }
}

/// Rows up to a number of bytes; those that do not fit are counted.
struct Rows {
  private let budget: Int
  private var content = ""
  private(set) var omitted = 0

  init(budget: Int) {
    self.budget = budget
  }

  /// Takes the row, unless it or one before it did not fit.
  mutating func append(_ row: String) {
    if omitted > 0 || content.utf8.count + row.utf8.count > budget { omitted += 1 } else { content += row }
  }

  func text(more: (String) -> String) -> String {
    omitted == 0 ? content : content + more(Units.grouped(omitted))
  }
}
