internal import KernelABI
internal import Policy

/// What the kernel side looks a policy's network section up in. Each entry leads to all rules that can hold for it, those
/// of wider networks and shorter names among them, so that the nearest entry says everything.
struct NetworkTables: Equatable {
  /// A set of rules, in the order of their ranks.
  typealias Rules = [NetworkEntry]

  /// As an `mt_network_rule`.
  struct NetworkEntry: Hashable {
    var rank: UInt16
    var rule: UInt32
    var action: PolicyAction
    var protocols: UInt8
    var ports: ClosedRange<UInt16>
    var scope: UInt64
    var places: UInt64 = 0
  }

  struct Name: Equatable {
    var exact: Rules?
    var one: Rules?
    var any: Rules?
  }

  var networks: [(network: IPNetwork, rules: Rules)] = []
  var names: [String: Name] = [:]
  /// For names that ``names`` does not have; empty: the section's default holds.
  var otherNames: Rules = []
  /// The least rank of a rule for names, or one that no rule has.
  var firstName = UInt32(MT_NO_NAMES)
  /// Whether a connection has to say whom it wants, wherever it goes: some names are denied.
  var deniesNames = false

  static func == (a: NetworkTables, b: NetworkTables) -> Bool {
    a.names == b.names && a.firstName == b.firstName && a.otherNames == b.otherNames && a.deniesNames == b.deniesNames
      && a.networks.elementsEqual(b.networks) { $0.network == $1.network && $0.rules == $1.rules }
  }

  /// Where clouds tell machines who they are, and give them credentials.
  static let metadata = [
    IPNetwork(address: IPAddress(high: 0, low: 0xffff_a9fe_a9fe), length: 128),
    IPNetwork(address: IPAddress(high: 0xfd00_0ec2_0000_0000, low: 0x254), length: 128),
  ]

  /// - Parameters:
  ///   - places: the bits of steps and images that a rule is for
  ///   - scope: the bits of `mt_process.subjects` that a scope is for
  /// - Throws: if more rules hold for one peer than the kernel side looks at
  init(
    _ section: NetworkSection, places: (RuleHead) -> UInt64 = { _ in 0 },
    scope: (RuleScope) throws(SensorError) -> UInt64
  ) throws(SensorError) {
    var everyone: Rules = []
    var byNetwork: [IPNetwork: Rules] = [:]
    var byHost: [HostPattern: Rules] = [:]
    let all = section.deny + section.allow
    for (rank, rule) in all.enumerated() {
      let entries = Self.entries(
        of: rule, rank: UInt16(rank), scope: try scope(rule.head.scope), places: places(rule.head))
      switch rule.peer {
      case .any: everyone += entries
      case .network(let network): byNetwork[network, default: []] += entries
      case .host(let host):
        byHost[host, default: []] += entries
        firstName = min(firstName, UInt32(rank))
        if rule.head.action >= .deny { deniesNames = true }
      }
    }
    if section.defaultAction < .deny {
      // Only who is allowed to by a rule.
      let action = section.defaultAction == .observe ? PolicyAction.observe : .deny
      let entry = NetworkEntry(
        rank: UInt16(all.count), rule: 0, action: action,
        protocols: UInt8(MT_PROTOCOL_TCP.rawValue | MT_PROTOCOL_UDP.rawValue), ports: 0...UInt16.max, scope: 0)
      for network in Self.metadata { byNetwork[network, default: []].append(entry) }
    }
    otherNames = everyone
    networks = try Self.unite(byNetwork, everyone)
    names = try Self.unite(byHost, everyone)
  }

