public import Configuration

/// What a job may do: the meaning of a `martlet.yaml`.
///
/// In each section the rules under `deny` are asked first, then those under `allow`, each list in its order; the first
/// that matches decides, by its own action. What none matches gets the section's default. A section that is not written
/// decides nothing.
public struct Policy: Sendable, Equatable {
  public var network: NetworkSection?
  public var exec: ExecSection?
  public var files: FilesSection?
  public var memory: MemorySection?
  public var system: SystemSection?
  /// Refuse to start a job where a rule's action cannot be carried out before the deed.
  public var requirePrevention = false
  public var onSensorError = OnSensorError.open

  public init() {}
}

/// What becomes of what a rule matches, the gravest last.
public enum PolicyAction: String, Sendable, CaseIterable, Comparable {
  case allow
  /// Done, and told as what would have been denied.
  case observe
  /// Refused, where this kernel can; else as `kill`.
  case deny
  /// The process ends.
  case kill

  private var gravity: Int { Self.allCases.firstIndex(of: self) ?? 0 }

  public static func < (a: PolicyAction, b: PolicyAction) -> Bool { a.gravity < b.gravity }
}

/// What happens to a job when the agent is gone.
public enum OnSensorError: String, Sendable, CaseIterable {
  /// It goes on, unwatched, and nothing is denied to it.
  case open
  /// What was denied stays denied.
  case closed
}

/// What every rule has.
public struct RuleHead: Sendable, Equatable {
  /// Unique in its policy, from 1, in the order of the file: what the kernel side calls it. 0: not numbered yet.
  public var number: UInt32 = 0
  /// Where it stands in the file; nil: it was made, not read.
  public var place: Place?
  public var action: PolicyAction
  /// Which processes it is for.
  public var scope = RuleScope()

  public init(action: PolicyAction) { self.action = action }
}

/// The processes that a rule is for: all, where it names none.
public struct RuleScope: Sendable, Equatable {
  /// The image that acts is one of these.
  public var executables: [PathPattern] = []
  /// An image that it descends from is one of these, or its own.
  public var ancestors: [PathPattern] = []
  /// It is in a step with one of these names.
  public var steps: [String] = []
  /// It is in a container of one of these images.
  public var images: [ImagePattern] = []

  public init() {}

  public var isEveryone: Bool { executables.isEmpty && ancestors.isEmpty && !hasPlaces }
  /// Whether it names steps or images: of a process it may not be known in which it is.
  public var hasPlaces: Bool { !steps.isEmpty || !images.isEmpty }
}

// MARK: - Network

public struct NetworkSection: Sendable, Equatable {
  public var defaultAction = PolicyAction.allow
  public var deny: [NetworkRule] = []
  public var allow: [NetworkRule] = []
  /// Whose answers are believed; empty: those of /etc/resolv.conf.
  public var resolvers: [IPAddress] = []

  public init() {}

  /// The same with each host's protocols named: leaving them out means something else for another action.
  var spelledOut: NetworkSection { mapProtocols { $0.spokenProtocols } }

  /// The same without those that go without saying.
  var shortened: NetworkSection {
    mapProtocols { rule in
      var short = rule
      short.protocols = []
      return short.spokenProtocols == rule.protocols ? [] : rule.protocols
    }
  }

  private func mapProtocols(_ protocols: (NetworkRule) -> [NetworkProtocol]) -> NetworkSection {
    func mapped(_ rules: [NetworkRule]) -> [NetworkRule] {
      rules.map { rule in
        guard case .host = rule.peer else { return rule }
        var rule = rule
        rule.protocols = protocols(rule)
        return rule
      }
    }
    var section = self
    section.deny = mapped(deny)
    section.allow = mapped(allow)
    return section
  }
}

public struct NetworkRule: Sendable, Equatable {
  public enum Peer: Sendable, Equatable {
    case any
    case host(HostPattern)
    case network(IPNetwork)
  }

  public var head: RuleHead
  public var peer = Peer.any
  /// Empty: all.
  public var ports: [ClosedRange<UInt16>] = []
  /// Empty: see ``spokenProtocols``.
  public var protocols: [NetworkProtocol] = []

  public init(head: RuleHead) { self.head = head }

  /// The protocols that it is for: where none is named TCP and UDP, but of a host that is allowed TCP alone. A connection
  /// says whom it wants, which is compared; a datagram to an address that others have, too, does not.
  public var spokenProtocols: [NetworkProtocol] {
    if !protocols.isEmpty { return protocols }
    if case .host = peer, head.action < .deny { return [.tcp] }
    return [.tcp, .udp]
  }
}

public enum NetworkProtocol: String, Sendable, CaseIterable {
  case tcp, udp
  /// ICMP for IPv4 and IPv6, by ping sockets.
  case icmp
  /// Raw and packet sockets, to whomever.
  case raw
}

