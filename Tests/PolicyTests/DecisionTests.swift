import Testing

@testable import Policy

@Suite("What a policy decides")
struct DecisionTests {
  private let make = PolicyActor(executable: "/usr/bin/make")

  private func to(_ address: String, _ port: UInt16, _ spoken: NetworkProtocol = .tcp, _ names: String...) throws
    -> PolicyDestination
  { PolicyDestination(try #require(IPAddress(address)), port: port, spoken, names: names) }

  @Test("deny is asked first, then allow, then the default; the first of a list that matches decides")
  func order() throws {
    let policy = try policy(
      """
      version: 1
      network:
        default: observe
        allow: [{cidr: 10.0.0.0/8}]
        deny: [{address: 10.0.0.1, action: kill}, {cidr: 10.0.0.0/16}]
      """)
    #expect(try policy.decide(connect: to("10.0.0.1", 1), by: make) == PolicyDecision(.kill, by: .rule(2)))
    #expect(try policy.decide(connect: to("10.0.0.2", 1), by: make) == PolicyDecision(.deny, by: .rule(3)))
    #expect(try policy.decide(connect: to("10.1.0.2", 1), by: make) == PolicyDecision(.allow, by: .rule(1)))
    let other = try policy.decide(connect: to("11.0.0.1", 1), by: make)
    #expect(other == PolicyDecision(.observe, by: .sectionDefault) && other.isAllowed && other.rule == 0)
    #expect(policy.decide(.bpf, by: make) == PolicyDecision(.allow, by: .notGoverned))
  }

  @Test("connections: by any of the address' names, by port and protocol")
  func connections() throws {
    let policy = try policy(
      """
      version: 1
      network:
        default: deny
        allow:
          - {host: "*.example.org", ports: [443, 8000-8001]}
          - {protocols: icmp}
        resolvers: [10.0.0.53]
      """)
    func allows(_ to: PolicyDestination) -> Bool { policy.decide(connect: to, by: make).isAllowed }
    #expect(try allows(to("192.0.2.1", 443, .tcp, "cdn.test", "a.example.org")))
    // A datagram does not say whom it wants.
    #expect(
      try allows(to("192.0.2.1", 8001, .tcp, "a.example.org")) && !allows(to("192.0.2.1", 8001, .udp, "a.example.org")))
    #expect(try !allows(to("192.0.2.1", 8002, .tcp, "a.example.org")))
    #expect(try !allows(to("192.0.2.1", 443, .tcp)) && !allows(to("192.0.2.1", 443, .tcp, "example.org")))
    #expect(try allows(to("192.0.2.1", 0, .icmp)) && !allows(to("192.0.2.1", 0, .raw)))
    #expect(try policy.decide(connect: to("10.0.0.53", 53, .udp), by: make).basis == .resolver)
    // Nobody looks into what is asked by TCP.
    #expect(try policy.decide(connect: to("10.0.0.53", 53, .tcp), by: make).basis == .resolver)
    #expect(try !allows(to("10.0.0.53", 54, .udp)) && !allows(to("10.0.0.54", 53, .udp)))
  }

  @Test("a name may be asked for where something may be sent to it")
  func names() throws {
    let closed = try policy(
      """
      version: 1
      network: {default: deny, allow: [{host: "**.example.org", ports: 443}, {cidr: 10.0.0.0/8}, {protocols: raw}]}
      """)
    #expect(closed.decide(name: "a.b.example.org", by: make) == PolicyDecision(.allow, by: .rule(1)))
    #expect(closed.decide(name: "x.evil.test", by: make) == PolicyDecision(.deny, by: .sectionDefault))
    let open = try policy("version: 1\nnetwork: {default: deny, allow: [{ports: 443}]}")
    #expect(open.decide(name: "x.evil.test", by: make).isAllowed)
    let partly = try policy(
      "version: 1\nnetwork: {deny: [{host: a.test, ports: 80}, {host: b.test, protocols: tcp}, {host: c.test}]}")
    #expect(partly.decide(name: "a.test", by: make).isAllowed && partly.decide(name: "b.test", by: make).isAllowed)
    #expect(partly.decide(name: "c.test", by: make) == PolicyDecision(.deny, by: .rule(3)))
  }

  @Test("rules for executables and for what descends from them")
  func scopes() throws {
    let policy = try policy(
      """
      version: 1
      system:
        default: deny
        allow:
          - {deed: mount, executables: [fuse, "/opt/**"]}
          - {deed: bpf, ancestors: [/usr/bin/make]}
          - {deed: namespace, executables: [sh], ancestors: [make]}
      """)
    func allows(_ deed: SystemRule.Deed, _ executable: String, _ ancestors: String...) -> Bool {
      policy.decide(deed, by: PolicyActor(executable: executable, ancestors: ancestors)).isAllowed
    }
    #expect(allows(.mount, "/bin/fuse") && allows(.mount, "/opt/a/b") && !allows(.mount, "/bin/mount", "/bin/fuse"))
    #expect(
      allows(.bpf, "/usr/bin/make") && allows(.bpf, "/bin/x", "/bin/sh", "/usr/bin/make") && !allows(.bpf, "/bin/x"))
    #expect(
      allows(.namespace, "/bin/sh", "/usr/bin/make") && !allows(.namespace, "/bin/sh")
        && !allows(.namespace, "/x", "/make"))
  }

  @Test("an exec is allowed if all of its files are")
  func executions() throws {
    let digest = [UInt8](repeating: 0xab, count: 32)
    let policy = try policy(
      """
      version: 1
      exec:
        default: deny
        deny: [{memfd: true, action: kill}, {path: /usr/bin/nc}, {writtenDuringJob: true, action: observe}]
        allow: [{path: "/usr/bin/*"}, {sha256: \(PolicyText.hexadecimal(digest))}]
      """)
    func file(_ path: String, _ change: (inout PolicyExecutable) -> Void = { _ in }) -> PolicyExecutable {
      var file = PolicyExecutable(path: path)
      change(&file)
      return file
    }
    func decide(_ files: PolicyExecutable...) -> PolicyDecision { policy.decide(exec: files, by: make) }
    #expect(decide(file("/usr/bin/ls")) == PolicyDecision(.allow, by: .rule(4)))
    #expect(decide(file("/usr/bin/nc")) == PolicyDecision(.deny, by: .rule(2)))
    #expect(decide(file("/tmp/x")) == PolicyDecision(.deny, by: .sectionDefault))
    #expect(decide(file("/tmp/x") { $0.sha256 = digest }) == PolicyDecision(.allow, by: .rule(5)))
    #expect(decide(file("/usr/bin/x") { $0.isWithoutPlace = true }) == PolicyDecision(.kill, by: .rule(1)))
    #expect(decide(file("/tmp/x") { $0.isWrittenDuringJob = true }) == PolicyDecision(.observe, by: .rule(3)))
    // A script of the job's with an interpreter that is allowed.
    #expect(decide(file("/tmp/x"), file("/usr/bin/sh")) == PolicyDecision(.deny, by: .sectionDefault))
  }

  @Test("files: rules, exceptions, and what is protected behind them")
  func files() throws {
    let policy = try policy(
      """
      version: 1
      files:
        protect: [sources, credentials]
        action: kill
        deny: [{write: ".github/**"}, {read: id_rsa}]
        allow: [{write: "docs/**"}]
      """
    ).resolved(in: "/w")
    func decide(_ access: FileRule.Access, _ path: String, _ sets: FilesSection.Protected...) -> PolicyDecision {
      policy.decide(access, path, by: make, isProtected: sets.contains)
    }
    #expect(decide(.write, "/w/.github/x", .sources) == PolicyDecision(.deny, by: .rule(1)))
    #expect(decide(.read, "/w/.github/x", .sources) == PolicyDecision(.allow, by: .sectionDefault))
    #expect(decide(.read, "/root/.ssh/id_rsa") == PolicyDecision(.deny, by: .rule(2)))
    #expect(decide(.write, "/w/docs/a", .sources) == PolicyDecision(.allow, by: .rule(3)))
    #expect(decide(.write, "/w/a.c", .sources) == PolicyDecision(.kill, by: .protected(.sources)))
    #expect(decide(.write, "/w/a.o") == PolicyDecision(.allow, by: .sectionDefault))
    #expect(decide(.read, "/root/.netrc", .credentials) == PolicyDecision(.kill, by: .protected(.credentials)))
    #expect(decide(.write, "/w/ci.yml", .pipelines) == PolicyDecision(.allow, by: .sectionDefault))
  }

  @Test("memory: by the name of the process")
  func memory() throws {
    let policy = try policy(
      "version: 1\nmemory: {protect: [Runner.Worker, {comm: a, executables: [gdb], action: observe}]}")
    #expect(policy.decide(memoryOf: "Runner.Worker", by: make) == PolicyDecision(.deny, by: .rule(1)))
    #expect(policy.decide(memoryOf: "a", by: make) == PolicyDecision(.allow, by: .sectionDefault))
    #expect(
      policy.decide(memoryOf: "a", by: PolicyActor(executable: "/usr/bin/gdb"))
        == PolicyDecision(.observe, by: .rule(2)))
  }
}

