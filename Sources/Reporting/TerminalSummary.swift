internal import Jobs
internal import Observation

/// What `martlet run` prints at the end: the run on at most 25 lines of plain text.
///
///     martlet  ✓ clean
///       command    make -j2 all
///       result     exited 0 after 12.4 s
public enum TerminalSummary {
  /// Columns that a value may take: names are cut, so that the summary keeps its shape in a CI log.
  private static let width = 100
  private static let maximumReasons = 5
  private static let maximumRemotes = 4

  /// - Parameters:
  ///   - reportDirectory: where the reports are, as people should read it; nil if none were written.
  ///   - colour: whether to use ANSI colour. The text is the same without.
  public static func write(_ input: ReportInput, reportDirectory: String?, colour: Bool) -> [UInt8] {
    let judgement = Judgement(of: input)
    let tree = ProcessTree(input.snapshot.processes)
    let tally = Tally(input, tree: tree)
    let style = Style(isOn: colour)
    var lines = [
      style.bold("martlet") + "  "
        + style.verdict(judgement.verdict, "\(symbol(judgement.verdict)) \(judgement.verdict.rawValue)\(input.heading)")
    ]
    if judgement.verdict != .clean {
      for reason in judgement.reasons.prefix(maximumReasons) {
        lines.append("  " + safe(reason.sentence, width + 40))
      }
      let more = judgement.reasons.count - maximumReasons
      if more > 0 { lines.append("  and \(Units.count(more, "more reason", "more reasons")), see the report") }
    }
    func row(_ label: String, _ value: String) {
      let padding = String(repeating: " ", count: max(1, 11 - label.utf8.count))
      lines.append("  " + style.dim(label) + padding + value)
    }
    row("command", safe(CommandLine.text(input.command), width))
    let status = input.result ?? "not known"
    row("result", "\(status) after \(Units.duration(input.durationNanoseconds))")
    row("processes", processes(tally))
    row("files", files(tally, input))
    row("network", network(tally))
    for remote in remotes(input.snapshot.flows, tree: tree) { lines.append("             " + remote) }
    for denial in input.snapshot.denials.prefix(maximumRemotes) {
      let object = DenialText.object(denial) { tree.label(ofProcess: $0) }
      let name = tree.label(ofProcess: denial.process)
      let text =
        "\(denial.operation) \(object) by \(name): \(DenialText.effect(denial)), \(DenialText.rule(denial, input.policy))"
      row(denial.section == .selfProtection ? "itself" : "policy", safe(text, width + 40))
    }
    let others = input.snapshot.denials.count - maximumRemotes
    if others > 0 { lines.append("             and \(Units.grouped(others)) more") }
    row("events", events(tally, input))
    if let filter = input.filter { row("left out", safe(filter.summary, width + 60)) }
    for warning in input.health.warnings.prefix(2) { row("note", safe(warning, width + 60)) }
    // In full: a CI log that holds it is a witness that the event log was not exchanged later.
    if let log = input.log { row("log head", safe(log.head, 64)) }
    if let objection = input.suggestion?.objection { row("suggested", safe("no policy: \(objection)", width + 40)) }
    if let reportDirectory {
      lines += placeRows(reportDirectory, hasPolicy: input.suggestion?.digest != nil, colour: colour)
    }
    return Array((lines.joined(separator: "\n") + "\n").utf8)
  }

  /// The last lines, without their ends: where the report is, and how to use what it suggests.
  public static func placeRows(_ directory: String, hasPolicy: Bool, colour: Bool) -> [String] {
    let style = Style(isOn: colour)
    let directory = safe(directory, 4096)
    let report = "  " + style.dim("report") + "     \(directory)/report.html"
    guard hasPolicy else { return [report] }
    return ["  " + style.dim("suggested") + "  " + SuggestedPolicy.command(in: directory), report]
  }

  static func symbol(_ verdict: Verdict) -> String {
    switch verdict {
    case .clean: "✓"
    case .findings: "⚑"
    case .blocked: "⊘"
    case .incomplete: "◔"
    }
  }

  private static func safe(_ text: String, _ limit: Int) -> String { VisibleText.terminal(text, limit: limit) }

  private static func processes(_ tally: Tally) -> String {
    var text = Units.grouped(tally.processes)
    var notes: [String] = []
    if tally.failures > 0 { notes.append("\(Units.grouped(tally.failures)) failed") }
    if tally.outlived > 0 { notes.append("\(Units.grouped(tally.outlived)) outlived the command") }
    if !notes.isEmpty { text += " (\(notes.joined(separator: ", ")))" }
    return text
  }

  private static func files(_ tally: Tally, _ input: ReportInput) -> String {
    var parts = ["\(Units.grouped(tally.filesWritten)) written"]
    if tally.filesDeleted > 0 { parts.append("\(Units.grouped(tally.filesDeleted)) deleted") }
    parts.append("\(Units.grouped(input.snapshot.filesRead)) read")
    return parts.joined(separator: ", ")
  }

  private static func network(_ tally: Tally) -> String {
    if tally.connections == 0, tally.listeners == 0 { return "no connections" }
    var text = Units.count(tally.connections, "connection", "connections")
    if tally.refused > 0 { text += ", \(Units.grouped(tally.refused)) failed" }
    if tally.listeners > 0 { text += ", \(Units.count(tally.listeners, "listener", "listeners"))" }
    return text
  }

  /// The remote ends most data went to, one a line.
  private static func remotes(_ flows: [FlowSummary], tree: ProcessTree) -> [String] {
    let remote = flows.filter { flow in
      switch flow.kind {
      case .tcp, .udp, .other: !flow.remoteAddress.isEmpty
      case .unix, .listen: false
      }
    }
    let largest = remote.sorted { a, b in
      let aBytes = (a.sentBytes ?? 0) &+ (a.receivedBytes ?? 0)
      let bBytes = (b.sentBytes ?? 0) &+ (b.receivedBytes ?? 0)
      return aBytes > bBytes
    }
    var lines = largest.prefix(maximumRemotes).map { flow in
      let name = safe(tree.label(ofProcess: flow.process), 24)
      return "\(safe(FlowText.named(flow), 80)) by \(name)"
    }
    if remote.count > maximumRemotes { lines.append("and \(Units.grouped(remote.count - maximumRemotes)) more") }
    return lines
  }

  private static func events(_ tally: Tally, _ input: ReportInput) -> String {
    let recorded = "\(Units.grouped(input.completeness.received)) recorded"
    return recorded + ", " + (tally.lost == 0 ? "none lost" : "\(Units.grouped(tally.lost)) lost")
  }

  /// SGR sequences of our own; nothing from the job passes through here without `safe`.
  private struct Style {
    var isOn: Bool

    func bold(_ text: String) -> String { wrap("1", text) }
    func dim(_ text: String) -> String { wrap("2", text) }
    func verdict(_ verdict: Verdict, _ text: String) -> String {
      switch verdict {
      case .clean: wrap("1;32", text)
      case .findings: wrap("1;33", text)
      case .blocked: wrap("1;31", text)
      case .incomplete: wrap("1;35", text)
      }
    }

    private func wrap(_ code: String, _ text: String) -> String {
      isOn ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
    }
  }
}
