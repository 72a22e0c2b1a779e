internal import CLibbpf
internal import CSystem
internal import Glibc
internal import KernelABI
public import Policy

extension Sensor {
  /// Puts a policy in force for a job, all of it at once: its rules are in the kernel before the job is under it. The
  /// one that was in force for it goes.
  ///
  /// Which images rules are for is known of what is executed from here on: a job is to be put under its policy before
  /// its first exec.
  ///
  /// - Parameters:
  ///   - policy: with numbered rules
  ///   - slot: the job's
  ///   - directory: what relative paths of the policy are relative to
  public func enforce(_ policy: Policy, on slot: UInt16, in directory: String) throws(SensorError) {
    try place(PreparedPolicy(policy, in: .here(directory), policyTerms()), on: slot)
  }

  /// The same with one that has been prepared.
  ///
  /// - Parameter knowsContainers: whether ``sharePolicy(of:with:_:)`` will tell of the job's containers, so that what is in the
  ///   slot is in none; else nothing is known
  public func place(_ prepared: PreparedPolicy, on slot: UInt16, knowsContainers: Bool = false) throws(SensorError) {
    var entry = try place(prepared)
    entry.writer = UInt32(try checked(slot))
    entry.images = knowsContainers ? 0 : MT_PLACE_UNKNOWN
    try put(entry, on: slot)
  }

  /// Puts a job under no policy any more, and forgets what it has written.
  public func endPolicy(on slot: UInt16) throws(SensorError) {
    try put(mt_policy(), on: slot)
    forgetFiles(writtenBy: slot)
  }

  /// Puts policies in force for jobs that begin from now on, each before the job's first process is in it. The first
  /// program of a container is stopped (``MT_EXEC_HELD``) until its slot is put under a policy and somebody lets it go on; before
  /// that it is the runtime, which no policy is for.
  ///
  /// - Parameters:
  ///   - rules: by the index of the rule that makes the job
  ///   - asked: for jobs that no rule makes: ``takeSlot(rule:key:)``
  ///   - containers: for those of which it is not found out in time whose they are: ``endHold(on:)``
  public func setPolicies(
    _ policies: [PreparedPolicy], rules: [Int: Int], asked: Int?, containers: Int?
  ) throws(SensorError) {
    var entries: [mt_policy] = []
    for policy in policies { entries.append(try place(policy)) }
    for (rule, policy) in rules { try give(entries[policy], to: rule) }
    func ofUnknown(_ index: Int) -> mt_policy {
      var entry = entries[index]
      entry.images = MT_PLACE_UNKNOWN
      return entry
    }
    if let asked { try give(ofUnknown(asked), to: Int(MT_POLICY_OF_ASKED)) }
    var held = mt_policy()
    held.flags = UInt16(MT_POLICY_HELD.rawValue)
    try give(held, to: Int(MT_POLICY_OF_CONTAINERS))
    policyOfContainers = containers.map(ofUnknown) ?? mt_policy()
    policiesOfRules.insert(policyOfContainers.id)
  }

  private func give(_ entry: mt_policy, to place: Int) throws(SensorError) {
    var key = UInt32(place)
    var entry = entry
    try Self.set(&entry, at: &key, of: objects.map("rule_policies"), named: "rule_policies")
    policiesOfRules.insert(entry.id)
  }

  /// Has what is executed in a container's slot wait no more: it is under what ``setPolicies(_:rules:asked:containers:)`` says.
  public func endHold(on slot: UInt16) throws(SensorError) {
    var entry = policyOfContainers
    entry.writer = UInt32(slot)
    try put(entry, on: slot)
  }

  /// As the kernel side does for those that it finds.
  func beginPolicy(on slot: UInt16, rule: Int) throws(SensorError) {
    guard let policies = objects.maps["rule_policies"] else { return }
    var key = UInt32(rule)
    var entry = mt_policy()
    let result = bpf_map_lookup_elem(policies, &key, &entry)
    if result != 0 { throw .mapFailed("rule_policies", "read", errno: -result) }
    entry.writer = UInt32(slot)
    try put(entry, on: slot)
  }

