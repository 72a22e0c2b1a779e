import Glibc
import KernelABI
import Observation
import Testing

extension KernelTests {
  @Suite struct Descriptors {
    @Test(arguments: ["dup", "dup2", "dup3", "fcntl", "fcntl-cloexec"])
    func copyIsSeen(kind: String) throws {
      let act = try Bench.act("dup", kind)
      let file = try act.file("file")
      let record = try act.only(.dup) { file.isIdentity(of: $0.file) }
      // What is duplicated is the open file; under which number that was, only the call's arguments say.
      let tellsCalls = try Bench.tellsCalls("file", "copies of descriptors")
      #expect(record.dup.old_fd == (tellsCalls ? file.descriptor : -1))
      #expect(Int(record.dup.new_fd) == (try act.number("copy")))
      // Both end with the process.
      let closed = act.all(.close) { file.isIdentity(of: $0.file) }
      #expect(Set(closed.map(\.close.fd)) == [file.descriptor, record.dup.new_fd], "\(act.summary)")
    }

    struct Closing: Sendable, CustomTestStringConvertible {
      var kind: String
      var why: mt_close_why
      var testDescription: String { kind }
    }

    @Test(arguments: [
      Closing(kind: "call", why: MT_CLOSE_CALL), Closing(kind: "range", why: MT_CLOSE_CALL),
      Closing(kind: "replaced", why: MT_CLOSE_REPLACED), Closing(kind: "exec", why: MT_CLOSE_EXEC),
      Closing(kind: "exit", why: MT_CLOSE_EXIT),
    ])
    func endOfWritingIsSeen(closing: Closing) throws {
      let act = try Bench.act("close", closing.kind)
      let file = try act.file("file")
      let record = try act.only(.close) { file.isIdentity(of: $0.file) }
      #expect(record.close.fd == file.descriptor)
      #expect(record.close.why == UInt16(closing.why.rawValue), "\(record)")
      #expect(record.close.has_state == 1)
      #expect(record.close.size == 10)
      #expect(record.close.ctime > 0)
      #expect(record.close.mtime > 0)
      #expect(record.path == (try act.text("path")) || record.path.isEmpty, "\(record)")
    }

    @Test func rangeClosesAll() throws {
      let act = try Bench.act("close", "range")
      let other = try act.file("other")
      let record = try act.only(.close) { other.isIdentity(of: $0.file) }
      #expect(record.close.why == UInt16(MT_CLOSE_CALL.rawValue))
    }

    @Test func rangeThatOnlyMarksClosesAtTheExec() throws {
      guard let act = try Bench.act("close", "range-cloexec", needs: .closeRangeCloseOnExec) else { return }
      let file = try act.file("file")
      let record = try act.only(.close) { file.isIdentity(of: $0.file) }
      #expect(record.close.why == UInt16(MT_CLOSE_EXEC.rawValue))
    }

    @Test func highDescriptorsAreClosed() throws {
      let act = try Bench.act("close", "high")
      let file = try act.file("file")
      let closed = act.all(.close) { file.isIdentity(of: $0.file) }
      #expect(closed.map(\.close.fd).sorted() == [file.descriptor, 300], "\(act.summary)")
    }

    @Test func closeAfterReadingIsNoRecord() throws {
      let act = try Bench.act("close", "read-only")
      let file = try act.file("file")
      _ = try act.only(.close) { file.isIdentity(of: $0.file) }
    }

