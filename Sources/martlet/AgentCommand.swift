import Agent
import ArgumentParser
import CSystem
import Glibc
import KernelSensor
import Observation
import Recording
import Reporting
import Supervision

/// `martlet agent`.
struct AgentCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "agent",
    abstract: "Watches a machine on which a CI runs jobs, and leaves a report of each.",
    discussion: AgentHelp.text,
    subcommands: [
      AgentStartCommand.self, AgentWaitReadyCommand.self, AgentStatusCommand.self, AgentReportCommand.self,
      AgentStopCommand.self, AgentReleaseCommand.self,
      AgentRulesCommand.self, AgentSchemaCommand.self,
    ])
}

/// Where the agent is spoken to.
struct AgentSocket: ParsableArguments {
  @Option(help: ArgumentHelp("The agent's socket.", valueName: "path"))
  var socket: String?

  var path: String { socket ?? AgentConfiguration().socket }
}

/// `martlet agent start`.
struct AgentStartCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "start",
    abstract: "Starts the agent in the background, and prints the token that stops it.",
    discussion: """
      Returns when the agent is ready: every process of a job is recognised that runs then or starts later. If it \
      cannot start, what is wrong is said and the exit status is 125. The agent has a session of its own and nothing \
      of the environment but PATH and LANG, so that a CI's cleaning up after a job does not end it.
      """)

  @OptionGroup var socket: AgentSocket

  @Option(
    name: [.short, .long],
    help: ArgumentHelp("Where each job's report goes, in a directory of its own, and the journal.", valueName: "dir"))
  var output: String?

  @Flag(help: "Stay in the foreground, as a service of systemd does. The token is printed first.")
  var foreground = false

  @Option(
    help: ArgumentHelp("Write the token to this file, for its owner alone, instead of printing it.", valueName: "file"))
  var tokenFile: String?

  @Option(
    help: ArgumentHelp(
      "Where the agent says what goes wrong; '-': on the standard error of this command. Default: agent.log in --output.",
      valueName: "file"))
  var log: String?

  @Option(
    name: [.short, .long],
    help: ArgumentHelp(
      "Rules, limits and places: see docs/agent.md and 'martlet agent schema'. Options count more than the file.",
      valueName: "file"))
  var config: String?

  @Flag(
    help: ArgumentHelp(
      "Take over from the agent that runs at --socket, without a gap: it ends when the jobs that it has are over. Takes root, "
        + "or its user. If none runs, start as without."))
  var replace = false

  @Flag(
    help: ArgumentHelp(
      "Of jobs that run already, only what they do from now on is asked for: their reports say from when on they tell, and "
        + "are not incomplete for what was before. For a job that starts the agent itself."))
  var fromHere = false

  @OptionGroup var sensor: SensorArguments

  /// How the background process is told whom to report to.
  @Option(help: .private)
  var reportDescriptor: Int32?

  func validate() throws { try sensor.validate() }

  func run() throws {
    var configuration = AgentConfiguration()
    if let config { configuration = try AgentConfiguration.command(config) }
    if let output { configuration.output = output }
    if let socket = socket.socket { configuration.socket = socket }
    configuration.beginsHere = fromHere
    configuration.replaces = replace
    configuration.output = Self.absolute(configuration.output)
    configuration.socket = Self.absolute(configuration.socket)
    if foreground || reportDescriptor != nil { throw ExitCode(try serve(configuration)) }
    let place = log == "-" ? nil : log.map(Self.absolute) ?? configuration.output + "/agent.log"
    throw ExitCode(try AgentLauncher(log: place).start())
  }

  private func serve(_ configuration: AgentConfiguration) throws -> Int32 {
    let report = reportDescriptor.map { AgentReport(descriptor: $0) }
    let file = tokenFile.map(Self.absolute)
    if report != nil { chdir("/") }
    let agent = Agent(configuration: configuration, sensor: sensor.options(), masker: try sensor.masker())
    do {
      if let (problem, advice) = PidNamespace.objection { throw StartFailure("\(problem). \(advice).") }
      return try agent.run { token in
        do {
          if let file { try TokenFile.write(token, to: file) }
          let shown = file == nil ? token : ""
          if let report {
            report.ready(shown)
          } else if !shown.isEmpty {
            Message.write(shown + "\n", to: STDOUT_FILENO)
          }
        } catch {
          // It runs, and a signal can end it.
          report?.failed("the agent runs, but its token could not be kept: \(error)")
          Message.say("its token could not be kept: \(error)")
        }
      }
    } catch {
      var text = "\(error)"
      if let error = error as? SensorError, !error.detail.isEmpty { text += "\n\(error.detail)" }
      if let report { report.failed(text) }
      Message.say(text)
      return ExitCode.martletFailed.rawValue
    }
  }

  static func absolute(_ path: String) -> String {
    if path.utf8.first == UInt8(ascii: "/") { return path }
    guard let current = getcwd(nil, 0) else { return path }
    defer { free(current) }
    return String(cString: current) + "/" + path
  }
}

