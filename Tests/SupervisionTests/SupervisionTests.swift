import Glibc
import Testing

@testable import Supervision

@Suite struct WaitStatusTests {
  @Test(
    arguments: [
      (0x0000, 0, nil, nil), (0x0300, 3, nil, nil), (0xff00, 255, nil, nil),
      (0x0009, 137, 9, nil), (0x008b, 139, 11, nil), (0x147f, 20, nil, 20),
    ] as [(Int32, Int32, Int32?, Int32?)])
  func decodes(raw: Int32, exit: Int32, end: Int32?, stop: Int32?) {
    let status = WaitStatus(raw: raw)
    #expect(status.endSignal == end)
    #expect(status.stopSignal == stop)
    if stop == nil { #expect(status.exitStatus == exit) }
  }
}

@Suite struct CommandTests {
  private func candidates(_ name: String, path: String?) -> [String] {
    let entries = path.map { [Array("PATH=\($0)".utf8)] } ?? []
    return Command(arguments: [Array(name.utf8)], environment: Environment(entries: entries), user: nil).candidates
      .map { String(decoding: $0, as: UTF8.self) }
  }

  @Test func searchesAsExecvpDoes() {
    #expect(candidates("make", path: "/a:/b") == ["/a/make", "/b/make"])
    #expect(candidates("make", path: ":/b:") == ["make", "/b/make", "make"])
    #expect(candidates("make", path: nil) == ["/bin/make", "/usr/bin/make"])
    #expect(candidates("./make", path: "/a") == ["./make"])
    #expect(candidates("", path: "/a") == [""])
  }
}

@Suite struct EnvironmentTests {
  @Test func aUserLeavesNoTraceOfSudo() {
    var environment = Environment(
      entries: ["SUDO_UID=1", "HOME=/root", "KEEP=1", "HOME=/twice", "SUDO_COMMAND=x"].map { Array($0.utf8) })
    let user = TargetUser(
      uid: 7, gid: 8, groups: [8], name: Array("ci".utf8), home: Array("/home/ci".utf8), shell: Array("/bin/sh".utf8))
    user.apply(to: &environment)
    let text = environment.entries.map { String(decoding: $0, as: UTF8.self) }
    #expect(text == ["KEEP=1", "HOME=/home/ci", "USER=ci", "LOGNAME=ci", "SHELL=/bin/sh"])
  }

  @Test func valuesAreBytes() {
    let environment = Environment(entries: [Array("A=".utf8) + [0xff], Array("AB=c".utf8)])
    #expect(environment[bytes: "A"] == [0xff])
    #expect(environment["A"] == nil)
    #expect(environment["AB"] == "c")
    #expect(environment["B"] == nil)
  }
}

@Suite struct ProcessTreeTests {
  @Test func survivesAnyCommandName() throws {
    let stat = try #require(ProcessTree.parse(Array("12 (a) R 99 (b)) T 7 12 12".utf8)))
    #expect(stat.state == UInt8(ascii: "T") && stat.parent == 7)
    for malformed in ["", ")", "1 (x)", "1 (x) S", "1 (x) S y z", "no brackets at all"] {
      #expect(ProcessTree.parse(Array(malformed.utf8)) == nil, "\(malformed)")
    }
  }

  @Test func knowsDescent() {
    #expect(ProcessTree.isProcess(getpid(), descendantOf: getpid()))
    #expect(ProcessTree.isProcess(getpid(), descendantOf: getppid()))
    #expect(!ProcessTree.isProcess(getppid(), descendantOf: getpid()))
  }
}

@Suite struct OutputPathTests {
  @Test(arguments: [
    ("out", ".", "out"), ("a/out", "a", "out"), ("/out", "/", "out"), ("/a/b/", "/a", "b"), ("a//out//", "a/", "out"),
  ])
  func splits(path: String, parent: String, name: String) throws {
    let split = try OutputDirectory.split(path)
    #expect(split.parent == parent && split.name == name)
  }

  @Test(arguments: ["", "/", "//", ".", "..", "a/.", "a/..", String(repeating: "x", count: 300)])
  func refusesWhatIsNoName(path: String) {
    #expect(throws: OutputError.self) { try OutputDirectory.split(path) }
  }
}

@Suite struct OutputDirectoryTests {
  private func withScratch(_ body: (String) throws -> Void) rethrows {
    var template = Array("/tmp/martlet-output-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else {
      Issue.record("no scratch directory")
      return
    }
    let path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress.unsafelyUnwrapped) }
    defer { remove(all: path) }
    try body(path)
  }

  private func remove(all path: String) {
    // Never into a link, of which these tests plant some.
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
    if descriptor >= 0, let directory = fdopendir(descriptor) {
      while let entry = readdir(directory) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        if name != ".", name != ".." { remove(all: path + "/" + name) }
      }
      closedir(directory)
    }
    _ = Glibc.remove(path)
  }

  @Test func replacesOnlyReports() throws {
    try withScratch { scratch in
      for round in 0..<3 {
        let output = try OutputDirectory(path: scratch + "/out", owner: nil)
        try output.write([UInt8(round)], to: "report.json")
        #expect(try output.publish() == .init(path: scratch + "/out", note: nil))
      }
      #expect(creat(scratch + "/out/mine", 0o600) >= 0)
      let output = try OutputDirectory(path: scratch + "/out", owner: nil)
      try output.write([9], to: "report.json")
      let published = try output.publish()
      #expect(published.path == scratch + "/out.1")
      #expect(published.note != nil)
      #expect(access(scratch + "/out/mine", F_OK) == 0)
    }
  }

  @Test func followsItsDescriptorWhenRenamed() throws {
    try withScratch { scratch in
      let output = try OutputDirectory(path: scratch + "/out", owner: nil)
      try output.write([1, 2, 3], to: "report.json")
      #expect(rename(output.temporaryPath, scratch + "/stolen") == 0)
      #expect(symlink("/nowhere", output.temporaryPath) == 0)
      #expect(try output.publish().path == scratch + "/out")
      #expect(access(scratch + "/out/report.json", F_OK) == 0)
      #expect(access(scratch + "/stolen/report.json", F_OK) != 0)
    }
  }

  @Test func knowsItsFiles() throws {
    try withScratch { scratch in
      let output = try OutputDirectory(path: scratch + "/out", owner: nil)
      #expect(throws: OutputError.self) { try output.write([], to: "../escape") }
      #expect(throws: OutputError.self) { try output.write([], to: "passwd") }
      output.discard()
      #expect(access(output.temporaryPath, F_OK) != 0)
    }
  }
}