  /// Puts what is in a container's slot under its job's policy, as it is now.
  public func sharePolicy(of job: UInt16, with container: UInt16, _ origin: ContainerOrigin) throws(SensorError) {
    var entry = try policy(on: job)
    entry.images = PlaceNumbers.bits(of: origin.image, placedPolicies[entry.id]?.images ?? [])
    entry.step = origin.step
    try put(entry, on: checked(container))
  }

  private func policy(on slot: UInt16) throws(SensorError) -> mt_policy {
    var key = UInt32(try checked(slot))
    var entry = mt_policy()
    let result = bpf_map_lookup_elem(try objects.map("policies"), &key, &entry)
    if result != 0 { throw .mapFailed("policies", "read", errno: -result) }
    return entry
  }

  private func put(_ entry: mt_policy, on slot: UInt16) throws(SensorError) {
    var key = UInt32(try checked(slot))
    var entry = entry
    try Self.set(&entry, at: &key, of: objects.map("policies"), named: "policies")
    policiesOfSlots[slot] = entry.id == 0 ? nil : entry.id
    removeRetired()
  }

  /// Takes those out of the maps that no job has been under for a while: a program that ran when one was replaced has looked
  /// up its number.
  private func removeRetired() {
    let inUse = Set(policiesOfSlots.values).union(policiesOfRules)
    let now = mt_boottime_ns()
    for (id, placed) in placedPolicies where !inUse.contains(id) {
      guard let since = placed.retiredAt else {
        placedPolicies[id]?.retiredAt = now
        continue
      }
      guard now &- since > 1_000_000_000 else { continue }
      remove(placed)
      placedPolicies[id] = nil
    }
  }

  /// Puts the rules of a policy into the maps, and returns what says that it is in force.
  private func place(_ prepared: PreparedPolicy) throws(SensorError) -> mt_policy {
    lastPolicy &+= 1
    var placed = PlacedPolicy(id: lastPolicy, images: prepared.tables.places.images)
    var entry = prepared.tables.entry
    entry.id = lastPolicy
    do throws(SensorError) {
      try place(prepared.tables, prepared.files, noting: &placed)
      if let (section, tables) = prepared.network { try place(section, tables, of: &entry, noting: &placed) }
    } catch {
      remove(placed)
      throw error
    }
    placedPolicies[placed.id] = placed
    if entry.flags & UInt16(MT_POLICY_WRITTEN.rawValue) != 0 { notesWrites = true }
    return entry
  }

  func force(_ section: mt_section, _ defaultAction: PolicyAction, in entry: inout mt_policy) {
    entry.sections |= 1 << UInt8(section.rawValue)
    withUnsafeMutableBytes(of: &entry.defaults) { $0[Int(section.rawValue)] = defaultAction.number }
  }

  private func remove(_ placed: PlacedPolicy) {
    for (map, keys) in placed.keys {
      guard let map = objects.maps[map] else { continue }
      for key in keys { _ = key.withUnsafeBytes { bpf_map_delete_elem(map, $0.baseAddress) } }
    }
  }
}

/// What a policy has put into the kernel's maps.
struct PlacedPolicy {
  let id: UInt32
  /// That rules are for, in the order of their bits.
  let images: [ImagePattern]
  /// Since when no job is under it, CLOCK_BOOTTIME; nil: one is.
  var retiredAt: UInt64?
  /// By map.
  var keys: [String: [[UInt8]]] = [:]

  mutating func note<Key: BitwiseCopyable>(_ key: Key, in map: String) {
    keys[map, default: []].append(withUnsafeBytes(of: key) { Array($0) })
  }
}

// MARK: - Network

