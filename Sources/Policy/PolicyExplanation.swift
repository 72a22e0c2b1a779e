/// What a policy says of each event of a run.
public struct PolicyExplanation: Sendable {
  public struct Item: Sendable {
    public var section: String
    /// What was done, for a person: `connect to 192.0.2.1:443/tcp (example.org)`. Not made safe for a terminal.
    public var what: String
    public var actor: PolicyActor
    public var count: UInt64
    public var decision: PolicyDecision
  }

  /// In the order of the report: all but what the next says.
  public private(set) var items: [Item] = []
  /// Files that no rule is for, which may be read or changed: only how many, by section.
  public private(set) var otherFiles = 0

  /// - Parameters:
  ///   - policy: as it was written
  public init(_ policy: Policy, of run: ObservedRun) {
    let policy = policy.resolved(in: run.directory)
    for (event, count) in run.events {
      let actor = event.actor
      switch event.deed {
      case .connect(let to):
        for name in to.names {
          add("network", "ask for \(name)", actor, count, policy.decide(name: name, by: actor))
        }
        add("network", "connect to \(Self.text(to))", actor, count, policy.decide(connect: to, by: actor))
      case .accept(let from):
        add("network", "accept \(Self.text(from))", actor, count, policy.decide(connect: from, by: actor))
      case .exec(let files):
        let names = files.map { $0.path + ($0.isWithoutPlace ? " (without a place)" : "") }
        let known = files.map { file in
          var file = file
          file.isWrittenDuringJob = run.written.contains(file.path)
          return file
        }
        add("exec", "execute \(names.joined(separator: " for "))", actor, count, policy.decide(exec: known, by: actor))
      case .read(let path): addFile(.read, path, actor, count, policy, run)
      case .write(let path): addFile(.write, path, actor, count, policy, run)
      case .memory(let comm):
        add("memory", "get at the memory of \(comm)", actor, count, policy.decide(memoryOf: comm, by: actor))
      case .system(let deed): add("system", deed.rawValue, actor, count, policy.decide(deed, by: actor))
      }
    }
  }

  private mutating func addFile(
    _ access: FileRule.Access, _ path: String, _ actor: PolicyActor, _ count: UInt64, _ policy: Policy,
    _ run: ObservedRun
  ) {
    let decision = policy.decide(access, path, by: actor) { run.isIn($0, path) }
    switch decision.basis {
    case .sectionDefault, .notGoverned: otherFiles += 1
    default: add("files", "\(access.rawValue) \(path)", actor, count, decision)
    }
  }

  private mutating func add(
    _ section: String, _ what: String, _ actor: PolicyActor, _ count: UInt64, _ decision: PolicyDecision
  ) {
    items.append(Item(section: section, what: what, actor: actor, count: count, decision: decision))
  }

  private static func text(_ to: PolicyDestination) -> String {
    let isV6 = to.address.v4 == nil
    let address = isV6 ? "[\(to.address.description)]" : to.address.description
    let spoken = to.networkProtocol
    let port = spoken == .tcp || spoken == .udp ? ":\(to.port)" : ""
    let names = to.names.isEmpty ? "" : " (\(to.names.joined(separator: ", ")))"
    return "\(address)\(port)/\(spoken.rawValue)\(names)"
  }
}
