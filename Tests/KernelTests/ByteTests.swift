import KernelABI
import KernelSensor
import Observation
import Testing

extension KernelTests {
  /// Bytes through open files: exact, or not there at all.
  @Suite struct Bytes {
    private static func act(_ words: String...) throws -> Act? {
      let bench = try Bench.counting.get()
      let act = try bench.repeated(["bytes"] + words)
      try #require(act.facts["failed"] == nil, "the actor failed\n\(act.summary)")
      if act.facts["unsupported"] != nil { return nil }
      if bench.sensor.countsBytes { return act }
      act.none(.io)
      return nil
    }

    /// What the records of a file add up to.
    private static func sum(_ act: Act, _ file: FileFact, of pid: Int? = nil) -> (read: UInt64, written: UInt64) {
      act.all(.io) { file.isIdentity(of: $0.file) && (pid == nil || $0.pid == pid) }
        .reduce((0, 0)) { ($0.0 + $1.io.read, $0.1 + $1.io.written) }
    }

    private static func check(_ act: Act, _ key: String) throws {
      let file = try act.file(key)
      let sum = sum(act, file)
      #expect(Int(sum.read) == (try act.number("\(key).bytes-read")), "\(act.summary)")
      #expect(Int(sum.written) == (try act.number("\(key).bytes-written")), "\(act.summary)")
    }

    @Test func tierSaysWhetherItCan() throws {
      let sensor = try Bench.counting.get().sensor
      let bytes = sensor.choices.filter { $0.family == "bytes" }
      #expect(bytes.count == 3 && bytes.allSatisfy(\.isOnRequest))
      for choice in bytes where choice.hooks.isEmpty {
        #expect(!sensor.countsBytes && sensor.missingHooks.contains { $0.family == "bytes" && !$0.reason.isEmpty })
      }
      // Who does not ask pays nothing.
      let other = try Bench.shared.get().sensor
      #expect(!other.choices.contains { $0.family == "bytes" } && !other.hooks.contains { $0.family == "bytes" })
      // What sees the results of other functions sees those of reads and writes, but for the programs of old kernels.
      let seesResults = sensor.features.contains(.loops) && other.hooks.contains { $0.kind == "fexit" }
      if seesResults { #expect(sensor.countsBytes) }
    }

    @Test(arguments: [
      "read", "pread", "readv", "preadv", "write", "writev", "pwritev", "compat", "sendfile", "sendfile-pipe", "splice",
      "range", "uring", "aio", "mapped", "dup",
    ])
    func everyRouteIsCounted(route: String) throws {
      guard let act = try Self.act(route) else { return }
      try Self.check(act, "file")
      if act.facts["other.fd"] != nil { try Self.check(act, "other") }
      // The open file is told once, when nobody has it any more.
      let file = try act.file("file")
      let told = try act.only(.io) { file.isIdentity(of: $0.file) }
      #expect(told.io.why == MT_IO_CLOSED.rawValue && told.pid == act.pid)
      if act.facts["path"] != nil { #expect(told.path == (try act.text("path"))) }
    }

    /// An interrupt may tell the result of these.
    @Test func directTransfersAreCounted() throws {
      guard let act = try Self.act("aio-direct") else { return }
      try Self.check(act, "file")
    }

    @Test func usersOfOneOpenFileAreToldApart() throws {
      guard let act = try Self.act("fork") else { return }
      let file = try act.file("file")
      let child = try act.number("child")
      #expect(Self.sum(act, file, of: child).written == 77)
      #expect(Int(Self.sum(act, file, of: act.pid).written) == (try act.number("file.bytes-written")))
      #expect(Set(act.all(.io) { file.isIdentity(of: $0.file) }.map(\.io.open_file)).count == 1, "\(act.summary)")
    }

    @Test func imagesOfOneProcessAreToldApart() throws {
      guard let act = try Self.act("exec") else { return }
      let file = try act.file("file")
      let told = act.all(.io) { file.isIdentity(of: $0.file) }
      #expect(Set(told.map(\.io.image)).count == 2 && told.count == 2, "\(act.summary)")
      let first = try #require(told.min { $0.io.image < $1.io.image }?.io)
      let second = try #require(told.max { $0.io.image < $1.io.image }?.io)
      #expect(first.written == 10000 && first.read == 0)
      #expect(second.written == 55 && second.read == 66)
      // An image's time is that of its exec, a little before its record's.
      let exec = try #require(act.all(.exec).last)
      #expect(second.image <= exec.header.time && first.image < exec.header.time)
    }

    @Test func moreUsersThanPlacesLoseNothing() throws {
      guard let act = try Self.act("many") else { return }
      let file = try act.file("file")
      for child in act.all(.fork).map({ Int($0.fork.child_tgid) }) {
        #expect((101...120).contains(Self.sum(act, file, of: child).written), "\(act.summary)")
      }
      #expect(Self.sum(act, file).written == 10000 + (0..<20).reduce(0) { $0 + 101 + $1 })
    }

    @Test func whatIsDoneInSilenceIsNotKnown() throws {
      guard let act = try Self.act("uring-silent") else { return }
      let file = try act.file("file")
      let told = try act.only(.io) { file.isIdentity(of: $0.file) }
      #expect(told.io.why == MT_IO_UNKNOWN.rawValue, "\(act.summary)")
    }
  }
}