extension Sensor {
  private func place(
    _ section: NetworkSection, _ tables: NetworkTables, of entry: inout mt_policy, noting placed: inout PlacedPolicy
  ) throws(SensorError) {
    if let missing = choices.first(where: {
      $0.family == "network" && $0.request == .policy && $0.isMissing
    }) {
      throw SensorError(
        .policyRefused,
        "The network section of the policy cannot be kept here: \(missing.function): \(missing.reasons)",
        advice: "Take that section out of the policy, or use another kernel: 'martlet doctor' says what this one lacks")
    }
    var sets: [NetworkTables.Rules: UInt32] = [:]
    func number(_ rules: NetworkTables.Rules?) throws(SensorError) -> UInt32 {
      guard let rules, !rules.isEmpty else { return 0 }
      if let known = sets[rules] { return known }
      lastNetworkSet &+= 1
      var key = lastNetworkSet
      var set = mt_network_set(rules)
      try Self.set(&set, at: &key, of: objects.map("network_sets"), named: "network_sets")
      placed.note(key, in: "network_sets")
      sets[rules] = key
      return key
    }
    for (network, rules) in tables.networks {
      var key = mt_network_key()
      key.prefix = 32 + UInt32(network.length)
      key.policy = entry.id
      withUnsafeMutableBytes(of: &key.address) { $0.copyBytes(from: network.address.bytes) }
      var value = try number(rules)
      try Self.set(&value, at: &key, of: objects.map("networks"), named: "networks")
      placed.note(key, in: "networks")
    }
    for (name, rules) in tables.names {
      var key = mt_name_key(hash: keyHash.ofHost(name), policy: entry.id, reserved: 0)
      var value = mt_name()
      value.exact = try number(rules.exact)
      value.one = try number(rules.one)
      value.any = try number(rules.any)
      value.length = UInt32(name.utf8.count)
      withUnsafeMutableBytes(of: &value.text) { $0.copyBytes(from: name.utf8.prefix($0.count)) }
      try Self.set(&value, at: &key, of: objects.map("names"), named: "names")
      placed.note(key, in: "names")
    }
    try placeResolvers(section.resolvers.isEmpty ? Resolvers.ofThisMachine : section.resolvers, of: entry.id) {
      placed.note($0, in: "resolvers")
    }
    entry.other_names = try number(tables.otherNames)
    entry.first_name = tables.firstName
    if tables.deniesNames { entry.flags |= UInt16(MT_POLICY_DENIES_NAMES.rawValue) }
    force(MT_SECTION_NETWORK, section.defaultAction, in: &entry)
  }

  /// - Parameter policy: 0: for jobs without one
  func placeResolvers(
    _ addresses: [IPAddress], of policy: UInt32, noting note: (mt_resolver_key) -> Void
  ) throws(SensorError) {
    for address in addresses {
      var key = mt_resolver_key()
      key.policy = policy
      withUnsafeMutableBytes(of: &key.address) { $0.copyBytes(from: address.bytes) }
      var value: UInt32 = 1
      try Self.set(&value, at: &key, of: objects.map("resolvers"), named: "resolvers")
      note(key)
    }
  }
}

extension mt_network_set {
  fileprivate init(_ rules: NetworkTables.Rules) {
    self.init()
    count = UInt32(rules.count)
    withUnsafeMutableBytes(of: &self.rules) { bytes in
      let places = bytes.bindMemory(to: mt_network_rule.self)
      for (index, rule) in rules.enumerated() {
        places[index] = mt_network_rule(
          scope: rule.scope, places: rule.places, rule: rule.rule, rank: rule.rank, action: rule.action.number,
          protocols: rule.protocols, low: rule.ports.lowerBound, high: rule.ports.upperBound, reserved: 0)
      }
    }
  }
}

/// Whose answers a machine believes.
enum Resolvers {
  /// The name servers of /etc/resolv.conf, and the one that dockerd gives containers of a network of their own.
  static var ofThisMachine: [IPAddress] {
    let docker = IPAddress(high: 0, low: 0xffff_7f00_000b)
    return addresses(in: readText("/etc/resolv.conf") ?? "") + [docker]
  }

  /// resolv.conf(5); what cannot be read as an address is no resolver of glibc's either.
  static func addresses(in text: String) -> [IPAddress] {
    text.split(separator: "\n").compactMap { line in
      let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
      guard words.count >= 2, words[0] == "nameserver" else { return nil }
      // A link-local address may name its interface.
      return IPAddress(words[1].prefix { $0 != "%" })
    }
  }
}
