public import EventLog
internal import Glibc
internal import Jobs
public import Reporting
public import Supervision

/// The files of a job's report.
public enum ReportFiles {
  public static let logName = "events.ndjson.zst"

  /// Everything that a report has.
  public static let all = ["report.html", "report.md", "report.json", logName, SuggestedPolicy.fileName]

  /// Writes the reports beside the event log, and gives the directory its name.
  public static func publish(
    _ input: inout ReportInput, in directory: OutputDirectory
  ) throws(OutputError) -> OutputDirectory.Published {
    // First, as the reports speak of it.
    try directory.write(SuggestedPolicy.write(&input), to: SuggestedPolicy.fileName)
    try directory.write(JSONReport.write(input), to: "report.json")
    try directory.write(MarkdownReport.write(input), to: "report.md")
    try directory.write(HTMLReport.write(input), to: "report.html")
    return try directory.publish()
  }
}

/// A name for a job that no other job has, anywhere: 128 random bits in 32 digits.
public enum JobIdentifier {
  public static func make() -> String {
    var random: (UInt64, UInt64) = (0, 0)
    withUnsafeMutableBytes(of: &random) { _ = getentropy($0.baseAddress, $0.count) }
    return hex(random.0) + hex(random.1)
  }

  private static func hex(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}

extension ReportInput.Log {
  public init(_ summary: LogSummary) {
    self.init(head: summary.head, frames: summary.frames, lines: summary.lines, bytes: summary.bytes)
  }
}

extension ReportInput {
  /// Takes over what the recorder has come to.
  public mutating func take(_ recorded: RecordedJob) {
    snapshot = recorded.state.snapshot()
    log = recorded.log.map { Log($0) }
    logError = recorded.logError
    requestFiles = recorded.requestFiles
  }

  /// Takes over what there is of a job that goes on.
  public mutating func take(_ recorded: RecordedSoFar) {
    snapshot = recorded.snapshot
    log = recorded.log.map { Log($0) }
    logError = recorded.logError
    requestFiles = recorded.requestFiles
  }
}
