import Glibc
import KernelABI
import Observation
import Testing

@testable import Jobs

@Suite struct NameTests {
  private func started(_ change: (inout JobOptions) -> Void = { _ in }) -> Job {
    let job = Job(change)
    job.exec(100, "/bin/sh")
    return job
  }

  // MARK: - Opens

  @Test func pathsAreJoinedFromDirectoryAndName() {
    let job = started()
    job.open(100, "/etc", "passwd", .init(1))
    #expect(job.path == "/etc/passwd")
    job.open(100, "/etc", "group", .init(2))
    #expect(job.path == "/etc/group")
    job.open(100, "/", "init", .init(3))
    #expect(job.path == "/init")
    #expect(job.applied.pathIsResolved)
    #expect(job.snapshot().opens == 3)
    #expect(job.snapshot().filesRead == 3)
  }

  @Test func anUnknownDirectoryIsSaid() throws {
    let job = started()
    var body = mt_open()
    body.file = Job.File(9).body
    body.fmode = 2
    body.dir = 4242
    job.send(.open, 100, body: body, strings: [(.name, "lost")])
    #expect(job.path == "?/lost")
    #expect(job.applied.pathIsTruncated)
    let file = try #require(job.file("?/lost"))
    #expect(file.path.isTruncated)
    #expect(job.snapshot().unknownDirectories == 1)
  }

  @Test func aDirectoryIdentifierCanBeDefinedAgain() {
    let job = started()
    var body = mt_open()
    body.file = Job.File(9).body
    body.fmode = 1
    body.dir = 7
    job.send(.open, 100, body: body, strings: [(.name, "a"), (.dir, "/one")])
    #expect(job.path == "/one/a")
    job.send(.open, 100, body: body, strings: [(.name, "a"), (.dir, "/two")])
    #expect(job.path == "/two/a")
    job.send(.open, 100, body: body, strings: [(.name, "a")])
    #expect(job.path == "/two/a")
  }

  @Test func aCutDirectoryHasNoPlaceInTheTree() {
    let job = started()
    var body = mt_open()
    body.file = Job.File(9).body
    body.fmode = 1
    body.dir = 8
    job.send(.open, 100, body: body, strings: [(.name, "a"), (.dir, "tail/of/a/path")], flags: .truncated)
    #expect(job.path.hasSuffix("/of/a/path/a"))
    #expect(job.applied.pathIsTruncated)
  }

  @Test func filesWithoutADirectory() throws {
    let job = started()
    var body = mt_open()
    body.file = Job.File(77).body
    body.fmode = 3
    job.send(.open, 100, body: body, strings: [(.path, "memfd:code")])
    #expect(job.path == "memfd:code")
    #expect(job.file("memfd:code")?.wasWritten == true)
  }

  @Test func reusedInodesAreOtherFiles() throws {
    let job = started()
    job.open(100, "/w", "a", .init(5, generation: 1), write: true, created: true)
    job.close(100, .init(5, generation: 1), fd: 3)
    job.operation(.unlink, 100, in: "/w", "a")
    job.open(100, "/w", "b", .init(5, generation: 2), write: true, created: true)
    let files = job.snapshot().files
    #expect(files.map(\.path.text) == ["/w/a", "/w/b"])
    #expect(files.map(\.isDeleted) == [true, false])
    // The same with a file system that has no generations.
    job.operation(.unlink, 100, in: "/w", "b")
    job.open(100, "/w", "c", .init(5, generation: 2), write: true, created: true)
    #expect(job.snapshot().files.count == 3)
  }

  @Test func aNameIsTakenFromWhoeverHadIt() throws {
    let job = started()
    job.open(100, "/w", "a", .init(5), write: true)
    job.open(100, "/w", "a", .init(6), write: true)
    let files = job.snapshot().files
    #expect(files.map(\.isDeleted) == [true, false])
    #expect(files.map(\.path.text) == ["/w/a", "/w/a"])
  }

  // MARK: - Names

  @Test func aProgramsPathLeadsWhereItLeadsNow() {
    let job = started()
    // By its identity alone, as the record of a close tells a file.
    func name() -> String {
      job.close(100, Job.File(UInt64("/w/dir/prog".utf8.count) + 5_000), fd: 9)
      return job.path
    }
    job.exec(100, "/w/dir/prog")
    job.exec(100, "/w/dir/prog")
    #expect(name() == "/w/dir/prog")
    job.operation(.rename, 100, in: "/w", "dir", "moved")
    #expect(name() == "/w/moved/prog")
    job.exec(100, "/w/dir/prog")
    #expect(name() == "/w/dir/prog")
  }

  @Test func renameMovesTheNameAndReplacesTheTarget() throws {
    let job = started()
    job.open(100, "/w", "new", .init(5), write: true, created: true)
    job.close(100, .init(5), fd: 3)
    job.open(100, "/w", "old", .init(6), write: true)
    job.operation(.rename, 100, in: "/w", "new", "old")
    #expect(job.path == "/w/new")
    #expect(job.path2 == "/w/old")
    #expect(job.applied.inode == 5)
    let files = job.snapshot().files
    #expect(files.map(\.path.text) == ["/w/old", "/w/old"])
    #expect(files.map(\.isDeleted) == [false, true])
    job.open(100, "/w", "old", .init(5))
    #expect(job.snapshot().files.count == 2)
  }

