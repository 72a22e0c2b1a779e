import KernelABI
import Testing

@testable import KernelSensor

@Suite struct JobRuleTests {
  @Test func rulesBecomeTables() throws {
    let tables = try RuleTables(
      [
        JobRule(comm: "Runner.Worker", childrenAreSteps: true), JobRule(path: "bin/A.Very.Long.Name.Indeed", uid: 7),
        JobRule(markers: ["GITLAB_CI", "CI"], key: "CI_JOB_ID"), JobRule(comm: "Runner.Worker", markers: ["CI"]),
        JobRule(),
      ], identity: ["CI_JOB_ID", "CI_COMMIT_SHA"])
    #expect(tables.filter.count == 5)
    #expect(tables.filter.kinds == MT_RULES_BY_COMM.rawValue | MT_RULES_BY_MARKER.rawValue)
    #expect(tables.filter.by_comm == 0b00011 && tables.filter.by_marker == 0b01100 && tables.filter.nameless == 0b00100)
    // As the kernel cuts it.
    #expect(
      tables.comms == [RuleTables.Name16("Runner.Worker"): 0b01001, RuleTables.Name16("A.Very.Long.Nam"): 0b00010])
    #expect(tables.rules.map(\.flags) == [3, 6, 16, 2, 0])
    #expect(tables.rules.map(\.uid) == [MT_ANY_USER, 7, MT_ANY_USER, MT_ANY_USER, MT_ANY_USER])
    #expect(tables.rules.map { $0.markers.nonzeroBitCount } == [0, 0, 2, 1, 0])
    let key = try #require(tables.variables[RuleTables.VariableName("CI_JOB_ID")])
    #expect(key.key == 0b00100 && key.identity == 1 && key.marker == 0)
    let marker = try #require(tables.variables[RuleTables.VariableName("CI")])
    #expect(marker.marker == tables.rules[3].markers && marker.identity == 0)
    let path = withUnsafeBytes(of: tables.rules[1].path) { [UInt8]($0) }
    #expect(
      path.suffix(28) == ArraySlice("/bin/A.Very.Long.Name.Indeed".utf8) && path.prefix(228).allSatisfy { $0 == 0 })
    #expect(tables.rules[1].path_length == 28)
    let none = try RuleTables([], identity: [])
    #expect(none.filter.kinds == 0)
  }

  @Test func cgroupsHaveTheRulesOfThoseAbove() throws {
    let rules = [
      JobRule(cgroup: "/ci.slice"), JobRule(cgroup: "/ci.slice/heavy/"), JobRule(comm: "a", cgroup: "/ci*"),
      JobRule(cgroup: "/ci.slice", markers: ["CI"]), JobRule(cgroup: "/other", key: "ID"), JobRule(comm: "a"),
    ]
    let tables = try RuleTables(rules, identity: [])
    #expect(
      tables.cgroups == ["/ci": 0b000100, "/ci.slice/": 0b001101, "/ci.slice/heavy/": 0b001111, "/other/": 0b010000])
    #expect(tables.filter.in_cgroups == 0b011111 && tables.filter.cgroups_alone == 0b010011)
    #expect(tables.filter.kinds & MT_RULES_BY_CGROUP_PATH.rawValue != 0)
    #expect(tables.rules.map { $0.flags & MT_RULE_CGROUP.rawValue != 0 } == [true, true, false, false, true, false])
    #expect(try RuleTables([JobRule(comm: "a")], identity: []).filter.kinds & MT_RULES_BY_CGROUP_PATH.rawValue == 0)
    for cgroup in ["", "/", "*", "/*", "ci", "/" + String(repeating: "x", count: 252), "/a\0b"] where cgroup != "/*" {
      #expect(throws: SensorError.self) { _ = try RuleTables([JobRule(cgroup: cgroup)], identity: []) }
    }
  }

  @Test func namesAreFoundByTheirFirstBytes() throws {
    // "CI=" where the name has but two bytes; the numbers are those of MT_START.
    #expect(try RuleTables.VariableName("CI").start == Int((UInt32(0xFF3D_4943) &* 0x3779_b100) >> 22))
    #expect(try RuleTables.VariableName("CIX").start == Int((UInt32(0x3D58_4943) &* 0x3779_b100) >> 22))
    let tables = try RuleTables([JobRule(comm: "a"), JobRule(markers: ["CI"])], identity: ["CIX"])
    let starts = withUnsafeBytes(of: tables.filter.starts) { [UInt8]($0) }
    #expect(starts.count == MT_STARTS && starts.count { $0 != 0 } == 3)
    #expect(try starts[RuleTables.VariableName("CI").start] == 3 && starts[RuleTables.VariableName("CIX").start] == 2)
    #expect(starts[RuleTables.Name16("a").start] == 4)
  }

  @Test func whatTheKernelSideCannotHoldIsRefused() {
    let long = String(repeating: "x", count: 300)
    let refused: [([JobRule], [String])] = [
      (Array(repeating: JobRule(comm: "a"), count: 65), []), ([JobRule(markers: ["A"])], []),
      ([JobRule(markers: ["A=B"])], []), ([JobRule(key: long)], []), ([], ["A\0B"]), ([], [""]),
      ([JobRule(path: long)], []), ([JobRule(path: "/")], []), ([JobRule(path: "dir/")], []), ([JobRule(path: "")], []),
      ([JobRule(markers: (0..<65).map { "M\($0)" })], []), ([], (0..<513).map { "I\($0)" }),
    ]
    for (rules, identity) in refused {
      #expect(throws: SensorError.self) { _ = try RuleTables(rules, identity: identity) }
    }
  }

  @Test func keysAreToldApart() {
    let hash = KeyHash(seed: (1, 2))
    let values = ["", "a", "a\0", "aaaaaaaa", "aaaaaaaaa", String(repeating: "a", count: 248)]
    #expect(Set(values.map { hash.ofValue(Array($0.utf8)) }).count == values.count)
    #expect(values.allSatisfy { hash.ofValue(Array($0.utf8)) & 1 == 1 })
    #expect(hash.ofValue([97]) != KeyHash(seed: (1, 3)).ofValue([97]))
  }
}
