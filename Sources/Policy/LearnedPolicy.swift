internal import Configuration

/// The narrowest policy, of what is asked for here, under which runs would have passed that were observed.
///
/// - network: what was connected to, by the name that was asked for where the report knows it, else by address; with ports
///   and protocols; and who connected to the job. Nobody else.
/// - exec: everything, but files without a place where none was seen.
/// - files: `sources`, `pipelines` and `credentials` are protected but for what was touched of them, as far as a report
///   tells; see ``ObservedRun/isIn(_:_:)`` and ``FileExceptions``.
/// - memory: the CI's own process that starts the steps, where nobody's memory was got at.
/// - system: the deeds that were seen, and no others.
///
/// It is never wider than what was observed, without a comment in the file that says so.
public struct LearnedPolicy: Sendable {
  public struct Failure: Error, Sendable, Equatable, CustomStringConvertible {
    public let description: String
  }

  public private(set) var policy = Policy()
  /// By the number of the rule.
  public private(set) var comments: [UInt32: [String]] = [:]
  /// Of the exceptions in `files`, in their order.
  private var fileComments: [String] = []
  /// For the file's begin.
  public private(set) var notes: [String] = []

  /// How many names that differ in their first label become a pattern.
  static let rotating = 3
  /// CI systems' processes that hold a job's secrets and start its steps.
  private static let workers: Set<String> = ["Runner.Worker", "Agent.Worker"]
  /// Ports that the kernel gives away by itself (net.ipv4.ip_local_port_range): others at the next run.
  private static let ephemeral: ClosedRange<UInt16> = 32768...60999

  public var yaml: String { policy.yaml(comments: comments, header: notes) }

  /// - Throws: if the kernel side would not have room for the policy
  public init(from runs: [ObservedRun]) throws(Failure) {
    notes = ["Learned from \(runs.count) run\(runs.count == 1 ? "" : "s") by 'martlet policy learn'."]
    // Of one run the policy is the same wherever its report lies.
    func name(_ run: ObservedRun) -> String { runs.count == 1 ? "the run" : run.name }
    for run in runs where run.isBlocked {
      notes.append("\(name(run)) was stopped by a policy: what it tried and was refused may be allowed here.")
    }
    for run in runs where !run.isComplete {
      notes.append("\(name(run)) is incomplete: what it did not see is denied here.")
    }
    for run in runs where run.isFiltered {
      notes.append("\(name(run)) was recorded with filters: what they left out is denied here.")
    }
    var network = Network()
    var deeds: Set<SystemRule.Deed> = []
    var executesWithoutPlace = false
    var memory: Set<String> = []
    for run in runs {
      network.asked.formUnion(run.names)
      for (event, _) in run.events {
        switch event.deed {
        case .connect(let peer), .accept(let peer): network.add(peer)
        case .exec(let files): executesWithoutPlace = executesWithoutPlace || files.contains(where: \.isWithoutPlace)
        case .system(let deed): deeds.insert(deed)
        case .memory(let comm): memory.insert(comm)
        case .read, .write: break
        }
      }
    }
    let rules = network.rules()
    var section = NetworkSection()
    section.defaultAction = .deny
    section.allow = rules.map(\.rule)
    policy.network = section

    if !executesWithoutPlace {
      var rule = ExecRule(head: RuleHead(action: .deny))
      rule.memfd = true
      var section = ExecSection()
      section.deny = [rule]
      policy.exec = section
    }
    protectFiles(runs, name)
    let workers = Self.workers.intersection(runs.compactMap(\.firstComm))
    if memory.isEmpty, runs.allSatisfy({ $0.unknownTargets == 0 }), !workers.isEmpty {
      var section = MemorySection()
      section.protect = workers.sorted().map { MemoryRule(head: RuleHead(action: .deny), comm: $0) }
      policy.memory = section
    }
    var system = SystemSection()
    system.defaultAction = .deny
    system.allow = SystemRule.Deed.allCases.filter(deeds.contains).map {
      SystemRule(head: RuleHead(action: .allow), deed: $0)
    }
    policy.system = system
    policy.number()
    for (index, rule) in rules.enumerated() where !rule.comment.isEmpty {
      comments[policy.network?.allow[index].head.number ?? 0] = rule.comment
    }
    for (rule, comment) in zip(policy.files?.allow ?? [], fileComments) { comments[rule.head.number] = [comment] }
    if let objection = PolicyLimits.objection(to: policy) {
      throw Failure(description: "no policy can hold what was observed: \(objection.message)")
    }
  }

  private mutating func protectFiles(_ runs: [ObservedRun], _ name: (ObservedRun) -> String) {
    var section = FilesSection()
    for set in FilesSection.Protected.allCases {
      var exceptions = FileExceptions(set)
      for run in runs {
        for (event, _) in run.events {
          if let touched = Self.touches(event, set, of: run) { exceptions.add(touched, run) }
        }
      }
      if let rules = exceptions.rules() {
        section.protect.append(set)
        // What is in two sets is excepted once.
        for rule in rules where !section.allow.contains(where: { $0.access == rule.access && $0.path == rule.path }) {
          section.allow.append(FileRule(head: RuleHead(action: .allow), access: rule.access, path: rule.path))
          fileComments.append(rule.comment)
        }
      } else if let (path, run) = exceptions.first {
        notes.append("\(set.rawValue) are not protected: \(name(run)) touched \(path).")
      }
    }
    policy.files = section
  }

