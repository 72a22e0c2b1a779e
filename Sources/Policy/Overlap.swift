/// What two conditions have in common.
enum Overlap<Value> {
  case nothing
  case exactly(Value)
  /// Perhaps something, which one condition of this kind cannot say.
  case unsaid

  func map<Other>(_ transform: (Value) -> Other) -> Overlap<Other> {
    switch self {
    case .nothing: .nothing
    case .exactly(let value): .exactly(transform(value))
    case .unsaid: .unsaid
    }
  }
}

extension PathPattern {
  func overlap(_ other: PathPattern) -> Overlap<PathPattern> {
    if self == other { return .exactly(self) }
    // A name may be anywhere, also where the other begins in the job's directory.
    if form == .named || other.form == .named {
      if form == other.form { return .nothing }
      let (name, place) = form == .named ? (self, other) : (other, self)
      switch place.form {
      case .file: return Self.name(of: place.text).elementsEqual(name.text.utf8) ? .exactly(place) : .nothing
      case .children:
        let directory = place.text == "/" || place.text.isEmpty ? place.text : place.text + "/"
        return .exactly(PathPattern(.file, directory + name.text, isRelative: place.isRelative))
      case .below, .named: return .unsaid
      }
    }
    guard isRelative == other.isRelative else { return .unsaid }
    if covers(other) { return .exactly(other) }
    return other.covers(self) ? .exactly(self) : .nothing
  }

  /// Whether all that `other` means is meant. Of two that begin at different places nothing is known.
  func covers(_ other: PathPattern) -> Bool {
    if self == other { return true }
    if form == .named { return other.form == .file && Self.name(of: other.text).elementsEqual(text.utf8) }
    guard isRelative == other.isRelative, other.form != .named else { return false }
    switch (form, other.form) {
    case (.children, .file): return Self.parent(of: other.text).map { $0.elementsEqual(text.utf8) } ?? false
    case (.below, .file): return Self.isBelow(other.text, text)
    case (.below, .children), (.below, .below):
      return other.text.utf8.elementsEqual(text.utf8) || Self.isBelow(other.text, text)
    default: return false
    }
  }
}

extension RuleScope {
  func overlap(_ other: RuleScope) -> Overlap<RuleScope> {
    var both = RuleScope()
    if executables.isEmpty || other.executables.isEmpty {
      both.executables = executables + other.executables
    } else {
      for mine in executables {
        for theirs in other.executables {
          switch mine.overlap(theirs) {
          case .nothing: break
          case .exactly(let pattern): if !both.executables.contains(pattern) { both.executables.append(pattern) }
          case .unsaid: return .unsaid
          }
        }
      }
      if both.executables.isEmpty { return .nothing }
    }
    // One ancestor may be of these and another of those: only where one list is a part of the other is it the smaller.
    if Self.covers(other.ancestors, ancestors) {
      both.ancestors = ancestors
    } else if Self.covers(ancestors, other.ancestors) {
      both.ancestors = other.ancestors
    } else {
      return .unsaid
    }
    if steps.isEmpty || other.steps.isEmpty {
      both.steps = steps + other.steps
    } else {
      both.steps = steps.filter(other.steps.contains)
      if both.steps.isEmpty { return .nothing }
    }
    if images.isEmpty || other.images.isEmpty {
      both.images = images + other.images
    } else {
      for mine in images {
        for theirs in other.images where mine.covers(theirs) || theirs.covers(mine) {
          let smaller = mine.covers(theirs) ? theirs : mine
          if !both.images.contains(smaller) { both.images.append(smaller) }
        }
      }
      if both.images.isEmpty { return .nothing }
    }
    return .exactly(both)
  }

  func covers(_ other: RuleScope) -> Bool {
    Self.covers(executables, other.executables) && Self.covers(ancestors, other.ancestors)
      && (steps.isEmpty || (!other.steps.isEmpty && other.steps.allSatisfy(steps.contains)))
      && (images.isEmpty
        || (!other.images.isEmpty && other.images.allSatisfy { one in images.contains { $0.covers(one) } }))
  }

  private static func covers(_ all: [PathPattern], _ some: [PathPattern]) -> Bool {
    all.isEmpty || (!some.isEmpty && some.allSatisfy { one in all.contains { $0.covers(one) } })
  }
}

extension HostPattern {
  func overlap(_ other: HostPattern) -> HostPattern? { covers(other) ? other : other.covers(self) ? self : nil }

  func covers(_ other: HostPattern) -> Bool {
    switch (wildcard, other.wildcard) {
    case (_, .none): matches(other.name)
    case (.none, _), (.oneLabel, .anyLabels): false
    case (.oneLabel, .oneLabel): name == other.name
    case (.anyLabels, _): name == other.name || matches(other.name)
    }
  }
}

/// A rule that can be put together with another of its kind.
protocol Overlapping: PolicyRule {
  /// What both are for; of the result the head's scope alone counts.
  func overlap(_ other: Self) -> Overlap<Self>
  /// Whether it is for all that `other` is for.
  func covers(_ other: Self) -> Bool
}

