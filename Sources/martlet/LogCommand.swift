import ArgumentParser

/// `martlet log`: what can be done with an event log.
struct LogCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "log",
    abstract: "Checks or prints the event log of a run.",
    subcommands: [LogCheckCommand.self, LogCatCommand.self])
}
