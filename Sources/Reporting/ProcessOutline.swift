internal import Jobs

/// The process tree as lines of text: the first levels, a few children of each, and a count of what is left out.
struct ProcessOutline {
  private let tree: ProcessTree
  private let endedAt: UInt64
  private let budget: Int
  private let maximumDepth = 7
  private let maximumChildren = 16
  private let maximumAlike = 3
  private let maximumLines = 120
  private var lines: [String] = []
  private var bytes = 0
  private var isFull: Bool { bytes > budget || lines.count >= maximumLines }

  /// - Parameter budget: bytes after which no process is added; the lines end within 2 KiB above it.
  init(tree: ProcessTree, endedAt: UInt64, budget: Int) {
    self.tree = tree
    self.endedAt = endedAt
    self.budget = budget - 2048
  }

  mutating func write() -> [String] {
    append(tree.roots, prefix: "", depth: 0)
    return lines
  }

  /// Recursion ends at `maximumDepth`.
  private mutating func append(_ siblings: [Int], prefix: String, depth: Int) {
    let isRoot = depth == 0
    let chosen = choose(siblings)
    var omitted = chosen.omitted
    for (position, index) in chosen.shown.enumerated() {
      if isFull {
        omitted += chosen.shown[position...]
        break
      }
      let isLast = omitted.isEmpty && position == chosen.shown.count - 1
      add(prefix + (isRoot ? "" : isLast ? "└─ " : "├─ ") + describe(index))
      let children = tree.children[index]
      if children.isEmpty { continue }
      let inner = prefix + (isRoot ? "" : isLast ? "   " : "│  ")
      if depth + 1 >= maximumDepth {
        add(inner + "└─ … " + tree.summary(ofOmitted: children))
      } else {
        append(children, prefix: inner, depth: depth + 1)
      }
    }
    // Once the budget is gone only the levels above add a line each, of at most 150 bytes or so.
    if !omitted.isEmpty { add(prefix + (isRoot ? "" : "└─ ") + "… " + tree.summary(ofOmitted: omitted)) }
  }

  /// A hundred compilations tell no more than three, but one that failed tells much: of each program the first few
  /// are shown, and all that did not end well, up to a limit.
  private func choose(_ siblings: [Int]) -> (shown: [Int], omitted: [Int]) {
    if siblings.count <= maximumAlike { return (siblings, []) }
    var alike: [String: Int] = [:]
    var shown: [Int] = []
    var omitted: [Int] = []
    for index in siblings {
      let label = tree.label(index)
      alike[label, default: 0] += 1
      let isOrdinary = tree.processes[index].waitStatus == 0
      let isWanted = alike[label, default: 0] <= (isOrdinary ? maximumAlike : maximumChildren)
      if isWanted, shown.count < maximumChildren { shown.append(index) } else { omitted.append(index) }
    }
    return (shown, omitted)
  }

  private mutating func add(_ line: String) {
    lines.append(line)
    bytes += line.utf8.count + 1
  }

  private func describe(_ index: Int) -> String {
    let process = tree.processes[index]
    var line = MarkdownText.line(tree.label(index), limit: 40)
    let arguments = tree.argumentText(index)
    if !arguments.isEmpty { line += " " + MarkdownText.line(arguments, limit: 72) }
    line += "  (\(Units.duration(tree.duration(index, until: endedAt)))"
    if let waitStatus = process.waitStatus {
      let status = ExitStatus(waitStatus: waitStatus)
      if !status.isSuccess { line += ", \(status.text)" }
    } else {
      line += ", still running"
    }
    return line + ")"
  }
}
