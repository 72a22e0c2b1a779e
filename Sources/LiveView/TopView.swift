internal import KernelSensor
internal import Reporting

/// Draws `martlet top`.
///
///     martlet top  19:40:12  martlet's programs, every 1.0 s, by CPU
///     27 programs, 34,512 runs/s, 1.3 % of one CPU (2 CPUs)
///
///     martlet 4711  12,300 records/s, none lost  job 1: 12 processes, 34 s
///     RING          SIZE WAITING    HIGH    MAP            ENTRIES    LIMIT   FULL
///     critical     8 MiB   0.0 %   1.2 %    processes           12   32,768  0.0 %
///     …
///          ID TYPE               NAME                        RUNS/S   NS/RUN   CPU%
///         812 tracing            sys_exit                    34,000      210   0.71
public enum TopView {
  /// - Parameters:
  ///   - width: columns of the screen.
  ///   - height: its lines; nil for as many as it takes.
  /// - Returns: what to show, and how many lines of programs fit.
  public static func draw(
    _ snapshot: TopSnapshot, _ state: TopState, width: Int, height: Int?
  ) -> (canvas: Canvas, page: Int) {
    var canvas = Canvas(width: width)
    header(snapshot, state, into: &canvas)
    if state.showsHelp {
      for line in help { canvas.line((line, .plain)) }
      return (canvas, 1)
    }
    // The programs keep at least half of the screen.
    var room = height.map { max(0, $0 / 2 - canvas.count - 1) } ?? .max
    for watcher in snapshot.watchers where room > 2 {
      let part = draw(watcher, now: snapshot.now, width: width, room: room)
      canvas.append(part)
      room -= part.count
    }
    if snapshot.watchers.isEmpty, !state.showsAll {
      canvas.line(("No martlet is watching anything here; a shows the programs of others.", .dim))
    }
    let footer = height.map { $0 >= 12 } ?? false
    let page = height.map { max(1, $0 - canvas.count - (footer ? 2 : 1)) } ?? .max
    programs(state.sorted(snapshot.rates), state, page: page, into: &canvas)
    if footer, let height {
      canvas.fill(to: height - 1)
      canvas.line((hint, .dim))
    }
    return (canvas, page)
  }

  private static let hint = "q quit  space pause  c e t n i sort  r reverse  a all  + - interval  ? help"

  private static let help = [
    "", "  q          quit                      space, p   pause",
    "  c          sort by CPU               +, -       longer, shorter interval",
    "  e          by runs a second          a          all programs, or martlet's",
    "  t          by time of a run          up, down   scroll; also j, k, page up and",
    "  n, i       by name, by id                       page down, home, end",
    "  <, >       by the column beside      r          reverse the order", "",
    "  WAITING    of a ring's bytes, those that martlet has not read yet",
    "  HIGH       the most that was seen waiting since this top began",
    "  RUNS/S     runs of the program, tail calls with their caller",
    "  CPU%       of one CPU", "", "  Any key goes back.",
  ]

  private static func header(_ snapshot: TopSnapshot, _ state: TopState, into canvas: inout Canvas) {
    let scope = state.showsAll ? "all programs" : "martlet's programs"
    let order = state.isReversed ? "\(label(state.order)), reversed" : label(state.order)
    let every = "every \(fixed(Double(state.interval) / 1000, 1)) s"
    canvas.line(
      ("martlet top", .bold), ("  \(snapshot.clock)  \(scope), \(every), by \(order)", .plain),
      (state.isPaused ? "  PAUSED" : "", .warning))
    let shown = state.sorted(snapshot.rates)
    let runs = shown.reduce(0) { $0 + $1.runsPerSecond }
    let percent = shown.reduce(0) { $0 + $1.cpuPercent }
    let cpus = Units.count(snapshot.cpuCount, "CPU", "CPUs")
    canvas.line(
      (
        "\(Units.count(shown.count, "program", "programs")), \(rate(runs)) runs/s, \(fixed(percent, 2)) % of one CPU "
          + "(\(cpus))", .plain
      ))
  }

  private static func label(_ order: TopState.Order) -> String {
    switch order {
    case .id: "id"
    case .type: "type"
    case .name: "name"
    case .events: "runs/s"
    case .time: "ns/run"
    case .cpu: "CPU"
    }
  }

  // MARK: - One martlet

  private static let ringColumns = 38

  private static func draw(_ watcher: TopSnapshot.Watcher, now: UInt64, width: Int, room: Int) -> Canvas {
    var canvas = Canvas(width: width)
    let name = watcher.process.map { "martlet \($0)" } ?? "martlet"
    let lost = watcher.lost
    canvas.line(
      (name, .bold), ("  \(rate(watcher.recordsPerSecond)) records/s, ", .plain),
      (lost == 0 ? "none lost" : "\(Units.grouped(lost)) LOST", lost == 0 ? .plain : .alarm),
      ("  \(jobs(watcher.jobs, now: now))", .plain))
    let rows = max(2, room - 1)
    let rings = rings(watcher.status.rings, rows: rows)
    let maps = maps(watcher.status.maps, width: max(1, width - ringColumns), rows: rows)
    var tables = rings
    if width >= ringColumns + 40 { tables.append(maps, at: ringColumns) }
    canvas.append(tables)
    return canvas
  }

