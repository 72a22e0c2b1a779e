import ArgumentParser
import EventLog
import Glibc

/// `martlet log cat`.
struct LogCatCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cat",
    abstract: "Prints the events of a log, one JSON object a line.",
    discussion: """
      What is readable is printed even of a damaged log; the faults go to standard error, and the exit status is \
      then 1. 'zstd -dc' prints the same with the frames' own lines between.
      """)

  @Argument(help: ArgumentHelp("A report's directory, or an event log.", valueName: "path"))
  var path: String

  func run() throws {
    let file = try LogFile(path: path)
    var reader = try EventLogReader(fileDescriptor: file.descriptor)
    while let frame = try reader.nextFrame() {
      // A frame without a valid header is all body.
      let start = frame.header.isEmpty ? 0 : min(frame.header.count + 1, frame.text.count)
      let body = frame.text[start...]
      guard body.withUnsafeBytes({ Message.write($0, to: STDOUT_FILENO) }) else {
        // A pager that was left, most likely.
        throw errno == EPIPE ? ExitCode.success : ExitCode.martletFailed
      }
    }
    for fault in reader.faults { Message.say(fault.description) }
    if !reader.faults.isEmpty { throw ExitCode(1) }
  }
}
