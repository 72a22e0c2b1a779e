import ArgumentParser
import Glibc
import KernelSensor
import LiveView
import Observation
import Recording

/// `martlet top`.
struct TopCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "top",
    abstract: "Shows live what BPF programs cost, and how full a running martlet's rings and maps are.",
    discussion: """
      On a terminal it refreshes until q is pressed; ? lists the keys. Elsewhere it prints one sample and ends. The \
      kernel counts the programs' run time only while somebody looks, which costs each run some 70 ns, and stops when \
      this ends, however it ends. Needs root.
      """)

  @Flag(name: [.short, .long], help: "All BPF programs of the system, not just martlet's.")
  var all = false

  @Flag(help: "Print one sample as JSON and end.")
  var json = false

  @Option(
    name: [.customShort("d"), .long],
    help: ArgumentHelp("Seconds between two samples, from 0.1 to 60.", valueName: "seconds"))
  var interval = 1.0

  @Option(
    name: [.customShort("n"), .long],
    help: ArgumentHelp("End after so many samples. Default: 1 where there is no terminal.", valueName: "count"))
  var iterations: Int?

  func validate() throws {
    guard interval >= 0.1, interval <= 60 else { throw ValidationError("--interval takes 0.1 to 60 seconds") }
    if let iterations, iterations < 1 { throw ValidationError("--iterations takes 1 or more") }
  }

  func run() throws {
    do {
      let state = TopState(showsAll: all, interval: Int((interval * 1000).rounded()))
      let top = try Top(state: state)
      if !json, isatty(STDIN_FILENO) == 1, let screen = Screen() {
        try top.run(on: screen, iterations: iterations)
      } else {
        for _ in 0..<(json ? 1 : iterations ?? 1) { try top.print(asJSON: json) }
      }
    } catch let error as SensorError {
      Message.say("\(error)")
      throw ExitCode.martletFailed
    }
  }
}

/// What `martlet top` keeps between two samples.
private final class Top {
  private var state: TopState
  private let statistics: RunTimeStatistics
  private var census = ProgramCensus()
  private var sensors: [RunningSensor] = []
  /// The sample before.
  private var before: ProgramSample
  private var sentBefore: [Set<UInt32>: UInt64] = [:]
  private let cpuCount = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
  private var decoder = KeyDecoder()

  /// Rings are looked at so often in an interval, for their high-water marks.
  private static let looks = 20

  init(state: TopState) throws(SensorError) {
    self.state = state
    statistics = try RunTimeStatistics()
    before = try census.take()
    find(in: before)
  }

  /// Notes where the counts of each sensor stand.
  private func find(in sample: ProgramSample) {
    sensors = RunningSensor.find(in: sample, known: sensors)
  }

  /// What happened since the sample before.
  private func sample() throws(SensorError) -> (TopSnapshot, seconds: Double) {
    let now = try census.take()
    let seconds = Double(now.at - before.at) / 1e9
    find(in: now)
    var watchers: [TopSnapshot.Watcher] = []
    var sentNow: [Set<UInt32>: UInt64] = [:]
    for sensor in sensors {
      let status = try sensor.status()
      let sent = status.counters.types.reduce(0) { $0 &+ $1.sent }
      sentNow[sensor.maps] = sent
      let old = sentBefore[sensor.maps] ?? sent
      watchers.append(
        TopSnapshot.Watcher(
          process: sensor.process, status: status, jobs: sensor.jobs(),
          recordsPerSecond: Double(sent - min(old, sent)) / max(seconds, 0.001)))
    }
    sentBefore = sentNow
    let snapshot = TopSnapshot(
      clock: Self.clock, now: now.at, cpuCount: cpuCount, rates: ProgramRate.rates(from: before, to: now),
      watchers: watchers)
    before = now
    return (snapshot, seconds)
  }

  // MARK: - Without a terminal

  func print(asJSON: Bool) throws {
    for sensor in sensors { sentBefore[sensor.maps] = try sensor.status().counters.types.reduce(0) { $0 &+ $1.sent } }
    for _ in 0..<Self.looks {
      usleep(UInt32(state.interval * 1000 / Self.looks))
      for sensor in sensors { sensor.look() }
    }
    let (snapshot, seconds) = try sample()
    let bytes =
      asJSON
      ? TopJSON.write(snapshot, state, seconds: seconds)
      : Array(TopView.draw(snapshot, state, width: 100, height: nil).canvas.text.utf8)
    _ = bytes.withUnsafeBytes { Message.write($0, to: STDOUT_FILENO) }
  }

  // MARK: - On a terminal

  func run(on screen: Screen, iterations: Int?) throws {
    try screen.enter()
    defer { screen.leave() }
    var (snapshot, _) = try sample()
    var page = draw(snapshot, on: screen)
    var left = iterations ?? .max
    var due = Clock.boottime + UInt64(state.interval) * 1_000_000
    while left > 0 {
      let now = Clock.boottime
      let rest = due > now ? (due - now) / 1_000_000 + 1 : 0
      let step = UInt64(max(10, state.interval / Self.looks))
      switch screen.wait(milliseconds: Int32(clamping: state.isPaused ? 60_000 : min(rest, step))) {
      case .keys(let bytes):
        let interval = state.interval
        let wasPaused = state.isPaused
        for key in decoder.decode(bytes) where state.handle(key, page: page) == .quit { return }
        if state.interval != interval || (wasPaused && !state.isPaused) {
          due = Clock.boottime + UInt64(state.interval) * 1_000_000
        }
        page = draw(snapshot, on: screen)
      case .redraw: page = draw(snapshot, on: screen)
      case .ended: return
      case .time:
        if state.isPaused { continue }
        for sensor in sensors { sensor.look() }
        guard Clock.boottime >= due else { continue }
        (snapshot, _) = try sample()
        page = draw(snapshot, on: screen)
        due = Clock.boottime + UInt64(state.interval) * 1_000_000
        left -= 1
      }
    }
  }

  private func draw(_ snapshot: TopSnapshot, on screen: Screen) -> Int {
    let size = screen.size
    let (canvas, page) = TopView.draw(snapshot, state, width: size.columns, height: size.rows)
    // So that the way back from the end is as long as it looks.
    state.scroll = min(state.scroll, max(0, state.sorted(snapshot.rates).count - page))
    screen.show(canvas)
    return page
  }

  private static var clock: String {
    var now = time(nil)
    var parts = tm()
    localtime_r(&now, &parts)
    func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
    return "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))"
  }
}
