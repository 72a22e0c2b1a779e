internal import Observation

/// What of a run a policy can speak of, from its report.json.
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
  /// Whether a policy stopped something of it: it may be among the events all the same.
  public let isBlocked: Bool
  /// Each once, with how often it was, in the order of the report.
  public private(set) var events: [(event: Event, count: UInt64)] = []
  /// Names of processes whose memory was got at and that the report does not know: what no policy could name.
  public private(set) var unknownTargets: UInt64 = 0
  /// What the job made itself.
  private(set) var created: Set<String> = []
  /// What the job wrote, made or gave a name.
  private(set) var written: Set<String> = []
  /// Changes of names: what was there is gone.
  private(set) var replaced: Set<String> = []
  private var positions: [Event: Int] = [:]

  /// How many values a report.json may have, and how many bytes.
  private static let valueLimit = 1 << 25
  public static let byteLimit = 1 << 30

  /// - Parameter bytes: of report.json
  public init(_ bytes: [UInt8], name: String) throws(Failure) {
    guard let report = JSONValue(parsing: bytes, values: Self.valueLimit), let job = report["job"],
      report["schema"]?.text?.hasPrefix("martlet.report/v1") == true
    else { throw Failure(description: "\(VisibleText.terminal(name)) is no report.json that this version can read") }
    self.name = name
    directory = job["workingDirectory"]?.text ?? "/"
    isBlocked = report["verdicts"]?.array?.contains { $0.text == "blocked" } == true
    isComplete = report["verdicts"]?.array?.contains { $0.text == "incomplete" } == false
    let processes = ObservedProcesses(report["processes"]?.array ?? [])
    firstComm = processes.firstExecutable.map(ObservedProcesses.comm)
    addExecutions(report["processes"]?.array ?? [], processes)
    addFlows(report["network"]?.array ?? [], processes)
    addFiles(report["files"]?.array ?? [], processes)
    addChanges(report["changes"]?.array ?? [], processes)
    addSecurity(report["security"]?.array ?? [], processes)
    positions = [:]
  }

  private static func isWhole(_ path: String) -> Bool { path.utf8.first == UInt8(ascii: "/") }

  private mutating func add(_ deed: Event.Deed, by actor: PolicyActor, count: UInt64 = 1) {
    let event = Event(deed: deed, actor: actor)
    if let position = positions[event] {
      events[position].count &+= count
    } else {
      positions[event] = events.count
      events.append((event, count))
    }
  }

  private mutating func addExecutions(_ rows: [JSONValue], _ processes: ObservedProcesses) {
    for row in rows {
      let process = row["id"]?.unsigned ?? 0
      // The image before this one executed it: that of the process, or the one that its parent had.
      var before: UInt64?
      for image in row["executions"]?.array ?? [] {
        var file = PolicyExecutable(path: image["executable"]?.text ?? "")
        file.isWithoutPlace = image["isMemoryFile"]?.bool == true || image["isDeleted"]?.bool == true
        file.sha256 = image["digest"]?.text.flatMap(Self.sha256)
        var files = [file]
        // A script is given by name, and its interpreter runs.
        if let given = image["filename"]?.text {
          let directory = image["workingDirectory"]?.text ?? "/"
          let path = Self.isWhole(given) ? given : directory + "/" + given
          if !given.isEmpty, path != file.path { files.append(PolicyExecutable(path: path)) }
        }
        let actor = before.map { processes.actor(process, image: $0) } ?? processes.parentActor(of: process)
        add(.exec(files), by: actor)
        before = image["id"]?.unsigned
      }
    }
  }

  private static func sha256(_ text: String) -> [UInt8]? {
    guard text.hasPrefix("sha256:"), text.utf8.count == 71 else { return nil }
    let digits = text.utf8.dropFirst(7).compactMap { Character(Unicode.Scalar($0)).hexDigitValue }
    guard digits.count == 64 else { return nil }
    return stride(from: 0, to: 64, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
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

  private mutating func addFlows(_ rows: [JSONValue], _ processes: ObservedProcesses) {
    func address(_ row: JSONValue, _ key: StaticString) -> IPAddress? { row[key]?.text.flatMap { IPAddress($0) } }
    func port(_ row: JSONValue, _ key: StaticString) -> UInt16 {
      row[key]?.unsigned.flatMap { UInt16(exactly: $0) } ?? 0
    }
    var own: Set<Channel> = []
    for row in rows where row["direction"]?.text == "outbound" {
      guard let local = address(row, "localAddress"), let remote = address(row, "remoteAddress") else { continue }
      own.insert(Channel(caller: local, callee: remote, port: port(row, "remotePort")))
    }
    for row in rows {
      let actor = processes.actor(row["process"]?.unsigned ?? 0, image: row["image"]?.unsigned)
      let count = 1 &+ (row["repeats"]?.unsigned ?? 0)
      let remote = row["remoteAddress"]?.text ?? ""
      let isInbound = row["direction"]?.text == "inbound"
      switch row["kind"]?.text {
      case "listen": continue
      case "unix":
        if !isInbound, Self.daemonSockets.contains(String(PathPattern.name(of: remote)) ?? "") {
          add(.system(.containerDaemon), by: actor, count: count)
        }
      default:
        guard let address = IPAddress(remote) else { continue }
        if isInbound {
          let listened = port(row, "localPort")
          let local = row["localAddress"]?.text.flatMap { IPAddress($0) } ?? address
          if own.contains(Channel(caller: address, callee: local, port: listened)) { continue }
          add(.accept(PolicyDestination(address, port: listened)), by: actor, count: count)
          continue
        }
        let spoken: NetworkProtocol =
          switch row["protocol"]?.unsigned {
          case 6, 262: .tcp
          case 17, 136: .udp
          case 1, 58: .icmp
          default: .raw
          }
        // Raw sockets are not held to addresses, nor to what these are called.
        let host = spoken == .raw ? nil : row["host"]?.text.flatMap(HostPattern.canonical)
        let hasPort = spoken == .tcp || spoken == .udp
        let to = PolicyDestination(
          address, port: hasPort ? port(row, "remotePort") : 0, spoken, names: host.map { [$0] } ?? [])
        add(.connect(to), by: actor, count: count)
      }
    }
  }

  private mutating func addFiles(_ rows: [JSONValue], _ processes: ObservedProcesses) {
    for row in rows {
      let paths = ([row["path"]] + (row["otherPaths"]?.array ?? [])).compactMap { $0?.text }
        .filter(Self.isWhole)
      for path in paths {
        if row["created"]?.bool == true { created.insert(path) }
        for (key, deed) in [("writers", Event.Deed.write(path)), ("readers", .read(path))] {
          let users = (key == "writers" ? row["writers"] : row["readers"])?.array ?? []
          if key == "writers", !users.isEmpty { written.insert(path) }
          for user in users { add(deed, by: processes.actor(user.unsigned ?? 0, image: nil)) }
        }
      }
    }
  }

  private mutating func addChanges(_ rows: [JSONValue], _ processes: ObservedProcesses) {
    for row in rows {
      let actor = processes.actor(row["process"]?.unsigned ?? 0, image: nil)
      let kind = row["kind"]?.text
      // A link's target stays as it is.
      let names = kind == "symlink" ? [row["path"]] : [row["path"], row["target"]]
      for case let path? in names.map({ $0?.text }) where Self.isWhole(path) {
        add(.write(path), by: actor)
        written.insert(path)
        if kind == "rename" { replaced.insert(path) }
        if kind == "mkdir" || kind == "mknod" || kind == "symlink" { created.insert(path) }
      }
    }
  }

  private mutating func addSecurity(_ rows: [JSONValue], _ processes: ObservedProcesses) {
    for row in rows {
      guard let text = row["kind"]?.text, let kind = SecurityKind.allCases.first(where: { $0.name == text }) else {
        continue
      }
      let actor = processes.actor(row["process"]?.unsigned ?? 0, image: row["image"]?.unsigned)
      let count = row["count"]?.unsigned ?? 1
      switch kind {
      case .moduleLoad: add(.system(.moduleLoad), by: actor, count: count)
      case .bpfMap, .bpfProgram: add(.system(.bpf), by: actor, count: count)
      case .mount, .moveMount, .umount, .pivotRoot: add(.system(.mount), by: actor, count: count)
      case .unshare, .clone, .setns: add(.system(.namespace), by: actor, count: count)
      case _ where kind.isAccess && kind != .ptraceTraceme:
        if let target = row["target"]?["process"]?.unsigned, let executable = processes.executable(of: target) {
          add(.memory(ObservedProcesses.comm(executable)), by: actor, count: count)
        } else {
          unknownTargets &+= count
        }
      default: break
      }
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
      return path == git || PathPattern.isBelow(path, git) || !created.contains(path) || replaced.contains(path)
    case .pipelines:
      return FilesSection.Protected.pipelineFiles.contains { $0.resolved(in: directory).matches(path) }
    case .credentials:
      // Whichever directory may be somebody's home.
      var home = path
      while let parent = PathPattern.parent(of: home).flatMap({ String($0) }) {
        if FilesSection.Protected.credentialFiles.contains(where: { $0.resolved(in: parent).matches(path) }) {
          return true
        }
        home = parent
      }
      return false
    }
  }
}

/// Who was who: images, and what they descend from.
private final class ObservedProcesses {
  private struct Process {
    var parent: UInt64
    var startedAt: String
    var images: [(id: UInt64, at: String, executable: String)]
    /// What its parent had, where it executed nothing.
    var executable: String
  }

  private var processes: [UInt64: Process] = [:]
  private(set) var firstExecutable: String?
  /// Of those that were asked for before: a file may have had hundreds of readers.
  private var actors: [ImageKey: PolicyActor] = [:]

  private struct ImageKey: Hashable {
    var process: UInt64
    var image: UInt64?
  }

  init(_ rows: [JSONValue]) {
    for row in rows {
      guard let id = row["id"]?.unsigned else { continue }
      let images = (row["executions"]?.array ?? []).compactMap { image in
        image["id"]?.unsigned.map {
          (id: $0, at: image["at"]?.text ?? "", executable: image["executable"]?.text ?? "")
        }
      }
      processes[id] = Process(
        parent: row["parent"]?.unsigned ?? 0, startedAt: row["startedAt"]?.text ?? "", images: images,
        executable: row["executable"]?.text ?? "")
      if firstExecutable == nil { firstExecutable = images.first?.executable ?? row["executable"]?.text }
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
  func actor(_ id: UInt64, image: UInt64?) -> PolicyActor {
    let key = ImageKey(process: id, image: image)
    if let known = actors[key] { return known }
    guard let process = processes[id] else { return PolicyActor(executable: "") }
    let index = process.images.firstIndex { $0.id == image } ?? process.images.indices.last
    let own = index.map { process.images[$0].executable } ?? process.executable
    let before = process.images.prefix(index ?? 0).map(\.executable)
    let actor = PolicyActor(executable: own, ancestors: unique(before + ancestors(of: process)))
    actors[key] = actor
    return actor
  }

  /// Who executed the first image of a process.
  func parentActor(of id: UInt64) -> PolicyActor {
    guard let process = processes[id], let parent = processes[process.parent] else {
      return PolicyActor(executable: "")
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
