public import KernelSensor

/// What the user of `martlet top` has chosen, changed by keys.
public struct TopState: Sendable, Equatable {
  /// What the programs are sorted by.
  public enum Order: CaseIterable, Sendable {
    case id, type, name, events, time, cpu
  }

  public enum Action: Sendable, Equatable {
    case nothing, redraw, quit
  }

  public var order = Order.cpu
  public var isReversed = false
  /// Programs of others, too.
  public var showsAll: Bool
  public var isPaused = false
  public var showsHelp = false
  /// Milliseconds between two samples.
  public var interval: Int
  /// Programs above the first that is shown.
  public var scroll = 0

  /// What ``interval`` can be.
  public static let intervals = 100...60_000

  public init(showsAll: Bool = false, interval: Int = 1000) {
    self.showsAll = showsAll
    self.interval = min(max(interval, Self.intervals.lowerBound), Self.intervals.upperBound)
  }

  /// - Parameter page: lines of programs that fit on the screen.
  public mutating func handle(_ key: Key, page: Int) -> Action {
    if showsHelp {
      showsHelp = false
      return key == .character("q") ? .quit : .redraw
    }
    switch key {
    case .character("q"), .character("Q"): return .quit
    case .character("c"), .character("P"): sort(by: .cpu)
    case .character("e"): sort(by: .events)
    case .character("t"), .character("T"): sort(by: .time)
    case .character("n"): sort(by: .name)
    case .character("i"), .character("N"): sort(by: .id)
    case .character("<"): moveOrder(by: -1)
    case .character(">"): moveOrder(by: 1)
    case .character("r"), .character("R"): isReversed.toggle()
    case .character("a"):
      showsAll.toggle()
      scroll = 0
    case .character("p"), .character(" "): isPaused.toggle()
    case .character("+"), .character("="): changeInterval(longer: true)
    case .character("-"): changeInterval(longer: false)
    case .character("?"), .character("h"): showsHelp = true
    case .up, .character("k"): scroll = max(0, scroll - 1)
    case .down, .character("j"): scroll += 1
    case .pageUp: scroll = max(0, scroll - max(1, page))
    case .pageDown: scroll += max(1, page)
    case .home: scroll = 0
    case .end: scroll = .max / 2
    case .escape, .character: return .nothing
    }
    return .redraw
  }

  private mutating func sort(by order: Order) {
    if self.order == order { isReversed.toggle() } else { (self.order, isReversed) = (order, false) }
  }

  private mutating func moveOrder(by step: Int) {
    let all = Order.allCases
    let index = (all.firstIndex(of: order) ?? 0) + step
    if all.indices.contains(index) { (order, isReversed) = (all[index], false) }
  }

  private mutating func changeInterval(longer: Bool) {
    let steps = [100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000]
    let next = longer ? steps.first { $0 > interval } : steps.last { $0 < interval }
    interval = next ?? interval
  }

  /// The programs to show, in order: numbers from the greatest, names from the first letter.
  public func sorted(_ rates: [ProgramRate]) -> [ProgramRate] {
    let chosen = showsAll ? rates : rates.filter(\.program.isMartlets)
    func by<Value: Comparable>(_ value: (ProgramRate) -> Value, ascending: Bool) -> [ProgramRate] {
      // Equal ones stay where they are, by their ids.
      chosen.sorted { a, b in
        let (left, right) = (value(a), value(b))
        if left == right { return a.program.id < b.program.id }
        return (left < right) == (ascending != isReversed)
      }
    }
    switch order {
    case .id: return by(\.program.id, ascending: true)
    case .type: return by(\.program.type, ascending: true)
    case .name: return by(\.program.name, ascending: true)
    case .events: return by(\.runsPerSecond, ascending: false)
    case .time: return by({ $0.nanosecondsPerRun ?? -1 }, ascending: false)
    case .cpu: return by(\.cpuPercent, ascending: false)
    }
  }
}
