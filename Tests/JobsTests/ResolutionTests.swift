import Glibc
import KernelABI
import Observation
import Testing

@testable import Jobs

/// With real directories: what the kernel would have made of a path.
@Suite struct ResolutionTests {
  private func started(_ change: (inout JobOptions) -> Void = { _ in }) -> Job {
    let job = Job(change)
    job.exec(100, "/bin/sh")
    return job
  }

  @Test func symbolicLinksOnTheWayAreFollowed() throws {
    let scratch = Scratch()
    scratch.makeDirectory("real")
    scratch.makeDirectory("real/sub")
    scratch.makeLink("link", to: "real/sub")
    scratch.makeFile("real/sub/new")
    let job = started()
    job.open(100, scratch.path + "/real/sub", "old", .init(5), write: true)
    job.operation(.rename, 100, in: scratch.path, "link/old", "link/new")
    #expect(job.path == scratch.path + "/real/sub/old")
    #expect(job.path2 == scratch.path + "/real/sub/new")
    #expect(job.applied.pathIsResolved)
    #expect(job.file(scratch.path + "/real/sub/new")?.identity.inode == 5)
  }

  @Test func dotDotBehindALinkIsWhereTheLinkLeads() {
    let scratch = Scratch()
    scratch.makeDirectory("a")
    scratch.makeDirectory("a/b")
    scratch.makeLink("link", to: "a/b")
    let job = started()
    job.operation(.unlink, 100, in: scratch.path, "link/../gone")
    #expect(job.path == scratch.path + "/a/gone")
    job.operation(.unlink, 100, in: scratch.path, scratch.path + "//link/./../gone")
    #expect(job.path == scratch.path + "/a/gone")
    #expect(job.applied.pathIsResolved)
  }

  @Test func absolutePathsStartAtTheTasksOwnRoot() {
    let scratch = Scratch()
    scratch.makeDirectory("jail")
    let job = started()
    job.operation(.unlink, 100, in: scratch.path + "/jail", "//file", isChrooted: true)
    #expect(job.path == scratch.path + "/jail/file")
    job.operation(.unlink, 100, in: scratch.path + "/jail", "/tmp/file")
    #expect(job.path == "/tmp/file")
  }

  @Test func theLastComponentIsNotFollowedByCallsThatActOnNames() {
    let scratch = Scratch()
    scratch.makeFile("target")
    scratch.makeLink("link", to: "target")
    let job = started()
    job.operation(.unlink, 100, in: scratch.path, "link")
    #expect(job.path == scratch.path + "/link")
    job.operation(.chmod, 100, in: scratch.path, "link", argument: 0o600)
    #expect(job.path == scratch.path + "/target")
    job.operation(.chown, 100, in: scratch.path, "link", flags: 0x100)
    #expect(job.path == scratch.path + "/link")
    job.operation(.truncate, 100, in: scratch.path, scratch.path + "/link", argument: 0)
    #expect(job.path == scratch.path + "/target")
    let file = job.file(scratch.path + "/target")
    #expect(file?.wasWritten == true)
    #expect(file?.identity.inode == Job.File(at: scratch.path + "/target").inode)
  }

  @Test func rememberedDirectoriesAreForgottenWhenALinkChanges() {
    let scratch = Scratch()
    scratch.makeDirectory("one")
    scratch.makeDirectory("two")
    scratch.makeLink("current", to: "one")
    let job = started()
    job.operation(.unlink, 100, in: scratch.path, "current/x")
    #expect(job.path == scratch.path + "/one/x")
    unlink(scratch.path + "/current")
    job.operation(.unlink, 100, in: scratch.path, "current")
    scratch.makeLink("current", to: "two")
    job.operation(.symlink, 100, in: scratch.path, "current", "two")
    job.operation(.unlink, 100, in: scratch.path, "current/x")
    #expect(job.path == scratch.path + "/two/x")
  }

