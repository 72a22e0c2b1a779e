internal import KernelABI
internal import Policy

/// What a policy's rules become in the kernel's maps, apart from those about the network.
struct PolicyTables {
  struct Rule {
    var list: mt_rule_list
    var bit: Int
    var rule: mt_policy_rule
  }

  struct Word: Hashable {
    var list: UInt32
    var text: [UInt8]
  }

  /// Without its id.
  var entry = mt_policy()
  private(set) var scopes: ScopeNumbers
  let places: PlaceNumbers
  private(set) var paths = PathTable()
  private(set) var rules: [Rule] = []
  private(set) var words: [Word: UInt64] = [:]
  private(set) var needs = mt_exec_needs()
  /// Patterns of files, of which the kernel side is to know what lies there now.
  private(set) var files: [(pattern: PathPattern, masks: mt_inode_masks)] = []

  /// - Parameters:
  ///   - directory: what relative paths are relative to
  ///   - hashes: whether the kernel can hash what is executed
  ///   - scopes: numbers that patterns have already: those are looked for as well
  ///   - protected: finds what the names of `protect` stand for there
  /// - Throws: if there are more rules, or scopes, than the kernel side takes
  init(
    _ policy: Policy, in directory: PolicyDirectory, hashes: Bool, scopes: ScopeNumbers = ScopeNumbers(),
    protected: (FilesSection.Protected) throws(SensorError) -> [(PathPattern, isRead: Bool)]
  ) throws(SensorError) {
    self.scopes = scopes
    places = try PlaceNumbers(policy)
    if !places.isEmpty { entry.flags |= UInt16(MT_POLICY_PLACES.rawValue) }
    // Rules about the network have their own tables, and the same scopes.
    for rule in (policy.network?.deny ?? []) + (policy.network?.allow ?? []) {
      _ = try self.scopes.mask(of: rule.head.scope)
    }
    if let exec = policy.exec { try add(exec, in: directory, hashes: hashes) }
    if let files = policy.files { try add(files, in: directory, protected: protected) }
    if let memory = policy.memory { try add(memory) }
    if let system = policy.system { try add(system) }
    for (number, pattern) in self.scopes.patterns.enumerated() {
      place(pattern, 1 << UInt64(number), list: MT_RULES_SCOPES, in: directory)
    }
    if !self.scopes.patterns.isEmpty { entry.flags |= UInt16(MT_POLICY_SCOPES.rawValue) }
  }

  private mutating func place(_ pattern: PathPattern, _ bits: UInt64, list: mt_rule_list, in directory: PolicyDirectory)
  {
    guard pattern.isRelative, pattern.form != .named else { return paths.add(pattern, bits, list: list, in: "/") }
    guard let path = directory.path else { return }
    paths.add(pattern, bits, list: list, in: path, followsLinks: !directory.isElsewhere)
  }

  private mutating func begin(_ section: mt_section, default action: PolicyAction) {
    entry.sections |= 1 << UInt8(section.rawValue)
    withUnsafeMutableBytes(of: &entry.defaults) { $0[Int(section.rawValue)] = action.number }
  }

  /// Gives a rule the next bit of its list.
  private mutating func add(_ head: RuleHead, to list: mt_rule_list) throws(SensorError) -> UInt64 {
    let bit = rules.count { $0.list == list }
    // The last one of files is for what is protected.
    guard bit < Int(MT_RULE_PROTECTED) else { throw .policyTooLarge("rules of one kind", Int(MT_RULE_PROTECTED)) }
    rules.append(
      Rule(
        list: list, bit: bit,
        rule: mt_policy_rule(
          scope: try scopes.mask(of: head.scope), places: places.mask(of: head), number: head.number,
          action: head.action.number, reserved: (0, 0, 0))))
    return 1 << UInt64(bit)
  }

  private mutating func add(_ exec: ExecSection, in directory: PolicyDirectory, hashes: Bool) throws(SensorError) {
    begin(MT_SECTION_EXEC, default: exec.defaultAction)
    entry.flags |= UInt16(MT_POLICY_EXEC.rawValue)
    for rule in exec.deny + exec.allow {
      let bit = try add(rule.head, to: MT_RULES_EXEC)
      needs.rules |= bit
      if let path = rule.path {
        needs.path |= bit
        place(path, bit, list: MT_RULES_EXEC, in: directory)
      }
      if rule.memfd { needs.memfd |= bit }
      if rule.writtenDuringJob {
        needs.written |= bit
        entry.flags |= UInt16(MT_POLICY_WRITTEN.rawValue)
      }
      if !rule.sha256.isEmpty {
        needs.digest |= bit
        if hashes { entry.flags |= UInt16(MT_POLICY_DIGESTS.rawValue) }
      }
      for digest in rule.sha256 { words[Word(list: MT_RULES_EXEC.rawValue, text: digest), default: 0] |= bit }
    }
  }

