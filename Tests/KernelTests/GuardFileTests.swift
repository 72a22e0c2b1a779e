import Glibc
import KernelABI
import KernelSensor
import Observation
import Policy
import Testing

extension KernelTests {
  /// Files that may not be changed, and real ways to change them.
  @Suite struct GuardFiles {
    private static let rules: @Sendable (inout Policy) -> Void = { policy in
      let path = PathPattern(.file, "file", isRelative: true)
      policy.files = FilesSection()
      policy.files?.deny = [FileRule(head: Guarded.head(9), access: .write, path: path)]
    }

    static let ways: [String: mt_operation] = [
      "write": MT_OP_WRITE, "open-truncate": MT_OP_TRUNCATE, "truncate": MT_OP_TRUNCATE, "chmod": MT_OP_ATTRIBUTES,
      "chown": MT_OP_ATTRIBUTES, "rename-over": MT_OP_RENAME, "rename-away": MT_OP_RENAME,
      "rename-dotted": MT_OP_RENAME, "unlink": MT_OP_UNLINK, "link": MT_OP_LINK, "write-bind": MT_OP_WRITE,
      "uring-write": MT_OP_WRITE,
    ]

    @Test(arguments: ways.keys.sorted().filter { $0 != "uring-write" }) func itStaysAsItWas(way: String) throws {
      let act = try Bench.guarded(["file", way, "file"], prepared: ["file"], Self.rules)
      let strength = try Self.strength(way)
      // At its end a call that truncates by open(2) is one that opened for reading.
      if strength == .killed, way == "open-truncate", try Self.isByCalls() { return }
      try act.checkDenied(MT_SECTION_FILES, try #require(Self.ways[way]).rawValue, rule: 9, by: strength)
      guard strength == .prevented else { return }
      #expect(try act.text("contents") == [UInt8]("text\n".utf8), "\(act.summary)")
      #expect(try act.number("mode") == 0o644)
    }

    /// A program that the kernel leaves out while another task is preempted in it would refuse some of these, and not most.
    @Test func whoeverKeepsTryingGetsNothing() throws {
      let act = try Bench.guarded(["race", "file"], prepared: ["file"]) { policy in
        let path = PathPattern(.file, "file", isRelative: true)
        policy.files = FilesSection()
        policy.files?.deny = [FileRule(head: Guarded.head(9), access: .read, path: path)]
      }
      try act.checkDenied(MT_SECTION_FILES, MT_OP_READ.rawValue, rule: 9, by: Guarded.strength("open files"))
    }

    private static func strength(_ way: String) throws -> RuleEnforcement.Strength {
      switch way {
      case "write", "write-bind", "uring-write": try Guarded.strength("open files")
      case "chown": try Guarded.strength("owners of files")
      default: try Guarded.strength("names of files")
      }
    }

    private static func isByCalls() throws -> Bool {
      let choices = try Bench.enforcing.get().sensor.choices
      return choices.contains { $0.function == "names of files" && $0.tier == .typedTracepoint }
    }

    @Test func itStaysAsItWasWithIOURing() throws {
      guard Feature.uringCompletions.isHere else { return }
      let strength = try Self.strength("write")
      let act = try Bench.guarded(
        ["file", "uring-write", "file"], prepared: ["file"], mayFail: true, Self.rules)
      #expect(!act.denials(MT_SECTION_FILES).isEmpty, "\(act.summary)")
      // The actor says that its open failed, or it is killed.
      if strength == .killed { return #expect(try act.number("outcome") == -Int(SIGKILL), "\(act.summary)") }
      #expect(act.facts["failed"] != nil, "\(act.summary)")
      #expect(try act.text("contents") == [UInt8]("text\n".utf8))
    }

    @Test(arguments: ["create", "mkdir", "symlink"]) func itIsNotMade(way: String) throws {
      let act = try Bench.guarded(["file", way, "file"], Self.rules)
      // A name is given before the file is there to be opened.
      let strength = try Guarded.strength("names of files")
      try act.checkDenied(MT_SECTION_FILES, MT_OP_CREATE.rawValue, rule: 9, by: strength)
      if strength == .prevented { #expect(act.facts["mode"] == nil, "\(act.summary)") }
    }

    @Test(arguments: ["write", "chmod", "rename-away", "unlink", "link"]) func othersAreFree(way: String) throws {
      let act = try Bench.guarded(["file", way, "free"], prepared: ["file", "free"], Self.rules)
      try act.checkAllowed(MT_SECTION_FILES)
    }

    @Test func mayBeReadAllTheSame() throws {
      try Bench.guarded(["file", "read", "file"], prepared: ["file"], Self.rules).checkAllowed(MT_SECTION_FILES)
    }

    @Test func mayNotBeRead() throws {
      let rules: (inout Policy) -> Void = { policy in
        policy.files = FilesSection()
        policy.files?.deny = [FileRule(head: Guarded.head(9), access: .read, path: PathPattern(.named, "file"))]
      }
      let act = try Bench.guarded(["file", "read", "file"], prepared: ["file"], rules)
      try act.checkDenied(MT_SECTION_FILES, MT_OP_READ.rawValue, rule: 9, by: Guarded.strength("open files"))
    }

    /// What is above it may not go either.
    @Test func itsDirectoryStays() throws {
      let rules: (inout Policy) -> Void = { policy in
        let path = PathPattern(.below, "dir/below", isRelative: true)
        policy.files = FilesSection()
        policy.files?.deny = [FileRule(head: Guarded.head(9), access: .write, path: path)]
      }
      let act = try Bench.guarded(["file", "rename-away", "dir"], prepared: ["dir"], rules)
      try act.checkDenied(MT_SECTION_FILES, MT_OP_RENAME.rawValue, rule: 9, by: Guarded.strength("names of files"))
    }

    @Test func anExceptionHolds() throws {
      let rules: (inout Policy) -> Void = { policy in
        policy.files = FilesSection()
        policy.files?.protect = [.pipelines]
        let path = PathPattern(.file, "Jenkinsfile", isRelative: true)
        policy.files?.allow = [FileRule(head: Guarded.head(2, .allow), access: .write, path: path)]
      }
      try Bench.guarded(["file", "write", "Jenkinsfile"], prepared: ["Jenkinsfile"], rules)
        .checkAllowed(MT_SECTION_FILES)
      let act = try Bench.guarded(["file", "write", ".travis.yml"], prepared: [".travis.yml"], rules)
      try act.checkDenied(MT_SECTION_FILES, MT_OP_WRITE.rawValue, rule: 0, by: Guarded.strength("open files"))
    }

    /// An exception for another name is none for the file.
    @Test func anAliasIsNoException() throws {
      let rules: (inout Policy) -> Void = { policy in
        Self.rules(&policy)
        let path = PathPattern(.named, "alias")
        policy.files?.allow = [FileRule(head: Guarded.head(2, .allow), access: .write, path: path)]
      }
      let act = try Bench.guarded(["file", "write-bind", "file"], prepared: ["file"], rules)
      try act.checkDenied(MT_SECTION_FILES, MT_OP_WRITE.rawValue, rule: 9, by: Guarded.strength("open files"))
    }
  }
}