  @Test func linksAreNamesOfOneFile() throws {
    let job = started()
    job.open(100, "/w", "a", .init(5), write: true, created: true)
    job.operation(.link, 100, in: "/w", "a", "b")
    #expect(job.applied.inode == 5)
    job.operation(.unlink, 100, in: "/w", "a")
    var file = try #require(job.file("/w/b"))
    #expect(!file.isDeleted)
    #expect(file.otherPaths.isEmpty)
    job.operation(.rename, 100, in: "/w", "b", "c")
    job.operation(.link, 100, in: "/w", "c", "d")
    file = try #require(job.snapshot().files.first)
    #expect(Set([file.path.text] + file.otherPaths.map(\.text)) == ["/w/c", "/w/d"])
    // Between names of one file rename(2) does nothing.
    job.operation(.rename, 100, in: "/w", "c", "d")
    #expect(job.snapshot().files[0].otherPaths.count == 1)
    job.operation(.unlink, 100, in: "/w", "c")
    job.operation(.unlink, 100, in: "/w", "d")
    #expect(job.snapshot().files[0].isDeleted)
  }

  @Test func exchangeSwapsTheNames() {
    let job = started()
    job.open(100, "/w", "a", .init(5), write: true)
    job.open(100, "/w", "b", .init(6), write: true)
    job.operation(.rename, 100, in: "/w", "a", "b", flags: 2)
    let files = job.snapshot().files
    #expect(files.map(\.path.text) == ["/w/b", "/w/a"])
    #expect(files.map(\.isDeleted) == [false, false])
  }

  @Test func aDirectoryTakesItsContentsAlong() throws {
    let job = started()
    job.operation(.mkdir, 100, in: "/w", "stage", argument: 0o755)
    job.operation(.mkdir, 100, in: "/w/stage", "bin")
    job.open(100, "/w/stage/bin", "tool", .init(5), write: true, created: true)
    job.operation(.rename, 100, in: "/w", "stage", "final")
    #expect(job.file("/w/final/bin/tool")?.isDeleted == false)
    // The identifier now stands for the directory in its new place.
    job.open(100, "/w/stage/bin", "more", .init(6), write: true)
    #expect(job.path == "/w/final/bin/more")
    // A new directory of the old name is another one.
    job.operation(.mkdir, 100, in: "/w", "stage")
    job.operation(.unlink, 100, in: "/w", "stage/bin/tool")
    #expect(job.file("/w/final/bin/tool")?.isDeleted == false)
    job.operation(.unlink, 100, in: "/w", "final/bin/../bin/tool")
    #expect(job.path == "/w/final/bin/tool")
    #expect(job.file("/w/final/bin/tool")?.isDeleted == true)
    // What was said then stays as it was.
    #expect(job.snapshot().changes.prefix(2).map(\.path.text) == ["/w/stage", "/w/stage/bin"])
  }

  @Test func changesAreListedInOrder() {
    let job = started()
    job.operation(.mkdir, 100, in: "/w", "d", argument: 0o750)
    job.operation(.symlink, 100, in: "/w", "d/l", "../target")
    job.operation(.chmod, 100, in: "/w", "d", flags: 0x100, argument: 0o700)
    job.operation(.rmdir, 100, in: "/w", "d")
    let changes = job.snapshot().changes
    #expect(changes.map(\.kind) == [.mkdir, .symlink, .chmod, .rmdir])
    #expect(changes.map(\.path.text) == ["/w/d", "/w/d/l", "/w/d", "/w/d"])
    #expect(changes[1].target?.text == "../target")
    #expect(changes[0].argument == 0o750)
    #expect(changes.allSatisfy { $0.process == 1 && $0.isResolved })
  }

  @Test func anUnnamedFileGetsItsNameByItsDescriptor() throws {
    let job = started()
    var file = Job.File(5)
    file.links = 0
    job.open(100, "/w", "#5", file, fd: 4, write: true, created: true)
    #expect(job.snapshot().files[0].isDeleted)
    job.operation(.link, 100, in: "/w", "/proc/self/fd/4", "named", flags: 0x400)
    #expect(job.file("/w/named")?.isDeleted == false)
  }

  @Test func otherMountNamespacesHaveNamesOfTheirOwn() {
    let job = started()
    job.open(100, "/etc", "hosts", .init(5), write: true)
    job.fork(100, 101)
    job.exec(101, "/bin/box", flags: MT_EXEC_OTHER_MNTNS.rawValue)
    var body = mt_open()
    body.file = Job.File(6).body
    body.fmode = 2
    body.dir = 999
    job.send(.open, 101, body: body, strings: [(.name, "hosts"), (.dir, "/etc")])
    #expect(job.path == "/etc/hosts")
    #expect(job.snapshot().files.map(\.isDeleted) == [false, false])
  }

  @Test func secretsInPathsAreMasked() {
    let token = "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"
    let job = started()
    job.open(100, "/w", "x-" + token, .init(5), write: true)
    #expect(!job.path.contains(token))
    #expect(job.path.hasPrefix("/w/"))
    job.open(100, "/w/" + token, "y", .init(6), write: true)
    #expect(!job.path.contains(token))
    job.operation(.rename, 100, in: "/w", "x-" + token, "z" + token)
    #expect(!job.path.contains(token) && !job.path2.contains(token))
    job.operation(.symlink, 100, in: "/w", "l", token)
    #expect(!job.path2.contains(token))
    let snapshot = job.snapshot()
    #expect(snapshot.files.count == 2)
    #expect(!snapshot.files.contains { $0.path.text.contains(token) })
    #expect(!snapshot.changes.contains { $0.path.text.contains(token) || $0.target?.text.contains(token) == true })
  }
}
