import Observation
import Testing

@testable import KernelSensor
@testable import LiveView

private func rate(
  _ id: UInt32, _ name: String, type: String = "tracing", runs: Double = 0, time: Double? = nil, cpu: Double = 0,
  own: Bool = true
) -> ProgramRate {
  ProgramRate(
    program: ProgramStatistics(id: id, name: name, type: type, isMartlets: own), runsPerSecond: runs,
    nanosecondsPerRun: time, cpuPercent: cpu)
}

private func ring(_ cpu: Int?, _ highWater: Int = 0) -> SensorStatus.Ring {
  SensorStatus.Ring(
    cpu: cpu, statistics: RingStatistics(capacity: 1 << 20, available: highWater / 2, highWater: highWater))
}

private func watcher(rings: [SensorStatus.Ring]) -> TopSnapshot.Watcher {
  var lost = SensorCounters.Row()
  lost.lost = 1234
  let status = SensorStatus(
    counters: SensorCounters(types: [lost], mapFull: [0, 0, 3]), rings: rings,
    maps: [
      MapStatistics(name: "tags", capacity: nil, used: 12, refused: 0),
      MapStatistics(name: "processes", capacity: 1000, used: 900, refused: 0),
      MapStatistics(name: "writers", capacity: 1000, used: nil, refused: 3),
    ])
  return TopSnapshot.Watcher(
    process: 4711, status: status,
    jobs: [.init(number: 1)], recordsPerSecond: 12_345)
}

private let programs = [
  rate(1, "slow", runs: 10, time: 5000, cpu: 0.5), rate(2, "busy", runs: 9000, time: 100, cpu: 12.25),
  rate(3, "idle"), rate(4, "other", type: "kprobe", runs: 100_000, time: 10, cpu: 99, own: false),
]

private func snapshot(_ watchers: [TopSnapshot.Watcher] = [], rates: [ProgramRate] = programs) -> TopSnapshot {
  TopSnapshot(clock: "19:40:12", now: 0, cpuCount: 2, rates: rates, watchers: watchers)
}

@Suite("What top shows")
struct TopViewTests {
  @Test("fits every size of the screen", arguments: [(80, 24), (40, 10), (200, 60), (1, 1), (80, 5), (20, 3)])
  func fits(width: Int, height: Int) {
    let rings = [ring(nil)] + (0..<64).map { ring($0, $0 * 1000) }
    var state = TopState(showsAll: true)
    for help in [false, true] {
      state.showsHelp = help
      let (canvas, page) = TopView.draw(
        snapshot([watcher(rings: rings), watcher(rings: rings)]), state, width: width, height: height)
      #expect(page >= 1)
      #expect(canvas.text.split(separator: "\n").allSatisfy { $0.count <= width })
      // What is behind the last line of the screen is not sent.
      let frame = canvas.frame(height: height, .colour)
      #expect(frame.split(separator: "\r\n", omittingEmptySubsequences: false).count <= height)
    }
  }

  @Test("in 80 columns and 24 lines there is room for the programs and the keys")
  func usual() {
    let (canvas, page) = TopView.draw(
      snapshot([watcher(rings: [ring(nil, 1 << 19), ring(0, 1024), ring(1)])]), TopState(), width: 80, height: 24)
    let lines = canvas.text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    #expect(page >= 11)
    #expect(lines[0] == "martlet top  19:40:12  martlet's programs, every 1.0 s, by CPU")
    #expect(lines[1] == "3 programs, 9,010 runs/s, 12.75 % of one CPU (2 CPUs)")
    #expect(lines[2].hasPrefix("martlet 4711  12,345 records/s, 1,234 LOST  job 1: 0 processes"))
    #expect(lines[4].hasPrefix("critical    1.0 MiB   25.0 %  50.0 %"))
    #expect(lines[4].contains("processes         900     1,000  90.0 %"))
    #expect(lines[5].contains("writers             -     1,000 REFUSED"))
    let busy = lines.first { $0.contains("busy") }
    #expect(busy?.split(separator: " ").map(String.init) == ["2", "tracing", "busy", "9,000", "100", "12.25"])
    #expect(!canvas.text.contains("other"))
    #expect(lines[23].hasPrefix("q quit"))
  }

