/// Keeps the agent below its ceilings: says what is to be given up, and what can be taken up again.
///
/// It knows no clock, no kernel and no job: once a second it is given figures, and what it decides depends on nothing else.
/// What is given up last is taken up first. Processes, connections and denials are never given up.
///
/// 1. Hashes, of all jobs.
/// 2. For CPU time, of the job that has had the most file events meanwhile: files that are opened to be read; then, if that is
///    not enough, all its file events; then the same of the next job. For memory, the job of which most is kept: what is kept
///    of it grows no more, which cannot be taken back.
struct Governor {
  struct Ceilings: Sendable, Equatable {
    /// CPUs: 0.5 is half of one; nil: no ceiling.
    var processors: Double?
    /// Bytes of the agent's own, without rings; nil: no ceiling.
    var memory: Int?

    var isNone: Bool { processors == nil && memory == nil }
  }

  enum Cause: String, Sendable { case cpu, memory }

  /// A job: its slot will be another's.
  struct JobID: Hashable, Sendable {
    var slot: UInt16
    var startedAt: UInt64
  }

  enum Measure: Hashable, Sendable {
    case hashes
    case reads(JobID)
    case files(JobID)
    case keeping(JobID)
  }

  struct Job {
    var id: JobID
    /// File events since it began, those that were left out, too.
    var events: UInt64
    /// That are kept of it.
    var bytes: Int
  }

  struct Figures {
    /// CLOCK_BOOTTIME.
    var at: UInt64
    /// CPU time of the agent since it began, in nanoseconds.
    var cpu: UInt64
    var memory: Int
    /// Whether there is anything to hash.
    var hashes: Bool
    var jobs: [Job]
  }

  struct Decision: Equatable {
    var measure: Measure
    var cause: Cause
    /// It is to begin; else to end.
    var begins: Bool
  }

  /// In force, in the order in which they began.
  private(set) var measures: [(measure: Measure, cause: Cause, since: UInt64)] = []
  /// CPUs that the agent took in the last window; nil: not known yet.
  private(set) var processors: Double?
  private(set) var memory = 0
  /// It is above a ceiling, and there is nothing left to give up.
  private(set) var isAtItsEnd = false

  let ceilings: Ceilings
  private var samples: [(at: UInt64, cpu: UInt64)] = []
  /// Events of each job when the window began.
  private var before: [JobID: UInt64] = [:]
  private var steppedForMemory: UInt64 = 0
  /// Since when it has been well below the ceiling, by cause; nil: it is not.
  private var calmSince: [Cause: UInt64] = [:]

  private static let second: UInt64 = 1_000_000_000
  /// Over which CPU time is measured, and the least of it that says something.
  static let window = 10 * second
  static let least = 5 * second
  /// Between two measures for memory: freed memory goes back once a second.
  static let pause = 2 * second
  /// How long it has to be calm before something is taken up again, and below which part of the ceiling that is.
  static let calm = 30 * second
  static let calmShare = 0.7

  init(_ ceilings: Ceilings) { self.ceilings = ceilings }

  /// - Parameter figures: later than the last ones
  mutating func step(_ figures: Figures) -> [Decision] {
    let living = Set(figures.jobs.map(\.id))
    measures.removeAll { Self.job(of: $0.measure).map { !living.contains($0) } ?? false }
    before = before.filter { living.contains($0.key) }
    memory = figures.memory
    isAtItsEnd = false
    return stepForMemory(figures) + stepForCPU(figures)
  }

  // MARK: - CPU time

  private mutating func stepForCPU(_ figures: Figures) -> [Decision] {
    samples.append((figures.at, figures.cpu))
    while samples.count > 2, figures.at &- samples[1].at >= Self.window { samples.removeFirst() }
    for job in figures.jobs where before[job.id] == nil { before[job.id] = 0 }
    guard let ceiling = ceilings.processors, let first = samples.first else { return [] }
    let time = figures.at &- first.at
    guard time >= Self.least else { return [] }
    let share = Double(figures.cpu &- first.cpu) / Double(time)
    processors = share
    if share > ceiling {
      calmSince[.cpu] = nil
      guard let measure = nextForCPU(figures) else {
        isAtItsEnd = true
        return []
      }
      return begin(measure, .cpu, figures)
    }
    return takeUp(.cpu, isCalm: share < ceiling * Self.calmShare, figures)
  }

  private func nextForCPU(_ figures: Figures) -> Measure? {
    if figures.hashes, !isInForce(.hashes) { return .hashes }
    let spending = figures.jobs.map { (id: $0.id, events: $0.events &- (before[$0.id] ?? 0)) }
      .filter { $0.events > 0 && !isInForce(.files($0.id)) }
    guard let most = spending.max(by: { ($0.events, $1.id.slot) < ($1.events, $0.id.slot) }) else { return nil }
    return isInForce(.reads(most.id)) ? .files(most.id) : .reads(most.id)
  }

  /// The next window says what came of it.
  private mutating func restart(_ figures: Figures) {
    samples = [(figures.at, figures.cpu)]
    before = Dictionary(figures.jobs.map { ($0.id, $0.events) }) { first, _ in first }
  }

  // MARK: - Memory

  private mutating func stepForMemory(_ figures: Figures) -> [Decision] {
    guard let ceiling = ceilings.memory else { return [] }
    guard figures.memory > ceiling else {
      return takeUp(.memory, isCalm: Double(figures.memory) < Double(ceiling) * Self.calmShare, figures)
    }
    calmSince[.memory] = nil
    guard steppedForMemory == 0 || figures.at &- steppedForMemory >= Self.pause else { return [] }
    let keeping = figures.jobs.filter { !isInForce(.keeping($0.id)) }
    let largest = keeping.max { ($0.bytes, $1.id.slot) < ($1.bytes, $0.id.slot) }
    guard let measure = figures.hashes && !isInForce(.hashes) ? .hashes : largest.map({ Measure.keeping($0.id) }) else {
      isAtItsEnd = true
      return []
    }
    steppedForMemory = figures.at
    return begin(measure, .memory, figures)
  }

  // MARK: - Measures

  private mutating func begin(_ measure: Measure, _ cause: Cause, _ figures: Figures) -> [Decision] {
    measures.append((measure, cause, figures.at))
    if cause == .cpu { restart(figures) }
    return [Decision(measure: measure, cause: cause, begins: true)]
  }

  /// What began last for this cause, and can end.
  private mutating func takeUp(_ cause: Cause, isCalm: Bool, _ figures: Figures) -> [Decision] {
    guard isCalm else {
      calmSince[cause] = nil
      return []
    }
    let since = calmSince[cause] ?? figures.at
    calmSince[cause] = since
    guard figures.at &- since >= Self.calm else { return [] }
    calmSince[cause] = figures.at
    let last = measures.lastIndex { entry in
      if case .keeping = entry.measure { return false }
      return entry.cause == cause
    }
    guard let last else { return [] }
    return [Decision(measure: measures.remove(at: last).measure, cause: cause, begins: false)]
  }

  private func isInForce(_ measure: Measure) -> Bool { measures.contains { $0.measure == measure } }

  private static func job(of measure: Measure) -> JobID? {
    switch measure {
    case .hashes: nil
    case .reads(let job), .files(let job), .keeping(let job): job
    }
  }
}
