internal import Jobs

/// `report.html`: the run for people, in one file without scripts.
///
/// The content security policy allows the style sheet by its hash and nothing else, so that even a fault in the
/// escaping could not fetch or run anything. Smaller than 5 MB whatever the job: each section has a limit, and what
/// it leaves out is counted on the page.
public enum HTMLReport {
  /// Bytes that each of the long sections may take.
  static let processBytes = 2_200_000
  static let networkBytes = 500_000
  static let filesBytes = 900_000
  static let changesBytes = 400_000
  static let securityBytes = 300_000

  public static func write(_ input: ReportInput) -> [UInt8] {
    let judgement = Judgement(of: input)
    let tree = ProcessTree(input.snapshot.processes)
    let tally = Tally(input, tree: tree)
    let timeline = Timeline(input)
    var html = HTMLOutput()
    writeHead(input, judgement, to: &html)
    html.markup("<main>\n")
    writeBanner(input, judgement, to: &html)
    writeCommand(input, to: &html)
    writeTiles(input, tally, to: &html)
    if let job = input.job { writeJob(job, input, tree, to: &html) }
    writeTimeline(timeline, input, to: &html)
    ProcessSection(tree: tree, timeline: timeline, clock: input.clock).write(to: &html)
    writeDenials(input, tree, to: &html)
    writeSecurity(input, tree, to: &html)
    writeNetwork(input, tree, to: &html)
    writeFiles(input, tree, to: &html)
    writeChanges(input, tree, to: &html)
    writeSuggestion(input, to: &html)
    writeSensor(input, to: &html)
    html.markup("</main>\n")
    writeFooter(input, to: &html)
    html.markup("</body>\n</html>\n")
    return html.bytes
  }