  /// What of an event a policy which protects the set would deny.
  private static func touches(
    _ event: ObservedRun.Event, _ set: FilesSection.Protected, of run: ObservedRun
  ) -> (access: FileRule.Access, path: String)? {
    switch event.deed {
    case .write(let path): run.isIn(set, path) ? (.write, path) : nil
    case .read(let path): set == .credentials && run.isIn(set, path) ? (.read, path) : nil
    default: nil
    }
  }

  /// Whom was connected to.
  private struct Network {
    struct Key: Hashable {
      var host: String?
      var address: IPAddress?
      var spoken: NetworkProtocol
    }

    var ports: [Key: Set<UInt16>] = [:]
    /// Names that were asked for.
    var asked: Set<String> = []

    mutating func add(_ to: PolicyDestination) {
      let spoken = to.networkProtocol
      for host in to.names { ports[Key(host: host, address: nil, spoken: spoken), default: []].insert(to.port) }
      if to.names.isEmpty {
        ports[Key(host: nil, address: spoken != .raw ? to.address : nil, spoken: spoken), default: []].insert(to.port)
      }
    }

    private typealias Found = (order: String, rule: NetworkRule, comment: [String])

    /// Hosts first, then addresses.
    func rules() -> [(rule: NetworkRule, comment: [String])] {
      var found: [Found] = []
      // Siblings that are spoken to in the same way.
      var families: [Family: [String]] = [:]
      for (key, ports) in ports {
        if let host = key.host {
          let parent = host.split(separator: ".").dropFirst().joined(separator: ".")
          families[Family(parent: parent, ports: ports, spoken: key.spoken), default: []].append(host)
        } else if let address = key.address {
          found.append(Self.rule(address, key.spoken, ports))
        } else {
          found.append(Self.rule("c", .any, .raw, [], ["Raw sockets can send to whomever."]))
        }
      }
      // A rule for the name lets it be asked for, and nobody can be sent anything at port 0.
      for name in asked.subtracting(ports.keys.compactMap(\.host)) {
        let rule = Self.rule(
          "a" + name, .host(HostPattern(.none, name)), .udp, [0...0], ["Asked for, and nothing was sent to it."])
        found.append(rule)
      }
      for (family, hosts) in families {
        let hosts = hosts.sorted()
        if hosts.count >= LearnedPolicy.rotating, let pattern = try? HostPattern("*." + family.parent) {
          let comment = "Folded, and wider than what was seen: \(hosts.joined(separator: ", "))"
          found.append(
            Self.rule("a" + family.parent, .host(pattern), family.spoken, Self.ranges(family.ports), [comment]))
        } else {
          found += hosts.map { host in
            Self.rule("a" + host, .host(HostPattern(.none, host)), family.spoken, Self.ranges(family.ports))
          }
        }
      }
      return found.sorted { $0.order < $1.order }.map { ($0.rule, $0.comment) }
    }

    private struct Family: Hashable {
      var parent: String
      var ports: Set<UInt16>
      var spoken: NetworkProtocol
    }

    private static func rule(_ address: IPAddress, _ spoken: NetworkProtocol, _ ports: Set<UInt16>) -> Found {
      let isLoopback = address.v4.map { $0 >> 24 == 127 } ?? (address == IPAddress(high: 0, low: 1))
      let passing: Set<UInt16> = isLoopback ? ports.filter(LearnedPolicy.ephemeral.contains) : []
      var ranges = Self.ranges(ports.subtracting(passing))
      var comment: [String] = []
      if !passing.isEmpty {
        ranges.append(LearnedPolicy.ephemeral)
        comment = ["Wider than what was seen, as these ports differ from run to run: \(Self.text(passing))"]
      }
      return rule("b" + address.description, .network(IPNetwork(address)), spoken, ranges, comment)
    }

    /// - Parameter order: of no importance but that it is always the same
    private static func rule(
      _ order: String, _ peer: NetworkRule.Peer, _ spoken: NetworkProtocol, _ ranges: [ClosedRange<UInt16>],
      _ comment: [String] = []
    ) -> Found {
      var rule = NetworkRule(head: RuleHead(action: .allow))
      var comment = comment
      rule.peer = peer
      rule.protocols = [spoken]
      if spoken == .tcp || spoken == .udp { rule.ports = ranges }
      if let first = rule.ports.first, let last = rule.ports.last, rule.ports.count > PolicyLimits.ports {
        rule.ports = [first.lowerBound...last.upperBound]
        comment.append("Wider than what was seen, which was too much for a rule: \(ranges.count) ports and ranges")
      }
      return ("\(order) \(spoken.rawValue) \(rule.ports)", rule, comment)
    }

    /// Neighbours become a range.
    private static func ranges(_ ports: Set<UInt16>) -> [ClosedRange<UInt16>] {
      ports.sorted().reduce(into: []) { ranges, port in
        if let last = ranges.last, last.upperBound &+ 1 == port, port != 0 {
          ranges[ranges.count - 1] = last.lowerBound...port
        } else {
          ranges.append(port...port)
        }
      }
    }

    private static func text(_ ports: Set<UInt16>) -> String {
      let shown = ports.sorted().prefix(8).map(String.init).joined(separator: ", ")
      return ports.count > 8 ? shown + " and \(ports.count - 8) more" : shown
    }
  }
}
