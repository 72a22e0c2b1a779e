import KernelABI
import Policy
import Testing

@testable import KernelSensor

@Suite struct ScopeNumberTests {
  @Test func numbersPatternsOnce() throws {
    var numbers = ScopeNumbers()
    let make = PathPattern(.named, "make")
    let bin = PathPattern(.below, "/usr/bin")
    var scope = RuleScope()
    #expect(try numbers.mask(of: scope) == 0)
    scope.executables = [make, bin]
    #expect(try numbers.mask(of: scope) == 0b11)
    scope.executables = []
    scope.ancestors = [bin]
    #expect(try numbers.mask(of: scope) == 0b10 << 32)
    #expect(numbers.patterns == [make, bin])
  }

  @Test func saysWhenThereAreTooMany() throws {
    var numbers = ScopeNumbers()
    var scope = RuleScope()
    scope.executables = (0..<32).map { PathPattern(.file, "/bin/\($0)") }
    #expect(try numbers.mask(of: scope) == 0xffff_ffff)
    scope.executables = [PathPattern(.file, "/bin/more")]
    #expect(throws: SensorError.self) { try numbers.mask(of: scope) }
  }
}

@Suite struct PathTableTests {
  private func mask(_ table: PathTable, _ form: mt_path_form, _ text: String, _ list: mt_rule_list) -> UInt64 {
    guard let masks = table.places[PathTable.Place(form: form.rawValue, text: text)] else { return 0 }
    return withUnsafeBytes(of: masks.lists) { $0.load(fromByteOffset: Int(list.rawValue) * 8, as: UInt64.self) }
  }

  @Test func eachFormHasItsPlace() {
    var table = PathTable()
    table.add(PathPattern(.file, "/nowhere/a"), 1, list: MT_RULES_EXEC, in: "/")
    table.add(PathPattern(.children, "/nowhere/"), 2, list: MT_RULES_EXEC, in: "/")
    table.add(PathPattern(.below, "/"), 4, list: MT_RULES_EXEC, in: "/")
    table.add(PathPattern(.named, "a"), 8, list: MT_RULES_READ, in: "/")
    table.add(PathPattern(.named, "a"), 16, list: MT_RULES_EXEC, in: "/")
    #expect(mask(table, MT_PATH_FILE, "/nowhere/a", MT_RULES_EXEC) == 1)
    #expect(mask(table, MT_PATH_CHILDREN, "/nowhere", MT_RULES_EXEC) == 2)
    #expect(mask(table, MT_PATH_BELOW, "", MT_RULES_EXEC) == 4)
    #expect(mask(table, MT_PATH_NAMED, "a", MT_RULES_READ) == 8)
    #expect(mask(table, MT_PATH_NAMED, "a", MT_RULES_EXEC) == 16)
    #expect(mask(table, MT_PATH_ABOVE, "/nowhere", MT_RULES_EXEC) == 0)
  }

  @Test func whatIsAboveAProtectedFileIsKnown() {
    var table = PathTable()
    table.add(PathPattern(.file, "b/c", isRelative: true), 1, list: MT_RULES_WRITE, in: "/nowhere/a")
    #expect(mask(table, MT_PATH_FILE, "/nowhere/a/b/c", MT_RULES_WRITE) == 1)
    for above in ["/nowhere/a/b", "/nowhere/a", "/nowhere"] {
      #expect(mask(table, MT_PATH_ABOVE, above, MT_RULES_WRITE) == 1, "\(above)")
    }
    #expect(mask(table, MT_PATH_ABOVE, "/nowhere/a/b/c", MT_RULES_WRITE) == 0)
  }

  @Test func linksLeadSomewhere() {
    // Everywhere a link to what the process runs.
    let names = PathTable.names(of: PathPattern(.file, "/proc/self/exe"), in: "/")
    #expect(names.contains("/proc/self/exe"))
    #expect(names.contains { $0.hasPrefix("/proc/") && $0.hasSuffix("/exe") && $0 != "/proc/self/exe" })
    #expect(names.contains { !$0.hasPrefix("/proc/") })
  }
}

@Suite struct PreparedPolicyTests {
  private static func policy(_ paths: [PathPattern], of executables: [PathPattern] = []) -> Policy {
    var policy = Policy()
    policy.files = FilesSection()
    policy.files?.deny = paths.map { path in
      var head = RuleHead(action: .deny)
      head.scope.executables = executables
      return FileRule(head: head, access: .write, path: path)
    }
    return policy
  }

  private static func texts(_ policy: Policy, _ directory: PolicyDirectory, _ terms: PolicyTerms? = nil) throws -> Set<
    String
  > {
    let terms = terms ?? PolicyTerms(hashes: false, files: 100)
    let tables = try PreparedPolicy(policy, in: directory, terms).tables
    return Set(tables.paths.places.keys.filter { $0.form != MT_PATH_ABOVE.rawValue }.map(\.text))
  }

  @Test func whatIsRelativeIsLeftOutUntilItIsKnownToWhat() throws {
    let policy = Self.policy([
      PathPattern(.file, "a/b", isRelative: true), PathPattern(.named, "c"), PathPattern(.file, "/nowhere/d"),
    ])
    #expect(try Self.texts(policy, .unknown) == ["c", "/nowhere/d"])
    #expect(try Self.texts(policy, .here("/nowhere")) == ["/nowhere/a/b", "c", "/nowhere/d"])
    #expect(policy.isRelative && !Self.policy([PathPattern(.named, "c"), PathPattern(.file, "/d")]).isRelative)
  }

  /// /proc/self leads elsewhere for us, and what it leads to is not what a job in a container means.
  @Test func nothingIsLookedUpInAnotherMountNamespace() throws {
    let policy = Self.policy([PathPattern(.file, "exe", isRelative: true)])
    #expect(try Self.texts(policy, .elsewhere("/proc/self")) == ["/proc/self/exe"])
    #expect(try Self.texts(policy, .here("/proc/self")).count > 1)
    var protecting = Policy()
    protecting.files = FilesSection()
    protecting.files?.protect = [.sources]
    #expect(try Self.texts(protecting, .elsewhere("/builds/x")) == ["/builds/x/.git"])
    #expect(protecting.isRelative)
  }

  /// A process' image is looked at once, under whichever of them.
  @Test func scopesAreNumberedTogether() throws {
    let first = Self.policy([PathPattern(.named, "x")], of: [PathPattern(.named, "one")])
    let second = Self.policy([PathPattern(.named, "y")], of: [PathPattern(.named, "two")])
    var terms = PolicyTerms(hashes: false, files: 100)
    for head in first.heads + second.heads { _ = try terms.scopes.mask(of: head.scope) }
    for policy in [first, second] {
      let tables = try PreparedPolicy(policy, in: .unknown, terms).tables
      #expect(tables.scopes.patterns.map(\.text) == ["one", "two"])
      #expect(
        tables.paths.places.keys.contains { $0.text == "one" } && tables.paths.places.keys.contains { $0.text == "two" }
      )
    }
    let rule = try PreparedPolicy(second, in: .unknown, terms).tables.rules[0].rule
    #expect(rule.scope == 2)
  }
}
