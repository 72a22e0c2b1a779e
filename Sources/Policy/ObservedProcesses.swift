/// Who was who: images, and what they descend from.
final class ObservedProcesses {
  private struct Process {
    var parent: UInt64
    var startedAt: String
    var images: [(id: UInt64, at: String, executable: String)]
    /// What its parent had, where it executed nothing.
    var executable: String
    var step: Whereabouts<String>
    var container: Whereabouts<ImageReference>
  }

  private var processes: [UInt64: Process] = [:]
  private(set) var firstExecutable: String?
  /// Of those that were asked for before: a file may have had hundreds of readers.
  private var known: [ImageKey: Actor] = [:]
  /// Equal actors have one number, so that events are told apart without a look at all that these come from.
  private var numbers: [PolicyActor: Int] = [:]

  struct Actor {
    var number: Int
    var actor: PolicyActor
  }

  private struct ImageKey: Hashable {
    var process: UInt64
    var image: UInt64?
  }

  init(_ rows: [ObservedRun.Process]) {
    for row in rows where row.id != 0 {
      let images = row.images.map { (id: $0.id, at: $0.at, executable: $0.executable) }
      processes[row.id] = Process(
        parent: row.parent, startedAt: row.startedAt, images: images, executable: row.executable, step: row.step,
        container: row.container)
      if firstExecutable == nil { firstExecutable = images.first?.executable ?? row.executable }
    }
  }

  /// The name that the kernel gives a process that executed this.
  static func comm(_ executable: String) -> String {
    String(decoding: PathPattern.name(of: executable).prefix(PolicyLimits.comm), as: UTF8.self)
  }

  func executable(of process: UInt64) -> String? {
    processes[process].map { $0.images.last?.executable ?? $0.executable }
  }

  /// - Parameter image: nil: not known; the last one
  func actor(_ id: UInt64, image: UInt64?) -> Actor {
    let key = ImageKey(process: id, image: image)
    if let actor = known[key] { return actor }
    guard let process = processes[id] else { return numbered(PolicyActor(executable: "")) }
    let index = process.images.firstIndex { $0.id == image } ?? process.images.indices.last
    let own = index.map { process.images[$0].executable } ?? process.executable
    let before = process.images.prefix(index ?? 0).map(\.executable)
    let actor = numbered(
      PolicyActor(
        executable: own, ancestors: unique(before + ancestors(of: process)), step: process.step,
        image: process.container))
    known[key] = actor
    return actor
  }

  private func numbered(_ actor: PolicyActor) -> Actor {
    let number = numbers[actor] ?? numbers.count
    numbers[actor] = number
    return Actor(number: number, actor: actor)
  }

  /// Who executed the first image of a process.
  func parentActor(of id: UInt64) -> Actor {
    guard let process = processes[id], let parent = processes[process.parent] else {
      return numbered(PolicyActor(executable: ""))
    }
    let images = parent.images.prefix { $0.at <= process.startedAt }
    return actor(process.parent, image: images.last?.id ?? parent.images.first?.id)
  }

  /// Images that were executed before the process began, of all that it comes from.
  private func ancestors(of process: Process) -> [String] {
    var all: [String] = []
    var child = process
    // A chain of parents is no longer than there are processes, unless somebody wrote the report.
    for _ in processes.indices {
      guard let parent = processes[child.parent] else { break }
      let images = parent.images.filter { $0.at <= child.startedAt }.map(\.executable)
      all += images.isEmpty ? [parent.executable] : images
      child = parent
    }
    return all
  }

  private func unique(_ texts: [String]) -> [String] {
    var seen: Set<String> = []
    return texts.filter { !$0.isEmpty && seen.insert($0).inserted }.sorted()
  }
}
