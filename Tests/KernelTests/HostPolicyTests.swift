import Glibc
import KernelABI
import Observation
import Policy
import Testing

@testable import KernelSensor

extension KernelTests {
  /// To whom a job may speak. A server outside all jobs counts what reaches it.
  @Suite struct HostPolicy {
    static let resolver = "127.0.0.77"
    static let allowed = "127.0.0.2"
    static let other = "127.0.0.3"

    /// What came of a job's tries, and what the server says.
    struct Outcome {
      var act: Act
      var server: [String: String]

      subscript(_ index: Int) -> String {
        String(decoding: hexadecimal(act.facts["\(index)"] ?? ""), as: UTF8.self)
      }
      func received(_ address: String) -> Int { server["received-\(address)"].flatMap { Int($0) } ?? -1 }
      var denials: [Record] { act.all(.denial) }
      func denials(_ operation: mt_operation) -> [Record] {
        denials.filter { UInt32($0.denial.operation) == operation.rawValue }
      }
      var text: String { (0..<act.facts.count).map { "\($0): \(self[$0])" }.joined(separator: ", ") }
    }

    static func attempt(
      _ tries: [String], under policy: Policy, zone: [String] = ["good.example.org=127.0.0.2"],
      altering alter: (Sensor, UInt16) throws -> Void = { _, _ in }
    ) throws -> Outcome {
      let directory = try TemporaryDirectory()
      defer { directory.remove() }
      var server = try Child(
        findActor(), ["hosts-server", resolver, "\(allowed),\(other)"] + zone, directory: directory.path)
      defer { server.end() }
      let port = try #require(server.facts["port"])
      let act = try Bench.act(["hosts-client", resolver, port] + tries, under: policy, altering: alter)
      server.release()
      while server.readOutput(waiting: -1) {}
      return Outcome(act: act, server: server.facts)
    }

    static func policy(
      _ allow: [NetworkRule], deny: [NetworkRule] = [], default action: PolicyAction = .deny
    ) -> Policy {
      var policy = Policy()
      var network = NetworkSection()
      network.defaultAction = action
      network.deny = deny
      network.allow = allow
      network.resolvers = [address(resolver)]
      for index in network.deny.indices { network.deny[index].head.number = UInt32(index + 1) }
      for index in network.allow.indices { network.allow[index].head.number = UInt32(deny.count + index + 1) }
      policy.network = network
      return policy
    }

    static func address(_ text: String) -> IPAddress {
      let parts = text.split(separator: ".").compactMap { UInt64($0) }
      return IPAddress(high: 0, low: parts.reduce(0xffff) { $0 << 8 | $1 })
    }

    static func rule(_ peer: NetworkRule.Peer, _ action: PolicyAction = .allow, _ protocols: [NetworkProtocol] = [])
      -> NetworkRule
    {
      var rule = NetworkRule(head: RuleHead(action: action))
      rule.peer = peer
      rule.protocols = protocols
      return rule
    }

    static func host(_ wildcard: HostPattern.Wildcard, _ name: String) -> NetworkRule.Peer {
      .host(HostPattern(wildcard, name))
    }

    /// The ways to an address that no rule allows: none arrives.
    @Test func everyOtherWay() throws {
      let tries = [
        "tcp \(Self.other)", "mapped \(Self.other)", "fastopen \(Self.other)", "sendto \(Self.other)",
        "sendmmsg \(Self.other)", "sendto6 \(Self.other)", "udp \(Self.other)", "socket raw", "socket ping",
        "socket mptcp",
      ]
      let outcome = try Self.attempt(
        tries + ["tcp \(Self.allowed)", "udp \(Self.allowed)"],
        under: Self.policy([Self.rule(.network(IPNetwork(address: Self.address(Self.allowed), length: 128)))]))
      // 5.10 of Debian has no MPTCP, which is refused as well.
      for index in tries.indices where tries[index] != "socket ping" && outcome[index] != "Protocol not supported" {
        #expect(outcome[index] == "Operation not permitted", "\(tries[index]): \(outcome.text)")
      }
      // Most systems let nobody ping by sockets of that kind.
      #expect(["Operation not permitted", "Permission denied"].contains(outcome[8]))
      #expect(outcome[tries.count] == "answered" && outcome[tries.count + 1] == "answered", "\(outcome.text)")
      #expect(outcome.received(Self.other) == 0 && outcome.received(Self.allowed) > 0, "\(outcome.server)")
      #expect(outcome.denials(MT_OP_CONNECT).count == 2 && !outcome.denials(MT_OP_SOCKET).isEmpty, "\(outcome.denials)")
      #expect(outcome.denials(MT_OP_SEND).count == 1)
      #expect(
        outcome.denials.allSatisfy {
          $0.denial.rule == 0 && UInt32($0.denial.effect) == MT_EFFECT_PREVENTED.rawValue
            && UInt32($0.denial.action) == MT_DENY.rawValue
        })
    }

