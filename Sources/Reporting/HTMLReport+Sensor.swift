internal import Jobs
internal import Observation

extension HTMLReport {
  private static let explanations: [(term: StaticString, text: StaticString)] = [
    ("seen", "calls that succeeded, as the kernel program counted them: the sum of the next four columns"),
    ("sent", "handed to martlet one by one; each is a line of the event log"),
    ("same again", "the same program opened the same file in the same way again: known already, not sent"),
    ("folded", "repeated events that another record stands for"),
    ("lost", "no room to hand them over; any makes the run incomplete"),
    ("cut", "sent, but with a path or command line that was longer than a record holds"),
    ("unreadable", "sent, but the memory that the call pointed to could not be read"),
    ("failed", "calls that the kernel refused: nothing happened, they are only counted"),
  ]

  static func writeSensor(_ input: ReportInput, to html: inout HTMLOutput) {
    let completeness = input.completeness
    let complete = completeness.isComplete && input.logError == nil
    html.markup("<section class=\"sensor\">\n<h2>Sensor ")
    html.markup(complete ? "<span class=\"badge new\">complete</span>" : "<span class=\"badge bad\">incomplete</span>")
    html.markup("</h2>\n<p class=\"hint\">What became of every event that the kernel programs saw.</p>\n")
    writeTypes(completeness, to: &html)
    html.markup("<dl class=\"legend\">")
    for explanation in explanations {
      html.markup("<dt>")
      html.markup(explanation.term)
      html.markup("</dt><dd>")
      html.markup(explanation.text)
      html.markup("</dd>")
    }
    html.markup("</dl>\n")
    writeChecks(input, to: &html)
    input.health.write(to: &html)
    writeHooks(input, to: &html)
    html.markup("</section>\n")
  }

  private static func writeTypes(_ completeness: Completeness, to html: inout HTMLOutput) {
    html.markup("<div class=\"scroll\"><table class=\"types\">\n<thead><tr><th>Event</th>")
    for explanation in explanations {
      html.markup("<th class=\"num\">")
      html.markup(explanation.term)
      html.markup("</th>")
    }
    html.markup("</tr></thead>\n<tbody>\n")
    var total = Completeness.Counts()
    for type in completeness.types.prefix(200) {
      let counts = type.counts
      total.seen &+= counts.seen
      total.sent &+= counts.sent
      total.deduplicated &+= counts.deduplicated
      total.aggregated &+= counts.aggregated
      total.lost &+= counts.lost
      total.truncated &+= counts.truncated
      total.unreadable &+= counts.unreadable
      total.failed &+= counts.failed
      if counts == Completeness.Counts() { continue }
      html.markup("<tr><td>")
      html.code(type.name, limit: 40)
      html.markup("</td>")
      write(counts, to: &html)
      html.markup("</tr>\n")
    }
    html.markup("</tbody>\n<tfoot><tr><th>all</th>")
    write(total, to: &html)
    html.markup("</tr></tfoot></table></div>\n")
  }

  private static func write(_ counts: Completeness.Counts, to html: inout HTMLOutput) {
    let columns = [
      counts.seen, counts.sent, counts.deduplicated, counts.aggregated, counts.lost, counts.truncated,
      counts.unreadable, counts.failed,
    ]
    for (position, value) in columns.enumerated() {
      if value == 0 {
        html.markup("<td class=\"num zero\">0</td>")
      } else {
        html.markup(position == 4 ? "<td class=\"num lost\">" : "<td class=\"num\">")
        html.text(Units.grouped(value))
        html.markup("</td>")
      }
    }
  }

  /// The other conditions under which a run counts as complete, each with its state.
  private static func writeChecks(_ input: ReportInput, to html: inout HTMLOutput) {
    let completeness = input.completeness
    html.markup("<ul class=\"checks\">\n")
    func check(_ holds: Bool, _ text: String) {
      html.markup(holds ? "<li class=\"ok\">" : "<li class=\"bad\">")
      html.text(text, limit: 400)
      html.markup("</li>\n")
    }
    check(
      completeness.received == completeness.sent,
      "\(Units.grouped(completeness.received)) of \(Units.count(completeness.sent, "record", "records")) sent arrived")
    check(
      completeness.sequenceGaps == 0,
      completeness.sequenceGaps == 0
        ? "no gap between sequence numbers" : "\(Units.grouped(completeness.sequenceGaps)) missing sequence numbers")
    check(
      completeness.malformed == 0,
      completeness.malformed == 0
        ? "every record could be decoded" : "\(Units.grouped(completeness.malformed)) records could not be decoded")
    check(
      completeness.missedRuns == 0,
      completeness.missedRuns == 0
        ? "no program was skipped by the kernel"
        : "\(Units.grouped(completeness.missedRuns)) runs of programs skipped by the kernel")
    check(
      !completeness.lateAttach,
      completeness.lateAttach ? "attached after the job had started" : "attached before the job started")
    let full = completeness.mapFull.filter { $0.count > 0 }
    let list = full.prefix(20).map { "\($0.name) (\(Units.grouped($0.count)))" }.joined(separator: ", ")
    check(full.isEmpty, full.isEmpty ? "no kernel map was full" : "kernel maps that were full: \(list)")
    for hook in completeness.missingHooks.prefix(20) { check(false, "no \(hook.family) hooks: \(hook.reason)") }
    for row in Omissions(input.snapshot).rows { check(false, "\(Units.grouped(row.count)) \(row.what) not kept") }
    if let error = input.logError { check(false, "event log: \(error)") }
    html.markup("</ul>\n")
    if completeness.late > 0 {
      html.markup("<p class=\"hint\">")
      html.text("\(Units.count(completeness.late, "record", "records")) arrived out of order and were sorted in later.")
      html.markup("</p>\n")
    }
  }

  private static func writeHooks(_ input: ReportInput, to html: inout HTMLOutput) {
    if input.hooks.isEmpty { return }
    html.markup("<details class=\"fold\"><summary>Hooks <span class=\"count\">")
    html.number(input.hooks.count)
    html.markup("</span></summary>\n<div class=\"scroll\"><table>\n<thead><tr><th>Family</th><th>Kind</th>")
    html.markup("<th>Target</th><th>Program</th></tr></thead>\n<tbody>\n")
    for hook in input.hooks.prefix(300) {
      html.markup("<tr>")
      for text in [hook.family, hook.kind] { html.cell { $0.text(text, limit: 80) } }
      for text in [hook.target, hook.program] { html.cell { $0.code(text, limit: 120) } }
      html.markup("</tr>\n")
    }
    html.markup("</tbody></table></div>\n")
    if let forced = input.forcedHooks {
      html.markup("<p class=\"hint\">")
      html.text("Hooks of the kind \(forced.tier) were preferred on request.", limit: 200)
      if !forced.others.isEmpty {
        html.text(" Seen by others all the same: \(forced.others.joined(separator: ", ")).", limit: 2000)
      }
      html.markup("</p>\n")
    }
    html.markup("</details>\n")
  }
}