  private static func entries(of rule: NetworkRule, rank: UInt16, scope: UInt64, places: UInt64) -> Rules {
    let bits: [NetworkProtocol: mt_protocol] = [
      .tcp: MT_PROTOCOL_TCP, .udp: MT_PROTOCOL_UDP, .icmp: MT_PROTOCOL_ICMP, .raw: MT_PROTOCOL_RAW,
    ]
    let mask = rule.spokenProtocols.reduce(UInt8(0)) { $0 | UInt8(bits[$1]?.rawValue ?? 0) }
    return (rule.ports.isEmpty ? [0...UInt16.max] : rule.ports).map {
      NetworkEntry(
        rank: rank, rule: rule.head.number, action: rule.head.action, protocols: mask, ports: $0, scope: scope,
        places: places)
    }
  }

  /// All that hold together, what repeats left out.
  private static func set(_ parts: Rules..., of what: @autoclosure () -> String) throws(SensorError) -> Rules {
    var rules: Rules = []
    for rule in parts.joined().sorted(by: { $0.rank < $1.rank }) where rules.last != rule { rules.append(rule) }
    guard rules.count <= MT_SET_RULES else {
      throw SensorError(
        .policyRefused, "\(rules.count) rules of the policy can hold for \(what()), and \(MT_SET_RULES) at most may",
        advice: "Write fewer rules, or fewer lists of ports, for the same hosts")
    }
    return rules
  }

  private static func unite(
    _ all: [IPNetwork: Rules], _ everyone: Rules
  ) throws(SensorError) -> [(network: IPNetwork, rules: Rules)] {
    var united: [(network: IPNetwork, rules: Rules)] = []
    let root = IPNetwork(address: IPAddress(high: 0, low: 0), length: 0)
    if !everyone.isEmpty, all[root] == nil { united.append((root, try set(everyone, of: "any address"))) }
    // Those that one lies within: a wider network comes before what it holds.
    var around: [(network: IPNetwork, rules: Rules)] = []
    let order = all.sorted {
      ($0.key.address.high, $0.key.address.low, $0.key.length) < (
        $1.key.address.high, $1.key.address.low, $1.key.length
      )
    }
    for (network, own) in order {
      while let last = around.last, !last.network.contains(network) { around.removeLast() }
      let rules = try set(own, around.last?.rules ?? everyone, of: "one address")
      around.append((network, rules))
      united.append((network, rules))
    }
    return united
  }

  private static func unite(
    _ all: [HostPattern: Rules], _ everyone: Rules
  ) throws(SensorError) -> [String: Name] {
    /// What holds for all names below those that end so.
    func above(_ name: Substring) -> Rules {
      var rules: Rules = []
      var rest = name
      while let dot = rest.firstIndex(of: ".") {
        rest = rest[rest.index(after: dot)...]
        rules += all[HostPattern(.anyLabels, String(rest))] ?? []
      }
      return rules
    }
    var names: [String: Name] = [:]
    for (host, own) in all {
      let name = host.name[...]
      var entry = names[host.name] ?? Name()
      switch host.wildcard {
      case .none:
        var one: Rules = []
        if let dot = name.firstIndex(of: ".") {
          one = all[HostPattern(.oneLabel, String(name[name.index(after: dot)...]))] ?? []
        }
        entry.exact = try set(own, one, above(name), everyone, of: host.name)
      case .oneLabel:
        let any = all[HostPattern(.anyLabels, host.name)] ?? []
        entry.one = try set(own, any, above(name), everyone, of: "a name below \(host.name)")
      case .anyLabels:
        entry.any = try set(own, above(name), everyone, of: "a name below \(host.name)")
      }
      names[host.name] = entry
    }
    return names
  }
}

extension IPAddress {
  /// 16 bytes in network byte order.
  var bytes: [UInt8] {
    [high, low].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64(56 - 8 * $0)) } }
  }
}

extension PolicyAction {
  /// As the kernel side has it: `enum mt_action`.
  package var number: UInt8 {
    let action: mt_action =
      switch self {
      case .allow: MT_ALLOW
      case .observe: MT_OBSERVE
      case .deny: MT_DENY
      case .kill: MT_KILL
      }
    return UInt8(action.rawValue)
  }
}
