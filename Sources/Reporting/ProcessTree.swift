internal import Jobs
internal import Observation

/// The processes of a snapshot as a forest, whatever ids and parents it holds: each process stands in it once.
///
/// A process whose parent is not in the snapshot, or whose ancestors form a circle, becomes a root. All work is
/// linear and none is recursive: a job can make a chain of processes as long as it likes.
struct ProcessTree {
  let processes: [ProcessSummary]
  /// Indices into `processes`.
  private(set) var roots: [Int] = []
  private(set) var children: [[Int]]
  /// The number of processes below each, itself not counted.
  private(set) var descendants: [Int]
  /// Which process' image, and which of its images, each ran last; nil if no exec was seen among its ancestors.
  private var images: [(process: Int, image: Int)?]
  private var indices: [UInt32: Int] = [:]

  init(_ processes: [ProcessSummary]) {
    self.processes = processes
    children = Array(repeating: [], count: processes.count)
    descendants = Array(repeating: 0, count: processes.count)
    images = Array(repeating: nil, count: processes.count)
    indices.reserveCapacity(processes.count)
    for (index, process) in processes.enumerated() where indices[process.id] == nil { indices[process.id] = index }
    for (index, process) in processes.enumerated() {
      if process.parent != 0, let parent = indices[process.parent], parent != index {
        children[parent].append(index)
      } else {
        roots.append(index)
      }
    }
    settle()
  }

  /// Visits every process from its root downwards, breaking circles, then sums up from the leaves.
  private mutating func settle() {
    var order: [Int] = []
    order.reserveCapacity(processes.count)
    var parents = [Int?](repeating: nil, count: processes.count)
    var isVisited = [Bool](repeating: false, count: processes.count)
    func visit(from root: Int, in children: inout [[Int]]) {
      isVisited[root] = true
      var next = order.count
      order.append(root)
      while next < order.count {
        let parent = order[next]
        next += 1
        children[parent].removeAll { isVisited[$0] }
        for child in children[parent] {
          isVisited[child] = true
          parents[child] = parent
          order.append(child)
        }
      }
    }
    for root in roots { visit(from: root, in: &children) }
    for index in processes.indices where !isVisited[index] {
      roots.append(index)
      visit(from: index, in: &children)
    }
    for index in order {
      if !processes[index].images.isEmpty {
        images[index] = (index, processes[index].images.count - 1)
      } else if let parent = parents[index] {
        images[index] = imageAtFork(of: index, parent: parent)
      }
    }
    for index in order.reversed() {
      if let parent = parents[index] { descendants[parent] += descendants[index] + 1 }
    }
  }

  /// What the parent ran when it made this process.
  private func imageAtFork(of index: Int, parent: Int) -> (process: Int, image: Int)? {
    let start = processes[index].startedAt
    if let last = processes[parent].images.lastIndex(where: { $0.at <= start }) { return (parent, last) }
    return processes[parent].images.isEmpty ? images[parent] : (parent, 0)
  }

  func index(ofProcess id: UInt32) -> Int? { indices[id] }

  /// The program that the process ran last, its own or the one that it inherited by fork.
  func image(_ index: Int) -> ImageSummary? {
    images[index].map { processes[$0.process].images[$0.image] }
  }

  /// What people would call the process: the script or program it ran, without its directory.
  func label(_ index: Int) -> String {
    guard let image = image(index) else { return "pid \(processes[index].pid)" }
    return image.executable.lastComponent
  }

  func label(ofProcess id: UInt32) -> String {
    guard let index = indices[id] else { return "process \(id)" }
    return label(index)
  }

  /// The arguments after the program's name, as a command line; empty for a process that never called exec.
  func argumentText(_ index: Int) -> String {
    guard let image = processes[index].images.last else { return "" }
    return CommandLine.text(image.arguments.dropFirst())
  }

  func duration(_ index: Int, until end: UInt64) -> UInt64 {
    let process = processes[index]
    let ended = process.endedAt ?? end
    return ended > process.startedAt ? ended - process.startedAt : 0
  }

  /// `398 more: cc ×190, sh ×8, with what they started`, for processes that are left out with all below them.
  func summary(ofOmitted omitted: some Sequence<Int>) -> String {
    var total = 0
    var direct = 0
    var counts: [String: Int] = [:]
    for index in omitted {
      direct += 1
      total += 1 + descendants[index]
      counts[VisibleText.terminal(label(index), limit: 24), default: 0] += 1
    }
    let common = counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.prefix(3)
    let names = common.map { "\($0.key) ×\($0.value)" }.joined(separator: ", ")
    let below = total > direct ? ", with what they started" : ""
    return "\(Units.grouped(total)) more: \(names)\(counts.count > 3 ? ", …" : "")\(below)"
  }

  /// Processes that neither returned 0 nor still run.
  var failures: Int {
    processes.count { $0.waitStatus.map { !ExitStatus(waitStatus: $0).isSuccess } ?? false }
  }
}
