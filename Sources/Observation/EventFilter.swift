internal import KernelABI

/// Events that can be left out of a job's evidence together. Processes, hashes, names of hosts and what is denied cannot be.
public enum EventClass: String, CaseIterable, Sendable, Comparable {
  /// Opens that cannot change a file, and what a program finds open.
  case fileRead = "file.read"
  /// Opens that may change a file, what becomes of their descriptors, shared mappings, truncation.
  case fileWrite = "file.write"
  /// Renames, links, what is made and removed.
  case fileName = "file.name"
  /// Modes and owners.
  case fileAttribute = "file.attribute"
  /// Ways of data and descriptors from one process or file to another: pipes, copies, descriptors in messages.
  case channel
  /// IPv4 and IPv6, other sockets but those between processes, and what is asked for over TLS.
  case network
  /// Sockets between processes.
  case unix
  /// What is done to other processes, to the kernel, to own rights.
  case security

  /// What all of its events are told by.
  public var types: [RecordType] {
    switch self {
    case .fileRead: [.open]
    case .fileWrite: [.close, .dup, .mmapShared, .truncate]
    case .fileName: [.rename, .unlink, .rmdir, .link, .symlink, .mkdir, .mknod]
    case .fileAttribute: [.chmod, .chown]
    case .channel: [.copy, .pipe, .socketpair, .passFD]
    case .network: [.connect, .tcpClose, .flowOpen, .udpSend, .listen, .bind, .socket, .tlsWrite]
    case .unix: [.unixConnect, .unixAccept]
    case .security: [.security]
    }
  }

  public static let files: Set<EventClass> = [.fileRead, .fileWrite, .fileName, .fileAttribute]

  public static func < (a: EventClass, b: EventClass) -> Bool {
    (allCases.firstIndex(of: a) ?? 0) < (allCases.firstIndex(of: b) ?? 0)
  }

  /// Those that a word names: one, or `file` for all about files.
  public static func named(_ word: String) -> Set<EventClass>? {
    word == "file" ? files : EventClass(rawValue: word).map { [$0] }
  }

  /// All words, in the order in which they are told.
  public static var words: [String] { ["file"] + allCases.map(\.rawValue) }
}

/// What is left out of a job's evidence because somebody wants it so: told by every report, and counted.
public struct EventFilter: Sendable, Equatable {
  public enum Users: Sendable, Equatable {
    case except([UInt32])
    case only([UInt32])
  }

  /// Left out, wherever and by whom.
  public var events: Set<EventClass> = []
  /// Files below these are left out, but for those below ``includedPaths``: of all prefixes that hold the longest decides.
  public var excludedPaths: [String] = []
  public var includedPaths: [String] = []
  /// Effective user ids in the initial user namespace; nil: all users' events are told.
  public var users: Users?

  public init() {}

  public var isEmpty: Bool { self == EventFilter() }

  /// That files are opened is not told of all of them.
  public var mayLeaveOutOpens: Bool { events.contains(.fileRead) || !excludedPaths.isEmpty || users != nil }

  /// Prefixes, and users, at most.
  public static let prefixLimit = Int(MT_FILTER_PREFIXES)
  public static let userLimit = Int(MT_FILTER_USERS)

  /// A bit for each event that is left out of all files and users, as the programs count them.
  public var bits: UInt64 {
    func bit(_ type: RecordType) -> UInt64 { 1 << UInt64(type.rawValue) }
    var bits = events.flatMap(\.types).reduce(0) { $0 | bit($1) }
    if events.contains(.fileWrite) { bits |= 1 << UInt64(MT_TYPE_COUNT.rawValue) }
    // What is asked of io_uring may be any of these, and sums are of both.
    if events.isSuperset(of: [.fileRead, .fileWrite, .fileName]) { bits |= bit(.uring) }
    if events.isSuperset(of: [.fileRead, .fileWrite]) { bits |= bit(.io) }
    return bits
  }

