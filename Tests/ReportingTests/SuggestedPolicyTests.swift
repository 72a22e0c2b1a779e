import Observation
import Policy
import Testing

@testable import Jobs
@testable import Reporting

@Suite("policy.suggested.yaml")
struct SuggestedPolicyTests {
  /// Besides what every sample has: what a policy speaks of.
  private func input(named text: String) -> ReportInput {
    var input = Sample.input(named: text)
    var flow = FlowSummary()
    flow.process = 1
    flow.remoteAddress = "192.0.2.1"
    flow.remotePort = 443
    flow.networkProtocol = 6
    flow.host = Name(bytes: Array("a.example.org".utf8))
    flow.repeats = 2
    input.snapshot.flows.append(flow)
    for name in ["asked.example.org", text, "b.example.org"] {
      var asked = AskedName(name: Name(bytes: Array(name.utf8)))
      asked.addresses = name == "b.example.org" ? ["192.0.2.1", "2001:db8::1"] : []
      input.snapshot.names.append(asked)
    }
    var file = FileSummary()
    file.path = Name(bytes: Array("/root/.netrc".utf8))
    file.otherPaths = [Name(bytes: Array("/work/\(text)/.git/x".utf8))]
    file.wasRead = true
    file.readers = [1]
    input.snapshot.files.append(file)
    for kind in [PathChange.Kind.rename, .link, .symlink, .mkdir, .chmod] {
      var change = PathChange()
      change.kind = kind
      change.process = 1
      change.path = Name(bytes: Array("/work/\(text)/\(kind.rawValue)".utf8))
      change.target = Name(bytes: [0x2F, 0xFF])
      input.snapshot.changes.append(change)
    }
    for kind in SecurityKind.allCases.map(Optional.some) + [nil] {
      var action = SecurityAction(kind: kind)
      action.process = 1
      action.count = 3
      input.snapshot.actions.append(action)
    }
    return input
  }

  @Test("the same as what is learnt from report.json", arguments: Hostile.names + ["plain"])
  func same(text: String) throws {
    var input = input(named: text)
    let file = SuggestedPolicy.write(&input)
    let direct = SuggestedPolicy.observed(input)
    let read = try ObservedRun(JSONReport.write(input), name: "elsewhere")
    #expect(direct.events.map(\.event) == read.events.map(\.event))
    #expect(direct.events.map(\.count) == read.events.map(\.count))
    #expect(direct.unknownTargets == read.unknownTargets && direct.directory == read.directory)
    let learned = try LearnedPolicy(from: [read])
    #expect(String(decoding: file, as: UTF8.self) == learned.yaml)
    #expect(input.suggestion == .init(digest: learned.policy.digest, objection: nil))
    #expect(learned.yaml.contains("- {read: /root/.netrc}") && learned.yaml.contains("host: asked.example.org"))
  }

  @Test("what was stopped or lost is said at the begin, as learn does")
  func notes() {
    var input = Sample.input()
    input.snapshot.stopped = 1
    input.completeness.missedRuns = 1
    let text = String(decoding: SuggestedPolicy.write(&input), as: UTF8.self)
    #expect(
      text.hasPrefix(
        """
        # Learned from 1 run by 'martlet policy learn'.
        # the run was stopped by a policy: what it tried and was refused may be allowed here.
        # the run is incomplete: what it did not see is denied here.

        """), "\(text)")
  }

  @Test("reports name it")
  func named() {
    var input = Sample.input()
    _ = SuggestedPolicy.write(&input)
    let summary = String(decoding: TerminalSummary.write(input, reportDirectory: "out", colour: false), as: UTF8.self)
    #expect(
      summary.hasSuffix(
        "\n  suggested  martlet run --policy out/policy.suggested.yaml -- …\n  report     out/report.html\n"))
    for report in [MarkdownReport.write(input), HTMLReport.write(input)] {
      #expect(String(decoding: report, as: UTF8.self).contains("martlet run --policy DIR/policy.suggested.yaml -- …"))
    }
  }

  @Test("where no policy can hold what was seen, nothing is taken for one, and all say why")
  func tooMuch() {
    var input = Sample.input()
    input.snapshot.flows = (0...PolicyLimits.networkRules).map { number in
      var flow = FlowSummary()
      flow.remoteAddress = "10.0.\(number / 256).\(number % 256)"
      flow.remotePort = 443
      flow.networkProtocol = 6
      return flow
    }
    let text = String(decoding: SuggestedPolicy.write(&input), as: UTF8.self)
    #expect(
      text.hasPrefix("# There is none: no policy can hold what was observed: ")
        && text.split(separator: "\n").count == 1)
    let summary = String(decoding: TerminalSummary.write(input, reportDirectory: "out", colour: false), as: UTF8.self)
    #expect(summary.contains("  suggested  no policy: ") && !summary.contains("--policy"))
    let json = JSONValue(parsing: JSONReport.write(input), values: 1 << 22)?["suggestedPolicy"]
    #expect(json?["file"] == .null && json?["absent"]?.text?.contains("at most") == true)
  }
}
