internal import Configuration

/// Why two policies cannot be one.
public struct NarrowingError: Error, Sendable, Equatable, CustomStringConvertible {
  public let description: String

  init(_ description: String) { self.description = description }
}

/// Who may change code must not widen what it may do: a policy of the machine's owner holds, and one that comes with the
/// code can only narrow it.
///
/// For everything that a job does, the graver of what the two say is what the result says, exactly so where rules can say
/// it, else something graver; never less. The lists of a section are one list of rules with its default at the end, and
/// of two such lists the first match in each makes a pair: the result has all pairs that can occur, in an order in which
/// the first that matches is the pair of first matches. What is graver than it need be:
/// - what two allow by conditions that no single rule can state (a host and a network, patterns of which neither contains the
///   other) is not allowed;
/// - what one denies or observes by a condition that cannot be put together with the other's has the gravest action
///   that it could have;
/// - `deny` may become `kill` where one of the defaults is `kill`;
/// - what one protects, the other's exceptions do not except, and it has the graver of both actions.
extension Policy {
  /// This policy, narrowed by another. The rules are numbered anew and have no places.
  ///
  /// - Throws: if the result does not fit the kernel's limits, or cannot be said.
  public func narrowed(by other: Policy) throws(NarrowingError) -> Policy {
    var both = self
    both.requirePrevention = requirePrevention || other.requirePrevention
    both.onSensorError = [onSensorError, other.onSensorError].contains(.closed) ? .closed : .open
    if let mine = network, let theirs = other.network {
      both.network = try mine.spelledOut.narrowed(by: theirs.spelledOut).shortened
    } else {
      both.network = network ?? other.network
    }
    if let mine = exec, let theirs = other.exec {
      let lists = Lists(mine.deny, mine.allow, mine.defaultAction)
        .narrowed(by: Lists(theirs.deny, theirs.allow, theirs.defaultAction))
      both.exec?.deny = lists.deny
      both.exec?.allow = lists.allow
      both.exec?.defaultAction = lists.ending.action
    } else {
      both.exec = exec ?? other.exec
    }
    if let mine = files, let theirs = other.files {
      both.files = try mine.narrowed(by: theirs)
    } else {
      both.files = files ?? other.files
    }
    if let mine = memory, let theirs = other.memory {
      both.memory?.protect = Lists(mine.protect, [], .allow).narrowed(by: Lists(theirs.protect, [], .allow)).deny
    } else {
      both.memory = memory ?? other.memory
    }
    if let mine = system, let theirs = other.system {
      let lists = Lists(mine.deny, mine.allow, mine.defaultAction)
        .narrowed(by: Lists(theirs.deny, theirs.allow, theirs.defaultAction))
      both.system?.deny = lists.deny
      both.system?.allow = lists.allow
      both.system?.defaultAction = lists.ending.action
    } else {
      both.system = system ?? other.system
    }
    both = both.withoutPlaces
    both.number()
    if let objection = PolicyLimits.objection(to: both) {
      throw NarrowingError("the policies cannot be put together: \(objection.message)")
    }
    return both
  }
}

extension NetworkSection {
  /// Whose answers are believed is this section's to say: somebody else's resolver could give any address the name of an
  /// allowed host. The other's list can only leave some out.
  fileprivate func narrowed(by other: NetworkSection) throws(NarrowingError) -> NetworkSection {
    var both = self
    let lists = Lists(deny, allow, defaultAction).narrowed(by: Lists(other.deny, other.allow, other.defaultAction))
    both.deny = lists.deny
    both.allow = lists.allow
    both.defaultAction = lists.ending.action
    if !resolvers.isEmpty && !other.resolvers.isEmpty {
      both.resolvers = resolvers.filter(other.resolvers.contains)
      if both.resolvers.isEmpty { throw NarrowingError("the policies have no resolver in common") }
    }
    return both
  }
}

extension FilesSection {
  fileprivate func narrowed(by other: FilesSection) throws(NarrowingError) -> FilesSection {
    let mine = Lists(deny, allow, self)
    let theirs = Lists(other.deny, other.allow, other)
    // Told, but only where the other does not protect it: neither of the lists could say that.
    for (lists, ending) in [(mine, theirs.ending), (theirs, mine.ending)] where ending.isUncertain {
      if let rule = lists.allow.first(where: { $0.head.action == .observe }) {
        throw NarrowingError(
          "the exception \(PolicyText.rule(rule, usual: .allow)) cannot be put together with what the other policy "
            + "protects: write it without 'action: observe'")
      }
    }
    let lists = mine.narrowed(by: theirs)
    var both = self
    both.deny = lists.deny
    both.allow = lists.allow
    both.protect += other.protect.filter { !protect.contains($0) }
    both.protectAction = [self, other].filter { !$0.protect.isEmpty }.map(\.protectAction).max() ?? .deny
    return both
  }
}