  @Test("of many rings the fullest are shown, and the rest is counted")
  func manyRings() {
    let rings = [ring(nil)] + (0..<64).map { ring($0, $0 * 1000) }
    let text = TopView.draw(snapshot([watcher(rings: rings)]), TopState(), width: 80, height: 24).canvas.text
    #expect(text.contains("critical") && text.contains("bulk 63") && !text.contains("bulk 1 "))
    #expect(text.contains("less full"))
  }

  @Test("says so where no martlet is running")
  func nobody() {
    let text = TopView.draw(snapshot(), TopState(), width: 80, height: 24).canvas.text
    #expect(text.contains("No martlet is watching anything here"))
  }

  @Test("names cannot reach the terminal as anything but text")
  func hostileNames() {
    let bad = rate(9, "\u{1b}[2J\u{202e}\u{9b}31mäöü\n", runs: 1)
    let (canvas, _) = TopView.draw(snapshot(rates: [bad]), TopState(), width: 80, height: 24)
    #expect(canvas.text.contains(" ?[2J??31m???? "))
    #expect(canvas.text.utf8.allSatisfy { $0 == 10 || (32..<127).contains($0) })
  }

  @Test("without colour there is none, and without a terminal no escape sequence at all")
  func colours() {
    let (canvas, _) = TopView.draw(
      snapshot([watcher(rings: [ring(nil, 1 << 20)])]), TopState(), width: 80, height: 24)
    let colour = canvas.frame(height: 24, .colour)
    let plain = canvas.frame(height: 24, .monochrome)
    #expect(colour.contains("\u{1b}[1;31m") && colour.contains("\u{1b}[7m"))
    #expect(!plain.contains("\u{1b}[1;31m") && !plain.contains("\u{1b}[33m") && plain.contains("\u{1b}[7m"))
    #expect(!canvas.frame(height: 24, .text).contains("\u{1b}[7m"))
    #expect(!canvas.text.contains("\u{1b}"))
  }

  @Test(
    "numbers",
    arguments: [
      (0, "0"), (0.04, "0.0"), (9.96, "10.0"), (10, "10"), (1234.5, "1,235"), (.infinity, "1,000,000,000,000,000"),
    ])
  func numbers(value: Double, text: String) { #expect(TopView.rate(value) == text) }
}

@Suite("What keys do in top")
struct TopStateTests {
  private func names(_ keys: String) -> [String] {
    var state = TopState(showsAll: true)
    for key in keys { _ = state.handle(.character(key), page: 10) }
    return state.sorted(programs).map(\.program.name)
  }

