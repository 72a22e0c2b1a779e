import Policy
import Testing

@testable import KernelSensor

/// What the kernel side looks up, looked up as it does: it has to decide as ``Policy/decide(connect:by:)`` does.
@Suite struct NetworkTablesTests {
  static func lookUp(_ tables: NetworkTables, _ address: IPAddress) -> NetworkTables.Rules {
    let host = IPNetwork(address: address, length: 128)
    return tables.networks.filter { $0.network.contains(host) }.max { $0.network.length < $1.network.length }?.rules
      ?? []
  }

  /// As `set_of_name` of families/messages.h.
  static func lookUp(_ tables: NetworkTables, name: String) -> NetworkTables.Rules? {
    if let exact = tables.names[name]?.exact { return exact }
    let labels = name.split(separator: ".").map(String.init)
    if labels.count > 1, let one = tables.names[labels.dropFirst().joined(separator: ".")]?.one { return one }
    for count in 1..<max(2, labels.count) {
      if let any = tables.names[labels.dropFirst(count).joined(separator: ".")]?.any { return any }
    }
    return tables.otherNames.isEmpty ? nil : tables.otherNames
  }

  static func decide(
    _ tables: NetworkTables, _ section: NetworkSection, _ sets: [NetworkTables.Rules], port: UInt16, bit: UInt8
  ) -> (action: PolicyAction, rule: UInt32) {
    let rule = sets.joined().filter { $0.protocols & bit != 0 && $0.ports.contains(port) }.min { $0.rank < $1.rank }
    return rule.map { ($0.action, $0.rule) } ?? (section.defaultAction, 0)
  }

  static let hosts = [
    "example.org", "a.example.org", "b.a.example.org", "c.b.a.example.org", "other.test", "x.other.test",
  ]

  static func randomRule(_ random: inout Seeded, _ action: PolicyAction) -> NetworkRule {
    var rule = NetworkRule(head: RuleHead(action: action))
    switch random.next() % 4 {
    case 0:
      let length = random.pick([UInt8(96), 104, 112, 120, 128])
      let low = 0xffff_0a00_0000 | random.next() % 4 << (8 * (random.next() % 3))
      let mask = length == 128 ? ~0 : ~UInt64(0) << UInt64(128 - length)
      rule.peer = .network(IPNetwork(address: IPAddress(high: 0, low: low & mask), length: length))
    case 1: rule.peer = .any
    default:
      let kind = random.pick([HostPattern.Wildcard.none, .oneLabel, .anyLabels])
      rule.peer = .host(HostPattern(kind, random.pick(hosts)))
    }
    if random.next() % 2 == 0 { rule.ports = [443...443, 8000...8080] }
    // What is left out means something else for hosts than for networks: see docs/policy.md.
    rule.protocols = random.next() % 2 == 0 ? [.tcp] : [.tcp, .udp]
    return rule
  }

  @Test(arguments: 0..<40) func decidesAsThePolicyDoes(seed: UInt64) throws {
    var random = Seeded(state: seed)
    var policy = Policy()
    var section = NetworkSection()
    section.defaultAction = random.pick([PolicyAction.deny, .kill])
    section.deny = (0..<random.next() % 4).map { _ in Self.randomRule(&random, .deny) }
    section.allow = (0..<random.next() % 8).map { _ in Self.randomRule(&random, .allow) }
    policy.network = section
    policy.number()
    let network = try #require(policy.network)
    let tables = try NetworkTables(network) { _ in 0 }
    for _ in 0..<300 {
      let address = IPAddress(
        high: 0,
        low: 0xffff_0a00_0000 | random.next() % 4 << (8 * (random.next() % 3)))
      let port = random.pick([UInt16(443), 80, 8001])
      let isTCP = random.next() % 2 == 0
      let names = random.next() % 2 == 0 ? [] : [random.pick(Self.hosts)]
      let expected = policy.decide(
        connect: PolicyDestination(address, port: port, isTCP ? .tcp : .udp, names: names),
        by: PolicyActor(executable: "/bin/true"))
      let sets = [Self.lookUp(tables, address)] + names.compactMap { Self.lookUp(tables, name: $0) }
      let found = Self.decide(tables, network, sets, port: port, bit: isTCP ? 1 : 2)
      #expect(
        found.action == expected.action && found.rule == expected.rule,
        "\(address) \(port) \(isTCP) \(names): \(found) and \(expected) by \(policy.yaml)")
    }
  }

  @Test func metadataIsDeniedUnlessListed() throws {
    let address = try #require(IPAddress("169.254.169.254"))
    let open = try NetworkTables(NetworkSection()) { _ in 0 }
    #expect(Self.lookUp(open, address).map(\.action) == [.deny])
    var section = NetworkSection()
    var rule = NetworkRule(head: RuleHead(action: .allow))
    rule.peer = .network(IPNetwork(address))
    section.allow = [rule]
    let listed = try NetworkTables(section) { _ in 0 }
    #expect(Self.lookUp(listed, address).first?.action == .allow)
  }

  @Test func tooManyRulesForOnePeer() {
    var section = NetworkSection()
    section.allow = (0..<40).map { index in
      var rule = NetworkRule(head: RuleHead(action: .allow))
      rule.ports = [UInt16(index + 1)...UInt16(index + 1)]
      return rule
    }
    #expect(throws: SensorError.self) { try NetworkTables(section) { _ in 0 } }
  }

  @Test func resolvConf() {
    let text =
      "# nameserver 192.0.2.9\nsearch example.org\nnameserver 192.0.2.1\nnameserver\tfe80::1%eth0\nnameserver x\n"
    #expect(Resolvers.addresses(in: text).map(\.description) == ["192.0.2.1", "fe80::1"])
  }
}

/// SplitMix64.
struct Seeded {
  var state: UInt64

  mutating func pick<Element>(_ all: [Element]) -> Element { all[Int(next() % UInt64(all.count))] }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }
}
