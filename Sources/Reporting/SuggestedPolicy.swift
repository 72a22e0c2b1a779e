internal import Jobs
internal import Observation
internal import Policy

/// `policy.suggested.yaml`: the narrowest policy under which the run would have passed. It is the one that `martlet policy
/// learn` prints for the run's report, made by the same code, from what the report is made from.
public enum SuggestedPolicy {
  public static let fileName = "policy.suggested.yaml"

  /// Writes the file, and notes in the input what reports say of it.
  public static func write(_ input: inout ReportInput) -> [UInt8] {
    do throws(LearnedPolicy.Failure) {
      let learned = try LearnedPolicy(from: [observed(input)])
      input.suggestion = .init(digest: learned.policy.digest, objection: nil)
      return Array(learned.yaml.utf8)
    } catch {
      // No policy, and nothing that could be taken for one.
      input.suggestion = .init(digest: nil, objection: error.description)
      return Array("# There is none: \(error.description).\n".utf8)
    }
  }

  /// What is typed to run a command under it.
  static func command(in directory: String) -> String { "martlet run --policy \(directory)/\(fileName) -- …" }

  static func observed(_ input: ReportInput) -> ObservedRun {
    let tree = ProcessTree(input.snapshot.processes)
    var builder = ObservedRun.Builder(
      name: "", directory: input.workingDirectory.text, verdicts: Judgement(of: input).verdicts.map(\.rawValue),
      processes: tree.processes.indices.map { process($0, tree, input.clock) },
      isFiltered: input.filter != nil)
    for asked in input.snapshot.names {
      builder.add(ObservedRun.AskedName(name: asked.name.text, addresses: asked.addresses))
    }
    builder.add(input.snapshot.flows.map(ObservedRun.Flow.init))
    for file in input.snapshot.files { builder.add(ObservedRun.File(file)) }
    for change in input.snapshot.changes { builder.add(ObservedRun.Change(change)) }
    for action in input.snapshot.actions { if let action = ObservedRun.Action(action) { builder.add(action) } }
    return builder.run
  }

  private static func process(_ index: Int, _ tree: ProcessTree, _ clock: WallClock) -> ObservedRun.Process {
    let process = tree.processes[index]
    return ObservedRun.Process(
      id: UInt64(process.id), parent: UInt64(process.parent), startedAt: clock.rfc3339(process.startedAt),
      executable: tree.image(index)?.executable.text ?? "",
      images: process.images.map { image in
        var out = ObservedRun.Image(
          id: UInt64(image.id), at: clock.rfc3339(image.at), executable: image.executable.text,
          filename: image.filename?.text, workingDirectory: image.workingDirectory.text)
        out.isWithoutPlace = image.isMemoryFile || image.isDeleted
        out.sha256 = image.digest?.sha256
        return out
      })
  }
}

extension ReportInput {
  /// What became of ``SuggestedPolicy``.
  public struct Suggestion: Sendable, Equatable {
    /// Of the policy; nil: there is none.
    public var digest: String?
    /// Why there is none.
    public var objection: String?
  }
}

extension ObservedRun.Flow {
  fileprivate init(_ flow: FlowSummary) {
    self.init(
      kind: flow.kind.rawValue, process: UInt64(flow.process), image: UInt64(flow.image),
      remoteAddress: flow.remoteAddress)
    isInbound = flow.isInbound
    localAddress = flow.localAddress
    localPort = flow.localPort
    remotePort = flow.remotePort
    protocolNumber = UInt64(flow.networkProtocol)
    host = flow.host?.text
    serverName = flow.serverName?.name?.text
    serverNamePort = flow.serverName?.port ?? 0
    count = 1 &+ UInt64(flow.repeats)
  }
}

extension ObservedRun.File {
  fileprivate init(_ file: FileSummary) {
    self.init(
      paths: ([file.path] + file.otherPaths).map(\.text), isCreated: file.wasCreated,
      writers: file.writers.map(UInt64.init), readers: file.readers.map(UInt64.init))
  }
}

extension ObservedRun.Change {
  fileprivate init(_ change: PathChange) {
    self.init(
      kind: change.kind.rawValue, process: UInt64(change.process), path: change.path.text, target: change.target?.text)
  }
}

extension ObservedRun.Action {
  /// nil: of a kind that this version does not know.
  fileprivate init?(_ action: SecurityAction) {
    guard let kind = action.kind else { return nil }
    self.init(
      kind: kind, process: UInt64(action.process), image: UInt64(action.image),
      target: action.target.flatMap { $0.process == 0 ? nil : UInt64($0.process) }, count: action.count)
  }
}
