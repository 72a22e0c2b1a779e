import ArgumentParser
import EventLog
import Glibc

/// `martlet log check`.
struct LogCheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Checks that an event log is whole and unchanged.",
    discussion: """
      Each part of the log carries the SHA-256 of the part before it; the last one's is the head. Of a report's \
      directory the head is compared with the one in report.json; of a single file it can be compared with what the \
      run's summary said, by --head.

      EXIT STATUS
        0    whole, and the head is as it should be
        1    something does not hold; each fault is printed
        125  the log could not be read
      """)

  @Argument(help: ArgumentHelp("A report's directory, or an event log.", valueName: "path"))
  var path: String

  @Option(help: ArgumentHelp("The head that the log must have: 64 hexadecimal digits.", valueName: "sha256"))
  var head: String?

  func run() throws {
    let file = try LogFile(path: path)
    var reader = try EventLogReader(fileDescriptor: file.descriptor)
    try reader.readAll()
    var faults = reader.faults.map(\.description)
    if let expected = head?.lowercased() ?? file.reportedHead, expected != reader.summary.head {
      faults.append("the head is \(reader.summary.head), but \(expected) was expected")
    }
    let summary = reader.summary
    var text = "\(summary.lines) events in \(summary.frames) frames, \(summary.bytes) bytes, head \(summary.head)\n"
    for fault in faults { text += fault + "\n" }
    Message.write(text, to: STDOUT_FILENO)
    if !faults.isEmpty { throw ExitCode(1) }
  }
}
