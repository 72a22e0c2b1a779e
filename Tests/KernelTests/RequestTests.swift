import Glibc
import KernelABI
import KernelSensor
import Observation
import Recording
import Testing

extension KernelTests {
  /// Requests over TLS, and their connections: the actor has functions with the names of OpenSSL's and GnuTLS'.
  @Suite struct Requests {
    private struct Told: Equatable, CustomStringConvertible {
      var method: String
      var path: String
      /// The fact that has the port, "" for none.
      var by: String

      init(_ path: String, by: String, method: String = "GET") {
        self.path = path
        self.by = by
        self.method = method
      }

      var description: String { "\(method) \(path) by \(by.isEmpty ? "nobody" : by)" }
    }

    /// What the records come to. A request that nobody can read is `Told("hidden", by: "", method: "")`.
    private static func told(_ act: Act) throws -> [Told] {
      var ports: [UInt64: UInt16] = [:]
      for end in act.all(.tcpClose, where: { $0.sock.inbound == 0 }) { ports[end.sock.sock] = end.sock.local_port }
      var names: [UInt16: String] = [:]
      for key in ["one", "two", "reused"] where act.facts[key] != nil { names[UInt16(try act.number(key))] = key }
      var told: [Told] = []
      func tell(_ builder: RecordBuilder) {
        builder.bytes.withUnsafeBytes { bytes in
          guard let record = try? RecordView(validating: bytes) else { return }
          #expect(!String(decoding: bytes, as: UTF8.self).contains("hunter2"))
          let sock = record.request.sock
          let by = sock == 0 ? "" : ports[sock].flatMap { names[$0] } ?? "somebody else"
          guard record.request.flags & UInt16(MT_REQUEST_HIDDEN.rawValue) == 0 else {
            return told.append(Told("hidden", by: "", method: ""))
          }
          let texts = [RecordString.detail, .name, .path].map { name in
            record.string(name).map { String(decoding: $0, as: UTF8.self) } ?? ""
          }
          #expect(texts[1] == "a.example" && record.tgid == UInt32(act.pid))
          told.append(Told(texts[2], by: by, method: texts[0]))
        }
      }
      var decoder = RequestDecoder()
      for record in act.records {
        record.bytes.withUnsafeBytes { bytes in
          if let view = try? RecordView(validating: bytes) { decoder.take(view, tell) }
        }
      }
      decoder.finish(tell)
      return told
    }

    private static func act(_ way: String) throws -> Act {
      let bench = try Bench.reading.get()
      let act = try bench.repeated(["tls", way])
      try #require(act.facts["failed"] == nil, "the actor failed\n\(act.summary)")
      return act
    }

    @Test func areOnlyReadWhereAsked() throws {
      let bench = try Bench.reading.get()
      #expect(bench.sensor.missingHooks.isEmpty, "\(bench.sensor.missingHooks)")
      let choice = try #require(bench.sensor.choices.first { $0.request == .requests })
      #expect(!choice.hooks.isEmpty)
      let file = try #require(bench.probes?.files.first)
      #expect(bench.probes?.files.count == 1 && file.readSince != nil && file.objection == nil, "\(file)")
      let other = try Bench.shared.get()
      #expect(other.probes == nil && !other.sensor.hooks.contains { $0.program.hasPrefix("tls_") })
    }

