import ArgumentParser
import Configuration
import Glibc
import Observation
import Policy

/// `martlet policy learn`.
struct PolicyLearnCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "learn",
    abstract: "Prints the narrowest policy under which runs would have passed.",
    discussion: """
      From report.json of one or many runs. Where the policy allows more than was seen, because names or ports differ \
      from run to run, a comment says what it was made of; what could not be protected is said at the begin.
      """)

  @Argument(help: ArgumentHelp("Directories of reports.", valueName: "dir"))
  var reports: [String]

  @Flag(help: "For programs: schema martlet.policy-learn/v1.")
  var json = false

  func run() throws {
    let runs = try reports.map { try ObservedRun.command($0) }
    let learned: LearnedPolicy
    do {
      learned = try LearnedPolicy(from: runs)
    } catch {
      Message.say(error.description)
      throw ExitCode.martletFailed
    }
    for run in runs where run.isBlocked {
      Message.say(
        "\(VisibleText.terminal(run.name)) was stopped by a policy: what it was refused may be allowed by this one")
    }
    for run in runs where !run.isComplete {
      Message.say("\(VisibleText.terminal(run.name)) is incomplete: what it did not see is denied by this policy")
    }
    guard json else { return Message.write(learned.yaml, to: STDOUT_FILENO) }
    PolicyCommand.print { output in
      output.member("schema", "martlet.policy-learn/v1")
      output.member("digest", learned.policy.digest)
      output.member("policy", learned.yaml)
      output.array("notes") { output in for note in learned.notes { output.member(nil, note) } }
      output.array("comments") { output in
        for (rule, lines) in learned.comments.sorted(by: { $0.key < $1.key }) {
          output.object { output in
            output.member("rule", rule)
            output.member("comment", lines.joined(separator: "\n"))
          }
        }
      }
    }
  }
}

/// `martlet policy diff`.
struct PolicyDiffCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "diff",
    abstract: "Says what a policy allows that another does not, and the other way round.",
    discussion: """
      '+' is in front of what the new policy allows, or no longer tells, '-' in front of what it no longer allows, or \
      tells anew.

      EXIT STATUS
        0    both say the same of everything
        1    they differ
        125  one of them cannot be read
      """)

  @Argument(help: ArgumentHelp("A policy file.", valueName: "old"))
  var old: String

  @Argument(help: ArgumentHelp("Another.", valueName: "new"))
  var new: String

  @Flag(help: "For programs: schema martlet.policy-diff/v1.")
  var json = false

  func run() throws {
    let (before, after) = (try Policy.command(old), try Policy.command(new))
    let differences = before.differences(to: after)
    if json {
      PolicyCommand.print { output in
        output.member("schema", "martlet.policy-diff/v1")
        output.member("old", before.digest)
        output.member("new", after.digest)
        output.array("differences") { output in
          for difference in differences {
            output.object { output in
              output.member("section", difference.section)
              output.member("what", difference.what)
              output.member("isWider", difference.isWider)
              output.member("old", difference.old.rawValue)
              output.member("oldRule", difference.oldRule)
              output.member("new", difference.new.rawValue)
              output.member("newRule", difference.newRule)
            }
          }
        }
      }
    } else {
      for difference in differences.filter(\.isWider) + differences.filter({ !$0.isWider }) {
        Message.write(Self.line(difference, before, after), to: STDOUT_FILENO)
      }
    }
    if !differences.isEmpty { throw ExitCode(1) }
  }

  private static func line(_ difference: PolicyDifference, _ old: Policy, _ new: Policy) -> String {
    func said(_ action: PolicyAction, _ rule: UInt32, _ policy: Policy) -> String {
      let line = policy.heads.first { rule != 0 && $0.number == rule }?.place?.line
      return action.rawValue + (line.map { " by line \($0)" } ?? "")
    }
    let sign = difference.isWider ? "+" : "-"
    return "\(sign) \(difference.section): \(VisibleText.terminal(difference.what)): "
      + "\(said(difference.old, difference.oldRule, old)), now \(said(difference.new, difference.newRule, new))\n"
  }
}