/// A host name, or all names below one.
public struct HostPattern: Sendable, Hashable {
  public enum Wildcard: Sendable, Hashable {
    /// The name itself.
    case none
    /// `*.NAME`: with one more label.
    case oneLabel
    /// `**.NAME`: with one or more.
    case anyLabels
  }

  public var wildcard: Wildcard
  /// Lower case ASCII, labels separated by dots, none at the end; at most 253 bytes.
  public var name: String

  public init(_ wildcard: Wildcard, _ name: String) {
    self.wildcard = wildcard
    self.name = name
  }
}

/// An address of IPv6, or of IPv4 as ::ffff:a.b.c.d.
public struct IPAddress: Sendable, Hashable {
  /// In network byte order.
  public var high: UInt64
  public var low: UInt64

  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }
}

/// `address/length`; what lies behind the first `length` bits is zero.
public struct IPNetwork: Sendable, Hashable {
  public var address: IPAddress
  /// Of 128: an IPv4 network's is 96 more than it is written.
  public var length: UInt8

  public init(address: IPAddress, length: UInt8) {
    self.address = address
    self.length = length
  }
}

// MARK: - Paths

/// The ways to name files that the kernel side can tell apart.
public struct PathPattern: Sendable, Hashable {
  public enum Form: Sendable, Hashable {
    /// `DIR/NAME`: this one.
    case file
    /// `DIR/*`: what is in the directory.
    case children
    /// `DIR/**`: all that is below it.
    case below
    /// `NAME` without a slash, or `**/NAME`: what is called so, wherever.
    case named
  }

  public var form: Form
  /// A whole path from / on, without what form says; of `.named` a name. What was not begun with / is relative to the
  /// directory that the job starts in, which is then put in front of it.
  public var text: String
  public var isRelative: Bool

  public init(_ form: Form, _ text: String, isRelative: Bool = false) {
    self.form = form
    self.text = text
    self.isRelative = isRelative
  }
}

// MARK: - Exec

public struct ExecSection: Sendable, Equatable {
  public var defaultAction = PolicyAction.allow
  public var deny: [ExecRule] = []
  public var allow: [ExecRule] = []

  public init() {}
}

/// All that it names has to hold.
public struct ExecRule: Sendable, Equatable {
  public var head: RuleHead
  /// Of the file that is executed, of a script and of its interpreter, and of what ld.so is told to load.
  public var path: PathPattern?
  /// 32 bytes each; one of them.
  public var sha256: [[UInt8]] = []
  /// A file without a place: memfd, or deleted.
  public var memfd = false
  /// Written by the job itself.
  public var writtenDuringJob = false

  public init(head: RuleHead) { self.head = head }
}

// MARK: - Files

public struct FilesSection: Sendable, Equatable {
  /// What `protect` and the rules that name no action do.
  public enum Protected: String, Sendable, CaseIterable {
    /// The files that git tracks in the directory that the job starts in, and its .git.
    case sources
    /// What CI systems read their pipelines from, there.
    case pipelines
    /// What holds credentials in home directories: may not be read either.
    case credentials
  }

  public var protect: [Protected] = []
  /// Of `protect`.
  public var protectAction = PolicyAction.deny
  public var deny: [FileRule] = []
  /// Exceptions.
  public var allow: [FileRule] = []

  public init() {}
}

public struct FileRule: Sendable, Equatable {
  public enum Access: String, Sendable, CaseIterable {
    /// Any change of the file, its name or its attributes.
    case write
    case read
  }

  public var head: RuleHead
  public var access: Access
  public var path: PathPattern

  public init(head: RuleHead, access: Access, path: PathPattern) {
    self.head = head
    self.access = access
    self.path = path
  }
}

// MARK: - Memory

public struct MemorySection: Sendable, Equatable {
  /// Whose memory, registers and descriptors nobody else in the job may get at.
  public var protect: [MemoryRule] = []

  public init() {}
}

public struct MemoryRule: Sendable, Equatable {
  public var head: RuleHead
  /// Its name as in /proc/PID/comm: at most 15 bytes.
  public var comm: String

  public init(head: RuleHead, comm: String) {
    self.head = head
    self.comm = comm
  }
}

// MARK: - System

public struct SystemSection: Sendable, Equatable {
  public var defaultAction = PolicyAction.allow
  public var deny: [SystemRule] = []
  public var allow: [SystemRule] = []

  public init() {}
}

public struct SystemRule: Sendable, Equatable {
  public enum Deed: String, Sendable, CaseIterable {
    case moduleLoad
    case bpf
    /// Mounting, unmounting, moving mounts and changing the root.
    case mount
    /// unshare, setns, clone with namespaces.
    case namespace
    /// Connecting to the unix socket of a container daemon.
    case containerDaemon
  }

  public var head: RuleHead
  public var deed: Deed

  public init(head: RuleHead, deed: Deed) {
    self.head = head
    self.deed = deed
  }
}