  private static func writeHead(_ input: ReportInput, _ judgement: Judgement, to html: inout HTMLOutput) {
    html.markup("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
    html.markup("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src '")
    html.markup(HTMLStyle.hash)
    html.markup("'; base-uri 'none'; form-action 'none'\">\n")
    html.markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
    html.markup("<meta name=\"color-scheme\" content=\"light dark\">\n<title>martlet: ")
    html.text(judgement.verdict.rawValue)
    html.markup(" – ")
    html.text(CommandLine.text(input.command), limit: 80)
    html.markup("</title>\n<style>")
    html.markup(HTMLStyle.css)
    html.markup("</style>\n</head>\n<body>\n")
  }

  private static func writeBanner(_ input: ReportInput, _ judgement: Judgement, to html: inout HTMLOutput) {
    html.markup("<header class=\"banner ")
    html.attribute(judgement.verdict.rawValue)
    html.markup("\">\n<span class=\"mark\" aria-hidden=\"true\">")
    html.text(TerminalSummary.symbol(judgement.verdict))
    html.markup("</span>\n<div><p class=\"kicker\">martlet execution report</p>\n<h1>")
    html.text(title(judgement.verdict))
    html.text(input.heading)
    html.markup("</h1>\n")
    if judgement.reasons.count == 1 {
      html.markup("<p>")
      html.text(judgement.reasons[0].sentence, limit: 1000)
      html.markup("</p>\n")
    } else {
      html.markup("<ul>\n")
      for reason in judgement.reasons.prefix(12) {
        html.markup("<li>")
        html.text(reason.sentence, limit: 1000)
        html.markup("</li>\n")
      }
      html.markup("</ul>\n")
      html.more(judgement.reasons.count - 12, "reasons")
    }
    for sentence in input.sentences {
      html.markup("<p>")
      html.text(sentence, limit: 1000)
      html.markup("</p>\n")
    }
    html.markup("</div></header>\n")
  }

  private static func title(_ verdict: Verdict) -> String {
    switch verdict {
    case .clean: "Clean"
    case .findings: "Findings"
    case .blocked: "Blocked"
    case .incomplete: "Incomplete"
    }
  }

  private static func writeCommand(_ input: ReportInput, to html: inout HTMLOutput) {
    html.markup("<section class=\"command\" aria-label=\"Command\">\n<pre><span class=\"prompt\">$ </span>")
    html.text(CommandLine.text(input.command), limit: 4000)
    html.markup("</pre>\n<p>in ")
    html.code(input.workingDirectory.pathText)
    html.markup(" · ")
    let (date, time) = WallClock.parts(input.clock.nanoseconds(input.startedAt))
    html.text("\(date) \(time.prefix(8)) UTC")
    if !input.jobIdentifier.isEmpty {
      html.markup(" · job ")
      html.code(input.jobIdentifier, limit: 80)
    }
    html.markup("</p>\n</section>\n")
  }

  private static func writeTiles(_ input: ReportInput, _ tally: Tally, to html: inout HTMLOutput) {
    func tile(_ label: StaticString, _ value: String, note: String = "", isBad: Bool = false) {
      html.markup(isBad ? "<div class=\"bad\"><dt>" : "<div><dt>")
      html.markup(label)
      html.markup("</dt><dd>")
      html.text(value)
      if !note.isEmpty {
        html.markup("<small>")
        html.text(note)
        html.markup("</small>")
      }
      html.markup("</dd></div>\n")
    }
    let status = input.waitStatus.map(ExitStatus.init(waitStatus:))
    html.markup("<dl class=\"tiles\">\n")
    tile(
      "Result", status.map { $0.isSuccess ? "Success" : "Failure" } ?? "Unknown", note: status?.text ?? "",
      isBad: status.map { !$0.isSuccess } ?? false)
    tile("Duration", Units.duration(input.durationNanoseconds))
    tile(
      "Processes", Units.grouped(tally.processes),
      note: tally.failures > 0 ? "\(Units.grouped(tally.failures)) failed" : "none failed")
    tile(
      "Files written", Units.grouped(tally.filesWritten),
      note: tally.filesDeleted > 0 ? "\(Units.grouped(tally.filesDeleted)) removed again" : "")
    tile(
      "Connections", Units.grouped(tally.connections),
      note: tally.refused > 0 ? "\(Units.grouped(tally.refused)) failed" : "")
    tile(
      "Events", Units.grouped(input.completeness.received),
      note: tally.lost == 0 ? "none lost" : "\(Units.grouped(tally.lost)) lost", isBad: tally.lost > 0)
    html.markup("</dl>\n")
  }

  /// Numbers of processes over time, as bars: SVG attributes are no style, so the policy lets them be.
  private static func writeTimeline(_ timeline: Timeline, _ input: ReportInput, to html: inout HTMLOutput) {
    let peak = timeline.peak
    if peak == 0 { return }
    html.markup("<figure class=\"timeline\">\n<svg viewBox=\"0 0 ")
    html.number(Timeline.slices * 10)
    html.markup(" 100\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Processes at once over time, at most ")
    html.number(peak)
    html.markup("\">")
    for (slice, value) in timeline.peaks.enumerated() where value > 0 {
      let height = max(2, value * 100 / peak)
      html.markup("<rect x=\"")
      html.number(slice * 10)
      html.markup("\" y=\"")
      html.number(100 - height)
      html.markup("\" width=\"8\" height=\"")
      html.number(height)
      html.markup("\"/>")
    }
    html.markup("</svg>\n<figcaption><span>0 s</span><span>processes at once, at most ")
    html.number(peak)
    html.markup("</span><span>")
    html.text(Units.duration(input.durationNanoseconds))
    html.markup("</span></figcaption>\n</figure>\n")
  }

  private static func writeFooter(_ input: ReportInput, to html: inout HTMLOutput) {
    html.markup("<footer>martlet ")
    html.text(input.version, limit: 40)
    html.markup(" on Linux ")
    html.text(input.kernelRelease, limit: 80)
    if let log = input.log {
      html.markup("<br>Event log: ")
      html.text(
        "\(Units.count(log.lines, "line", "lines")) in \(Units.count(log.frames, "frame", "frames")), "
          + Units.bytes(log.bytes))
      html.markup("; head <code>")
      html.text(log.head, limit: 64)
      html.markup("</code>")
    }
    html.markup("</footer>\n")
  }
}