/// The rules of a section, and what becomes of what none of them matches.
private struct Lists<Rule: Overlapping> {
  struct Ending {
    var action: PolicyAction
    /// Depends on what is not in the policy: whether a file is protected. Then `action` is the gravest possible.
    var isUncertain = false
    /// Of a rule's event, where it is less than `action`.
    var actionFor: @Sendable (Rule) -> PolicyAction
  }

  var deny: [Rule]
  var allow: [Rule]
  var ending: Ending

  init(_ deny: [Rule], _ allow: [Rule], _ ending: Ending) {
    self.deny = deny
    self.allow = allow
    self.ending = ending
  }

  init(_ deny: [Rule], _ allow: [Rule], _ action: PolicyAction) {
    self.init(deny, allow, Ending(action: action) { _ in action })
  }

  func narrowed(by other: Lists) -> Lists {
    var pairs: [Rule] = []
    for rule in deny { pairs += rule.graver(than: other.deny + other.allow, ending: other.ending.actionFor(rule)) }
    for rule in other.deny { pairs += rule.graver(than: allow, ending: ending.actionFor(rule)) }
    var ending = ending
    ending.action = max(ending.action, other.ending.action)
    return Lists(pairs.withoutUnreachable, allowed(by: other).withoutUnreachable, ending)
  }

  /// What both allow: pairs of rules under `allow`, or of one and the other's default.
  private func allowed(by other: Lists) -> [Rule] {
    var pairs: [Rule] = []
    // What cannot be said falls to what comes behind it, which must not say less of it.
    var floor = PolicyAction.allow
    for mine in allow {
      for theirs in other.allow {
        let action = max(mine.head.action, theirs.head.action)
        switch mine.overlap(theirs) {
        case .nothing: break
        case .exactly(let both): pairs.append(both.with(max(action, floor)))
        case .unsaid: floor = max(floor, action)
        }
      }
      let action = max(mine.head.action, floor, other.ending.action)
      if !other.ending.isUncertain && action <= .observe {
        pairs.append(mine.with(action))
        floor = .allow
      }
    }
    for theirs in other.allow {
      let action = max(theirs.head.action, floor, ending.action)
      if !ending.isUncertain && action <= .observe { pairs.append(theirs.with(action)) }
    }
    return pairs
  }
}

extension Lists<FileRule> {
  init(_ deny: [FileRule], _ allow: [FileRule], _ section: FilesSection) {
    let reading = section.protect.contains(.credentials) ? section.protectAction : .allow
    let writing = section.protect.isEmpty ? .allow : section.protectAction
    self.init(
      deny, allow,
      Ending(action: writing, isUncertain: !section.protect.isEmpty) { $0.access == .read ? reading : writing })
  }
}

extension Overlapping {
  func with(_ action: PolicyAction) -> Self {
    var rule = self
    rule.head.action = action
    return rule
  }

  /// This rule with the graver of its action and that of the first of `others` that matches, else `ending`.
  fileprivate func graver(than others: [Self], ending: PolicyAction) -> [Self] {
    var pairs: [Self] = []
    for (index, other) in others.enumerated() {
      let gravest = max(head.action, others[index...].map(\.head.action).max() ?? ending, ending)
      // Nothing behind can make it graver.
      if gravest == head.action { return pairs + [self] }
      switch overlap(other) {
      case .nothing: continue
      case .exactly(let both): pairs.append(both.with(max(head.action, other.head.action)))
      case .unsaid: return pairs + [with(gravest)]
      }
      if other.covers(self) { return pairs }
    }
    return pairs + [with(max(head.action, ending))]
  }
}

extension Overlapping {
  /// Whether it is for all that the other is for, and yet does not come before it where it is not known which step or image
  /// it is: see ``RuleHead/isFor(_:)``.
  fileprivate func mayLeave(_ rule: Self) -> Bool {
    head.scope.hasPlaces && head.action < .deny && rule.head.action >= .deny
  }
}

extension Array where Element: Overlapping {
  /// Without rules for nothing but what one before them is for.
  fileprivate var withoutUnreachable: [Element] {
    reduce(into: []) { kept, rule in
      if !kept.contains(where: { $0.covers(rule) && !$0.mayLeave(rule) }) { kept.append(rule) }
    }
  }
}