  @Test func whatRenameAndLinkLeaveIsLookedAt() throws {
    let scratch = Scratch()
    scratch.makeFile("after")
    let job = started()
    job.operation(.rename, 100, in: scratch.path, "before", "after")
    let expected = Job.File(at: scratch.path + "/after")
    #expect(job.applied.identityFromStat)
    #expect(job.applied.inode == expected.inode)
    #expect(job.applied.device == expected.device)
    let found = try #require(job.file(scratch.path + "/after"))
    #expect(found.identityFromStat)
    // An open that comes later is of the same file and tells the rest.
    var file = expected
    file.generation = 99
    job.open(100, scratch.path, "after", file, write: true)
    let opened = try #require(job.file(scratch.path + "/after"))
    #expect(opened.id == found.id)
    #expect(opened.identity.generation == 99)
    #expect(!opened.identityFromStat)
    link(scratch.path + "/after", scratch.path + "/again")
    job.operation(.link, 100, in: scratch.path, "after", "again")
    #expect(job.file(scratch.path + "/again")?.otherPaths.map(\.text) == [scratch.path + "/after"])
  }

  @Test func aDirectoryNobodyKnewIsKnownAfterItsRename() {
    let scratch = Scratch()
    scratch.makeDirectory("moved")
    let job = started()
    job.operation(.rename, 100, in: scratch.path, "unseen", "moved")
    job.operation(.rename, 100, in: scratch.path, "moved", "again")
    #expect(job.applied.pathIsResolved)
    #expect(job.snapshot().files.isEmpty)
  }

  @Test func whatCannotBeResolvedIsSaid() {
    let job = started()
    job.operation(.unlink, 100, in: "/nowhere-at-all", "gone/../x")
    #expect(!job.applied.pathIsResolved)
    #expect(job.path == "/nowhere-at-all/gone/../x")
    #expect(job.snapshot().changes[0].isResolved == false)
    // Of another process' own files nothing can be told from here.
    job.operation(.unlink, 100, in: "/", "/proc/self/task/x")
    #expect(!job.applied.pathIsResolved)
    let scratch = Scratch()
    scratch.makeDirectory("d")
    let blind = started { $0.resolvesPaths = false }
    blind.operation(.unlink, 100, in: scratch.path, "d/x")
    #expect(!blind.applied.pathIsResolved)
    #expect(blind.path == scratch.path + "/d/x")
  }

  @Test func aChangedRootIsNotMartlets() {
    let scratch = Scratch()
    scratch.makeDirectory("d")
    let job = started()
    job.exec(100, "/bin/jail", flags: MT_EXEC_CHROOT.rawValue)
    job.fork(100, 101)
    // The process is long gone, or never was: its root cannot be had.
    job.operation(.unlink, 101, in: scratch.path, scratch.path + "/d/x")
    #expect(!job.applied.pathIsResolved)
    job.operation(.unlink, 101, in: scratch.path, "x")
    #expect(job.applied.pathIsResolved)
    #expect(job.path == scratch.path + "/x")
  }

  @Test func relativePathsWithoutADirectory() {
    let job = started()
    var body = mt_path_op()
    body.fd = -1
    job.send(.unlink, 100, body: body, strings: [(.path, "x")])
    #expect(!job.applied.pathIsResolved)
    job.send(.unlink, 100, body: body)
    #expect(!job.applied.pathIsResolved)
    job.send(.unlink, 100, body: body, strings: [(.path, "")])
    job.send(.rename, 100, body: body, strings: [(.path, "///"), (.path2, "..")])
    job.send(.rename, 100, body: body, strings: [(.path, "/.."), (.path2, "/")])
    #expect(job.snapshot().changes.count == 5)
  }

  @Test func uringOperationsAreUnconfirmed() throws {
    let scratch = Scratch()
    scratch.makeFile("made")
    let job = started()
    let (identifier, text) = job.directory(scratch.path)
    var body = mt_uring()
    body.dir = identifier
    body.opcode = 18
    body.open_flags = 0o101
    job.send(.uring, 100, body: body, strings: [(.path, "made")] + text)
    let file = try #require(job.file(scratch.path + "/made"))
    #expect(file.identityFromStat && file.wasWritten)
    #expect(file.accesses.first?.lastClosedAt == nil)
    body.opcode = 36
    job.send(.uring, 100, body: body, strings: [(.path, "made")])
    #expect(job.snapshot().changes.map(\.isUnconfirmed) == [true])
  }
}