struct StartFailure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// `martlet agent wait-ready`.
struct AgentWaitReadyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "wait-ready", abstract: "Returns when an agent is ready; exits with 1 if none is in time.")

  @OptionGroup var socket: AgentSocket

  @Option(help: ArgumentHelp("How long to wait.", valueName: "seconds"))
  var timeout = 30.0

  func validate() throws {
    guard (0...86_400).contains(timeout) else { throw ValidationError("--timeout takes 0 to 86400 seconds") }
  }

  func run() throws {
    let end = Clock.boottime + UInt64(timeout * 1_000_000_000)
    while true {
      do throws(SystemError) {
        if try ControlClient.isReady(path: socket.path) { return }
      } catch {
        guard Clock.boottime < end else {
          Message.say(error.description)
          throw ExitCode(1)
        }
      }
      usleep(20_000)
    }
  }
}

/// `martlet agent status`.
struct AgentStatusCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status",
    abstract: "Shows what the agent does: jobs, by which rules, what was lost, memory.",
    discussion: "Root and the agent's own user see everything, others numbers alone.")

  @OptionGroup var socket: AgentSocket

  @Flag(help: "For programs: schema martlet.agent/v1.")
  var json = false

  func run() throws {
    do {
      let status = try ControlClient.status(path: socket.path)
      let replaced = Self.replaced(status.value)
      if json {
        _ = Self.joined(status.bytes, replaced.map(\.bytes)).withUnsafeBytes { Message.write($0, to: STDOUT_FILENO) }
      } else {
        let texts = ([status] + replaced).map { AgentStatusText.write($0.value) }
        Message.write(texts.joined(separator: "\n"), to: STDOUT_FILENO)
      }
    } catch {
      Message.say("\(error)")
      throw ExitCode(1)
    }
  }

  /// Of agents that were replaced, and whose jobs are not over.
  private static func replaced(_ status: JSONValue) -> [(value: JSONValue, bytes: [UInt8])] {
    (status["draining"]?.array ?? []).compactMap { other in
      guard let socket = other["socket"]?.text else { return nil }
      do throws(SystemError) {
        return try ControlClient.status(path: socket)
      } catch {
        // It may just have ended.
        if error.code != ENOENT { Message.say(error.description) }
        return nil
      }
    }
  }

  /// An object with others in its member `replaced`.
  private static func joined(_ object: [UInt8], _ others: [[UInt8]]) -> [UInt8] {
    guard !others.isEmpty, let end = object.lastIndex(of: UInt8(ascii: "}")) else { return object }
    return object[..<end] + Array(",\"replaced\":[".utf8)
      + others.map { Array($0.dropLast()) }.joined(separator: [UInt8(ascii: ",")]) + Array("]}\n".utf8)
  }
}

/// `martlet agent stop`.
struct AgentStopCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stop",
    abstract: "Ends the agent: every job is closed and its report written.",
    discussion: "The token is that which 'start' gave, from --token, --token-file or MARTLET_AGENT_TOKEN.")

  @OptionGroup var socket: AgentSocket

  @Option(help: ArgumentHelp("The token. Others can see it in the list of processes.", valueName: "token"))
  var token: String?

  @Option(help: ArgumentHelp("A file with the token.", valueName: "file"))
  var tokenFile: String?

  func run() throws {
    do {
      let answer = try ControlClient.stop(path: socket.path, token: try given())
      if let error = answer["error"]?.text { throw StartFailure(error) }
      guard answer["stopped"]?.bool == true else { throw StartFailure("the agent gave no answer that makes sense") }
      let failed = (answer["reportsFailed"]?.unsigned ?? 0) + (answer["reportsWaiting"]?.unsigned ?? 0)
      guard failed == 0 else { throw StartFailure("the agent has stopped, and \(failed) reports could not be written") }
    } catch {
      Message.say("\(error)")
      throw ExitCode(1)
    }
  }

  private func given() throws -> String {
    if let token = try TokenFile.given(token, file: tokenFile) { return token }
    throw StartFailure(
      "stop takes the token that 'martlet agent start' gave: --token-file, --token or MARTLET_AGENT_TOKEN")
  }
}

/// `martlet agent rules`.
struct AgentRulesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rules", abstract: "Prints the rules by which jobs are recognised, and which variables are stored.")

  @Option(name: [.short, .long], help: ArgumentHelp("As of 'agent start'.", valueName: "file"))
  var config: String?

  @Flag(help: "For programs.")
  var json = false

  func run() throws {
    let configuration = try config.map(AgentConfiguration.command) ?? AgentConfiguration()
    guard json else { return Message.write(AgentRulesText.write(configuration), to: STDOUT_FILENO) }
    var output = JSONOutput()
    output.object { output in
      output.array("rules") { output in for rule in configuration.rules { output.object { rule.write(to: &$0) } } }
      output.array("variables") { output in
        for name in configuration.storedVariables { output.member(nil, name) }
      }
    }
    output.endDocument()
    _ = output.bytes.withUnsafeBytes { Message.write($0, to: STDOUT_FILENO) }
  }
}

/// `martlet agent schema`.
struct AgentSchemaCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "schema", abstract: "Prints the JSON schema of the file that --config reads, for editors.")

  func run() { _ = AgentConfiguration.schema.withUnsafeBytes { Message.write($0, to: STDOUT_FILENO) } }
}

extension AgentConfiguration {
  /// What a file says, or the end of the command with all that is wrong with it.
  fileprivate static func command(_ path: String) throws(ExitCode) -> AgentConfiguration {
    do {
      return try read(path)
    } catch {
      Message.say("the configuration was not taken:\n\(error)")
      throw .martletFailed
    }
  }
}
