import ArgumentParser
import CSystem
import Glibc
import Recording

/// The command line.
@main
struct Martlet: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "martlet",
    abstract: "Watches a command and everything that it starts, and leaves a report of what they did.",
    discussion: """
      'martlet run -- make' runs make as if martlet were not there. In the kernel, martlet follows every process \
      that comes from it: what they ran, which files they wrote, whom they connected to. At the end a report and \
      the log of all events are in martlet-report/. Nothing is lost silently: what the sensor could not record is \
      counted and makes the run 'incomplete'.
      """,
    version: "martlet \(Version.current)",
    subcommands: [
      RunCommand.self, AgentCommand.self, PolicyCommand.self, LogCommand.self, DoctorCommand.self, TopCommand.self,
      BenchCommand.self,
    ])

  @Flag(help: "Show whose work the binary holds, and under which licences.")
  var licenses = false

  /// Without a subcommand.
  func run() throws {
    guard licenses else { throw CleanExit.helpRequest(self) }
    var size = 0
    let text = mt_notices(&size)
    Message.write(UnsafeRawBufferPointer(start: text, count: size), to: STDOUT_FILENO)
  }

  /// 125 for martlet's own failures, wrong options among them, as of env(1), timeout(1) and nohup(1): a caller must
  /// be able to tell them from the command's statuses.
  static func main() {
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch {
      if let status = error as? ExitCode { Glibc.exit(status.rawValue) }
      // A request for help or the version is an error too.
      let isAnswer = exitCode(for: error).isSuccess
      Message.write(fullMessage(for: error) + "\n", to: isAnswer ? STDOUT_FILENO : STDERR_FILENO)
      Glibc.exit(isAnswer ? 0 : ExitCode.martletFailed.rawValue)
    }
  }
}

extension ExitCode {
  /// The command did not run, or what it did could not be kept.
  static let martletFailed = ExitCode(125)
  /// The command succeeded and `--fail-on` matched.
  static let verdictMatched = ExitCode(3)
}
