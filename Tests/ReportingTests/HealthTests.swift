import Testing

@testable import Reporting

@Suite("How near the sensor came to its limits")
struct HealthTests {
  @Test("only what passed its threshold is warned of, with the option that moves it")
  func warnings() {
    #expect(
      Sample.health(named: "x").warnings == [
        "The ring for files of CPU 1 was filled to 94 % of its 64.0 KiB; --ring-size bulk=128K gives a run twice the room.",
        "The kernel map \u{201C}processes\u{201D} was filled to 81 % of its 1,000 entries; --map-size processes=2000 "
          + "gives a run twice the room.",
      ])
    #expect(SensorHealth().warnings == [])
  }

  @Test("a warning is no verdict, and is in every report")
  func everywhere() {
    let input = Sample.input()
    #expect(Judgement(of: input).verdict == .clean)
    let warning = "was filled to 94 % of its 64.0 KiB"
    #expect(JSONReport.write(input).text.contains(warning))
    #expect(HTMLReport.write(input).text.contains(warning))
    #expect(MarkdownReport.write(input).text.contains("of its 64.0 KiB"))
    #expect(TerminalSummary.write(input, reportDirectory: nil, colour: false).text.contains(warning))
  }

  @Test("a ring of the greatest size has no greater one to offer")
  func greatest() {
    var health = SensorHealth()
    health.rings = [.init(cpu: nil, capacity: 1 << 30, available: 0, highWater: 1 << 30)]
    #expect(health.warnings == ["The ring for processes and network was filled to 100 % of its 1.0 GiB."])
    health.rings[0].capacity = 512 << 20
    health.rings[0].highWater = 512 << 20
    #expect(health.warnings[0].contains("--ring-size critical=1G"))
  }

  @Test("no capacity, no entries, no division by it")
  func zero() {
    #expect(SensorHealth.Map(name: "m", capacity: 0, used: 0, highWater: 5).highWaterPercent == 0)
    #expect(SensorHealth.Ring(cpu: nil, capacity: 0, available: 0, highWater: 5).highWaterPercent == 0)
  }
}
