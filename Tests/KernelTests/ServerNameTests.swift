import KernelABI
import Observation
import Policy
import Testing

@testable import KernelSensor

/// What is to be told of a connection; no name: that it is hidden.
private struct Said: CustomStringConvertible {
  var by: mt_named_by
  var name: String?
  var port: UInt16 = 0
  var helloIsEncrypted = false

  var description: String { "\(by.rawValue) \(name ?? "hidden") \(port) \(helloIsEncrypted)" }
}

extension KernelTests {
  /// Whom connections name in their first bytes, told with a policy and without.
  @Suite struct ServerNames {
    /// What is said, and what is to be told of it.
    private static let ways: [(words: String, said: Said?)] = [
      ("tls:Good.example.org", Said(by: MT_NAMED_BY_TLS, name: "Good.example.org")),
      ("padded:a.example.org", Said(by: MT_NAMED_BY_TLS, name: "a.example.org")),
      ("3/tls:b.example.org", Said(by: MT_NAMED_BY_TLS, name: "b.example.org")),
      ("43/tls:c.example.org", Said(by: MT_NAMED_BY_TLS, name: "c.example.org")),
      ("2000/padded:d.example.org", Said(by: MT_NAMED_BY_TLS, name: "d.example.org")),
      ("encrypted:e.example.org", Said(by: MT_NAMED_BY_TLS, name: "e.example.org", helloIsEncrypted: true)),
      ("records:f.example.org", Said(by: MT_NAMED_BY_TLS)),
      ("http:g.example.org", Said(by: MT_NAMED_BY_HTTP, name: "g.example.org")),
      ("20/http:h.example.org", Said(by: MT_NAMED_BY_HTTP, name: "h.example.org")),
      ("late:i.example.org", Said(by: MT_NAMED_BY_HTTP, name: "i.example.org")),
      ("proxy:j.example.org", Said(by: MT_NAMED_BY_HTTP, name: "j.example.org", port: 80)),
      ("tunnel:k.example.org:8443", Said(by: MT_NAMED_BY_HTTP, name: "k.example.org", port: 8443)),
      ("other:l.example.org", Said(by: MT_NAMED_BY_HTTP)),
      ("http:127.0.0.3", Said(by: MT_NAMED_BY_HTTP, name: "127.0.0.3")),
      ("http:[::1]:80", nil), ("ssh:", nil), ("plain", nil), ("nobody:", nil),
    ]

    @Test(arguments: [false, true]) func areTold(underPolicy: Bool) throws {
      let directory = try TemporaryDirectory()
      defer { directory.remove() }
      let address = HostPolicy.other
      var server = try Child(
        findActor(), ["hosts-server", HostPolicy.resolver, "\(HostPolicy.allowed),\(address)"],
        directory: directory.path)
      defer { server.end() }
      let words = ["hosts-client", HostPolicy.resolver, try #require(server.facts["port"])]
      let tries = words + Self.ways.map { "tcp \(address) \($0.words)" }
      let rule = HostPolicy.rule(.network(IPNetwork(address: HostPolicy.address(address), length: 128)))
      let act =
        underPolicy
        ? try Bench.act(tries, under: HostPolicy.policy([rule])) : try Bench.shared.get().repeated(tries)
      server.release()
      while server.readOutput(waiting: -1) {}

      let told = act.all(.serverName)
      #expect(
        told.map { record in
          let body = record.serverName
          return Said(
            by: mt_named_by(UInt32(body.by)), name: record.string(.name).map { String(decoding: $0, as: UTF8.self) },
            port: body.port, helloIsEncrypted: body.is_hello_encrypted != 0
          ).description
        } == Self.ways.compactMap(\.said?.description), "\(act.summary)")
      #expect(told.allSatisfy { ($0.serverName.is_hidden != 0) == ($0.string(.name) == nil) })
      // Each of a connection of its own, and none of who was connected to.
      let closed = act.all(.tcpClose).filter { $0.sock.inbound == 0 }.map(\.sock.sock)
      #expect(closed.count == Self.ways.count && Set(told.map(\.serverName.sock)).isSubset(of: closed))
      #expect(told.allSatisfy { $0.pid == told.first?.pid })
      #expect(act.all(.denial).isEmpty)
    }
  }
}