  private static func jobs(_ jobs: [RunningSensor.Job], now: UInt64) -> String {
    guard let first = jobs.first else { return "no processes" }
    if jobs.count > 1 {
      let processes = jobs.reduce(0) { $0 + $1.processes }
      return "\(Units.count(jobs.count, "job", "jobs")), \(Units.count(processes, "process", "processes"))"
    }
    let age = Units.duration(now - min(first.oldest, now))
    return "job \(first.number): \(Units.count(first.processes, "process", "processes")), \(age)"
  }

  /// The fullest first where not all fit; the critical one is always there.
  private static func rings(_ rings: [SensorStatus.Ring], rows: Int) -> Canvas {
    var canvas = Canvas(width: ringColumns)
    canvas.line(("RING".left(10) + "SIZE".right(9) + "WAITING".right(9) + "HIGH".right(8), .heading))
    var shown = rings
    if rings.count > rows - 1 {
      let bulk = rings.dropFirst().sorted { $0.statistics.highWater > $1.statistics.highWater }
      shown = Array(rings.prefix(1) + bulk.prefix(max(0, rows - 3)))
    }
    for ring in shown {
      let (now, high) = (share(ring.statistics.available, ring), share(ring.statistics.highWater, ring))
      let name = ring.cpu.map { "bulk \($0)" } ?? "critical"
      canvas.line(
        (name.left(10) + Units.bytes(UInt64(ring.statistics.capacity)).right(9), .plain),
        (percent(now).right(9), style(now, warning: 50)), (percent(high).right(8), style(high, warning: 50)))
    }
    if shown.count < rings.count { canvas.line(("and \(rings.count - shown.count) less full", .dim)) }
    return canvas
  }

  private static func share(_ bytes: Int, _ ring: SensorStatus.Ring) -> Double {
    Double(bytes) / Double(max(1, ring.statistics.capacity)) * 100
  }

  private static func maps(_ maps: [MapStatistics], width: Int, rows: Int) -> Canvas {
    var canvas = Canvas(width: width)
    canvas.line(("MAP".left(12) + "ENTRIES".right(9) + "LIMIT".right(10) + "FULL".right(8), .heading))
    // Those with a limit, and any that refused something.
    for map in maps.filter({ $0.capacity != nil || $0.refused > 0 }).prefix(max(0, rows - 1)) {
      let full = map.fill.map { $0 * 100 }
      canvas.line(
        (
          map.name.left(12) + (map.used.map { Units.grouped($0) } ?? "-").right(9)
            + (map.capacity.map { Units.grouped($0) } ?? "-").right(10), .plain
        ),
        (
          map.refused > 0 ? "REFUSED".right(8) : (full.map(percent) ?? "-").right(8),
          map.refused > 0 ? .alarm : style(full ?? 0, warning: 80)
        ))
    }
    return canvas
  }

  private static func style(_ percent: Double, warning: Double) -> Canvas.Style {
    percent >= 95 ? .alarm : percent >= warning ? .warning : .plain
  }

  // MARK: - Programs

  private static func programs(_ rates: [ProgramRate], _ state: TopState, page: Int, into canvas: inout Canvas) {
    // The widths of the others are fixed; the name has the rest.
    let nameWidth = max(8, canvas.width - 7 - 1 - 18 - 1 - 11 - 10 - 8)
    canvas.line(
      (
        "ID".right(7) + " " + "TYPE".left(18) + " " + "NAME".left(nameWidth) + "RUNS/S".right(11) + "NS/RUN".right(10)
          + "CPU%".right(8), .heading
      ))
    let first = min(state.scroll, max(0, rates.count - page))
    for rate in rates.dropFirst(first).prefix(page) {
      let program = rate.program
      canvas.line(
        (
          "\(program.id)".right(7) + " " + program.type.left(18) + " " + program.name.left(nameWidth)
            + Self.rate(rate.runsPerSecond).right(11)
            + (rate.nanosecondsPerRun.map { Units.grouped(UInt64($0.rounded())) } ?? "-").right(10)
            + fixed(rate.cpuPercent, 2).right(8), rate.runsPerSecond == 0 ? .dim : .plain
        ))
    }
  }

  // MARK: - Numbers

  /// Whole numbers from 10 on.
  static func rate(_ value: Double) -> String {
    value == 0 ? "0" : value < 10 ? fixed(value, 1) : Units.grouped(UInt64(min(value, 1e15).rounded()))
  }

  static func percent(_ value: Double) -> String { fixed(value, 1) + " %" }

  /// With so many digits behind the point.
  static func fixed(_ value: Double, _ places: Int) -> String {
    let scale: UInt64 = places == 1 ? 10 : 100
    let scaled = UInt64((min(max(0, value), 1e12) * Double(scale)).rounded())
    let digits = String(scaled % scale)
    return "\(Units.grouped(scaled / scale)).\(String(repeating: "0", count: places - digits.utf8.count))\(digits)"
  }
}