    /// As many rules for an address as it can have: the last of them is the one that it is allowed by.
    @Test func manyRules() throws {
      let network = NetworkRule.Peer.network(IPNetwork(address: Self.address(Self.allowed), length: 128))
      let others = (1..<Int(MT_SET_RULES)).map { port -> NetworkRule in
        var rule = Self.rule(network, .allow, [.udp])
        rule.ports = [UInt16(port)...UInt16(port)]
        return rule
      }
      let outcome = try Self.attempt(
        ["tcp \(Self.allowed)", "udp \(Self.allowed)"],
        under: Self.policy(others + [Self.rule(network, .allow, [.tcp])]))
      #expect(outcome[0] == "answered" && outcome[1] == "Operation not permitted", "\(outcome.text)")
    }

    /// Who gets a packet socket does not get to use it.
    @Test func packetSocket() throws {
      let outcome = try Self.attempt(["socket packet", "tcp \(Self.other)"], under: Self.policy([]))
      let denial = try #require(outcome.denials.first)
      #expect(UInt32(denial.denial.operation) == MT_OP_SOCKET.rawValue && denial.denial.family == UInt16(AF_PACKET))
      if UInt32(denial.denial.effect) == MT_EFFECT_PREVENTED.rawValue {
        #expect(outcome[0] == "Operation not permitted" && outcome.act.status == 0, "\(outcome.text)")
      } else {
        #expect(UInt32(denial.denial.effect) == MT_EFFECT_KILLED.rawValue)
        #expect(outcome.act.facts["1"] == nil && outcome.act.status == SIGKILL, "\(outcome.text)")
      }
    }

    static let web = [
      "good.example.org=127.0.0.2", "a.cdn.example.org=127.0.0.2", "a.b.cdn.example.org=127.0.0.2",
      "cdn.example.org=127.0.0.2", "x.deep.example.org=127.0.0.2", "x.y.deep.example.org=127.0.0.2",
      "alias.example.org=good.example.org>edge.example.net>127.0.0.2", "evil.example.com=127.0.0.3",
      "brief.example.org=127.0.0.3/1", "shared.example.org=127.0.0.3",
    ]

