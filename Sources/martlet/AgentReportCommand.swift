import Agent
import ArgumentParser
import Glibc
import Observation
import Recording
import Reporting
import Supervision

/// `martlet agent report`.
struct AgentReportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "Has the report made of a job that runs, with everything that it did until now.",
    discussion: """
      Without --job of the job that this process is in; which that is, the kernel says. The job goes on, and its last \
      report takes the place of this one. With --output the report's files are copied there; the agent hands them to \
      root and to the user of the job's first process.
      """)

  @OptionGroup var socket: AgentSocket

  @Option(help: ArgumentHelp("Of this job, as 'status' names it. Takes root, or the agent's token.", valueName: "id"))
  var job: String?

  @Option(help: ArgumentHelp("A file with the token, for --job.", valueName: "file"))
  var tokenFile: String?

  @Option(
    name: [.short, .long], help: ArgumentHelp("Leave a copy of the report here, as 'run' does.", valueName: "dir"))
  var output: String?

  @Flag(help: "Print the report in Markdown, for a CI's summary.")
  var markdown = false

  @Flag(help: "For programs: what the report came to, as a line of JSON.")
  var json = false

  @Option(
    help: ArgumentHelp(
      "Exit with 3 if one of these applies: findings, blocked, incomplete. Separate several by commas.",
      valueName: "verdicts"))
  var failOn = FailOn()

  @Option(help: ArgumentHelp("How long to wait for it.", valueName: "seconds"))
  var timeout = 60.0

  func validate() throws {
    guard (0...3600).contains(timeout) else { throw ValidationError("--timeout takes 0 to 3600 seconds") }
    guard !markdown || !json else { throw ValidationError("--markdown and --json exclude each other") }
  }

  func run() throws {
    do {
      try ask()
    } catch let error as ExitCode {
      throw error
    } catch {
      Message.say("\(error)")
      throw ExitCode(1)
    }
  }

  private func ask() throws {
    let directory = try output.map { try OutputDirectory(path: $0, owner: nil) }
    var isKept = false
    defer { if !isKept { directory?.discard() } }
    var (answer, files) = try ask(at: socket.path)
    // A job that is named may be that of an agent which was replaced.
    if job != nil, answer["error"] != nil {
      for other in try ControlClient.status(path: socket.path).value["draining"]?.array ?? []
      where answer["error"] != nil {
        if let path = other["socket"]?.text, let found = try? ask(at: path), found.value["error"] == nil {
          (answer, files) = found
        }
      }
    }
    if let error = answer["error"]?.text { throw StartFailure(error) }
    guard let verdict = answer["verdict"]?.text, let path = answer["path"]?.text else {
      throw StartFailure("the agent gave no answer that makes sense")
    }
    var place = path
    if let directory {
      guard let files else { throw Self.notHandedOver(path) }
      try files.copy(to: directory)
      let published = try directory.publish()
      if let note = published.note { Message.say("the report is in \(published.path): \(note)") }
      place = published.path
      isKept = true
    }
    if markdown {
      guard let text = files?.contents(of: "report.md", atMost: 1 << 20) else { throw Self.notHandedOver(path) }
      _ = text.withUnsafeBytes { Message.write($0, to: STDOUT_FILENO) }
    } else if json {
      write(answer, place)
    } else {
      let until = answer["until"]?.text.map { " up to \($0)" } ?? ""
      let head = answer["logHead"]?.text.map { "; log head \($0)" } ?? ""
      let shown = VisibleText.terminal(place, limit: 4096)
      Message.write("\(verdict)\(until)\(head); report \(shown)\n", to: STDOUT_FILENO)
    }
    let verdicts = Set(answer["verdicts"]?.array?.compactMap(\.text) ?? [verdict])
    let status = failOn.exitStatus(of: verdicts)
    if status != 0 { throw ExitCode(status) }
  }

  private func ask(at path: String) throws -> (value: JSONValue, files: ReportFilesHandedOver?) {
    try ControlClient.report(
      path: path, job: job, token: job == nil ? nil : TokenFile.given(nil, file: tokenFile),
      wantsFiles: output != nil || markdown, milliseconds: Int(timeout * 1000))
  }

  private static func notHandedOver(_ path: String) -> StartFailure {
    StartFailure("the report is in \(path), and only root and the job's own user are handed its files")
  }

  private func write(_ answer: JSONValue, _ place: String) {
    var json = JSONOutput()
    json.object { json in
      for name in ["job", "verdict", "logHead", "until"] as [StaticString] {
        json.member(named: name.description, answer[name]?.text)
      }
      json.array("verdicts") { json in
        for verdict in answer["verdicts"]?.array?.compactMap(\.text) ?? [] { json.member(nil, verdict) }
      }
      json.member("processes", answer["processes"]?.unsigned ?? 0)
      json.member("path", place)
    }
    json.endDocument()
    _ = json.bytes.withUnsafeBytes { Message.write($0, to: STDOUT_FILENO) }
  }
}