@Suite("Policies as text")
struct PolicyYAMLTests {
  @Test("what is written and read again is the same")
  func roundTrip() throws {
    let whole = try policy(everything)
    let again = try policy(whole.yaml)
    #expect(again.withoutPlaces == whole.withoutPlaces)
    #expect(again.yaml == whole.yaml && again.digest == whole.digest)
    for seed in 0..<100 {
      var dice = Dice(UInt64(seed + 77))
      let text = World.policy(&dice)
      let one = try policy(text)
      #expect(try policy(one.yaml).withoutPlaces == one.withoutPlaces, "\(text)\n\(one.yaml)")
    }
  }

  @Test("sections and lists come in the order of their rules' numbers")
  func order() throws {
    let text = """
      version: 1
      system:
        allow:
          - {deed: bpf}
        default: deny
        deny:
          - {deed: mount, action: kill}
      network: {}
      exec:
        deny:
          - {path: "./it's \\"x\\"", executables: [/a/b, "x y", "é:\\u202e"]}

      """
    let one = try policy(text)
    #expect(
      one.yaml == """
        version: 1
        system:
          default: deny
          allow:
            - {deed: bpf}
          deny:
            - {deed: mount, action: kill}
        network: {}
        exec:
          deny:
            - {path: "./it's \\"x\\"", executables: [/a/b, "x y", "é:\\U0000202e"]}

        """)
    #expect(try policy(one.yaml).withoutPlaces == one.withoutPlaces)
  }

  @Test("the digest is of what the file means, in its order")
  func digest() throws {
    let one = try policy("version: 1\nsystem: {deny: [bpf, mount]}\n")
    #expect(one.digest.utf8.count == 64)
    #expect(try policy("# a\nsystem:\n  deny: [{deed: bpf, action: deny}, mount]\nversion: 1").digest == one.digest)
    #expect(try policy("version: 1\nsystem: {deny: [mount, bpf]}\n").digest != one.digest)
  }

  @Test("comments stand in front of their rules, and cannot end")
  func comments() throws {
    let one = try policy("version: 1\nsystem: {deny: [bpf]}")
    let text = one.yaml(comments: [1: ["why\nversion: 2", ""]], header: ["made of x"])
    #expect(
      text == """
        # made of x
        version: 1
        system:
          deny:
            # why\\nversion: 2
            #
            - {deed: bpf}

        """)
    #expect(try policy(text).withoutPlaces == one.withoutPlaces)
  }
}