  private mutating func add(
    _ section: FilesSection, in directory: PolicyDirectory,
    protected: (FilesSection.Protected) throws(SensorError) -> [(PathPattern, isRead: Bool)]
  ) throws(SensorError) {
    begin(MT_SECTION_FILES, default: .allow)
    for rule in section.deny + section.allow {
      let reads = rule.access == .read
      add(rule.path, try add(rule.head, to: reads ? MT_RULES_READ : MT_RULES_WRITE), reads: reads, in: directory)
    }
    guard !section.protect.isEmpty else { return }
    let bit: UInt64 = 1 << UInt64(MT_RULE_PROTECTED)
    for list in [MT_RULES_WRITE, MT_RULES_READ] {
      let rule = mt_policy_rule(
        scope: 0, places: 0, number: 0, action: section.protectAction.number, reserved: (0, 0, 0))
      rules.append(Rule(list: list, bit: Int(MT_RULE_PROTECTED), rule: rule))
    }
    for set in section.protect {
      for (pattern, isRead) in try protected(set) {
        add(pattern, bit, reads: false, in: directory)
        if isRead { add(pattern, bit, reads: true, in: directory) }
      }
    }
  }

  private mutating func add(_ pattern: PathPattern, _ bit: UInt64, reads: Bool, in directory: PolicyDirectory) {
    place(pattern, bit, list: reads ? MT_RULES_READ : MT_RULES_WRITE, in: directory)
    if !pattern.isRelative || directory.path != nil {
      files.append((pattern, mt_inode_masks(write: reads ? 0 : bit, read: reads ? bit : 0)))
    }
    entry.flags |= UInt16((reads ? MT_POLICY_READS : MT_POLICY_WRITES).rawValue)
  }

  private mutating func add(_ memory: MemorySection) throws(SensorError) {
    begin(MT_SECTION_MEMORY, default: .allow)
    guard !memory.protect.isEmpty else { return }
    entry.flags |= UInt16(MT_POLICY_MEMORY.rawValue)
    for rule in memory.protect {
      let bit = try add(rule.head, to: MT_RULES_MEMORY)
      words[Word(list: MT_RULES_MEMORY.rawValue, text: Array(rule.comm.utf8.prefix(15))), default: 0] |= bit
    }
  }

  private mutating func add(_ system: SystemSection) throws(SensorError) {
    begin(MT_SECTION_SYSTEM, default: system.defaultAction)
    entry.flags |= UInt16(MT_POLICY_SYSTEM.rawValue)
    let list = MT_RULES_SYSTEM.rawValue
    // The sockets have to be known whatever the rules are: the default is for them, too.
    for name in SystemRule.daemonSockets { words[Word(list: list, text: Array(name.utf8)), default: 0] |= 0 }
    for rule in system.deny + system.allow {
      let bit = try add(rule.head, to: MT_RULES_SYSTEM)
      for text in rule.deed.words { words[Word(list: list, text: text), default: 0] |= bit }
    }
  }
}

extension SystemRule {
  /// What the daemons that start containers call their sockets, in whatever directory.
  static let daemonSockets = ["docker.sock", "containerd.sock", "podman.sock", "crio.sock", "buildkitd.sock"]
}

extension SystemRule.Deed {
  /// As `mt_word_key` has it.
  fileprivate var words: [[UInt8]] {
    switch self {
    case .moduleLoad: [[UInt8(MT_WORD_MODULE.rawValue)]]
    case .bpf: [[UInt8(MT_WORD_BPF.rawValue)]]
    case .mount: [[UInt8(MT_WORD_MOUNT.rawValue)]]
    case .namespace: [[UInt8(MT_WORD_NAMESPACE.rawValue)]]
    case .containerDaemon: SystemRule.daemonSockets.map { Array($0.utf8) }
    }
  }
}
