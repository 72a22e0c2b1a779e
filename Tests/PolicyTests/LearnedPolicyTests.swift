import Testing

@testable import Policy

@Suite("Policies that are learnt")
struct LearnedPolicyTests {
  @Test("by name where there is one, else by address; rotating names become a pattern, and it is said")
  func network() throws {
    let flows = [
      flow("a1.cdn.example.org", "192.0.2.1", 443), flow("a2.cdn.example.org", "192.0.2.2", 443),
      flow("A3.cdn.example.org.", "192.0.2.3", 443), flow("x.github.io", "192.0.2.4", 443),
      flow("y.github.io", "192.0.2.4", 443), flow("z.github.io", "192.0.2.4", 443),
      flow("one.example.net", "192.0.2.5", 80), flow("two.example.net", "192.0.2.5", 443),
      flow("three.example.net", "192.0.2.5", 443), flow(nil, "2001:db8::1", 443), flow(nil, "10.0.0.1", 8001),
      flow(nil, "10.0.0.1", 8002), flow(nil, "10.0.0.53", 53, 17), flow(nil, "192.0.2.9", 0, 1, kind: "other"),
      flow(nil, "10.9.9.9", 43210, direction: "inbound", local: ("192.0.2.100", 8080)),
      // Both ends of a connection are the job's.
      flow(nil, "192.0.2.100", 5000),
      flow(nil, "192.0.2.100", 43211, direction: "inbound", local: ("::ffff:192.0.2.100", 5000)),
      flow(nil, "127.0.0.1", 40001), flow(nil, "127.0.0.1", 5432),
      flow(nil, "/run/x", 0, 0, kind: "unix"),
    ]
    let learned = try LearnedPolicy(from: [observed(network: flows.joined(separator: ","))])
    #expect(
      learned.yaml == """
        # Learned from 1 run by 'martlet policy learn'.
        version: 1
        network:
          default: deny
          allow:
            # Folded, and wider than what was seen: a1.cdn.example.org, a2.cdn.example.org, a3.cdn.example.org
            - {host: "*.cdn.example.org", ports: [443], protocols: [tcp]}
            - {host: one.example.net, ports: [80], protocols: [tcp]}
            - {host: three.example.net, ports: [443], protocols: [tcp]}
            - {host: two.example.net, ports: [443], protocols: [tcp]}
            - {host: x.github.io, ports: [443], protocols: [tcp]}
            - {host: y.github.io, ports: [443], protocols: [tcp]}
            - {host: z.github.io, ports: [443], protocols: [tcp]}
            - {address: 10.0.0.1, ports: [8001-8002], protocols: [tcp]}
            - {address: 10.0.0.53, ports: [53], protocols: [udp]}
            - {address: 10.9.9.9, ports: [8080], protocols: [tcp]}
            # Wider than what was seen, as these ports differ from run to run: 40001
            - {address: 127.0.0.1, ports: [5432, 32768-60999], protocols: [tcp]}
            - {address: 192.0.2.100, ports: [5000], protocols: [tcp]}
            - {address: 192.0.2.9, protocols: [icmp]}
            - {address: "2001:db8::1", ports: [443], protocols: [tcp]}
        exec:
          deny:
            - {memfd: true}
        files:
          protect: [sources, pipelines, credentials]
        memory:
          protect:
            - {comm: Runner.Worker}
        system:
          default: deny

        """)
    #expect(try policy(learned.yaml).withoutPlaces == learned.policy)
  }

  @Test("what was seen is allowed, what was touched is not protected, and both are said")
  func touched() throws {
    let run = try observed(
      "nightly", network: flow(nil, "/run/docker.sock", 0, 0, kind: "unix"),
      files: [file("/w/a.o", created: true), file("/w/a.c"), file("/root/.npmrc", written: false)].joined(
        separator: ","),
      security: "{\"kind\":\"unshare\",\"process\":2,\"count\":1},{\"kind\":\"bpf_map\",\"process\":2,\"count\":1}",
      executions: ",{\"id\":14,\"at\":\"\",\"executable\":\"/memfd:x\",\"isMemoryFile\":true}",
      verdicts: "\"incomplete\",\"clean\"")
    let learned = try LearnedPolicy(from: [run, observed("other", verdicts: "\"blocked\"")])
    #expect(
      learned.yaml == """
        # Learned from 2 runs by 'martlet policy learn'.
        # other was stopped by a policy: what it tried and was refused may be allowed here.
        # nightly is incomplete: what it did not see is denied here.
        version: 1
        network:
          default: deny
        files:
          protect: [sources, pipelines, credentials]
          allow:
            # Of sources it was changed.
            - {write: "./a.c"}
            # Of credentials it was read.
            - {read: /root/.npmrc}
        memory:
          protect:
            - {comm: Runner.Worker}
        system:
          default: deny
          allow:
            - {deed: bpf}
            - {deed: namespace}
            - {deed: containerDaemon}

        """)
  }

  @Test("who else has the address, and what was asked for alone")
  func names() throws {
    let names = """
      {"name":"a.example","addresses":["192.0.2.1","192.0.2.2"]},{"name":"b.example","addresses":["192.0.2.1"]},\
      {"name":"_http._tcp.a.example","addresses":[]},{"name":"a??b.example","addresses":[]}
      """
    let flows = [flow("b.example", "192.0.2.1", 443), flow(nil, "10.0.0.1", 80)].joined(separator: ",")
    let learned = try LearnedPolicy(from: [observed(network: flows, names: names)])
    #expect(
      learned.yaml.split(separator: "\n").drop { $0 != "  allow:" }.dropFirst().prefix { $0.hasPrefix("    ") } == [
        "    # Asked for, and nothing was sent to it.",
        "    - {host: \"_http._tcp.a.example\", ports: [0], protocols: [udp]}",
        "    - {host: a.example, ports: [443], protocols: [tcp]}",
        "    - {host: b.example, ports: [443], protocols: [tcp]}",
        "    - {address: 10.0.0.1, ports: [80], protocols: [tcp]}",
      ])
    let policy = try policy(learned.yaml)
    let actor = PolicyActor(executable: "/x")
    #expect(policy.decide(name: "_http._tcp.a.example", by: actor).isAllowed)
    #expect(!policy.decide(name: "x.a.example", by: actor).isAllowed)
  }

  @Test("whom a connection names, besides whom it was asked for by")
  func serverNames() throws {
    let flows = [
      flow("proxy.example", "192.0.2.1", 3128, saying: "\"name\":\"b.example\",\"port\":443"),
      flow("a.example", "192.0.2.2", 443, saying: "\"name\":\"a.example\""),
      flow("a.example", "192.0.2.2", 443, saying: "\"isHidden\":true"),
      flow(nil, "10.0.0.1", 80, saying: "\"name\":\"unasked.example\""),
    ]
    let run = try observed(network: flows.joined(separator: ","))
    let learned = try LearnedPolicy(from: [run])
    #expect(
      learned.yaml.split(separator: "\n").filter { $0.contains("protocols: [tcp]") } == [
        "    - {host: a.example, ports: [443], protocols: [tcp]}",
        "    - {host: b.example, ports: [443], protocols: [tcp]}",
        "    - {host: proxy.example, ports: [3128], protocols: [tcp]}",
        "    - {address: 10.0.0.1, ports: [80], protocols: [tcp]}",
      ])
    #expect(PolicyExplanation(try policy(learned.yaml), of: run).items.allSatisfy(\.decision.isAllowed))
  }

  @Test("nobody's memory is protected where it was got at")
  func memory() throws {
    let access = "{\"kind\":\"proc_mem\",\"process\":3,\"target\":{\"process\":1},\"count\":1}"
    #expect(try LearnedPolicy(from: [observed(security: access)]).policy.memory == nil)
  }

  @Test("what was observed passes under what was learnt from it", arguments: 0..<40)
  func passes(seed: Int) throws {
    var dice = Dice(UInt64(seed + 500))
    let hosts = ["a.x.example", "b.x.example", "c.x.example", "d.example", "a.github.io", "b.github.io", "c.github.io"]
    let flows = (0..<12).map { _ in
      flow(
        dice.roll(3) == 0 ? nil : dice.pick(hosts), dice.pick(["10.0.0.1", "127.0.0.1", "::1", "2001:db8::1"]),
        dice.pick([0, 53, 443, 40000, 50000]), dice.pick([6, 17, 17, 58, 255]))
    }
    let kinds = ["mount", "setns", "module_load", "bpf_program"]
    let security = (0..<dice.roll(3)).map { _ in "{\"kind\":\"\(dice.pick(kinds))\",\"process\":2}" }
    let files = (0..<3).map { _ in
      file(
        dice.pick(["/w/a", "/w/.git/b", "/w/Jenkinsfile", "/root/.ssh/c", "/tmp/d"]), created: dice.roll(2) == 0,
        written: dice.roll(2) == 0)
    }
    let run = try observed(
      network: flows.joined(separator: ","), files: files.joined(separator: ","),
      security: security.joined(separator: ","))
    let learned = try LearnedPolicy(from: [run])
    let denied = PolicyExplanation(try policy(learned.yaml), of: run).items.filter { !$0.decision.isAllowed }
    #expect(denied.isEmpty, "\(denied)\n\(learned.yaml)")
    // And the policy is narrower than everything.
    #expect(Policy().differences(to: learned.policy).allSatisfy { !$0.isWider })
  }

  @Test("more ports than a rule can have become a range")
  func manyPorts() throws {
    let flows = (1...17).map { flow("a.example", "192.0.2.1", $0 * 2) }.joined(separator: ",")
    let learned = try LearnedPolicy(from: [observed(network: flows)])
    #expect(learned.policy.network?.allow.map(\.ports) == [[2...34]])
    #expect(learned.comments[1] == ["Wider than what was seen, which was too much for a rule: 17 ports and ranges"])
  }

  @Test("what no policy can hold is said")
  func tooMuch() throws {
    let flows = (0...PolicyLimits.networkRules).map { flow(nil, "10.0.\($0 / 256).\($0 % 256)", 443) }.joined(
      separator: ",")
    let error = #expect(throws: LearnedPolicy.Failure.self) { try LearnedPolicy(from: [observed(network: flows)]) }
    #expect(
      error?.description
        == "no policy can hold what was observed: network.allow has \(PolicyLimits.networkRules + 1) rules; \(PolicyLimits.networkRules) at most"
    )
  }
}