    /// Names, and what they may be asked for.
    @Test func names() throws {
      let tries = [
        "query GOOD.example.org", "query a.cdn.example.org", "query a.b.cdn.example.org", "query cdn.example.org",
        "query x.deep.example.org", "query x.y.deep.example.org", "query deep.example.org", "query alias.example.org",
        "query evil.example.com", "query notgood.example.org", "query example.org",
      ]
      let outcome = try Self.attempt(
        tries + ["tcp \(Self.allowed)", "tcp \(Self.other)"],
        under: Self.policy([
          Self.rule(Self.host(.none, "good.example.org")), Self.rule(Self.host(.oneLabel, "cdn.example.org")),
          Self.rule(Self.host(.anyLabels, "deep.example.org")), Self.rule(Self.host(.none, "alias.example.org")),
        ]), zone: Self.web)
      let answers = tries.indices.map { outcome[$0] }
      let refused = "Operation not permitted"
      #expect(
        answers == [
          "1 answers", "1 answers", refused, refused, "1 answers", "1 answers", refused, "3 answers", refused, refused,
          refused,
        ], "\(outcome.text)")
      #expect(outcome[tries.count] == "answered" && outcome[tries.count + 1] == refused, "\(outcome.text)")
      let denied = outcome.denials(MT_OP_QUERY).compactMap { $0.host }
      #expect(
        denied.sorted() == [
          "a.b.cdn.example.org", "cdn.example.org", "deep.example.org", "evil.example.com", "example.org",
          "notgood.example.org",
        ], "\(denied)")
      #expect(outcome.act.all(.answer).count == 5)
      #expect(outcome.received(Self.other) == 0)
      // What is not allowed never left: nobody else could have answered it.
      #expect(outcome.server["queries"] == "5")
    }

    /// The same by TCP: several questions in a packet, one in two, and what is not allowed behind what is.
    @Test func namesByTCP() throws {
      let tries = [
        "ask GOOD.example.org", "ask a.cdn.example.org,alias.example.org,good.example.org",
        "ask good.example.org pieces",
        "ask evil.example.com", "ask good.example.org,evil.example.com", "ask good.example.org pieces",
      ]
      let outcome = try Self.attempt(
        ["tcp \(Self.allowed)"] + tries + ["tcp \(Self.allowed)", "tcp \(Self.other)"],
        under: Self.policy([
          Self.rule(Self.host(.none, "good.example.org")), Self.rule(Self.host(.oneLabel, "cdn.example.org")),
          Self.rule(Self.host(.none, "alias.example.org")),
        ]), zone: Self.web)
      let refused = "Operation not permitted"
      let wanted = ["1 of 1: 1", "3 of 3: 5", "1 of 1: 1", "0 of 1: 0", "0 of 2: 0", "1 of 1: 1"]
      #expect((0...8).map { outcome[$0] } == [refused] + wanted + ["answered", refused], "\(outcome.text)")
      #expect(Set(outcome.denials(MT_OP_QUERY).map(\.host)) == ["evil.example.com"])
      #expect(outcome.act.all(.answer).count == 6)
      #expect(outcome.server["queries"] == "6")
    }

    /// A name with the hash of an allowed one. Nobody can make such a pair without the key, so the map is given one.
    @Test func collision() throws {
      let outcome = try Self.attempt(
        ["query evil.example.com", "query good.example.org", "query x.evil.example.com"],
        under: Self.policy([Self.rule(Self.host(.none, "good.example.org"))]), zone: Self.web
      ) { sensor, _ in
        let placed = try #require(sensor.placedPolicies.values.max { $0.id < $1.id })
        let set = try #require(placed.keys["network_sets"]?.first)
        var name = mt_name()
        name.exact = set.withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) }
        name.any = name.exact
        let text = "good.example.org"
        name.length = UInt32(text.utf8.count)
        withUnsafeMutableBytes(of: &name.text) { $0.copyBytes(from: text.utf8) }
        var key = mt_name_key(hash: sensor.keyHash.ofHost("evil.example.com"), policy: UInt32(placed.id), reserved: 0)
        try Sensor.set(&name, at: &key, of: sensor.objects.map("names"), named: "names")
      }
      #expect(outcome.text == "0: Operation not permitted, 1: 1 answers, 2: Operation not permitted, 3: ")
    }

    /// Without a look up there is no lease; and one ends, but not for who is speaking.
    @Test func leases() throws {
      let outcome = try Self.attempt(
        ["tcp \(Self.other)", "query brief.example.org", "tcp \(Self.other)", "wait 1800", "tcp \(Self.other)"],
        under: Self.policy([Self.rule(Self.host(.none, "brief.example.org"))]), zone: Self.web)
      #expect(outcome[0] == "Operation not permitted" && outcome[1] == "1 answers", "\(outcome.text)")
      #expect(outcome[2] == "answered" && outcome[4] == "Operation not permitted", "\(outcome.text)")
    }

    /// An address that has an allowed name besides others: what the connection asks for decides.
    @Test(arguments: ["tls", "padded", "http"]) func firstBytes(kind: String) throws {
      let outcome = try Self.attempt(
        [
          "query shared.example.org", "tcp \(Self.other) \(kind):shared.example.org",
          "tcp \(Self.other) \(kind):evil.example.com", "tcp \(Self.other) \(kind):sHaReD.example.org",
        ], under: Self.policy([Self.rule(Self.host(.none, "shared.example.org"))]), zone: Self.web)
      #expect(outcome[1] == "answered" && outcome[2] == "silence" && outcome[3] == "answered", "\(outcome.text)")
      let operation = kind == "http" ? MT_OP_HOST : MT_OP_SERVER_NAME
      #expect(outcome.denials.count == 1 && outcome.denials(operation).first?.host == "evil.example.com")
    }

    /// Whatever way it is said: each as TLS or HTTP may have it, and in pieces, of which none is let through by itself.
    @Test(arguments: [
      "3/tls", "43/tls", "90/tls", "2000/padded", "5/http", "20/http", "late", "1/late", "proxy", "tunnel", "30/tunnel",
    ]) func sameInOtherWords(kind: String) throws {
      let outcome = try Self.attempt(
        [
          "query shared.example.org", "tcp \(Self.other) \(kind):evil.example.com",
          "tcp \(Self.other) \(kind):shared.example.org\(kind.contains("/") ? "" : ".")",
        ], under: Self.policy([Self.rule(Self.host(.none, "shared.example.org"))]), zone: Self.web)
      #expect(outcome[1] == "silence" && outcome[2] == "answered", "\(outcome.text)")
      let denials = outcome.denials(kind.hasSuffix("tls") || kind.hasSuffix("padded") ? MT_OP_SERVER_NAME : MT_OP_HOST)
      #expect(denials.count == 1 && denials.first?.host == "evil.example.com", "\(outcome.denials)")
    }

    /// What hides whom it is for is for nobody that is allowed; what is neither TLS nor HTTP names nobody.
    @Test func hiddenNames() throws {
      let hidden = ["records:shared.example.org", "other:evil.example.com", "other:shared.example.org"]
      let outcome = try Self.attempt(
        ["query shared.example.org"] + (hidden + ["ssh:", "plain", "nobody:"]).map { "tcp \(Self.other) \($0)" },
        under: Self.policy([Self.rule(Self.host(.none, "shared.example.org"))]), zone: Self.web)
      #expect((1...3).allSatisfy { outcome[$0] == "silence" }, "\(outcome.text)")
      #expect((4...6).allSatisfy { outcome[$0] == "answered" }, "\(outcome.text)")
      #expect(outcome.denials.count == 3 && outcome.denials.allSatisfy { $0.host == nil }, "\(outcome.denials)")
    }

    /// What a proxy is asked for has a port of its own.
    @Test func proxiedPorts() throws {
      var rule = Self.rule(Self.host(.none, "shared.example.org"))
      rule.ports = [443...443]
      let outcome = try Self.attempt(
        [
          "query proxy.example.org", "tcp \(Self.other) tunnel:shared.example.org:443",
          "tcp \(Self.other) tunnel:shared.example.org:8443", "tcp \(Self.other) tunnel:shared.example.org:99999",
          "tcp \(Self.other) tunnel:user@shared.example.org", "tcp \(Self.other) http:shared.example.org:443",
        ],
        under: Self.policy([Self.rule(Self.host(.none, "proxy.example.org")), rule]),
        zone: ["proxy.example.org=127.0.0.3"])
      #expect(outcome[1] == "answered" && (2...5).allSatisfy { outcome[$0] == "silence" }, "\(outcome.text)")
    }

    /// An address that is allowed for itself may have any name but those that are denied, or that nobody can see.
    @Test func deniedNamesAtAnAllowedAddress() throws {
      let address = Self.rule(.network(IPNetwork(address: Self.address(Self.other), length: 128)))
      let denied = Self.rule(Self.host(.anyLabels, "example.com"), .deny)
      let outcome = try Self.attempt(
        ["http:good.example.org", "http:evil.example.com", "records:good.example.org", "plain"].map {
          "tcp \(Self.other) \($0)"
        }, under: Self.policy([address], deny: [denied]), zone: Self.web)
      #expect(outcome.text == "0: answered, 1: silence, 2: silence, 3: answered, 4: ")
      #expect(outcome.denials.map(\.denial.rule) == [1, 0])
    }

    /// Who connects to a job is judged as whom it connects to: by the address, and the port that the job listens at.
    @Test func callers() throws {
      let calls = Self.rule(Self.host(.anyLabels, "call.example.org"))
      let allowed = Self.rule(.network(IPNetwork(address: Self.address(Self.allowed), length: 128)))
      let outcome = try Self.attempt(
        ["listen 0", "listen 1", "unbound 1", "unbound 0"], under: Self.policy([calls, allowed]), zone: Self.web)
      #expect(outcome.text == "0: answered, 1: silence, 2: silence, 3: answered, 4: ")
      #expect(outcome.received(Self.other) == 0)
      let denials = outcome.denials(MT_OP_ACCEPT)
      #expect(denials.count == 2 && denials.allSatisfy { UInt32($0.denial.effect) == MT_EFFECT_PREVENTED.rawValue })
      let free = try Self.attempt(["listen 1"], under: Self.policy([], default: .observe), zone: Self.web)
      #expect(free[0] == "answered" && free.denials(MT_OP_ACCEPT).count == 1, "\(free.text)")
    }

    /// A connection that somebody outside the job made and hands to it.
    @Test func handedOver() throws {
      let allowed = Self.rule(.network(IPNetwork(address: Self.address(Self.allowed), length: 128)))
      let outcome = try Self.attempt(["passed 0", "passed 1"], under: Self.policy([allowed]))
      #expect(outcome[0] == "answered", "\(outcome.text)")
      let denial = try #require(outcome.denials(MT_OP_RECEIVE).first)
      if UInt32(denial.denial.effect) == MT_EFFECT_PREVENTED.rawValue {
        #expect(outcome[1] == "nothing" && outcome.act.status == 0, "\(outcome.text)")
      } else {
        #expect(UInt32(denial.denial.effect) == MT_EFFECT_KILLED.rawValue)
        #expect(outcome.act.facts["1"] == nil && outcome.act.status == SIGKILL, "\(outcome.text)")
      }
      #expect(outcome.received(Self.other) == 0 && outcome.denials.count == 1)
    }

    /// A process of the job that poses as the resolver is not heard, and neither is a resolver of its own choice.
    @Test func otherResolvers() throws {
      let outcome = try Self.attempt(
        ["answer 127.0.0.9 127.0.0.1", "query shared.example.org \(Self.other)"],
        under: Self.policy([Self.rule(Self.host(.none, "shared.example.org"))]), zone: Self.web)
      #expect(outcome[0] == "Operation not permitted" && outcome[1] == "Operation not permitted", "\(outcome.text)")
      let permissive = try Self.attempt(
        ["answer 127.0.0.9 127.0.0.1"],
        under: Self.policy([], default: .observe), zone: Self.web)
      #expect(permissive[0] == "Operation not permitted" && permissive.denials(MT_OP_ANSWER).count == 1)
    }

    /// Whom else a rule lets a job ask is a peer like any other: nobody looks at what it asks, or believes the answer.
    @Test func anotherResolverByRule() throws {
      var rule = Self.rule(.network(IPNetwork(address: Self.address(Self.other), length: 128)), .allow, [.udp])
      rule.ports = [53...53]
      let outcome = try Self.attempt(
        ["query evil.example.com \(Self.other)", "query evil.example.com"], under: Self.policy([rule]), zone: Self.web)
      // Nobody is there.
      #expect(["silence", "Connection refused"].contains(outcome[0]), "\(outcome.text)")
      #expect(outcome[1] == "Operation not permitted" && outcome.denials(MT_OP_QUERY).count == 1, "\(outcome.text)")
    }

    /// Data in names: as many as a wildcard allows get out, and no more.
    @Test func tunnel() throws {
      let names = (0..<200).map { "query n\($0 * 7919)x.cdn.example.org" }
      let zone = ["n0x.cdn.example.org=127.0.0.2"] + (1..<200).map { "n\($0 * 7919)x.cdn.example.org=127.0.0.2" }
      let outcome = try Self.attempt(
        names, under: Self.policy([Self.rule(Self.host(.oneLabel, "cdn.example.org"))]), zone: zone)
      let answered = names.indices.filter { outcome[$0] == "1 answers" }.count
      #expect(answered == Int(MT_NAMES_PER_RULE), "\(outcome.text)")
      #expect(outcome.denials(MT_OP_QUERY).count == 200 - answered)
    }

    /// What is only observed goes through, and is told.
    @Test func observed() throws {
      let outcome = try Self.attempt(
        ["query evil.example.com", "tcp \(Self.other)", "sendto \(Self.other)"],
        under: Self.policy([Self.rule(Self.host(.none, "good.example.org"))], default: .observe), zone: Self.web)
      #expect(outcome[0] == "1 answers" && outcome[1] == "answered" && outcome[2] == "done", "\(outcome.text)")
      #expect(outcome.denials.count == 3)
      #expect(outcome.denials.allSatisfy { UInt32($0.denial.effect) == MT_EFFECT_TOLD.rawValue })
    }

    /// Cloud metadata is for who is allowed to have it, whatever the default is; nobody answers here.
    @Test func metadata() throws {
      let outcome = try Self.attempt(["tcp 169.254.169.254"], under: Self.policy([], default: .allow))
      #expect(outcome[0] == "Operation not permitted")
    }

    /// Denied names with everything else allowed: also behind an address that was had elsewhere.
    @Test func deniedNames() throws {
      let outcome = try Self.attempt(
        [
          "query evil.example.com", "tcp \(Self.other) tls:evil.example.com", "tcp \(Self.other) tls:good.example.org",
          "tcp \(Self.other)",
        ],
        under: Self.policy(
          [], deny: [Self.rule(Self.host(.anyLabels, "example.com"), .deny)], default: .allow), zone: Self.web)
      #expect(outcome[0] == "Operation not permitted" && outcome[1] == "silence", "\(outcome.text)")
      #expect(outcome[2] == "answered" && outcome[3] == "answered", "\(outcome.text)")
      #expect(outcome.denials.allSatisfy { $0.denial.rule == 1 } && outcome.denials.count == 2)
    }
  }
}

extension Record {
  /// Of a `denial`.
  fileprivate var host: String? { string(.name).map { String(decoding: $0, as: UTF8.self) } }
}
