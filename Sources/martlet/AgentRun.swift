import Agent
import Glibc
import KernelSensor
import Observation
import Policy
import Reporting
import Supervision

/// A `martlet run` of somebody who may load no programs into the kernel, beside an agent that has: the agent watches, and hands
/// over the report.
struct AgentRun {
  var run: Run
  var agent: RunConversation
  var inherited: Inherited
  var signals: Signals
  var environment: Environment
  var colour: Bool

  /// How long the agent may take for the report, in milliseconds.
  private static let patience = 120_000

  /// - Returns: the exit status, as of `run`
  func execute() throws -> Int32 {
    if let option = run.onlyOfOwnSensor.first {
      throw StartFailure(
        "\(option) needs privileges: the command would be watched by the agent that runs here, as it was started. The "
          + "command was not run.")
    }
    let policy = try policy()
    let terminal = Terminal()
    var status = LiveStatus(wanted: run.live, terminal: terminal, environment: environment)
    let directory = try OutputDirectory(path: run.output, owner: nil)
    let child: Child
    do {
      child = try start(under: policy)
    } catch {
      directory.discard()
      throw error
    }
    var supervisor = Supervisor(child: child, signals: signals, terminal: terminal)
    let end = try supervisor.waitForEnd(status: &status) { "martlet: watched by the agent" }
    status.hide()
    terminal?.restore(after: end, of: child.pid)
    let exitStatus = finish(end, directory)
    supervisor.dieIfInterrupted(end)
    return exitStatus
  }

  /// What the agent is to narrow the machine's policy by. A mistake is told before anything is started.
  private func policy() throws -> (bytes: [UInt8], file: String)? {
    guard let path = run.policy else { return nil }
    let file = open(path, O_RDONLY | O_CLOEXEC)
    defer { close(file) }
    do {
      let bytes = FileContents.read(file, atMost: 1 << 21).bytes
      // One that cannot be read is told by its name.
      _ = try file < 0 ? Policy.read(path) : Policy.read(bytes, file: path)
      return (bytes, path)
    } catch {
      throw StartFailure("\(error)\nThe command was not run.")
    }
  }

  private func start(under policy: (bytes: [UInt8], file: String)?) throws -> Child {
    let child = try Child(
      Command(arguments: run.arguments, environment: environment, user: nil), inherited: inherited)
    if let signal = try signals.endWanted(inherited: inherited) {
      throw Run.Refusal(status: 128 + signal)
    }
    if let reason = try agent.watch(
      child.pid, policy: policy,
      wanted: RunWishes(colour: colour, hashes: run.sensor.hashesImages, requests: run.sensor.readsRequests))
    {
      throw StartFailure("\(reason). The command was not run.")
    }
    do {
      try child.release()
    } catch {
      // Nobody wants the report of a command that never ran.
      _ = try? agent.report(milliseconds: Self.patience)
      agent.kept()
      throw Run.Refusal(status: error.exitStatus, message: error.description)
    }
    return child
  }

  private func finish(_ end: WaitStatus, _ directory: OutputDirectory) -> Int32 {
    var verdicts: Set<String>?
    do {
      let (answer, files) = try agent.report(milliseconds: Self.patience)
      if let error = answer["error"]?.text { throw StartFailure(error) }
      guard let files, let summary = answer["summary"]?.text else {
        throw StartFailure("the agent gave no report that makes sense")
      }
      try files.copy(to: directory)
      let published = try directory.publish()
      agent.kept()
      verdicts = Set(answer["verdicts"]?.array?.compactMap(\.text) ?? [])
      let places = TerminalSummary.placeRows(
        published.path, hasPolicy: answer["suggestsPolicy"]?.bool == true, colour: colour)
      Message.write(summary + places.joined(separator: "\n") + "\n", to: STDERR_FILENO)
      if let note = published.note { Message.say("the report is in \(published.path): \(note)") }
    } catch {
      directory.discard()
      Message.say("\(error): there is no report here, and what there is of it is the agent's")
    }
    return run.failOn.exitStatus(of: end, verdicts: verdicts)
  }
}

extension RunCommand {
  /// Options that were given and that only a sensor of one's own can do.
  var onlyOfOwnSensor: [String] {
    let given: [(String, Bool)] = [
      ("--user", user != nil), ("--bytes", bytes), ("--argv", sensor.argv != .masked),
      ("--mask", !sensor.mask.isEmpty),
      ("--ring-size", sensor.ringSize != nil), ("--map-size", sensor.mapSize != nil),
      ("--wakeup", sensor.wakeup != .adaptive), ("--hooks", sensor.hooks != nil),
      ("--program-stats", sensor.programStats), ("--metrics-file", metricsFile != nil),
      ("--metrics-listen", metricsListen != nil), ("--uncounted", uncounted),
    ]
    return (given + filters.given).filter(\.1).map(\.0)
  }
}