extension Overlapping {
  fileprivate func scoped(_ other: Self, _ build: (inout Self) -> Void) -> Overlap<Self> {
    head.scope.overlap(other.head.scope).map { scope in
      var both = self
      both.head.scope = scope
      build(&both)
      return both
    }
  }
}

extension NetworkRule: Overlapping {
  func overlap(_ other: NetworkRule) -> Overlap<NetworkRule> {
    let mine = ports.isEmpty ? [0...UInt16.max] : ports
    let theirs = other.ports.isEmpty ? [0...UInt16.max] : other.ports
    let common = mine.flatMap { one in theirs.filter(one.overlaps).map { one.clamped(to: $0) } }
    guard !common.isEmpty else { return .nothing }
    let spoken = NetworkProtocol.allCases.filter { speaks($0) && other.speaks($0) }
    guard !spoken.isEmpty else { return .nothing }
    var peer = peer
    switch (self.peer, other.peer) {
    case (_, .any): break
    case (.any, _): peer = other.peer
    case (.host(let mine), .host(let theirs)):
      guard let host = mine.overlap(theirs) else {
        // An address may have a name of each.
        return .unsaid
      }
      peer = .host(host)
    case (.network(let mine), .network(let theirs)):
      guard mine.contains(theirs) || theirs.contains(mine) else { return .nothing }
      peer = .network(mine.contains(theirs) ? theirs : mine)
    case (.host, .network), (.network, .host): return .unsaid
    }
    let hasPorts = spoken.contains(.tcp) || spoken.contains(.udp)
    return scoped(other) { both in
      both.peer = peer
      both.ports = (ports.isEmpty && other.ports.isEmpty) || !hasPorts ? [] : common
      both.protocols = spoken == [.tcp, .udp] ? [] : spoken
    }
  }

  func covers(_ other: NetworkRule) -> Bool {
    let peers: Bool
    switch (peer, other.peer) {
    case (.any, _): peers = true
    case (.host(let mine), .host(let theirs)): peers = mine.covers(theirs)
    case (.network(let mine), .network(let theirs)): peers = mine.contains(theirs)
    default: peers = false
    }
    let hasPorts =
      ports.isEmpty
      || (!other.ports.isEmpty
        && other.ports.allSatisfy { one in ports.contains { $0.clamped(to: one) == one && $0.overlaps(one) } })
    return peers && hasPorts && NetworkProtocol.allCases.allSatisfy { speaks($0) || !other.speaks($0) }
      && head.scope.covers(other.head.scope)
  }
}

extension ExecRule: Overlapping {
  func overlap(_ other: ExecRule) -> Overlap<ExecRule> {
    var both = self
    if let mine = path, let theirs = other.path {
      switch mine.overlap(theirs) {
      case .nothing: return .nothing
      case .unsaid: return .unsaid
      case .exactly(let pattern): both.path = pattern
      }
    } else {
      both.path = path ?? other.path
    }
    both.memfd = memfd || other.memfd
    both.writtenDuringJob = writtenDuringJob || other.writtenDuringJob
    guard both.path == nil || !both.memfd else { return .nothing }
    if !sha256.isEmpty && !other.sha256.isEmpty {
      both.sha256 = sha256.filter(other.sha256.contains)
      guard !both.sha256.isEmpty else { return .nothing }
    } else {
      both.sha256 = sha256 + other.sha256
    }
    return both.scoped(other) { _ in }
  }

  func covers(_ other: ExecRule) -> Bool {
    if let path { guard let theirs = other.path, path.covers(theirs) else { return false } }
    guard sha256.isEmpty || (!other.sha256.isEmpty && other.sha256.allSatisfy(sha256.contains)) else { return false }
    return (!memfd || other.memfd) && (!writtenDuringJob || other.writtenDuringJob)
      && head.scope.covers(other.head.scope)
  }
}

extension FileRule: Overlapping {
  func overlap(_ other: FileRule) -> Overlap<FileRule> {
    guard access == other.access else { return .nothing }
    switch path.overlap(other.path) {
    case .nothing: return .nothing
    case .unsaid: return .unsaid
    case .exactly(let pattern): return scoped(other) { $0.path = pattern }
    }
  }

  func covers(_ other: FileRule) -> Bool {
    access == other.access && path.covers(other.path) && head.scope.covers(other.head.scope)
  }
}

extension MemoryRule: Overlapping {
  func overlap(_ other: MemoryRule) -> Overlap<MemoryRule> { comm == other.comm ? scoped(other) { _ in } : .nothing }

  func covers(_ other: MemoryRule) -> Bool { comm == other.comm && head.scope.covers(other.head.scope) }
}

extension SystemRule: Overlapping {
  func overlap(_ other: SystemRule) -> Overlap<SystemRule> { deed == other.deed ? scoped(other) { _ in } : .nothing }

  func covers(_ other: SystemRule) -> Bool { deed == other.deed && head.scope.covers(other.head.scope) }
}
