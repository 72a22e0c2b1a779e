import Glibc
import KernelABI
import Observation
import Testing

extension KernelTests {
  @Suite struct Images {
    /// The exec that the verb did: the first is the one that made the actor.
    private func last(_ act: Act) throws -> Record {
      let execs = act.all(.exec)
      try #require(execs.count == 2, "\(act.summary)")
      return execs[1]
    }

    private func words(_ bytes: [UInt8]) -> [[UInt8]] {
      var parts = bytes.split(separator: 0, omittingEmptySubsequences: false).map { [UInt8]($0) }
      if parts.last == [] { parts.removeLast() }
      return parts
    }

    /// What the image is. Whether its descriptors were told before depends on who asked first.
    private func flags(_ exec: Record) -> UInt32 {
      // All of a guest of the matrix lies in memory.
      exec.exec.exec_flags & ~(MT_EXEC_DESCRIPTORS_FOLLOW.rawValue | MT_EXEC_TMPFS.rawValue)
    }

    @Test func firstImageIsTheActor() throws {
      let act = try Bench.act("exit", "0")
      let exec = try act.only(.exec)
      let actor = try Bench.shared.get().actor
      #expect(exec.executable == [UInt8](actor.utf8))
      #expect(exec.workingDirectory == [UInt8](act.directory.utf8))
      #expect(words(exec.arguments) == [actor, "exit", "0"].map { [UInt8]($0.utf8) })
      #expect(exec.exec.argc == 3)
      #expect(Int(exec.exec.argv_bytes) == actor.utf8.count + 1 + 5 + 2)
      #expect(exec.exec.uid == 0 && exec.exec.gid == 0)
      #expect(Int32(exec.exec.parent_tgid) == getpid())
      #expect(Int(exec.exec.old_tid) == act.pid)
      #expect(flags(exec) == 0)
      var state = stat()
      try #require(stat(actor, &state) == 0)
      #expect(Int64(exec.exec.size) == state.st_size)
      // From 6.13 on the kernel keeps something else in the upper bit of a change time.
      #expect(exec.exec.ctime == Int64(state.st_ctim.tv_sec) * 1_000_000_000 + Int64(state.st_ctim.tv_nsec))
      #expect(exec.exec.mtime == Int64(state.st_mtim.tv_sec) * 1_000_000_000 + Int64(state.st_mtim.tv_nsec))
      #expect(exec.string(.comm) == [UInt8]("martlet-actor".utf8))
    }

    struct Running: Sendable, CustomTestStringConvertible {
      var kind: String
      var flags: UInt32 = 0
      var testDescription: String { kind }
    }

    @Test(arguments: [
      Running(kind: "relative"), Running(kind: "symlink"), Running(kind: "script"),
      Running(kind: "deleted", flags: MT_EXEC_DELETED.rawValue),
      Running(kind: "chroot", flags: MT_EXEC_CHROOT.rawValue),
      Running(kind: "memfd", flags: MT_EXEC_MEMFD.rawValue),
    ])
    func imageIsTheFileThatRuns(running: Running) throws {
      let act = try Bench.act("image", running.kind)
      let exec = try last(act)
      let image = try act.file("image")
      #expect(image.isIdentity(of: exec.file), "\(exec)")
      #expect(exec.exec.size == image.size)
      // A memory file may count as deleted as well: it has no name.
      #expect(flags(exec) & ~(MT_EXEC_DELETED.rawValue & ~running.flags) == running.flags, "\(exec)")
      if act.facts["exe"] != nil { #expect(exec.executable == (try act.text("exe"))) }
      if act.facts["filename"] != nil { #expect(exec.string(.filename) == (try act.text("filename"))) }
      if act.facts["cwd"] != nil { #expect(exec.workingDirectory == (try act.text("cwd"))) }
      if running.kind == "memfd" {
        #expect(String(decoding: exec.executable, as: UTF8.self).contains("memfd:martlet-image"), "\(exec)")
      }
    }

    @Test func onlyUnnamedImagesCountAsDeleted() throws {
      for kind in ["relative", "symlink", "script", "chroot"] {
        let exec = try last(try Bench.act("image", kind))
        #expect(flags(exec) & MT_EXEC_DELETED.rawValue == 0, "\(kind)")
      }
    }

    @Test func otherMountNamespaceIsSaid() throws {
      let exec = try last(try Bench.act("image", "namespace"))
      #expect(flags(exec) == MT_EXEC_OTHER_MNTNS.rawValue)
    }

    @Test func workingDirectoryIsThatOfTheExec() throws {
      let act = try Bench.act("image", "directory")
      #expect(try last(act).workingDirectory == (try act.text("cwd")))
    }

    @Test func threadThatRunsAProgramBecomesTheLeader() throws {
      let act = try Bench.act("image", "thread")
      let exec = try last(act)
      #expect(exec.pid == act.pid)
      #expect(Int(exec.header.tid) == act.pid)
      #expect(Int(exec.exec.old_tid) == (try act.number("tid")))
      #expect(act.status == 7 << 8)
      #expect(try act.only(.exit).exit.status == 7 << 8)
    }

    @Test func longArgumentsAreCutAndSaidToBe() throws {
      let act = try Bench.act("image", "arguments")
      let exec = try last(act)
      #expect(Int(exec.exec.argc) == (try act.number("count")))
      #expect(Int(exec.exec.argv_bytes) == (try act.number("bytes")))
      let text = try #require(exec.string(.argv))
      #expect(text.count == Int(MT_ARGV_MAX))
      #expect(exec.flags.contains(.truncated))
      let given = words(text)
      #expect(given[1] == [UInt8]("exit".utf8))
      #expect(given[3] == [UInt8](repeating: UInt8(ascii: "d"), count: 1024))
    }

    @Test func anyArgumentsAreTakenAsTheyAre() throws {
      let act = try Bench.act("image", "odd-arguments")
      let given = words(try #require(try last(act).string(.argv)))
      #expect(
        given.dropFirst().map { $0 } == ["exit", "0", ""].map { [UInt8]($0.utf8) } + [
          [0xff, 0xfe], [UInt8]("a\nb".utf8), [UInt8]("--password=hunter2".utf8),
        ])
    }

    @Test func programWithoutArguments() throws {
      let act = try Bench.act("image", "no-arguments")
      let exec = try last(act)
      // Since 5.18, and in what was patched since, the kernel puts an empty one in.
      #expect(exec.exec.argc <= 1)
      #expect(exec.exec.argv_bytes <= 1)
    }

    @Test func everyExecOfOneProcessIsSeen() throws {
      let act = try Bench.act("image", "many", "12")
      #expect(act.all(.exec).count == 13, "\(act.summary)")
      #expect(act.all(.fork).isEmpty)
      #expect(Set(act.records.map(\.header.leader_start)).count == 1)
    }

    @Test func refusedProgramIsNoExec() throws {
      let act = try Bench.act("image", "refused")
      _ = try act.only(.exec)
    }
  }
}
