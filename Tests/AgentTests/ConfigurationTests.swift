import Configuration
import KernelSensor
import Observation
import Reporting
import Testing

@testable import Agent

@Suite("The agent's configuration file")
struct ConfigurationFileTests {
  private func read(_ text: String) throws -> AgentConfiguration {
    try AgentConfiguration.form.read(Array(text.utf8), file: "f")
  }

  private func problems(_ text: String) -> [String] {
    do {
      _ = try read(text)
      return []
    } catch let error as ConfigurationError {
      return error.problems.map { "\($0.place.line):\($0.place.column): \($0.message)" }
    } catch {
      return ["\(error)"]
    }
  }

  @Test("own rules come before the shipped ones, and what is left out stays as it is")
  func rules() throws {
    let text = """
      version: 1
      output: /srv/reports
      rules:
        - {name: nightly, provider: other, comm: nightly-runner, uid: 1001, steps: children}
        - {name: forge, provider: gitlab, markers: [FORGE_CI], key: FORGE_JOB_ID, linger: 1m}
      identity: [FORGE_PIPELINE]
      limits: {jobs: 200, memoryPerJob: 64M, agentMemory: 512M, cpu: 150}
      """
    let configuration = try read(text)
    #expect(
      Array(configuration.rules.prefix(2)) == [
        AgentRule(
          name: "nightly", provider: "other",
          match: JobRule(comm: "nightly-runner", uid: 1001, childrenAreSteps: true)),
        AgentRule(
          name: "forge", provider: "gitlab", match: JobRule(markers: ["FORGE_CI"], key: "FORGE_JOB_ID"),
          linger: 60_000_000_000),
      ])
    #expect(Array(configuration.rules.dropFirst(2)) == JobRules.defaults)
    #expect(configuration.output == "/srv/reports" && configuration.socket == AgentConfiguration().socket)
    #expect(configuration.storedVariables.contains("FORGE_PIPELINE"))
    #expect(configuration.limits.jobs == 200 && configuration.limits.bytesPerJob == 64 << 20)
    #expect(configuration.limits.agentBytes == 512 << 20 && configuration.limits.cpuPercent == 150)
    #expect(AgentLimits().agentBytes == nil && AgentLimits().cpuPercent == nil)
    #expect(configuration.limits.bytes == AgentLimits().bytes)
    #expect(try read("version: 1\n").rules == JobRules.defaults)
    #expect(try read("{version: 1, hashes: true}").hashes && !configuration.hashes)
    #expect(try read("{version: 1, requests: true}").requests && !configuration.requests)
    #expect(try read("{version: 1, shippedRules: false, rules: [{name: a, provider: b, comm: c}]}").rules.count == 1)
  }

  @Test("filters are of rules, each of one at most, and say what they leave out")
  func filters() throws {
    let configuration = try read(
      """
      version: 1
      rules: [{name: slice, provider: other, cgroup: /ci.slice/*}]
      filters:
        - {rules: github, excludeEvents: [file.read, unix], excludePaths: [/usr, /proc], includePaths: [/usr/local]}
        - {rules: [gitlab, run], excludeEvents: file, excludeUsers: [0, 7]}
        - {rules: slice, onlyUsers: [1001]}
      """)
    #expect(configuration.rules[0].match == JobRule(cgroup: "/ci.slice/*"))
    #expect(configuration.filters.map(\.rules) == [["github"], ["gitlab", "run"], ["slice"]])
    let first = configuration.filters[0].filter
    #expect(first.events == [.fileRead, .unix] && first.excludedPaths == ["/usr", "/proc"])
    #expect(first.includedPaths == ["/usr/local"] && first.users == nil)
    #expect(configuration.filters[1].filter.events == EventClass.files)
    #expect(configuration.filters[1].filter.users == .except([0, 7]))
    #expect(configuration.filters[2].filter.users == .only([1001]))
    let filters = AgentFilters(configuration)
    // Rules without a filter leave nothing out, so that everything is attached.
    #expect(filters.leftOut.isEmpty && filters.ofRule(nil)?.filter == configuration.filters[1].filter)
    let all = try read(
      "{version: 1, shippedRules: false, rules: [{name: a, provider: b, comm: c}, {name: d, provider: b, comm: e}], "
        + "filters: [{rules: a, excludeEvents: [unix, network]}, {rules: [d, run], excludeEvents: [network, file]}]}")
    #expect(AgentFilters(all).leftOut == [.network])
    for (text, word) in [
      ("{rules: githob, excludeEvents: unix}", "no rule 'githob'"), ("{rules: github, excludeEvents: unics}", "unix"),
      ("{rules: github}", "leaves out nothing"), ("{rules: github, excludePaths: [usr]}", "begin with /"),
      ("{rules: github, includePaths: [/usr]}", "exclude /"), ("{rules: github, excludeEvents: process}", "process"),
      ("{rules: github, onlyUsers: [1], excludeUsers: [2]}", "exclude each other"),
      ("{rules: github, excludeUsers: []}", "1"), ("{rules: github, excludeEvent: unix}", "excludeEvents"),
      ("{rules: github, excludeEvents: unix}, {rules: github, excludeEvents: file}", "two filters"),
    ] {
      let found = problems("version: 1\nfilters: [\(text)]\n")
      #expect(found.count == 1 && found[0].contains(word), "\(text): \(found)")
    }
    for cgroup in ["ci", "/", "/*", "/a*b", "//"] {
      #expect(problems("version: 1\nrules: [{name: a, provider: b, cgroup: '\(cgroup)'}]").count == 1, "\(cgroup)")
    }
  }

  @Test("policies are of rules, each of one at most")
  func policies() throws {
    let configuration = try read(
      "version: 1\npolicies:\n  - {rules: github, file: /a}\n  - {rules: [gitlab, run], file: /b}\nrepositoryPolicies: true\n"
    )
    #expect(configuration.policies.map(\.rules) == [["github"], ["gitlab", "run"]])
    #expect(configuration.policies.map(\.file) == ["/a", "/b"])
    #expect(configuration.keepsRepositoryPolicies && configuration.names)
    #expect(try !read("{version: 1, names: false}").names)
    #expect(
      problems("{version: 1, policies: [{rules: nobody, file: /a}]}").first?.contains("there is no rule 'nobody'")
        == true)
    #expect(
      problems("{version: 1, policies: [{rules: [github, github], file: /a}]}").first?.contains("has two policies")
        == true)
    #expect(
      problems("{version: 1, policies: [{rules: github, file: a}]}").first?.contains("has to begin with /") == true)
  }

  @Test(
    "a file that means something else than it says is refused",
    arguments: [
      ("", ["1:1: version is missing: Of this format: 1."]),
      ("version: 2", ["1:10: 2 is not between 1 and 1"]),
      ("{version: 1, output: reports}", ["1:22: has to begin with /"]),
      (
        "{version: 1, rules: [{name: a, provider: b}]}",
        [
          "1:22: the rule 'a' names no comm, path, cgroup or markers, and would claim every process"
        ]
      ),
      (
        "{version: 1, rules: [{name: github, provider: github, comm: x}]}",
        [
          "1:1: there are two rules named 'github'; the shipped ones are listed by 'martlet agent rules'"
        ]
      ),
      ("{version: 1, shippedRules: false}", ["1:1: without rules the agent would watch nothing"]),
      (
        "{version: 1, identity: [1CI, 'A=B']}",
        [
          "1:25: the name of a variable has letters, digits and _ only, and begins with no digit",
          "1:30: the name of a variable has letters, digits and _ only, and begins with no digit",
        ]
      ),
      (
        "{version: 1, rules: [{name: ../x, provider: b, comm: c}]}",
        [
          "1:29: has to be made of letters, digits, - and _"
        ]
      ),
      (
        "{version: 1, rules: [{name: a, provider: b, com: c}]}",
        [
          "1:45: there is no key 'com'; did you mean 'comm'?"
        ]
      ),
    ])
  func refused(text: String, expected: [String]) {
    #expect(problems(text) == expected)
  }
}
