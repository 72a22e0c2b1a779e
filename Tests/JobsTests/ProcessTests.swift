import KernelABI
import Observation
import Testing

@testable import Jobs

@Suite struct ProcessTests {
  @Test func treeOfForksExecsAndExits() throws {
    let job = Job()
    job.exec(100, "/bin/sh", ["sh", "-c", "make"])
    job.fork(100, 101)
    job.exec(101, "/usr/bin/make", ["make"])
    job.fork(101, 102)
    job.exec(102, "/usr/bin/cc", ["cc", "-c", "a.c"])
    let ended = job.exit(102, status: 256)
    job.exit(101)
    let snapshot = job.snapshot()
    #expect(snapshot.processes.map(\.pid) == [100, 101, 102])
    #expect(snapshot.processes.map(\.id) == [1, 2, 3])
    #expect(snapshot.processes.map(\.parent) == [0, 1, 2])
    #expect(snapshot.processes[2].waitStatus == 256)
    #expect(snapshot.processes[2].endedAt == ended)
    #expect(snapshot.processes[2].images.map(\.executable.text) == ["/usr/bin/cc"])
    #expect(snapshot.processes[2].images[0].arguments.map(\.text) == ["cc", "-c", "a.c"])
    #expect(snapshot.processes[0].endedAt == nil)
    #expect(snapshot.processesNotExited == 1)
    #expect(snapshot.orphans == 0)
    #expect(snapshot.failedOpens == 4)
    #expect(snapshot.records == 7)
  }

  @Test func leaderStartOfTheFirstProcessMayComeLater() {
    let job = Job()
    job.exec(100, "/bin/true", start: 0)
    job.exec(100, "/bin/sh")
    job.exit(100, start: 0)
    let snapshot = job.snapshot()
    #expect(snapshot.processes.count == 1)
    #expect(snapshot.processes[0].images.count == 2)
    #expect(snapshot.processes[0].endedAt != nil)
  }

  @Test func pidReuseIsAnotherProcess() {
    let job = Job()
    job.exec(100, "/bin/sh")
    job.fork(100, 101, childStart: 1_000)
    job.exec(101, "/bin/a", start: 1_000)
    job.exit(101, status: 1, start: 1_000)
    job.fork(100, 101, childStart: 2_000)
    job.exec(101, "/bin/b", start: 2_000)
    job.exit(101, status: 2, start: 2_000)
    let same = job.snapshot().processes.filter { $0.pid == 101 }
    #expect(same.map { $0.images.map(\.executable.text) } == [["/bin/a"], ["/bin/b"]])
    #expect(same.map(\.waitStatus) == [1, 2])
  }

  @Test func aForkThatIsToldLateLinksTheChild() throws {
    let job = Job()
    job.exec(100, "/bin/sh")
    job.exec(101, "/bin/early")
    #expect(job.snapshot().orphans == 1)
    job.fork(100, 101)
    let snapshot = job.snapshot()
    #expect(snapshot.orphans == 0)
    let child = try #require(snapshot.processes.first { $0.pid == 101 })
    #expect(child.parent == 1)
    #expect(child.images.map(\.executable.text) == ["/bin/early"])
    // Told once more it changes nothing.
    job.fork(100, 101)
    #expect(job.snapshot().processes.count == 2)
  }

  @Test func anOrphanStaysOne() throws {
    let job = Job()
    job.exec(100, "/bin/sh")
    job.exec(300, "/bin/lost")
    let orphan = try #require(job.process(300))
    #expect(orphan.parent == 0)
    #expect(orphan.parentIsUnknown)
    #expect(job.process(100)?.parentIsUnknown == false)
  }

  @Test func vforkAndAnExecByAThread() throws {
    let job = Job()
    job.exec(100, "/bin/sh")
    job.fork(100, 101)
    // The header names the leader whichever thread called.
    var body = mt_exec()
    body.old_tid = 105
    job.send(.exec, 101, body: body, strings: [(.exe, "/bin/threaded")])
    job.exec(101, "/bin/again")
    let process = try #require(job.process(101))
    #expect(process.images.map(\.executable.text) == ["/bin/threaded", "/bin/again"])
    let links = job.snapshot().imageLinks.filter { $0.process == process.id }
    #expect(links.map(\.isExec) == [false, true, true])
    #expect(links[1].parent == links[0].id)
    #expect(links[0].endedAt == links[1].startedAt)
    #expect(links[2].endedAt == nil)
  }

  @Test func whatOutlivesTheCommand() {
    let job = Job()
    job.exec(100, "/bin/sh")
    job.fork(100, 101)
    job.fork(100, 102)
    job.exit(102)
    let end = job.exit(100)
    job.state.commandEnded(at: end)
    job.exit(101)
    let snapshot = job.snapshot()
    #expect(snapshot.processes.map(\.outlivedCommand) == [false, true, false])
  }

  @Test func argumentsAreMasked() {
    let secret = "hunter2hunter2"
    let job = Job()
    job.exec(100, "/usr/bin/mysql", ["mysql", "--password=" + secret, "db"])
    #expect(!job.arguments.contains(secret))
    #expect(job.arguments.hasPrefix("mysql\0"))
    let arguments = job.snapshot().processes[0].images[0].arguments.map(\.text)
    #expect(arguments.count == 3)
    #expect(!arguments.joined().contains(secret))
    #expect(arguments[2] == "db")
  }

  @Test func argumentsAreMaskedEachTime() {
    let job = Job()
    for secret in ["hunter2hunter2", "hunter3hunter2", "hunter2hunter2"] {
      job.exec(100, "/usr/bin/mysql", ["mysql", "--password=" + secret, "database"])
      #expect(!job.arguments.contains(secret) && job.arguments.hasSuffix("\0database\0"))
      job.exec(100, "/usr/bin/mysql", ["mysql", "--comment=" + secret, "database"])
      #expect(job.arguments == "mysql\0--comment=\(secret)\0database\0")
    }
    // That a list holds no secret does not say so of one whose end is missing.
    for size in [21, 20_000, 21, 20_000] as [UInt64] {
      var body = mt_exec()
      body.argv_bytes = size
      job.send(.exec, 100, body: body, strings: [(.exe, "/bin/tool"), (.argv, "tool\0with --half=abcd")])
      #expect(job.arguments.contains("abcd") == (size == 21))
    }
  }

  @Test func cutArgumentsSayHowLongTheyWere() throws {
    let job = Job()
    var body = mt_exec()
    body.argv_bytes = 20_000
    job.send(.exec, 100, body: body, strings: [(.exe, "/bin/echo"), (.argv, "echo\0abc")], flags: .truncated)
    let image = try #require(job.snapshot().processes.first?.images.first)
    #expect(image.fullArgumentBytes == 20_000)
    #expect(image.arguments.last?.isTruncated == true)
  }

  @Test func flagsOfAnImage() throws {
    let job = Job()
    job.exec(100, "/bin/a", flags: MT_EXEC_DELETED.rawValue | MT_EXEC_CHROOT.rawValue)
    job.exec(100, "memfd:x", flags: MT_EXEC_MEMFD.rawValue | MT_EXEC_OTHER_MNTNS.rawValue)
    let images = job.snapshot().processes[0].images
    #expect(images.map(\.isDeleted) == [true, false])
    #expect(images.map(\.isChrooted) == [true, false])
    #expect(images.map(\.isMemoryFile) == [false, true])
    #expect(images.map(\.isInOtherMountNamespace) == [false, true])
  }
}
