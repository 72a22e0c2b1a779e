internal import KernelABI
public import Policy

/// Where the relative paths of a policy begin.
public enum PolicyDirectory: Sendable, Equatable {
  /// Not known: what is relative is left out.
  case unknown
  case here(String)
  /// Of a mount namespace that is not ours, where nothing is looked up: its paths hold as they are written, and what git
  /// tracks there is not known.
  case elsewhere(String)

  var isElsewhere: Bool { if case .elsewhere = self { true } else { false } }

  /// nil: a path that is relative is left out.
  public var path: String? {
    switch self {
    case .unknown: nil
    case .here(let path), .elsewhere(let path): path
    }
  }
}

/// What policies have in common that one process can be under, one after the other.
public struct PolicyTerms: Sendable {
  var scopes = ScopeNumbers()
  /// Whether the kernel can hash what is about to be executed.
  var hashes: Bool
  /// Files that are known by their identities, at most.
  var files: Int
}

/// What a policy becomes in the kernel, before it is there: files are looked at for it, which takes its time and needs no
/// sensor. For any thread.
public struct PreparedPolicy: Sendable {
  let tables: PolicyTables
  let network: (section: NetworkSection, tables: NetworkTables)?
  let files: PolicyInodes

  /// - Parameters:
  ///   - policy: with numbered rules
  ///   - directory: what its relative paths are relative to
  ///   - terms: of ``Sensor/policyTerms(for:)``
  public init(_ policy: Policy, in directory: PolicyDirectory, _ terms: PolicyTerms) throws(SensorError) {
    tables = try PolicyTables(policy, in: directory, hashes: terms.hashes, scopes: terms.scopes) {
      set throws(SensorError) in
      try ProtectedFiles.patterns(of: set, in: directory)
    }
    // All of them have their numbers by now.
    var scopes = tables.scopes
    if let section = policy.network {
      network = (
        section,
        try NetworkTables(section, places: tables.places.mask) { scope throws(SensorError) in
          try scopes.mask(of: scope)
        }
      )
    } else {
      network = nil
    }
    files = PolicyInodes(
      // Nothing is looked up in another mount namespace.
      tables.files.filter { !($0.pattern.isRelative && directory.isElsewhere) }, in: directory.path ?? "/",
      limit: terms.files)
  }
}

extension Sensor {
  /// What ``PreparedPolicy`` has to know of this sensor.
  ///
  /// - Parameter policies: that a job can be under, one after the other: which images their rules are for is known of a
  ///   process whichever of them it was under when it was executed
  /// - Throws: if their scopes name too many different paths together
  public func policyTerms(for policies: [Policy] = []) throws(SensorError) -> PolicyTerms {
    var terms = PolicyTerms(
      hashes: hashesExecs, files: Int(mapCapacity(objects.maps["policy_inodes"] ?? -1) ?? 0))
    for policy in policies { for head in policy.heads { _ = try terms.scopes.mask(of: head.scope) } }
    return terms
  }
}