/// `martlet policy explain`.
struct PolicyExplainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain",
    abstract: "Says which rule of a policy decides each event of a run, and what it would have denied.",
    discussion: """
      What the policy says of what report.json tells; the run need not have been under it. Whether a file is one that \
      git tracks is not in a report: those that the job did not make itself are taken for such.
      """)

  @Argument(help: ArgumentHelp("A policy file.", valueName: "policy"))
  var policy: String

  @Argument(help: ArgumentHelp("A report's directory.", valueName: "dir"))
  var report: String

  @Flag(help: "For programs: schema martlet.policy-explain/v1.")
  var json = false

  func run() throws {
    let policy = try Policy.command(policy)
    let run = try ObservedRun.command(report)
    let explanation = PolicyExplanation(policy, of: run)
    if json { return write(explanation, policy, run) }
    var text = ""
    for action in PolicyAction.allCases.reversed() {
      let items = explanation.items.filter { $0.decision.action == action }
      guard !items.isEmpty else { continue }
      text += "\(Self.title(action))\n"
      for item in items {
        let actor = item.actor.executable.isEmpty ? "" : ", by \(item.actor.executable)"
        let times = item.count == 1 ? "" : ", \(item.count) times"
        text += "  \(Self.basis(item, of: policy)): \(VisibleText.terminal(item.what + actor))\(times)\n"
      }
    }
    if explanation.otherFiles > 0 { text += "allow\n  no rule: \(explanation.otherFiles) uses of other files\n" }
    if run.unknownTargets > 0 {
      text += "undecided\n  memory of processes outside of the job: \(run.unknownTargets) times\n"
    }
    Message.write(text, to: STDOUT_FILENO)
    if !run.isComplete { Message.say("the report is incomplete: there may have been more") }
  }

  private static func title(_ action: PolicyAction) -> String {
    switch action {
    case .kill: "kill: the process would have been ended"
    case .deny: "deny: would have been refused"
    case .observe: "observe: would have been told"
    case .allow: "allow"
    }
  }

  private static func basis(_ item: PolicyExplanation.Item, of policy: Policy) -> String {
    switch item.decision.basis {
    case .rule(let number):
      policy.heads.first { $0.number == number }?.place.map { "line \($0.line)" } ?? "rule \(number)"
    case .protected(let set): "protect \(set.rawValue)"
    case .resolver: "resolver"
    case .sectionDefault: "\(item.section)'s default"
    case .notGoverned: "no \(item.section) section"
    }
  }

  private func write(_ explanation: PolicyExplanation, _ policy: Policy, _ run: ObservedRun) {
    let places = Dictionary(uniqueKeysWithValues: policy.heads.map { ($0.number, $0.place) })
    PolicyCommand.print { output in
      output.member("schema", "martlet.policy-explain/v1")
      output.member("digest", policy.digest)
      output.member("complete", run.isComplete)
      output.array("events") { output in
        for item in explanation.items {
          output.object { output in
            output.member("section", item.section)
            output.member("what", item.what)
            output.member("executable", item.actor.executable)
            output.member("count", item.count)
            output.member("action", item.decision.action.rawValue)
            let decided =
              switch item.decision.basis {
              case .rule: "rule"
              case .protected(let set): "protect \(set.rawValue)"
              case .resolver: "resolver"
              case .sectionDefault: "default"
              case .notGoverned: "no section"
              }
            output.member("by", decided)
            output.member("rule", item.decision.rule)
            let place = places[item.decision.rule] ?? nil
            output.member("line", orNull: place?.line)
            output.member("column", orNull: place?.column)
          }
        }
      }
      output.member("otherFiles", explanation.otherFiles)
      output.member("unknownTargets", run.unknownTargets)
    }
  }
}

/// `martlet policy narrow`.
struct PolicyNarrowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "narrow",
    abstract: "Prints what is in force where the policy of a machine and that of a repository both hold.",
    discussion: """
      Of everything the graver of what the two say counts; docs/policy.md says where rules cannot say that exactly. The \
      exit status is 1 where the two cannot be one.
      """)

  @Argument(help: ArgumentHelp("The policy of the machine's owner.", valueName: "node"))
  var node: String

  @Argument(help: ArgumentHelp("The policy that can only narrow it.", valueName: "file"))
  var file: String

  func run() throws {
    let (node, other) = (try Policy.command(node), try Policy.command(file))
    do throws(NarrowingError) {
      let both = try node.narrowed(by: other)
      Message.write(both.yaml(comments: [:], header: ["digest: \(both.digest)"]), to: STDOUT_FILENO)
    } catch {
      Message.say(error.description)
      throw ExitCode(1)
    }
  }
}

extension PolicyCommand {
  /// One object on standard output.
  static func print(_ body: (inout JSONOutput) -> Void) {
    var output = JSONOutput()
    output.object(nil, body)
    output.endDocument()
    _ = output.bytes.withUnsafeBytes { Message.write($0, to: STDOUT_FILENO) }
  }
}

extension Policy {
  /// What a file says, or the end of the command with all that is wrong with it.
  fileprivate static func command(_ path: String) throws(ExitCode) -> Policy {
    do throws(ConfigurationError) {
      return try read(path)
    } catch {
      Message.say("the policy was not taken:\n\(error)")
      throw .martletFailed
    }
  }
}

extension ObservedRun {
  /// The report in a directory, or the end of the command.
  fileprivate static func command(_ directory: String) throws(ExitCode) -> ObservedRun {
    let path = directory + "/report.json"
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw unreadable(path, String(cString: strerror(errno))) }
    defer { close(descriptor) }
    let (bytes, error) = FileContents.read(descriptor, atMost: byteLimit + 1)
    guard error == 0 else { throw unreadable(path, String(cString: strerror(error))) }
    guard bytes.count <= byteLimit else { throw unreadable(path, "larger than \(byteLimit) bytes") }
    do throws(Failure) {
      return try ObservedRun(bytes, name: directory)
    } catch {
      Message.say(error.description)
      throw .martletFailed
    }
  }

  private static func unreadable(_ path: String, _ reason: String) -> ExitCode {
    Message.say("\(VisibleText.terminal(path)) cannot be read: \(reason)")
    return .martletFailed
  }
}
