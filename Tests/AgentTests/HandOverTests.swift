import Glibc
import Observation
import Supervision
import Testing

@testable import Agent

@Suite struct HandOverTests {
  private static func scratch() throws -> (path: String, descriptor: Int32) {
    var template = Array("/tmp/martlet-handover-XXXXXX".utf8CString)
    let path = try #require(mkdtemp(&template).map { String(cString: $0) })
    return (path, open(path, O_RDONLY | O_DIRECTORY))
  }

  private static func remove(_ path: String) {
    for name in DirectoryNames.of(path) where name != "." && name != ".." { unlink("\(path)/\(name)") }
    rmdir(path)
  }

  private static func entry(_ number: Int) -> JournalEntry {
    JournalEntry(
      job: "job-\(number)", directory: ".martlet-\(number)", name: "github-\(number)", rule: "github",
      provider: "github", reason: "comm", startedAt: 1, clockOffset: 0, boot: "boot")
  }

  private static func files(_ path: String) -> Set<String> {
    Set(DirectoryNames.of(path)).subtracting([".", ".."])
  }

  @Test func steps() {
    let steps: [HandOverStep] = [
      .look, .begin, .beside(start: 17, paths: ["/a", "/b \"c\""]), .leave(token: "0123", joins: true),
      .leave(token: "0123", joins: false), .done,
    ]
    for step in steps { #expect(ControlRequest.parse(step.line) == .request(.replace(step))) }
    for wrong in [
      "{}", "{\"step\":\"x\"}", "{\"step\":\"beside\"}", "{\"step\":\"leave\"}", "{\"step\":1}",
      "{\"step\":\"beside\",\"start\":-1,\"paths\":[]}", "{\"step\":\"leave\",\"token\":\"a\",\"joins\":1}",
    ] {
      #expect(JSONValue(parsing: Array(wrong.utf8)).flatMap { HandOverStep($0) } == nil, "\(wrong)")
    }
  }

  @Test func facts() throws {
    let facts = HandOverFacts(
      version: "1.2", process: 17, startedAt: "2026-11-30T10:00:00Z", start: 5, socket: "/run/a.sock.17", output: "/o")
    let value = try #require(JSONValue(parsing: facts.write()))
    #expect(HandOverFacts(value) == facts)
    #expect(HandOverFacts(try #require(JSONValue(parsing: Array("{\"pid\":4294967296}".utf8)))) == nil)
  }

  @Test("two agents have one directory one after the other, each with a journal of its own")
  func journals() throws {
    let (path, directory) = try Self.scratch()
    defer {
      close(directory)
      Self.remove(path)
    }
    let own = ".\(getpid())"
    do {
      let old = try Journal(in: directory)
      try old.opened(Self.entry(1))
      try old.opened(Self.entry(2))
      try old.stepAside()
      let new = try Journal(in: directory)
      // What the old one has is not over.
      #expect(new.unfinished.isEmpty)
      #expect(try new.takeLeft().isEmpty)
      try new.opened(Self.entry(3))
      try old.closed(job: "job-1", path: "/x")
      #expect(Self.files(path) == ["journal", ".lock", "journal" + own, ".lock" + own])
      try old.closed(job: "job-2", path: "/x")
      old.end()
      #expect(Self.files(path) == ["journal", ".lock"])
      withExtendedLifetime(new) {}
    }
    // Both have ended, and the old one had nothing left.
    #expect(try Journal(in: directory).unfinished == [Self.entry(3)])
  }

  @Test("what one leaves that had stepped aside is the next one's, whoever is there")
  func leftBehind() throws {
    let (path, directory) = try Self.scratch()
    defer {
      close(directory)
      Self.remove(path)
    }
    func oldOne() throws -> Journal {
      let old = try Journal(in: directory)
      try old.opened(Self.entry(1))
      try old.stepAside()
      return old
    }
    // While the next one is there.
    do {
      var old: Journal? = try oldOne()
      let new = try Journal(in: directory)
      withExtendedLifetime(old) {}
      old = nil
      #expect(try new.takeLeft() == [Self.entry(1)])
      #expect(Self.files(path) == ["journal", ".lock"])
    }
    // Nobody has closed it.
    #expect(try Journal(in: directory).unfinished == [Self.entry(1)])
    try Journal(in: directory).closed(job: "job-1", path: "/x")
    // When both have gone.
    do {
      let old = try oldOne()
      let new = try Journal(in: directory)
      try new.opened(Self.entry(2))
      withExtendedLifetime((old, new)) {}
    }
    let next = try Journal(in: directory)
    #expect(next.unfinished == [Self.entry(2), Self.entry(1)])
    #expect(Self.files(path) == ["journal", ".lock"])
    withExtendedLifetime(next) {}
    // A name that is none of these is nobody's.
    #expect(access("\(path)/journal", F_OK) == 0)
  }

  @Test("an agent whose successor does not come to be has its directory as before")
  func journalStepsBack() throws {
    let (path, directory) = try Self.scratch()
    defer {
      close(directory)
      Self.remove(path)
    }
    let old = try Journal(in: directory)
    try old.opened(Self.entry(1))
    try old.stepAside()
    do {
      let new = try Journal(in: directory)
      #expect(throws: SystemError.self) { try old.stepBack() }
      try new.opened(Self.entry(2))
    }
    try old.stepBack()
    try old.opened(Self.entry(3))
    #expect(Self.files(path) == ["journal", ".lock"])
    #expect(throws: SystemError.self) { _ = try Journal(in: directory) }
    #expect(
      JournalText.parse(ProcessScan.file("\(path)/journal", limit: 1 << 20)).entries
        == [Self.entry(1), Self.entry(2), Self.entry(3)])
  }

  @Test("there is always somebody at the socket, and in the end one name")
  func sockets() throws {
    let (path, directory) = try Self.scratch()
    defer {
      close(directory)
      Self.remove(path)
    }
    let place = "\(path)/agent.sock"
    let side = ControlServer.sideName(of: place, UInt32(getpid()))
    var old = try ControlServer(path: place)
    try old.stepAside()
    #expect(Self.files(path) == ["agent.sock", "agent.sock.\(getpid())"])
    // Before the other one has come.
    try old.stepBack()
    #expect(Self.files(path) == ["agent.sock"])

    try old.stepAside()
    var new = try ControlServer(path: place, waits: true)
    try new.takePlace()
    #expect(Self.files(path) == ["agent.sock", "agent.sock.\(getpid())"])
    func inode(_ name: String) -> UInt64 {
      var status = stat()
      return lstat(name, &status) == 0 ? UInt64(status.st_ino) : 0
    }
    let taken = inode(place)
    #expect(taken != inode(side))
    // And after it: it has ended before it was ready.
    try old.stepBack()
    #expect(inode(place) != taken && Self.files(path) == ["agent.sock"])
    try old.stepAside()
    var next = try ControlServer(path: place, waits: true)
    try next.takePlace()
    _ = consume old
    #expect(Self.files(path) == ["agent.sock"])
    #expect(access(side, F_OK) != 0)
    _ = consume next
    #expect(Self.files(path).isEmpty)
    _ = consume new
  }
}
