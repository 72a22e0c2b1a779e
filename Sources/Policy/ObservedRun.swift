internal import Observation

/// What of a run a policy can speak of, from its report.
public struct ObservedRun: Sendable {
  public struct Event: Sendable, Hashable {
    public enum Deed: Sendable, Hashable {
      case connect(PolicyDestination)
      /// Of somebody outside the job, with the port that it listens at.
      case accept(PolicyDestination)
      case exec([PolicyExecutable])
      case read(String)
      case write(String)
      /// The name of the process whose memory it was about.
      case memory(String)
      case system(SystemRule.Deed)
    }

    public var deed: Deed
    public var actor: PolicyActor
  }

  public struct Failure: Error, Sendable, CustomStringConvertible {
    public let description: String
  }

  /// As the caller calls it.
  public let name: String
  /// Where the job started.
  public let directory: String
  /// The name of the job's first process.
  public let firstComm: String?
  /// Whether the report has all that happened.
  public let isComplete: Bool
  /// Something was left out of it because its filters said so.
  public private(set) var isFiltered = false
  /// Whether a policy stopped something of it: it may be among the events all the same.
  public let isBlocked: Bool
  /// Each once, with how often it was, in the order of the report.
  public private(set) var events: [(event: Event, count: UInt64)] = []
  /// Names of processes whose memory was got at and that the report does not know: what no policy could name.
  public private(set) var unknownTargets: UInt64 = 0
  /// What resolvers were asked for, in the order of the report.
  public private(set) var names: [String] = []
  /// What the job made itself.
  private(set) var created: Set<String> = []
  /// What the job wrote, made or gave a name.
  private(set) var written: Set<String> = []
  /// Something was renamed onto it: what was there is gone.
  private(set) var replaced: Set<String> = []
  /// Directories that the job made, in which nothing was before.
  private var made: Set<String> = []
  /// Names that were changed when what they are in was not of the job's making, or not yet.
  private var changedBefore: Set<String> = []
  private let pipelineFiles: [PathPattern]

  /// Takes the rows of a report one after the other, and keeps of them what a policy can speak of.
  ///
  /// ```swift
  /// var builder = ObservedRun.Builder(name: "nightly", directory: "/w", verdicts: ["clean"], processes: processes)
  /// for asked in names { builder.add(asked) }  // before the flows
  /// builder.add(flows)
  /// let policy = try LearnedPolicy(from: [builder.run])
  /// ```
  public struct Builder {
    public private(set) var run: ObservedRun
    private let processes: ObservedProcesses
    private var positions: [Key: Int] = [:]
    private var namesOf: [IPAddress: [String]] = [:]

    private struct Key: Hashable {
      var deed: Event.Deed
      var actor: Int
    }

    /// - Parameters:
    ///   - directory: where the job started
    ///   - verdicts: as the report has them
    ///   - processes: all of them
    ///   - isFiltered: the report says that filters were in force
    public init(
      name: String, directory: String, verdicts: [String], processes: [Process], isFiltered: Bool = false
    ) {
      self.processes = ObservedProcesses(processes)
      run = ObservedRun(
        name: name, directory: directory, firstComm: self.processes.firstExecutable.map(ObservedProcesses.comm),
        isComplete: !verdicts.contains("incomplete"), isBlocked: verdicts.contains("blocked"))
      run.isFiltered = isFiltered
      for process in processes { addExecutions(of: process) }
    }
  }

  private init(name: String, directory: String, firstComm: String?, isComplete: Bool, isBlocked: Bool) {
    self.name = name
    self.directory = directory
    self.firstComm = firstComm
    self.isComplete = isComplete
    self.isBlocked = isBlocked
    pipelineFiles = FilesSection.Protected.pipelineFiles.map { $0.resolved(in: directory) }
  }
}

extension ObservedRun.Builder {
  private static func isWhole(_ path: String) -> Bool { path.utf8.first == UInt8(ascii: "/") }

  private mutating func add(_ deed: ObservedRun.Event.Deed, by who: ObservedProcesses.Actor, count: UInt64 = 1) {
    let key = Key(deed: deed, actor: who.number)
    if let position = positions[key] {
      run.events[position].count &+= count
    } else {
      positions[key] = run.events.count
      run.events.append((ObservedRun.Event(deed: deed, actor: who.actor), count))
    }
  }

  private mutating func addExecutions(of process: ObservedRun.Process) {
    // The image before this one executed it: that of the process, or the one that its parent had.
    var before: UInt64?
    for image in process.images {
      var file = PolicyExecutable(path: image.executable)
      file.isWithoutPlace = image.isWithoutPlace
      file.sha256 = image.sha256
      let actor = before.map { processes.actor(process.id, image: $0) } ?? processes.parentActor(of: process.id)
      add(.exec(file.executed(as: image.filename, in: image.workingDirectory)), by: actor)
      before = image.id
    }
  }

  /// What a daemon's socket is called, in whatever directory.
  private static let daemonSockets: Set<String> = [
    "docker.sock", "containerd.sock", "podman.sock", "crio.sock", "buildkitd.sock",
  ]

  /// A connection within the job is one that its own end made.
  private struct Channel: Hashable {
    var caller: IPAddress
    var callee: IPAddress
    var port: UInt16
  }

  public mutating func add(_ asked: ObservedRun.AskedName) {
    guard let name = HostPattern.canonical(name: asked.name) else { return }
    run.names.append(name)
    for case let address? in asked.addresses.map(IPAddress.init) { namesOf[address, default: []].append(name) }
  }