  /// What is wrong with it; nil: nothing.
  public var objection: String? {
    let paths = excludedPaths + includedPaths
    if paths.count > Self.prefixLimit { return "there are \(paths.count) paths; \(Self.prefixLimit) at most" }
    for path in paths {
      guard path.utf8.first == UInt8(ascii: "/"), !path.utf8.contains(0) else {
        return "the path '\(path)' has to begin with /"
      }
      guard path.utf8.count <= MT_FILTER_PATH_MAX else {
        return "the path '\(path)' is longer than \(MT_FILTER_PATH_MAX) bytes"
      }
      if path.split(separator: "/").contains(where: { $0 == "." || $0 == ".." }) {
        return "the path '\(path)' has a component . or .."
      }
    }
    let excluded = excludedPaths.map(Self.components), included = includedPaths.map(Self.components)
    for (index, path) in included.enumerated() {
      if excluded.contains(path) { return "the path '\(includedPaths[index])' is both included and excluded" }
      if !excluded.contains(where: { path.starts(with: $0) }) {
        return
          "to include '\(includedPaths[index])' changes nothing, as no excluded path holds it: exclude / to have nothing else"
      }
    }
    switch users {
    case .except(let users)?, .only(let users)?:
      if users.isEmpty { return "a list of users is empty" }
      if users.count > Self.userLimit { return "there are \(users.count) users; \(Self.userLimit) at most" }
    case nil: break
    }
    return nil
  }

  private static func components(_ path: String) -> [Substring] { path.split(separator: "/") }

  /// Prefixes as the programs look them up: whole components, each with a slash behind it.
  ///
  /// Of a directory in which a prefix names a single entry it is said that the entries differ.
  public var prefixes: [Prefix] {
    var isLeftOut: [[Substring]: Bool] = [:]
    for path in excludedPaths { isLeftOut[Self.components(path)] = true }
    for path in includedPaths { isLeftOut[Self.components(path)] = false }
    func ruling(of path: [Substring]) -> Bool {
      (0...path.count).reversed().lazy.compactMap { isLeftOut[Array(path.prefix($0))] }.first ?? false
    }
    let parents = Set(isLeftOut.keys.filter { !$0.isEmpty }.map { Array($0.dropLast()) })
    return parents.union(isLeftOut.keys).map { path in
      Prefix(
        path: "/" + path.map { $0 + "/" }.joined(), isLeftOut: ruling(of: path), hasOthers: parents.contains(path))
    }.sorted { $0.path < $1.path }
  }

  public struct Prefix: Sendable, Equatable {
    public var path: String
    public var isLeftOut: Bool
    public var hasOthers: Bool

    public init(path: String, isLeftOut: Bool, hasOthers: Bool) {
      self.path = path
      self.isLeftOut = isLeftOut
      self.hasOthers = hasOthers
    }
  }
}

/// How many events a filter has left out, by what they are.
public struct FilteredCounts: Sendable, Equatable {
  /// As the programs count them: by type, and then opens that may change a file.
  private var events = [UInt64](repeating: 0, count: Int(MT_TYPE_COUNT.rawValue) + 1)

  public init() {}

  public subscript(index: Int) -> UInt64 {
    get { events[index] }
    set { events[index] = newValue }
  }

  public static func += (a: inout FilteredCounts, b: FilteredCounts) {
    for index in a.events.indices { a.events[index] &+= b.events[index] }
  }

  public var total: UInt64 { events.reduce(0, &+) }

  /// Those that there are, by the names of their types.
  public var types: [(name: String, count: UInt64)] {
    var types = events
    let writes = types.removeLast()
    types[Int(RecordType.open.rawValue)] &+= writes
    return RecordType.allCases.compactMap { type in
      let count = types[Int(type.rawValue)]
      return count == 0 ? nil : (type.name, count)
    }
  }

  /// Those that there are, by their classes.
  public var classes: [(name: String, count: UInt64)] {
    EventClass.allCases.compactMap { one in
      var count = one.types.reduce(UInt64(0)) { $0 &+ events[Int($1.rawValue)] }
      if one == .fileWrite { count &+= events[events.count - 1] }
      return count == 0 ? nil : (one.rawValue, count)
    }
  }
}