    @Test func aFileIsProbedOnceWhileItIsUsed() throws {
      let bench = try Bench.reading.get()
      let probes = try #require(bench.sensor.requestProbes(limit: 2))
      let directory = try TemporaryDirectory()
      defer { directory.remove() }
      let program = open(bench.actor, O_RDONLY | O_CLOEXEC)
      defer { close(program) }
      let bytes = FileContents.readAll(program, atMost: 1 << 26).bytes
      func copy(to name: String) throws {
        let file = open("\(directory.path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o755)
        defer { close(file) }
        let written = bytes.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
        guard written == bytes.count else { throw CallFailed("write \(name)") }
      }
      func look(_ name: String, stays: Bool = false) -> RequestProbes.Outcome {
        probes.look(at: "\(directory.path)/\(name)", calledAs: name, stays: stays, now: { Clock.boottime })
      }
      func key(_ outcome: RequestProbes.Outcome) -> RequestProbes.Key? {
        if case .file(let key) = outcome { key } else { nil }
      }
      for name in ["one", "two", "three"] { try copy(to: name) }
      try directory.write("no program", to: "other")
      #expect(look("none") == .gone && look("other") == .none && look(".") == .none)

      let one = try #require(key(look("one")))
      probes.retain(one)
      #expect(probes.file(one)?.readSince != nil)
      let since = probes.file(one)?.readSince
      // By another name it is the same; and where it may have another content it is looked at anew, and is one.
      #expect(look("one") == .file(one) && probes.file(one)?.readSince == since)
      #expect(link("\(directory.path)/one", "\(directory.path)/again") == 0)
      #expect(look("again") == .file(one) && probes.files.count == 1)
      #expect(probes.file(one)?.readSince != since)

      let two = try #require(key(look("two", stays: true)))
      #expect(look("three") == .beyond && probes.files.count == 2)
      probes.retain(two)
      probes.release(two)
      #expect(probes.file(two) != nil && probes.staying == [two])
      probes.retain(one)
      probes.release(one)
      #expect(probes.file(one) != nil)
      probes.release(one)
      #expect(probes.file(one) == nil)
      let three = try #require(key(look("three")))
      // Nobody has come to use it.
      probes.letGo(three)
      #expect(probes.file(three) == nil && probes.files.count == 1)
      // What does no TLS any more is not one.
      _ = look("one")
      try directory.write("", to: "one")
      #expect(truncate("\(directory.path)/one", 0) == 0)
      #expect(look("one") == .none && probes.files.count == 1)
    }

    @Test func withinTheCall() throws {
      let act = try Self.act("direct")
      #expect(
        try Self.told(act) == [
          Told("/direct/1", by: "one"), Told("/direct/2", by: "two"), Told("/again", by: "one"), Told("/ex", by: "two"),
          Told("/ex/again", by: "two"), Told("/reused", by: "reused"),
        ], "\(act.summary)")
      // Of all that was handed over no more than what may be a request.
      #expect(act.all(.tlsWrite).count == 7)
    }

    @Test func laterAndByOthers() throws {
      let act = try Self.act("kept")
      let told = try Self.told(act)
      #expect(
        told.sorted { $0.path < $1.path } == [
          Told("/kept/1", by: "one"), Told("/kept/2", by: "two"), Told("/kept/3", by: "two"),
          Told("/kept/4", by: "two"),
          Told("/kept/5", by: "two"), Told("/kept/6", by: "two"), Told("/kept/thread", by: "one"),
          Told("/never", by: ""), Told("/pair", by: ""),
        ], "\(act.summary)")
    }

    @Test func whatDoesNotShowItsRecords() throws {
      let act = try Self.act("gnutls")
      #expect(
        try Self.told(act) == [
          Told("/gnutls/1", by: "one"), Told("/gnutls/2", by: "two"), Told("/gnutls/2", by: "two"),
          Told("/gnutls/3", by: "one"),
        ], "\(act.summary)")
      #expect(
        act.all(.tlsSent).isEmpty && act.all(.tlsWrite).allSatisfy { $0.tlsWrite.library == MT_TLS_GNUTLS.rawValue })
    }

    @Test func framesAreFollowed() throws {
      let act = try Self.act("frames")
      #expect(
        try Self.told(act) == [
          Told("hidden", by: "", method: ""), Told("/first", by: "one"), Told("/second", by: "one", method: "POST"),
          Told("/other", by: "one"), Told("/first", by: "one"), Told("/third", by: "one"),
        ], "\(act.summary)")
      // The long body went by.
      #expect(act.all(.tlsWrite).allSatisfy { ($0.string(.bytes)?.count ?? 0) < 1000 }, "\(act.summary)")
    }
  }
}
