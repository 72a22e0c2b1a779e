/// What a policy says of something, and by what.
public struct PolicyDecision: Sendable, Equatable {
  public enum Basis: Sendable, Hashable {
    /// The number of the rule.
    case rule(UInt32)
    /// What `files.protect` names.
    case protected(FilesSection.Protected)
    /// A question to one of the resolvers that are believed.
    case resolver
    /// No rule matched.
    case sectionDefault
    /// The policy does not have the section, or a policy cannot speak of it.
    case notGoverned
  }

  public var action: PolicyAction
  public var basis: Basis

  /// As the kernel side calls it: 0 where no rule decided.
  public var rule: UInt32 { if case .rule(let number) = basis { number } else { 0 } }
  /// Whether it may be done, told or not.
  public var isAllowed: Bool { action <= .observe }

  public init(_ action: PolicyAction, by basis: Basis) {
    self.action = action
    self.basis = basis
  }

  static let notGoverned = PolicyDecision(.allow, by: .notGoverned)
}

/// Who does it.
public struct PolicyActor: Sendable, Hashable {
  /// Its image: a whole path.
  public var executable: String
  /// The images that it descends from, in any order.
  public var ancestors: [String]
  /// The name of its step.
  public var step: Whereabouts<String>
  /// That its container was made of.
  public var image: Whereabouts<ImageReference>

  public init(
    executable: String, ancestors: [String] = [], step: Whereabouts<String> = .unknown,
    image: Whereabouts<ImageReference> = .unknown
  ) {
    self.executable = executable
    self.ancestors = ancestors
    self.step = step
    self.image = image
  }
}

/// In what a process is.
public enum Whereabouts<Place: Sendable & Hashable>: Sendable, Hashable {
  /// In some, or in none.
  case unknown
  /// In none.
  case nowhere
  case inside(Place)
}

/// Whom something is sent to.
public struct PolicyDestination: Sendable, Hashable {
  public var address: IPAddress
  public var port: UInt16
  public var networkProtocol: NetworkProtocol
  /// What the address is known to be the answer for; lower case, no dots at the end.
  public var names: [String]

  public init(_ address: IPAddress, port: UInt16, _ networkProtocol: NetworkProtocol = .tcp, names: [String] = []) {
    self.address = address
    self.port = port
    self.networkProtocol = networkProtocol
    self.names = names
  }
}

/// A file that an exec comes to: what is executed, a script's interpreter, and what ld.so is told to load are one each.
public struct PolicyExecutable: Sendable, Hashable {
  public var path: String
  /// nil: not known; then no rule that names one matches.
  public var sha256: [UInt8]?
  /// memfd, or deleted.
  public var isWithoutPlace = false
  public var isWrittenDuringJob = false

  public init(path: String) { self.path = path }

  /// All that an exec of it is about: a script is given by its name, and its interpreter, which this is then, runs.
  public func executed(as given: String?, in directory: String) -> [PolicyExecutable] {
    guard let given, !given.isEmpty else { return [self] }
    let path = given.hasPrefix("/") ? given : directory + "/" + given
    return path == self.path ? [self] : [self, PolicyExecutable(path: path)]
  }
}

/// The kernel side decides the same; that it does is what its tests are for. Relative patterns match nothing here: see
/// ``Policy/resolved(in:)``.
extension Policy {
  /// A connection, or a datagram; or a connection by somebody else, with the port that the actor listens at.
  ///
  /// A question to a resolver (by UDP to port 53 of one in `resolvers`; whoever asks fills in those of /etc/resolv.conf where the
  /// list is empty) is allowed behind the `deny` rules: which names may be asked for is decided by itself.
  public func decide(connect to: PolicyDestination, by actor: PolicyActor) -> PolicyDecision {
    guard let network else { return .notGoverned }
    func meant(_ rule: NetworkRule) -> Bool { rule.matches(to) && rule.head.isFor(actor) }
    if let rule = network.deny.first(where: meant) { return rule.decision }
    if [.udp, .tcp].contains(to.networkProtocol), to.port == 53, network.resolvers.contains(to.address) {
      return PolicyDecision(.allow, by: .resolver)
    }
    return network.allow.first(where: meant)?.decision ?? PolicyDecision(network.defaultAction, by: .sectionDefault)
  }

  /// A question for the address of a name.
  ///
  /// It is denied by a rule that denies the name on all ports, and allowed by one that allows anything to it: a job that
  /// may not connect to a name has no use for its address, and the question itself would carry data out.
  public func decide(name: String, by actor: PolicyActor) -> PolicyDecision {
    guard let network else { return .notGoverned }
    if let rule = network.deny.first(where: { $0.denies(name: name) && $0.head.isFor(actor) }) {
      return rule.decision
    }
    let rule = network.allow.first { $0.concerns(name: name) && $0.head.isFor(actor) }
    return rule?.decision ?? PolicyDecision(network.defaultAction, by: .sectionDefault)
  }

  /// One file of an exec; see ``decide(exec:by:)``.
  public func decide(execOf file: PolicyExecutable, by actor: PolicyActor) -> PolicyDecision {
    guard let exec else { return .notGoverned }
    return decide(exec.deny, exec.allow, exec.defaultAction, by: actor) { $0.matches(file) }
  }

  /// An exec: the gravest of what is said of its files, the first of equals.
  public func decide(exec files: [PolicyExecutable], by actor: PolicyActor) -> PolicyDecision {
    gravest(ofExec: files, by: actor)?.decision ?? .notGoverned
  }

