import Observation
import Reporting
import Testing

@Suite("Reports of a part of a job")
struct SpanTests {
  private func input(_ change: (inout ReportInput.Span) -> Void) -> ReportInput {
    var input = Sample.input()
    input.job = ReportInput.Job(provider: "github", rule: "github", reason: "comm")
    input.waitStatus = nil
    change(&input.span)
    return input
  }

  private func texts(_ input: ReportInput) -> [String] {
    [MarkdownReport.write(input), HTMLReport.write(input), JSONReport.write(input)].map {
      String(decoding: $0, as: UTF8.self)
    }
  }

  @Test("every output says until when it tells, beside the verdict")
  func until() throws {
    let input = input { $0.until = AskedReport(at: 3_000_000_000, by: .job, processes: 2) }
    #expect(Judgement(of: input).verdict == .clean)
    let texts = texts(input)
    #expect(texts[0].hasPrefix("## ✅ martlet: clean, up to 06:13:23 UTC\n"))
    #expect(texts[0].contains("still ran"))
    #expect(texts[1].contains("<h1>Clean, up to 06:13:23 UTC</h1>"))
    for text in texts {
      #expect(text.contains("when the job itself asked for it and 2 processes of it lived"))
      #expect(text.contains("in the report that takes its place"))
    }
    let span = try #require(JSONValue(parsing: JSONReport.write(input), values: 1_000_000)?["job"]?["span"])
    #expect(span["until"]?["by"]?.text == "job" && span["until"]?["processes"]?.unsigned == 2)
    #expect(span["from"] == .null)
  }

  @Test("a later report tells of those before it, and one that began within the job from when on it tells")
  func fromAndEarlier() throws {
    let input = input {
      $0.from = 2_000_000_000
      $0.earlier = [AskedReport(at: 2_500_000_000, by: .job, processes: 1)]
      $0.earlierNotKept = 2
    }
    #expect(Judgement(of: input).verdict == .clean)
    let texts = texts(input)
    #expect(texts[0].hasPrefix("## ✅ martlet: clean\n"))
    // Markdown escapes what a reader could take for a link, times too.
    #expect(texts[0].contains("when martlet was started while the job ran"))
    for text in texts[1...] {
      #expect(text.contains("This begins at 2026-02-25T06:13:22.000Z, when martlet was started while the job ran"))
      #expect(
        text.contains("3 reports were asked for before this one, from 2026-02-25T06:13:22.500Z on, by the job itself."))
    }
  }

  @Test("a report of all of a job says none of it")
  func whole() {
    for text in texts(input { _ in }) {
      #expect(!text.contains("This is up to") && !text.contains("This begins") && !text.contains("before this one"))
    }
  }
}
