import Jobs
import Observation
import Testing

@testable import Reporting

@Suite("Verdicts")
struct VerdictTests {
  @Test(
    "the gravest that applies comes first, and all are listed",
    arguments: [
      (false, 0, 0, [Verdict.clean]),
      (false, 0, 2, [.findings]),
      (false, 1, 0, [.blocked]),
      (false, 1, 1, [.blocked, .findings]),
      (true, 0, 0, [.incomplete]),
      (true, 0, 1, [.incomplete, .findings]),
      (true, 3, 0, [.incomplete, .blocked]),
      (true, 3, 4, [.incomplete, .blocked, .findings]),
    ])
  func table(isIncomplete: Bool, blocked: Int, findings: Int, expected: [Verdict]) {
    var input = Sample.input()
    input.snapshot.stopped = UInt64(blocked)
    input.findings = findings
    if isIncomplete { input.completeness.lateAttach = true }
    let judgement = Judgement(of: input)
    #expect(judgement.verdicts == expected)
    #expect(judgement.verdict == expected[0])
    #expect(Verdict.allCases.max() == .incomplete)
    for verdict in expected { #expect(judgement.reasons.contains { $0.verdict == verdict }) }
  }

  static let gaps: [@Sendable (inout ReportInput) -> Void] = [
    {
      $0.completeness.types[0].counts.lost = 1
      $0.completeness.types[0].counts.seen += 1
    },
    {
      $0.completeness.types[1].counts.lost = 1
      $0.completeness.types[1].counts.seen += 1
    },
    { $0.completeness.received -= 1 },
    { $0.completeness.malformed = 1 },
    { $0.completeness.sequenceGaps = 1 },
    { $0.completeness.lateAttach = true },
    { $0.completeness.missingHooks = [("network", "no cgroup v2")] },
    { $0.completeness.mapFull[0].count = 1 },
    { $0.logError = "no space left" },
    { $0.snapshot.filesNotKept = 1 },
    { $0.snapshot.notKept.processes = 1 },
  ]

  @Test("each gap in the evidence makes the run incomplete, with one reason", arguments: gaps.indices)
  func gap(index: Int) {
    var input = Sample.input()
    #expect(Judgement(of: input).verdict == .clean)
    Self.gaps[index](&input)
    let judgement = Judgement(of: input)
    #expect(judgement.verdicts == [.incomplete])
    #expect(judgement.reasons.count == 1)
    #expect(judgement.reasons.allSatisfy { $0.sentence.last == "." })
  }

  @Test("what was done to martlet itself is no doing of a policy")
  func selfProtection() {
    var own = DenialSummary()
    own.section = .selfProtection
    own.operation = "signal"
    own.effect = .prevented
    var input = Sample.input()
    input.snapshot.stopped = 1
    input.snapshot.denials = [own]
    #expect(Judgement(of: input).verdicts == [.blocked])
    #expect(Judgement(of: input).reasons.map(\.sentence) == ["1 action against martlet itself was stopped."])
    #expect(DenialText.rule(own, nil) == "self-protection")
    #expect("\(DenialText.heading(input))" == "Self-protection")
    input.snapshot.stopped = 3
    var sentences = Judgement(of: input).reasons.map(\.sentence)
    #expect(sentences == ["The policy stopped 2 actions.", "1 action against martlet itself was stopped."])
    // Of two unlike ones a section for both is the policy's.
    own.section = .files
    input.snapshot.denials.append(own)
    sentences = Judgement(of: input).reasons.map(\.sentence)
    #expect(sentences.count == 2)
    #expect("\(DenialText.heading(input))" == "Policy")
  }

  @Test("a loss is given in numbers")
  func sentence() {
    var input = Sample.input()
    input.completeness.types[0].counts.lost = 12
    input.completeness.types[0].counts.seen = 41_234
    let reasons = Judgement(of: input).reasons.map(\.sentence)
    #expect(reasons == ["The sensor lost 12 of 41,334 events, 12 of them about processes or the network."])
  }
}

@Suite("Times, sizes and states as text")
struct ValueTests {
  @Test(
    "RFC 3339 in UTC",
    arguments: [
      (0, "1970-01-01T00:00:00.000Z"),
      (951_782_399_999_000_000, "2000-02-28T23:59:59.999Z"),
      (951_782_400_000_000_000, "2000-02-29T00:00:00.000Z"),
      (951_868_800_000_000_000, "2000-03-01T00:00:00.000Z"),
      (1_709_164_800_123_999_999, "2024-02-29T00:00:00.123Z"),
      (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000Z"),
      (-1, "1969-12-31T23:59:59.999Z"),
      (.max, "2262-04-11T23:47:16.854Z"),
      (.min, "1677-09-21T00:12:43.145Z"),
    ] as [(Int64, String)])
  func time(nanoseconds: Int64, expected: String) {
    #expect(WallClock.rfc3339(nanoseconds: nanoseconds) == expected)
  }

  @Test("a boot time is moved by the offset, and clamped where that is beyond all time")
  func offset() {
    #expect(WallClock(offset: 1_000_000).rfc3339(999_000_000) == "1970-01-01T00:00:01.000Z")
    #expect(WallClock(offset: .max).nanoseconds(.max) == .max)
    #expect(WallClock(offset: .min).nanoseconds(0) == .min)
  }

  @Test(
    "how a process ended",
    arguments: [
      (0, "exited 0"), (256, "exited 1"), (0xff00, "exited 255"), (9, "killed by SIGKILL"),
      (139, "killed by SIGSEGV (core dumped)"), (34, "killed by SIGRTMIN"), (64, "killed by SIGRTMIN+30"),
      (33, "killed by signal 33"),
    ] as [(UInt32, String)])
  func exit(status: UInt32, expected: String) {
    #expect(ExitStatus(waitStatus: status).text == expected)
  }

  @Test("numbers, sizes and durations")
  func units() {
    #expect(Units.grouped(0) == "0")
    #expect(Units.grouped(999) == "999")
    #expect(Units.grouped(1000) == "1,000")
    #expect(Units.grouped(UInt64.max) == "18,446,744,073,709,551,615")
    #expect(Units.grouped(-1234) == "-1,234")
    #expect(Units.bytes(1023) == "1023 B")
    #expect(Units.bytes(1024) == "1.0 KiB")
    #expect(Units.bytes(1536) == "1.5 KiB")
    #expect(Units.bytes(1024 * 1024 - 1) == "1,023 KiB")
    #expect(Units.bytes(5 << 30) == "5.0 GiB")
    #expect(Units.bytes(.max) == "15 EiB")
    #expect(Units.duration(0) == "0 µs")
    #expect(Units.duration(999_999) == "999 µs")
    #expect(Units.duration(12_000_000) == "12 ms")
    #expect(Units.duration(1_050_000_000) == "1.05 s")
    #expect(Units.duration(59_999_000_000) == "59.9 s")
    #expect(Units.duration(60_000_000_000) == "1 min 0 s")
    #expect(Units.duration(3_720_000_000_000) == "1 h 2 min")
  }

  @Test(
    "command lines as a shell takes them",
    arguments: [
      (["make", "-j2"], "make -j2"), (["a b", ""], "'a b' ''"), (["it's"], "'it'\\''s'"), (["$HOME"], "'$HOME'"),
      (["a\u{301}'\u{301}"], "'a\u{301}'\\''\u{301}'"),
    ])
  func commandLine(arguments: [String], expected: String) {
    // By bytes: Swift takes canonically equivalent strings for equal.
    #expect(Array(CommandLine.text(arguments.map(name)).utf8) == Array(expected.utf8))
  }

  @Test("the time line has the peak where the processes were")
  func timeline() {
    var input = Sample.input()
    input.snapshot.processes = []
    for (id, start, end) in [(1, 1_000_000_000, 3_500_000_000), (2, 2_000_000_000, 2_200_000_000)]
      as [(UInt32, UInt64, UInt64)]
    {
      var process = ProcessSummary()
      process.id = id
      process.startedAt = start
      process.endedAt = end
      input.snapshot.processes.append(process)
    }
    let timeline = Timeline(input)
    #expect(timeline.peak == 2)
    #expect(timeline.peaks.first == 1)
    #expect(timeline.peaks.last == 1)
    #expect(timeline.peaks[70] == 2)
    #expect(timeline.permille(0) == 0)
    #expect(timeline.permille(.max) == 1000)
  }
}