  /// The same, and the file that it is said of; nil: there is none.
  public func gravest(
    ofExec files: [PolicyExecutable], by actor: PolicyActor
  ) -> (file: PolicyExecutable, decision: PolicyDecision)? {
    files.map { (file: $0, decision: decide(execOf: $0, by: actor)) }.max { $0.decision.action < $1.decision.action }
  }

  /// A file that is changed, or opened for reading.
  ///
  /// - Parameter isProtected: whether it is in such a set, which is not in the policy but on the machine
  public func decide(
    _ access: FileRule.Access, _ path: String, by actor: PolicyActor,
    isProtected: (FilesSection.Protected) -> Bool = { _ in false }
  ) -> PolicyDecision {
    guard let files else { return .notGoverned }
    func meant(_ rule: FileRule) -> Bool {
      rule.access == access && rule.path.matches(path) && rule.head.isFor(actor)
    }
    if let rule = (files.deny.first(where: meant) ?? files.allow.first(where: meant)) { return rule.decision }
    let sets = files.protect.filter { access == .write || $0 == .credentials }
    if let set = sets.first(where: isProtected) { return PolicyDecision(files.protectAction, by: .protected(set)) }
    return PolicyDecision(.allow, by: .sectionDefault)
  }

  /// An access to another process' memory, registers or descriptors; `comm` is that process' name.
  public func decide(memoryOf comm: String, by actor: PolicyActor) -> PolicyDecision {
    guard let memory else { return .notGoverned }
    return decide(memory.protect, [], .allow, by: actor) { $0.comm.utf8.elementsEqual(comm.utf8) }
  }

  public func decide(_ deed: SystemRule.Deed, by actor: PolicyActor) -> PolicyDecision {
    guard let system else { return .notGoverned }
    return decide(system.deny, system.allow, system.defaultAction, by: actor) { $0.deed == deed }
  }

  private func decide<Rule: PolicyRule>(
    _ deny: [Rule], _ allow: [Rule], _ action: PolicyAction, by actor: PolicyActor, where matches: (Rule) -> Bool
  ) -> PolicyDecision {
    func meant(_ rule: Rule) -> Bool { matches(rule) && rule.head.isFor(actor) }
    return (deny.first(where: meant) ?? allow.first(where: meant))?.decision
      ?? PolicyDecision(action, by: .sectionDefault)
  }
}

extension PolicyRule {
  var decision: PolicyDecision { PolicyDecision(head.action, by: .rule(head.number)) }
}

extension RuleHead {
  /// Where a rule's step or image is not known, one that denies holds, and one that allows or observes does not.
  func isFor(_ actor: PolicyActor) -> Bool {
    func isIn<Place>(_ place: Whereabouts<Place>, _ matches: (Place) -> Bool) -> Bool {
      switch place {
      case .unknown: action >= .deny
      case .nowhere: false
      case .inside(let place): matches(place)
      }
    }
    return scope.matchesPaths(of: actor)
      && (scope.steps.isEmpty || isIn(actor.step, scope.steps.contains))
      && (scope.images.isEmpty || isIn(actor.image) { image in scope.images.contains { $0.matches(image) } })
  }
}

extension Policy {
  /// What becomes of rules for steps or images where nothing is known of either, as under `martlet run`; nil: there are none.
  public var notePlacesUnknown: String? {
    let heads = heads.filter(\.scope.hasPlaces)
    guard !heads.isEmpty else { return nil }
    let all = heads.filter { $0.action >= .deny }.count
    return
      "Steps and images are not known here: of the rules that are for some of them, \(all) that deny hold for all, "
      + "and \(heads.count - all) others for none."
  }
}

extension RuleScope {
  fileprivate func matchesPaths(of actor: PolicyActor) -> Bool {
    let isExecutable = executables.isEmpty || executables.contains { $0.matches(actor.executable) }
    return isExecutable
      && (ancestors.isEmpty
        || ancestors.contains { $0.matches(actor.executable) || actor.ancestors.contains(where: $0.matches) })
  }
}

extension NetworkRule {
  func matches(_ to: PolicyDestination) -> Bool {
    switch peer {
    case .any: break
    case .host(let host): guard to.names.contains(where: host.matches) else { return false }
    case .network(let network): guard network.contains(to.address) else { return false }
    }
    return speaks(to.networkProtocol) && (ports.isEmpty || ports.contains { $0.contains(to.port) })
  }

  func speaks(_ other: NetworkProtocol) -> Bool { spokenProtocols.contains(other) }

  /// Whether it is for all that can be sent to the name.
  func denies(name: String) -> Bool { concerns(name: name) && ports.isEmpty && speaks(.tcp) && speaks(.udp) }

  /// Whether it is for something that can be sent to the name.
  func concerns(name: String) -> Bool {
    switch peer {
    case .any: speaks(.tcp) || speaks(.udp) || speaks(.icmp)
    case .host(let host): host.matches(name)
    case .network: false
    }
  }
}

extension ExecRule {
  func matches(_ file: PolicyExecutable) -> Bool {
    if let path, file.isWithoutPlace || !path.matches(file.path) { return false }
    if !sha256.isEmpty, !(file.sha256.map(sha256.contains) ?? false) { return false }
    return (!memfd || file.isWithoutPlace) && (!writtenDuringJob || file.isWrittenDuringJob)
  }
}
