import KernelABI
import Observation
import Testing

extension KernelTests {
  /// No system call happens but the one that submits: a program that reads only those sees nothing.
  @Suite struct Uring {
    @Test func opensAnExistingFile() throws {
      try checkOpen(try Bench.act("open", "uring", prepared: ["file"]))
    }

    /// Creating may block, so one of the kernel's workers does it.
    @Test func createsAFile() throws {
      try checkOpen(try Bench.act("uring", "create"))
    }

    /// Submitted by a thread of the kernel's own.
    @Test func polledSubmission() throws {
      try checkOpen(try Bench.act("uring", "polled"))
    }

    /// Before 6.0 the request is all that there is to see.
    private func checkRequest(_ act: Act) throws {
      let record = try act.only(.uring)
      #expect(record.pid == act.pid)
      #expect(Int(record.uring.opcode) == (try act.number("opcode")))
      #expect(Int(record.uring.open_flags) & ~0o100000 == (try act.number("open-flags")))
      #expect(record.path == (try act.text("path")), "\(record)")
      #expect(record.flags == [.uring])
    }

    private func checkOpen(_ act: Act) throws {
      guard Feature.uringCompletions.isHere else { return try checkRequest(act) }
      let file = try act.file("file")
      let record = try act.only(.open) { file.isIdentity(of: $0.file) && $0.open.how == 0 }
      #expect(record.pid == act.pid)
      #expect(record.open.fd == file.descriptor)
      let creates = record.open.fmode & MT_FMODE_CREATED != 0
      let flags = try Bench.openFlags(Int32(try act.number("open-flags")), creates: creates)
      #expect(record.open.open_flags & ~0o100000 == flags)
      #expect(record.open.fmode & MT_FMODE_WRITE != 0)
      #expect(record.path == (try act.text("path")), "\(record)")
      #expect(record.flags == (try Bench.tellsCalls("file", "open") ? [.uring] : []))
      // What a ring opened is closed like anything else.
      #expect(try act.only(.close) { file.isIdentity(of: $0.file) }.close.why == UInt16(MT_CLOSE_EXIT.rawValue))
    }

    /// A descriptor in the ring's own table is in no process' table: the request is all that there is to see.
    @Test func opensIntoTheRingsOwnTable() throws {
      try checkRequest(try Bench.act("uring", "direct"))
    }

    @Test func closes() throws {
      let act = try Bench.act("uring", "close")
      let file = try act.file("file")
      let record = try act.only(.close) { file.isIdentity(of: $0.file) }
      #expect(record.close.fd == file.descriptor)
      #expect(record.close.why == UInt16(MT_CLOSE_CALL.rawValue))
    }

    static let changes: [String: RecordType] = [
      "unlink": .unlink, "rename": .rename, "mkdir": .mkdir, "link": .link, "symlink": .symlink,
    ]

    @Test(arguments: ["unlink", "rename"]) func changesNames(kind: String) throws {
      try checkChange(try Bench.act("uring", kind), kind)
    }

    @Test(arguments: ["mkdir", "link", "symlink"]) func changesDirectories(kind: String) throws {
      guard let act = try Bench.act("uring", kind, needs: .uringDirectoryOperations) else { return }
      try checkChange(act, kind)
    }

    private func checkChange(_ act: Act, _ kind: String) throws {
      // A ring's operation is known by its submission, or done like any other.
      let flags: RecordFlags = try Bench.tellsCalls("path", "operations by name") ? [.uring] : []
      // Not the directory that the actor works in.
      let path = try act.text("path")
      let record = try act.only(try #require(Self.changes[kind])) { $0.flags == flags && $0.path == path }
      #expect(record.pid == act.pid)
      if act.facts["path2"] != nil { #expect(record.path2 == (try act.text("path2")), "\(record)") }
    }
  }
}