  /// - Parameter flows: all of them
  public mutating func add(_ flows: [ObservedRun.Flow]) {
    var own: Set<Channel> = []
    for flow in flows where !flow.isInbound {
      guard let local = IPAddress(flow.localAddress), let remote = IPAddress(flow.remoteAddress) else { continue }
      own.insert(Channel(caller: local, callee: remote, port: flow.remotePort))
    }
    for flow in flows {
      switch flow.kind {
      case "listen": continue
      case "unix":
        if !flow.isInbound, Self.daemonSockets.contains(String(PathPattern.name(of: flow.remoteAddress)) ?? "") {
          add(.system(.containerDaemon), by: processes.actor(flow.process, image: flow.image), count: flow.count)
        }
      default:
        guard let address = IPAddress(flow.remoteAddress) else { continue }
        guard flow.isInbound else {
          add(flow, to: address)
          continue
        }
        let local = IPAddress(flow.localAddress) ?? address
        if own.contains(Channel(caller: address, callee: local, port: flow.localPort)) { continue }
        let from = PolicyDestination(address, port: flow.localPort)
        add(.accept(from), by: processes.actor(flow.process, image: flow.image), count: flow.count)
      }
    }
  }

  private mutating func add(_ flow: ObservedRun.Flow, to address: IPAddress) {
    let spoken: NetworkProtocol =
      switch flow.protocolNumber {
      case 6, 262: .tcp
      case 17, 136: .udp
      case 1, 58: .icmp
      default: .raw
      }
    // Raw sockets are not held to addresses, nor to what these are called.
    let host = spoken == .raw ? nil : flow.host.flatMap(HostPattern.canonical)
    let hasPort = spoken == .tcp || spoken == .udp
    // It may have been any of the names that the address has; the report has the one that was asked for last.
    let names = host.map { host in [host] + (namesOf[address] ?? []).filter { $0 != host } } ?? []
    let port = hasPort ? flow.remotePort : 0
    let actor = processes.actor(flow.process, image: flow.image)
    add(.connect(PolicyDestination(address, port: port, spoken, names: names)), by: actor, count: flow.count)
    // Where the address is allowed for a name, that which is said there has to be allowed, too.
    guard !names.isEmpty, let said = flow.serverName.flatMap(HostPattern.canonical), !names.contains(said) else {
      return
    }
    let named = PolicyDestination(
      address, port: flow.serverNamePort != 0 ? flow.serverNamePort : port, spoken, names: [said])
    add(.connect(named), by: actor, count: flow.count)
  }

  public mutating func add(_ file: ObservedRun.File) {
    for path in file.paths where Self.isWhole(path) {
      if file.isCreated { run.created.insert(path) }
      if !file.writers.isEmpty { run.written.insert(path) }
      for user in file.writers { add(.write(path), by: processes.actor(user, image: nil)) }
      for user in file.readers { add(.read(path), by: processes.actor(user, image: nil)) }
    }
  }

  public mutating func add(_ change: ObservedRun.Change) {
    let actor = processes.actor(change.process, image: nil)
    // A link's target stays as it is.
    let names = change.kind == "symlink" ? [change.path] : [change.path, change.target]
    for case let path? in names where Self.isWhole(path) {
      add(.write(path), by: actor)
      run.written.insert(path)
      if !run.isBelowMade(path) { run.changedBefore.insert(path) }
      if change.kind == "mkdir" || change.kind == "mknod" || change.kind == "symlink" { run.created.insert(path) }
    }
    if change.kind == "mkdir", let path = change.path { run.made.insert(path) }
    if change.kind == "rename", let path = change.path, let target = change.target {
      if run.made.contains(path) {
        // A directory takes no other place than that of an empty one.
        run.made.insert(target)
        run.created.insert(target)
      } else {
        run.replaced.insert(target)
      }
    }
  }

  public mutating func add(_ action: ObservedRun.Action) {
    let actor = processes.actor(action.process, image: action.image)
    let count = action.count
    switch action.kind {
    case .moduleLoad: add(.system(.moduleLoad), by: actor, count: count)
    case .bpfMap, .bpfProgram: add(.system(.bpf), by: actor, count: count)
    case .mount, .moveMount, .umount, .pivotRoot: add(.system(.mount), by: actor, count: count)
    case .unshare, .clone, .setns: add(.system(.namespace), by: actor, count: count)
    case _ where action.kind.isAccess && action.kind != .ptraceTraceme:
      if let executable = action.target.flatMap(processes.executable) {
        add(.memory(ObservedProcesses.comm(executable)), by: actor, count: count)
      } else {
        run.unknownTargets &+= count
      }
    default: break
    }
  }
}

extension ObservedRun {
  /// Whether a file is in a set that a policy can protect, as far as a report tells: `sources` are, besides .git, the
  /// files in the job's directory that it did not make itself.
  public func isIn(_ set: FilesSection.Protected, _ path: String) -> Bool {
    switch set {
    case .sources:
      guard PathPattern.isBelow(path, directory) else { return false }
      let git = directory == "/" ? "/.git" : directory + "/.git"
      if path == git || PathPattern.isBelow(path, git) { return true }
      if isBelowMade(path), !changedBefore.contains(path) { return false }
      return !created.contains(path) || replaced.contains(path)
    case .pipelines: return pipelineFiles.contains { $0.matches(path) }
    case .credentials:
      var path = path
      return path.withUTF8 { FilesSection.Protected.isCredential(UnsafeRawBufferPointer($0)) }
    }
  }

  fileprivate func isBelowMade(_ path: String) -> Bool {
    if made.isEmpty { return false }
    var path = path
    while path.utf8.count > directory.utf8.count, let parent = PathPattern.parent(of: path).flatMap({ String($0) }) {
      if made.contains(parent) { return true }
      path = parent
    }
    return false
  }
}
