/// Something that two policies say differently of.
public struct PolicyDifference: Sendable, Equatable {
  public var section: String
  /// As a rule, or in words.
  public var what: String
  public var old: PolicyAction
  public var new: PolicyAction
  /// The numbers of the rules that decide; 0: none.
  public var oldRule: UInt32 = 0
  public var newRule: UInt32 = 0

  /// Whether more may be done, or what is done is told less.
  public var isWider: Bool { new < old }
}

extension Policy {
  /// What `new` says differently, section by section.
  ///
  /// Every difference is among these. A pair of rules is left out where one rule in front of them in either policy is for
  /// all that they are for; where several together are, it may be told though nothing ever comes to it.
  public func differences(to new: Policy) -> [PolicyDifference] {
    var all = Comparison("network", of: network, new.network, \.deny, \.allow, \.defaultAction).differences
    all += Comparison("exec", of: exec, new.exec, \.deny, \.allow, \.defaultAction).differences
    all += Comparison(old: Entries(files), new: Entries(new.files), section: "files").differences
    for set in FilesSection.Protected.allCases {
      let (old, new) = (files?.action(ofProtected: set) ?? .allow, new.files?.action(ofProtected: set) ?? .allow)
      if old != new {
        all.append(PolicyDifference(section: "files", what: "protect: \(set.rawValue)", old: old, new: new))
      }
    }
    let oldMemory = Entries<MemoryRule>(memory?.protect ?? [], [], .allow)
    all +=
      Comparison(old: oldMemory, new: Entries(new.memory?.protect ?? [], [], .allow), section: "memory").differences
    all += Comparison("system", of: system, new.system, \.deny, \.allow, \.defaultAction).differences
    let (mine, theirs) = (network?.resolvers ?? [], new.network?.resolvers ?? [])
    if mine != theirs {
      func text(_ resolvers: [IPAddress]) -> String { PolicyText.list(resolvers.map(\.description)) }
      let isWider = theirs.isEmpty || !theirs.allSatisfy(mine.contains)
      all.append(
        PolicyDifference(
          section: "network", what: "resolvers: \(text(mine)), now \(text(theirs))", old: isWider ? .deny : .allow,
          new: isWider ? .allow : .deny))
    }
    if requirePrevention != new.requirePrevention {
      let isWider = requirePrevention
      all.append(
        PolicyDifference(
          section: "requirePrevention", what: "a job that cannot be held to it", old: isWider ? .deny : .allow,
          new: isWider ? .allow : .deny))
    }
    if onSensorError != new.onSensorError {
      let isWider = new.onSensorError == .open
      all.append(
        PolicyDifference(
          section: "onSensorError", what: "a job whose sensor is gone", old: isWider ? .deny : .allow,
          new: isWider ? .allow : .deny))
    }
    return all
  }
}

extension FilesSection {
  func action(ofProtected set: Protected) -> PolicyAction { protect.contains(set) ? protectAction : .allow }
}

/// What is asked in a section, one after the other.
private struct Entries<Rule: Overlapping> {
  var rules: [Rule]
  /// Of what is protected, if anything is that a rule could be about.
  var protected: @Sendable (Rule) -> PolicyAction?
  var rest: PolicyAction

  init(_ deny: [Rule], _ allow: [Rule], _ rest: PolicyAction) {
    rules = deny + allow
    protected = { _ in nil }
    self.rest = rest
  }

  /// Whether a rule in front of `index` leaves nothing of `rule`.
  func hides(_ rule: Rule, before index: Int) -> Bool { rules[..<index].contains { $0.covers(rule) } }
}

extension Entries<FileRule> {
  init(_ section: FilesSection?) {
    self.init(section?.deny ?? [], section?.allow ?? [], .allow)
    guard let section, !section.protect.isEmpty else { return }
    protected = { $0.access == .write || section.protect.contains(.credentials) ? section.protectAction : nil }
  }
}

private struct Comparison<Rule: Overlapping> {
  var old: Entries<Rule>
  var new: Entries<Rule>
  var section: String

  init(old: Entries<Rule>, new: Entries<Rule>, section: String) {
    self.old = old
    self.new = new
    self.section = section
  }

  init<Section>(
    _ name: String, of old: Section?, _ new: Section?, _ deny: KeyPath<Section, [Rule]>,
    _ allow: KeyPath<Section, [Rule]>, _ rest: KeyPath<Section, PolicyAction>
  ) {
    func entries(_ section: Section?) -> Entries<Rule> {
      Entries(section?[keyPath: deny] ?? [], section?[keyPath: allow] ?? [], section?[keyPath: rest] ?? .allow)
    }
    self.init(old: entries(old), new: entries(new), section: name)
  }

  var differences: [PolicyDifference] {
    var found = Found(section: section)
    for (index, mine) in old.rules.enumerated() where !old.hides(mine, before: index) {
      for (other, theirs) in new.rules.enumerated() where !new.hides(theirs, before: other) {
        switch mine.overlap(theirs) {
        case .nothing: break
        case .exactly(let both):
          if !old.hides(both, before: index), !new.hides(both, before: other) { found.add(both, mine, theirs) }
        case .unsaid:
          // What hides either of them hides what they have in common.
          let isHidden = old.hides(theirs, before: index) || new.hides(mine, before: other)
          if !isHidden { found.add("\(Self.text(mine)) that is \(Self.text(theirs)), too", mine, theirs) }
        }
      }
      guard !new.hides(mine, before: new.rules.count) else { continue }
      if let action = new.protected(mine) {
        found.add("\(Self.text(mine)) of what is protected", mine.head.action, action, mine.head.number, 0)
      }
      found.add(mine, mine.head.action, new.rest, mine.head.number, 0)
    }
    for (index, theirs) in new.rules.enumerated() where !new.hides(theirs, before: index) {
      guard !old.hides(theirs, before: old.rules.count) else { continue }
      if let action = old.protected(theirs) {
        found.add("\(Self.text(theirs)) of what is protected", action, theirs.head.action, 0, theirs.head.number)
      }
      found.add(theirs, old.rest, theirs.head.action, 0, theirs.head.number)
    }
    found.add("everything else", old.rest, new.rest, 0, 0)
    return found.all
  }

  private static func text(_ rule: Rule) -> String { PolicyText.condition(rule) }

  private struct Found {
    let section: String
    var all: [PolicyDifference] = []
    private var told: [(rule: Rule, old: PolicyAction, new: PolicyAction)] = []

    init(section: String) { self.section = section }

    mutating func add(
      _ what: String, _ old: PolicyAction, _ new: PolicyAction, _ oldRule: UInt32, _ newRule: UInt32
    ) {
      guard old != new else { return }
      all.append(
        PolicyDifference(section: section, what: what, old: old, new: new, oldRule: oldRule, newRule: newRule))
    }

    /// Unless it is a part of what was told.
    mutating func add(
      _ what: Rule, _ old: PolicyAction, _ new: PolicyAction, _ oldRule: UInt32, _ newRule: UInt32
    ) {
      guard old != new, !told.contains(where: { $0.old == old && $0.new == new && $0.rule.covers(what) }) else {
        return
      }
      told.append((what, old, new))
      add(Comparison.text(what), old, new, oldRule, newRule)
    }

    mutating func add(_ what: Rule, _ mine: Rule, _ theirs: Rule) {
      add(what, mine.head.action, theirs.head.action, mine.head.number, theirs.head.number)
    }

    mutating func add(_ what: String, _ mine: Rule, _ theirs: Rule) {
      add(what, mine.head.action, theirs.head.action, mine.head.number, theirs.head.number)
    }
  }
}