    @Test func newImageTellsWhatItInherits() throws {
      let act = try Bench.act("inherited")
      let child = try act.number("child")
      for key in ["file", "pipe"] {
        let file = try act.file(key)
        let record = try act.only(.open) {
          file.isIdentity(of: $0.file) && $0.pid == child && $0.open.fd == file.descriptor
        }
        #expect(record.open.how == UInt16(MT_OPEN_INHERITED.rawValue))
        #expect(record.open.fmode & MT_FMODE_WRITE != 0)
        if key == "file" { #expect(record.path == (try act.text("path"))) }
      }
      let file = try act.file("file")
      let closed = try act.only(.close) { file.isIdentity(of: $0.file) && $0.pid == child }
      #expect(closed.close.why == UInt16(MT_CLOSE_EXIT.rawValue))
    }

    @Test func sameDescriptorsAreToldOnce() throws {
      let act = try Bench.act("inherited")
      let pids = try ["child", "second", "third"].map { try act.number($0) }
      let execs = try pids.map { pid in try act.only(.exec) { $0.pid == pid } }
      let follow = MT_EXEC_DESCRIPTORS_FOLLOW.rawValue
      #expect(execs.map { $0.exec.exec_flags & follow } == [follow, 0, follow])
      #expect(execs[0].exec.descriptors == execs[1].exec.descriptors)
      #expect(execs[0].exec.descriptors != execs[2].exec.descriptors)
      let told = pids.map { pid in act.all(.open) { $0.pid == pid && $0.open.how == MT_OPEN_INHERITED.rawValue }.count }
      #expect(told[0] > 2 && told[1] == 0 && told[2] == told[0] - 1)
      // That it can write the file is known of each.
      let file = try act.file("file")
      for pid in pids { _ = try act.only(.close) { file.isIdentity(of: $0.file) && $0.pid == pid } }
    }

    @Test func sharedWritableMappingIsSeen() throws {
      let act = try Bench.act("mmap", "shared")
      let file = try act.file("file")
      let record = try act.only(.mmapShared)
      #expect(file.isIdentity(of: record.file))
      let length = try act.number("length")
      #expect(Int(record.mmap.length) == (try Bench.tellsCalls("file", "shared mappings") ? length : 0))
      #expect(Int(record.mmap.prot) == (try act.number("prot")))
      #expect(Int(record.mmap.map_flags) & 0xf == (try act.number("flags")))
    }

    @Test(arguments: ["private", "read-only"]) func otherMappingsAreNot(kind: String) throws {
      let act = try Bench.act("mmap", kind)
      act.none(.mmapShared)
    }

    struct Copying: Sendable, CustomTestStringConvertible {
      var kind: String
      var expected: mt_copy_kind
      var testDescription: String { kind }
    }

    @Test(arguments: [
      Copying(kind: "sendfile", expected: MT_COPY_SENDFILE), Copying(kind: "range", expected: MT_COPY_RANGE),
      Copying(kind: "splice", expected: MT_COPY_SPLICE), Copying(kind: "tee", expected: MT_COPY_TEE),
    ])
    func copyInsideTheKernelIsSeen(copying: Copying) throws {
      let act = try Bench.act("copy", copying.kind)
      let from = try act.file("from")
      let to = try act.file("to")
      let record = try act.only(.copy)
      #expect(record.copy.kind == copying.expected.rawValue)
      #expect(from.isIdentity(of: record.copy.from) && to.isIdentity(of: record.copy.to), "\(record)")
      let tellsCalls = try Bench.tellsCalls("flow", "copies between files") || copying.expected == MT_COPY_SENDFILE
      #expect(record.copy.from_fd == (tellsCalls ? from.descriptor : -1))
      #expect(record.copy.to_fd == (tellsCalls ? to.descriptor : -1))
      #expect(Int(record.copy.bytes) == (try act.number("bytes")))
    }

    @Test(arguments: ["pipe", "pipe2"]) func pipeIsSeen(kind: String) throws {
      let act = try Bench.act("pair", kind)
      let a = try act.file("a")
      let b = try act.file("b")
      let pair = try act.only(.pipe).pair
      #expect(pair.a_ino == a.inode && pair.b_ino == b.inode)
      #expect(pair.a_fd == a.descriptor && pair.b_fd == b.descriptor)
      #expect(pair.a_sock == 0 && pair.b_sock == 0)
    }

    @Test(arguments: ["stream", "datagram"]) func socketPairIsSeen(kind: String) throws {
      let act = try Bench.act("pair", kind)
      let a = try act.file("a")
      let b = try act.file("b")
      let pair = try act.only(.socketpair).pair
      #expect(pair.a_ino == a.inode && pair.b_ino == b.inode)
      #expect(pair.a_fd == a.descriptor && pair.b_fd == b.descriptor)
      #expect(pair.a_sock != 0 && pair.b_sock != 0 && pair.a_sock != pair.b_sock)
      #expect(pair.family == UInt32(AF_UNIX))
    }

    struct Passing: Sendable, CustomTestStringConvertible {
      var kind: String
      var how: mt_open_how
      var writes = true
      var testDescription: String { kind }
    }

    @Test(arguments: [
      Passing(kind: "scm", how: MT_OPEN_SCM_RIGHTS), Passing(kind: "read-only", how: MT_OPEN_SCM_RIGHTS, writes: false),
      Passing(kind: "pidfd", how: MT_OPEN_PIDFD),
    ])
    func descriptorThatArrivesIsSeen(passing: Passing) throws {
      let act = try Bench.act("pass", passing.kind)
      let received = try act.file("received")
      let record = try act.only(.passFD)
      #expect(record.pid == (try act.number("child")))
      #expect(received.isIdentity(of: record.file))
      #expect(record.open.fd == received.descriptor)
      #expect(record.open.how == UInt16(passing.how.rawValue))
      #expect((record.open.fmode & MT_FMODE_WRITE != 0) == passing.writes)
      #expect(record.path == (try act.text("path")), "\(record)")
      if passing.writes {
        // What the receiver could write, it also closes.
        let closed = try act.only(.close) { $0.pid == record.pid && received.isIdentity(of: $0.file) }
        #expect(closed.close.why == UInt16(MT_CLOSE_EXIT.rawValue))
      }
    }
  }
}
