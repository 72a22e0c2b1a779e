import KernelABI
import Observation
import Testing

extension KernelTests {
  @Suite struct Paths {
    struct Change: Sendable, CustomTestStringConvertible {
      var kind: String
      var type: RecordType
      /// The call was given a descriptor, and nothing else says which file.
      var isByDescriptor = false
      var testDescription: String { kind }
    }

    static let changes = [
      Change(kind: "rename", type: .rename), Change(kind: "rename-over", type: .rename),
      Change(kind: "rename-exchange", type: .rename), Change(kind: "rename-noreplace", type: .rename),
      Change(kind: "renameat", type: .rename), Change(kind: "rename-directory", type: .rename),
      Change(kind: "link", type: .link), Change(kind: "linkat", type: .link),
      Change(kind: "symlink", type: .symlink), Change(kind: "symlinkat", type: .symlink),
      Change(kind: "unlink", type: .unlink), Change(kind: "unlinkat", type: .unlink),
      Change(kind: "unlink-alias", type: .unlink), Change(kind: "unlink-absolute", type: .unlink),
      Change(kind: "unlink-chroot", type: .unlink),
      Change(kind: "rmdir", type: .rmdir), Change(kind: "rmdir-at", type: .rmdir),
      Change(kind: "mkdir", type: .mkdir), Change(kind: "mkdirat", type: .mkdir),
      Change(kind: "mknod", type: .mknod), Change(kind: "mknodat", type: .mknod),
      Change(kind: "truncate", type: .truncate), Change(kind: "ftruncate", type: .truncate, isByDescriptor: true),
      Change(kind: "chmod", type: .chmod), Change(kind: "fchmod", type: .chmod, isByDescriptor: true),
      Change(kind: "fchmodat", type: .chmod),
      Change(kind: "chown", type: .chown), Change(kind: "lchown", type: .chown),
      Change(kind: "fchown", type: .chown, isByDescriptor: true), Change(kind: "fchownat", type: .chown),
    ]

    @Test(arguments: changes) func isSeenByEveryCall(change: Change) throws {
      let act = try Bench.act("path", change.kind)
      let path = try act.text("path")
      // The last of its type: what came before only made what it needs.
      let record = try #require(act.all(change.type).last, "no \(change.type.name)\n\(act.summary)")
      let body = record.pathOp
      #expect(record.pid == act.pid)
      #expect(record.path == path, "\(record)")
      if act.facts["path2"] != nil { #expect(record.path2 == (try act.text("path2")), "\(record)") }
      if act.facts["text"] != nil {
        #expect(record.string(.path2) == (try act.text("text")), "\(record)")
      }
      if act.facts["argument"] != nil { #expect(Int(body.argument) == (try act.number("argument")), "\(record)") }
      let callFlags = act.facts["flags"].flatMap { UInt32($0) } ?? 0
      let tellsCalls = try Bench.tellsCalls("path", "operations by name")
      // How a name is to be looked up is no question any more once it has been.
      #expect(body.call_flags == (tellsCalls || change.type == .rename ? callFlags : 0), "\(record)")
      if change.isByDescriptor {
        let file = try act.file("file")
        #expect(file.isIdentity(of: record.file), "\(record)")
        #expect(body.fd == (tellsCalls ? file.descriptor : -1))
      } else {
        #expect(body.fd == -1)
      }
      #expect(record.flags == [])
      #expect(act.all(change.type).count == (change.type == .mkdir ? 2 : 1), "\(act.summary)")
    }
  }
}
