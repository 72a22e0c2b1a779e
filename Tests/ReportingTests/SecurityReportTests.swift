import Jobs
import Observation
import Testing

@testable import Reporting

@Suite("Security in the reports")
struct SecurityReportTests {
  private func input() -> ReportInput {
    var input = Sample.input()
    var load = SecurityAction(kind: .moduleLoad)
    load.process = 1
    load.path = Name(bytes: Array("/x|<b>`.ko".utf8))
    load.outcome = .failure(error: 1)
    load.count = 3
    var access = SecurityAction(kind: .vmRead)
    access.process = 1
    access.target = .init(process: 0, pid: 77)
    var user = SecurityAction(kind: .setuid)
    user.process = 1
    user.outcome = .success
    user.before = [0, 0, 0]
    user.after = [1000 | 1000 << 32, 1000 | 1000 << 32, 0]
    input.snapshot.actions = [load, access, user]
    return input
  }

  @Test("nothing is said where there is nothing") func none() {
    #expect(!String(decoding: MarkdownReport.write(Sample.input()), as: UTF8.self).contains("### Security"))
    #expect(!String(decoding: HTMLReport.write(Sample.input()), as: UTF8.self).contains("<h2>Security"))
  }

  @Test("Markdown has a row for each, escaped") func markdown() {
    let text = String(decoding: MarkdownReport.write(input()), as: UTF8.self)
    #expect(text.contains("### Security"))
    let rows = text.split(separator: "\n").filter {
      $0.contains("module") || $0.contains("process") && $0.contains("77")
    }
    #expect(rows.contains { $0.contains("×3") && $0.contains("failed: EPERM") })
    #expect(text.contains("0 to 1000"))
    #expect(!text.contains("| /x|"))
  }

  @Test("HTML has the section, escaped") func html() {
    let text = String(decoding: HTMLReport.write(input()), as: UTF8.self)
    #expect(text.contains("Security") && text.contains("module_load") && text.contains("&lt;b&gt;"))
    #expect(!text.contains("<b>`.ko"))
  }

  @Test("JSON has what is known and nothing else") func json() throws {
    let report = try StrictJSON.parse(JSONReport.write(input()))
    let actions = try #require(report["security"]?.array)
    #expect(actions.map { $0["kind"]?.string } == ["module_load", "process_vm_read", "setuid"])
    #expect(actions.map { $0["outcome"]?.string } == ["failure", "unknown", "success"])
    #expect(actions[0]["error"]?.number == 1 && actions[0]["count"]?.number == 3)
    #expect(actions[1]["error"] == nil && actions[2]["error"] == nil)
    #expect(actions[1]["target"]?["pid"]?.number == 77 && actions[1]["target"]?["targetInJob"] == .bool(false))
    #expect(actions[1]["target"]?["process"] == .null)
    #expect(actions[2]["after"]?["saved"]?.number == 1000 && actions[2]["before"]?["real"]?.number == 0)
  }
}
