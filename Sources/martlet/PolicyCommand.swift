import ArgumentParser
import Configuration
import Glibc
import Observation
import Policy

/// `martlet policy`.
struct PolicyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "policy",
    abstract: "Checks, learns, compares and explains policies: what a job may connect to, execute, change and do.",
    discussion: "docs/policy.md describes the file.",
    subcommands: [
      PolicyCheckCommand.self, PolicyLearnCommand.self, PolicyDiffCommand.self, PolicyExplainCommand.self,
      PolicyNarrowCommand.self, PolicySchemaCommand.self,
    ])
}

/// `martlet policy check`.
struct PolicyCheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Says what is wrong with policy files, with lines and columns.",
    discussion: """
      EXIT STATUS
        0    all of them can be used
        1    something is wrong with one of them
      """)

  @Argument(help: ArgumentHelp("Policy files.", valueName: "file"))
  var files: [String]

  @Flag(help: "For programs: schema martlet.policy-check/v1.")
  var json = false

  func run() throws {
    let results = files.map { file in
      (file: file, result: Result { () throws(ConfigurationError) in try Policy.read(file) })
    }
    if json {
      PolicyCommand.print { output in
        output.member("schema", "martlet.policy-check/v1")
        output.array("files") { output in
          for (file, result) in results { output.object { Self.write(file, result, to: &$0) } }
        }
      }
    } else {
      for (file, result) in results {
        switch result {
        case .success(let policy):
          let count = policy.heads.count
          Message.write(
            "\(VisibleText.terminal(file)): \(count) rule\(count == 1 ? "" : "s"), digest \(policy.digest)\n",
            to: STDOUT_FILENO)
        case .failure(let error): Message.write("\(error)\n", to: STDOUT_FILENO)
        }
      }
    }
    if results.contains(where: { if case .failure = $0.result { true } else { false } }) { throw ExitCode(1) }
  }

  private static func write(
    _ file: String, _ result: Result<Policy, ConfigurationError>, to output: inout JSONOutput
  ) {
    output.member("file", file)
    switch result {
    case .success(let policy):
      output.member("valid", true)
      output.member("digest", policy.digest)
      output.member("rules", policy.heads.count)
      output.array("problems") { _ in }
    case .failure(let error):
      output.member("valid", false)
      output.null("digest")
      output.null("rules")
      output.array("problems") { output in
        for problem in error.problems {
          output.object { output in
            output.member("line", problem.place.line)
            output.member("column", problem.place.column)
            output.member("message", problem.message)
          }
        }
      }
    }
  }
}

/// `martlet policy schema`.
struct PolicySchemaCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "schema", abstract: "Prints the JSON schema of policy files, for editors.")

  func run() { _ = Policy.schema.withUnsafeBytes { Message.write($0, to: STDOUT_FILENO) } }
}