  @Test(
    "sorting",
    arguments: [
      ("", "other busy slow idle"), ("e", "other busy slow idle"), ("t", "slow busy other idle"),
      ("n", "busy idle other slow"), ("i", "slow busy idle other"), ("ii", "other idle busy slow"),
      ("r", "idle slow busy other"), ("<", "slow busy other idle"), ("<<", "other busy slow idle"),
      (">", "other busy slow idle"), ("<<<<<<<<", "slow busy idle other"), ("<<<<", "other slow busy idle"),
    ])
  func sorting(keys: String, order: String) { #expect(names(keys).joined(separator: " ") == order) }

  @Test func others() { #expect(names("a") == ["busy", "slow", "idle"]) }

  @Test func quitting() {
    var state = TopState()
    #expect(state.handle(.character("q"), page: 1) == .quit)
    #expect(state.handle(.character("?"), page: 1) == .redraw)
    #expect(state.showsHelp)
    #expect(state.handle(.character("a"), page: 1) == .redraw)
    #expect(!state.showsHelp && !state.showsAll)
    #expect(state.handle(.character("x"), page: 1) == .nothing)
  }

  @Test func intervalsAndPause() {
    var state = TopState(interval: 1)
    #expect(state.interval == 100)
    for _ in 0..<20 { _ = state.handle(.character("+"), page: 1) }
    #expect(state.interval == 60_000)
    for _ in 0..<3 { _ = state.handle(.character("-"), page: 1) }
    #expect(state.interval == 5000)
    _ = state.handle(.character(" "), page: 1)
    #expect(state.isPaused)
  }

  @Test func scrolling() {
    var state = TopState()
    for key in [Key.down, .pageDown, .up] { _ = state.handle(key, page: 10) }
    #expect(state.scroll == 10)
    _ = state.handle(.home, page: 10)
    _ = state.handle(.up, page: 10)
    #expect(state.scroll == 0)
    _ = state.handle(.end, page: 10)
    let rates = (1...100).map { rate(UInt32($0), "p\($0)") }
    let (canvas, page) = TopView.draw(snapshot(rates: rates), state, width: 80, height: 24)
    #expect(canvas.text.contains("p100") && !canvas.text.contains("p\(100 - page) "))
  }
}

@Suite("Keys from bytes")
struct KeyTests {
  private func decode(_ chunks: String...) -> [Key] {
    var decoder = KeyDecoder()
    return chunks.flatMap { decoder.decode(Array($0.utf8)) }
  }

  @Test func sequences() {
    #expect(
      decode("q\u{1b}[A\u{1b}OB\u{1b}[5~\u{1b}[6~\u{1b}[H\u{1b}[4~") == [
        .character("q"), .up, .down, .pageUp, .pageDown, .home, .end,
      ])
    #expect(decode("\u{1b}") == [.escape])
    #expect(decode("\u{1b}[", "A") == [.up])
    #expect(decode("\u{1b}q") == [.escape, .character("q")])
    #expect(decode("\u{1b}[1;5Aq") == [.up, .character("q")])
    // An unknown sequence, a mouse report, and text that is not ASCII.
    #expect(decode("\u{1b}[99~q") == [.character("q")])
    #expect(decode("ä\r\u{7f}q") == [.character("q")])
  }

  @Test("any bytes give keys or nothing, and a q behind them is a q")
  func total() {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<2000 {
      var decoder = KeyDecoder()
      let bytes = (0..<Int.random(in: 0...40, using: &generator)).map { _ in
        [0x1b, 0x5b, 0x4f, 0x3b, UInt8.random(in: 0...255, using: &generator)].randomElement() ?? 0
      }
      _ = decoder.decode(bytes)
      // Whatever has begun ends with the first letter, at the latest with the second.
      #expect(decoder.decode(Array("qqq".utf8)).last == .character("q"))
    }
  }
}

@Suite("Rates from two samples")
struct RateTests {
  private func program(_ id: UInt32, _ runs: UInt64, _ nanoseconds: UInt64, loadedAt: UInt64 = 1) -> ProgramStatistics {
    ProgramStatistics(id: id, name: "p", type: "t", loadedAt: loadedAt, runs: runs, nanoseconds: nanoseconds)
  }

  @Test func differences() {
    let earlier = ProgramSample(
      at: 1_000_000_000, programs: [program(1, 100, 5000), program(2, 7, 7), program(4, 50, 1)])
    let later = ProgramSample(
      at: 3_000_000_000,
      programs: [program(1, 300, 25_000), program(2, 7, 7), program(3, 10, 20_000_000), program(4, 5, 1, loadedAt: 2)])
    let rates = ProgramRate.rates(from: earlier, to: later)
    #expect(rates.map(\.runsPerSecond) == [100, 0, 5, 2.5])
    #expect(rates.map(\.nanosecondsPerRun) == [100, nil, 2_000_000, 0.2])
    #expect(rates[2].cpuPercent == 1)
    // The same moment, or a clock that went back, must not divide by nothing.
    #expect(ProgramRate.rates(from: later, to: earlier).allSatisfy { $0.cpuPercent.isFinite })
  }
}
