internal import Jobs

/// When the job was how busy: the number of processes that ran in each slice of its time.
struct Timeline {
  static let slices = 160
  /// The highest number of processes at once within each slice.
  private(set) var peaks: [Int]
  let start: UInt64
  let end: UInt64

  init(_ input: ReportInput) {
    start = input.startedAt
    // Processes that outlived the command may end after it.
    end = max(input.endedAt, input.startedAt + 1)
    peaks = Array(repeating: 0, count: Self.slices)
    var edges: [(at: UInt64, change: Int)] = []
    edges.reserveCapacity(input.snapshot.processes.count * 2)
    for process in input.snapshot.processes {
      let ended = process.endedAt ?? end
      guard process.startedAt <= ended else { continue }
      edges.append((process.startedAt, 1))
      edges.append((ended, -1))
    }
    // A process that starts as another ends does not run beside it.
    edges.sort { ($0.at, $0.change) < ($1.at, $1.change) }
    var running = 0
    var slice = 0
    for edge in edges {
      let next = index(edge.at)
      while slice < next {
        slice += 1
        peaks[slice] = max(peaks[slice], running)
      }
      running += edge.change
      peaks[slice] = max(peaks[slice], running)
    }
  }

  var peak: Int { peaks.max() ?? 0 }

  private func index(_ time: UInt64) -> Int {
    min(Self.slices - 1, permille(time) * Self.slices / 1000)
  }

  /// Where a moment lies between start and end, from 0 to 1000.
  func permille(_ time: UInt64) -> Int {
    if time <= start { return 0 }
    if time >= end { return 1000 }
    return Int((Double(time - start) / Double(end - start) * 1000).rounded(.down))
  }
}
