import Observation
import Testing

@testable import Reporting

@Suite("What reports say of filters") struct FilterReportTests {
  private func input(_ unattached: [EventClass] = []) -> ReportInput {
    var input = Sample.input()
    var filter = EventFilter()
    filter.events = [.unix, .fileRead]
    filter.excludedPaths = ["/usr", Hostile.names[0]]
    filter.includedPaths = ["/usr/local"]
    filter.users = .only([1001])
    input.filter = .init(filter, unattached: unattached)
    var counts = FilteredCounts()
    counts[Int(RecordType.open.rawValue)] = 1234
    input.filter?.counts = counts
    return input
  }

  private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

  @Test("every form says it beside the verdict, which is none the graver for it")
  func forms() throws {
    let (plain, filtered) = (Sample.input(), input())
    #expect(Judgement(of: plain).verdicts == Judgement(of: filtered).verdicts)
    let summary = text(TerminalSummary.write(filtered, reportDirectory: nil, colour: false))
    #expect(
      summary.contains(", with filters\n") && summary.contains("  left out   events of file.read, unix; files below"))
    for form in [text(MarkdownReport.write(filtered)), text(HTMLReport.write(filtered))] {
      #expect(form.contains("with filters") && form.contains("does not vouch for what was left out"))
      #expect(form.contains("1,234 events") && !form.contains("<script>alert"))
    }
    for form in [text(MarkdownReport.write(plain)), text(HTMLReport.write(plain))] {
      #expect(!form.contains("with filters") && !form.contains("vouch"))
    }
    let json = try #require(JSONValue(parsing: JSONReport.write(filtered)))
    #expect(json["filters"]?["filtered"]?.unsigned == 1234 && json["filters"]?["types"]?["open"]?.unsigned == 1234)
    #expect(json["filters"]?["excludeEvents"]?.array?.compactMap(\.text) == ["file.read", "unix"])
    #expect(json["filters"]?["onlyUsers"]?.array?.compactMap(\.unsigned) == [1001])
    #expect(JSONValue(parsing: JSONReport.write(plain))?["filters"] == nil)
  }

  @Test("a clean verdict is of what was let through, and what was not counted is said to be so")
  func amounts() {
    var clean = ReportInput()
    clean.filter = .init(EventFilter())
    #expect(Judgement(of: clean).reasons[0].sentence.contains("its filters let through"))
    #expect(input([.unix]).filter?.sentence.contains("not all hooks for unix are attached") == true)
    #expect(ReportInput.FilterInForce(words: "what is not known").sentence.contains("not known how many"))
  }
}
