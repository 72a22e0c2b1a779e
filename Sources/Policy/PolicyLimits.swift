internal import Configuration

/// How much a policy may hold: what the kernel side has room for.
public enum PolicyLimits {
  /// Rules of the network section's lists, each.
  public static let networkRules = 16_384
  /// Rules of any other section, `deny` and `allow` together; of files those that are about writing, and about reading.
  public static let rules = 63
  /// Different path patterns of executables and ancestors in the whole policy.
  public static let scopePatterns = 32
  /// Different names of steps in the whole policy, and different patterns of images.
  public static let places = 31
  /// Bytes of the name of a step.
  public static let step = 512
  /// Bytes of a pattern of images.
  public static let image = 512
  public static let ports = 16
  public static let hashes = 64
  public static let resolvers = 8
  /// Bytes of UTF-8 of all host names of a policy.
  public static let hostBytes = 256 << 10
  /// Likewise of all path patterns.
  public static let pathBytes = 16 << 10
  /// Bytes of a pattern.
  public static let path = 4095
  /// Bytes of one name in it.
  public static let component = 255
  /// Bytes of /proc/PID/comm.
  public static let comm = 15

  /// What is too much, and the first rule that is, where it is known; nil: nothing.
  static func objection(to policy: Policy) -> FormError? {
    let files = (policy.files?.deny ?? []) + (policy.files?.allow ?? [])
    let network = (policy.network?.deny ?? []) + (policy.network?.allow ?? [])
    let lists: [(name: String, heads: [RuleHead], limit: Int)] = [
      ("network.deny", policy.network?.deny.map(\.head) ?? [], networkRules),
      ("network.allow", policy.network?.allow.map(\.head) ?? [], networkRules),
      ("exec", (policy.exec?.deny.map(\.head) ?? []) + (policy.exec?.allow.map(\.head) ?? []), rules),
      ("files for writing", files.filter { $0.access == .write }.map(\.head), rules),
      ("files for reading", files.filter { $0.access == .read }.map(\.head), rules),
      ("memory", policy.memory?.protect.map(\.head) ?? [], rules),
      ("system", (policy.system?.deny.map(\.head) ?? []) + (policy.system?.allow.map(\.head) ?? []), rules),
    ]
    for (name, heads, limit) in lists where heads.count > limit {
      return FormError("\(name) has \(heads.count) rules; \(limit) at most", at: heads[limit].place)
    }
    if let rule = network.first(where: { $0.ports.count > ports }) {
      return FormError("the rule has \(rule.ports.count) ports and ranges; \(ports) at most", at: rule.head.place)
    }
    var scopes: Set<PathPattern> = []
    var steps: Set<String> = []
    var images: Set<ImagePattern> = []
    for head in policy.heads {
      steps.formUnion(head.scope.steps)
      images.formUnion(head.scope.images)
      if max(steps.count, images.count) > places {
        let what = steps.count > places ? "steps" : "images"
        return FormError("\(what) name more than \(places) different ones in all", at: head.place)
      }
      scopes.formUnion(head.scope.executables + head.scope.ancestors)
      if scopes.count > scopePatterns {
        return FormError(
          "executables and ancestors name more than \(scopePatterns) different patterns in all", at: head.place)
      }
    }
    let hosts = network.reduce(0) { if case .host(let host) = $1.peer { $0 + host.name.utf8.count } else { $0 } }
    if hosts > hostBytes { return FormError("the host names have \(hosts) bytes; \(hostBytes) at most") }
    let paths = files.map(\.path) + ((policy.exec?.deny ?? []) + (policy.exec?.allow ?? [])).compactMap(\.path) + scopes
    let bytes = paths.reduce(0) { $0 + $1.text.utf8.count }
    return bytes > pathBytes ? FormError("the path patterns have \(bytes) bytes; \(pathBytes) at most") : nil
  }
}

/// What the rules of all sections have.
public protocol PolicyRule: Sendable, Equatable {
  var head: RuleHead { get set }
}

extension NetworkRule: PolicyRule {}
extension ExecRule: PolicyRule {}
extension FileRule: PolicyRule {}
extension MemoryRule: PolicyRule {}
extension SystemRule: PolicyRule {}
