import KernelABI
import Observation
import Testing

@testable import Jobs

@Suite struct WriterTests {
  private func started(_ change: (inout JobOptions) -> Void = { _ in }) -> Job {
    let job = Job(change)
    job.exec(100, "/bin/sh")
    return job
  }

  private let out = Job.File(5)

  @Test func theLastCloseTellsSizeAndTime() throws {
    let job = started()
    let opened = job.open(100, "/w", "out", out, write: true, created: true)
    let closed = job.close(100, out, fd: 3, size: 42)
    let file = try #require(job.file("/w/out"))
    #expect(file.wasCreated && file.wasWritten)
    #expect(file.firstOpenedAt == opened)
    #expect(file.lastClosedAt == closed)
    #expect(!file.lastCloseIsUpperBound)
    #expect(file.size == 42)
    #expect(file.changeTime == 4200)
    #expect(file.writers == [1])
    #expect(file.versions.count == 1)
    #expect(file.versions[0].isCreation)
    #expect(file.versions[0].writtenAt == closed)
  }

  @Test func aChildHoldsWhatItsParentHolds() throws {
    let job = started()
    job.open(100, "/w", "out", out, write: true)
    job.fork(100, 101)
    job.close(100, out, fd: 3, size: 1)
    var file = try #require(job.file("/w/out"))
    #expect(file.writers == [1, 2])
    #expect(file.lastClosedAt == nil)
    #expect(file.versions.last?.writtenAt == nil)
    let last = job.close(101, out, fd: 3, size: 2)
    file = try #require(job.file("/w/out"))
    #expect(file.lastClosedAt == last)
    #expect(file.size == 2)
    #expect(file.versions.count == 1)
    #expect(file.accesses.map { $0.mode.contains(.inherited) } == [false, true])
  }

  @Test func descriptorsAreToldOnceForAllThatHaveThem() throws {
    let job = started()
    let follow = MT_EXEC_DESCRIPTORS_FOLLOW.rawValue
    job.open(100, "/w", "in", .init(6), write: true, created: true)
    job.close(100, .init(6), fd: 3, size: 1)
    job.open(100, "/w", "out", out, fd: 1, write: true, read: false, created: true)
    job.fork(100, 101)
    job.fork(100, 102)
    job.exec(101, "/usr/bin/cc", flags: follow, descriptors: 77)
    job.exec(102, "/usr/bin/ld", flags: follow, descriptors: 78)
    job.open(101, "/w", "out", out, fd: 1, write: true, read: false, how: MT_OPEN_INHERITED)
    job.open(101, "/w", "in", .init(6), fd: 0, how: MT_OPEN_INHERITED)
    job.open(101, "/w", "own", .init(7), fd: 3, write: true, created: true)
    job.fork(100, 103)
    job.exec(103, "/usr/bin/as", descriptors: 77)
    #expect(job.snapshot().notKept.descriptors == 0)
    let input = try #require(job.file("/w/in"))
    let output = try #require(job.file("/w/out"))
    let readers = input.accesses.filter { $0.mode == [.read, .inherited] }
    #expect(readers.map(\.process) == [2, 4])
    let last = try #require(output.accesses.last)
    #expect(last.process == 4)
    #expect(last.mode == [.write, .inherited])
    #expect(try #require(job.file("/w/own")).accesses.map(\.process) == [2])
    // It is a writer until it closes or ends.
    let closed = job.close(103, out, fd: 1, size: 3)
    #expect(try #require(job.file("/w/out")).accesses.last?.lastClosedAt == closed)
    // Told before, but not to us.
    job.exec(103, "/usr/bin/as", descriptors: 79)
    #expect(job.snapshot().notKept.descriptors == 1)
  }

  @Test func anExecKeepsWhatTheKernelFindsOpen() throws {
    let job = started()
    job.fork(100, 101)
    job.open(101, "/w", "out", out, fd: 1, write: true, created: true)
    job.open(101, "/w", "private", .init(6), fd: 9, write: true, created: true)
    let exec = job.exec(101, "/usr/bin/cc")
    let closed = job.close(101, .init(6), fd: 9, why: MT_CLOSE_EXEC)
    job.open(101, "/w", "out", out, fd: 1, write: true, how: MT_OPEN_INHERITED)
    let end = job.exit(101)
    job.close(101, out, fd: 1, size: 7, why: MT_CLOSE_EXIT)
    let file = try #require(job.file("/w/out"))
    let links = job.snapshot().imageLinks
    #expect(file.accesses.map(\.image) == [3, 4])
    #expect(links[3].isExec && links[3].process == 2)
    #expect(file.accesses[0].lastClosedAt == exec)
    #expect(file.accesses[0].isUpperBound)
    #expect(file.accesses[1].mode.contains(.inherited))
    // The close at exit was seen, if only after the exit.
    #expect(!file.lastCloseIsUpperBound)
    #expect(file.lastClosedAt ?? 0 >= end)
    #expect(file.size == 7)
    // To the file nothing happened when its holder changed its program.
    #expect(file.versions.count == 1)
    let other = try #require(job.file("/w/private"))
    #expect(other.lastClosedAt == closed)
    #expect(!other.lastCloseIsUpperBound)
  }

  @Test func withoutACloseTheEndIsAnUpperBound() throws {
    let job = started()
    job.fork(100, 101)
    job.open(101, "/w", "out", out, write: true)
    let end = job.exit(101)
    let file = try #require(job.file("/w/out"))
    #expect(file.lastClosedAt == end)
    #expect(file.lastCloseIsUpperBound)
    #expect(file.size == nil)
    #expect(file.versions[0].isUpperBound)
  }

  @Test func duplicatesHoldTheFileToo() throws {
    let job = started()
    job.open(100, "/w", "out", out, fd: 3, write: true)
    var body = mt_dup()
    body.file = out.body
    body.old_fd = 3
    body.new_fd = 1
    job.send(.dup, 100, body: body)
    #expect(job.path == "/w/out")
    job.close(100, out, fd: 3)
    #expect(job.file("/w/out")?.lastClosedAt == nil)
    let last = job.close(100, out, fd: 1, size: 3)
    #expect(job.file("/w/out")?.lastClosedAt == last)
    #expect(job.file("/w/out")?.versions.count == 1)
  }

  @Test func aDescriptorThatIsReplaced() throws {
    let job = started()
    let other = Job.File(6)
    job.open(100, "/w", "a", out, fd: 3, write: true)
    job.open(100, "/w", "b", other, fd: 4, write: true)
    // dup2(4, 3): the new meaning may be told before the close of the old.
    var body = mt_dup()
    body.file = other.body
    body.old_fd = 4
    body.new_fd = 3
    job.send(.dup, 100, body: body)
    let replaced = job.close(100, out, fd: 3, size: 8, why: MT_CLOSE_REPLACED)
    let file = try #require(job.file("/w/a"))
    #expect(file.lastClosedAt == replaced)
    #expect(!file.lastCloseIsUpperBound)
    #expect(file.size == 8)
    #expect(job.file("/w/b")?.lastClosedAt == nil)
    job.close(100, other, fd: 4)
    let last = job.close(100, other, fd: 3)
    #expect(job.file("/w/b")?.lastClosedAt == last)
  }

  @Test func sharedTables() throws {
    let job = started()
    job.open(100, "/w", "out", out, fd: 3, write: true)
    job.fork(100, 101, sharesFiles: true)
    let closed = job.close(101, out, fd: 3)
    var file = try #require(job.file("/w/out"))
    #expect(file.lastClosedAt == closed || file.lastClosedAt == nil)
    job.open(100, "/w", "late", .init(6), fd: 3, write: true)
    job.exit(101)
    file = try #require(job.file("/w/late"))
    #expect(file.writers == [1, 2])
    #expect(file.lastClosedAt == nil)
    job.close(100, .init(6), fd: 3)
    job.exit(100)
    #expect(job.file("/w/late")?.lastClosedAt != nil)
  }

  @Test func aSharedMappingWritesUntilTheImageEnds() throws {
    let job = started()
    job.fork(100, 101)
    job.open(101, "/w", "out", out, write: true)
    var body = mt_mmap()
    body.file = out.body
    job.send(.mmapShared, 101, body: body)
    let closed = job.close(101, out, fd: 3, size: 1)
    #expect(job.file("/w/out")?.lastClosedAt == nil)
    let end = job.exit(101)
    let file = try #require(job.file("/w/out"))
    #expect(end > closed)
    #expect(file.lastClosedAt == end)
    #expect(file.lastCloseIsUpperBound)
    #expect(file.versions.last?.writtenAt == end)
    #expect(file.accesses[0].mode.contains(.mapped))
  }

  @Test func highDescriptorsAreTakenToStayOpen() throws {
    let job = started()
    job.fork(100, 101)
    job.open(101, "/w", "out", out, fd: 300, write: true)
    job.exec(101, "/bin/other")
    let end = job.exit(101)
    let file = try #require(job.file("/w/out"))
    #expect(file.accesses.map(\.image) == [3, 4])
    #expect(file.lastClosedAt == end)
    #expect(file.lastCloseIsUpperBound)
  }

  @Test func descriptorsThatArrive() throws {
    let job = started()
    job.open(100, "/w", "out", out, fd: 3, write: true)
    job.fork(100, 101)
    job.close(100, out, fd: 3)
    job.close(101, out, fd: 3)
    job.fork(100, 102)
    var body = mt_open()
    body.file = out.body
    body.fd = 8
    body.fmode = 2
    body.how = UInt16(MT_OPEN_SCM_RIGHTS.rawValue)
    body.dir = job.directory("/w").0
    job.send(.passFD, 102, body: body, strings: [(.name, "out")])
    let file = try #require(job.file("/w/out"))
    #expect(file.writers == [1, 2, 3])
    #expect(file.accesses[2].mode.contains(.received))
    #expect(file.lastClosedAt == nil)
    #expect(file.versions.count == 2)
    #expect(job.snapshot().opens == 1)
  }

  @Test func versionsBeginWhenNobodyWrites() throws {
    let job = started()
    job.open(100, "/w", "log", out, write: true, created: true)
    job.close(100, out, fd: 3, size: 1)
    job.open(100, "/w", "log", out, write: true, truncate: true)
    job.close(100, out, fd: 3, size: 2)
    var body = mt_path_op()
    body.file = out.body
    body.fd = 7
    body.dir = job.directory("/w").0
    job.send(.truncate, 100, body: body, strings: [(.name, "log")])
    let versions = try #require(job.file("/w/log")).versions
    #expect(versions.map(\.isCreation) == [true, false, false])
    #expect(versions.map(\.isTruncation) == [false, true, true])
    #expect(versions.map(\.size) == [1, 2, nil])
    #expect(versions.allSatisfy { $0.writtenAt != nil })
  }

  @Test func versionsOfALogAreFolded() throws {
    let job = started()
    for size in 0..<100 {
      job.open(100, "/w", "log", out, write: true)
      job.close(100, out, fd: 3, size: UInt64(size))
    }
    let file = try #require(job.file("/w/log"))
    #expect(file.versions.count == 33)
    #expect(file.versions.last?.isMerged == true)
    #expect(file.versions.last?.size == 99)
    #expect(file.accesses.count == 1)
  }

  @Test func anImageHasOneAccessToAFile() throws {
    let job = started()
    for pid in UInt32(101)...110 { job.fork(100, pid) }
    for round in 0..<3 {
      for pid in UInt32(101)...110 { job.open(pid, "/w", "out", out, fd: Int32(round), write: round == 1) }
    }
    let file = try #require(job.file("/w/out"))
    #expect(file.accesses.count == 10)
    #expect(file.accesses.allSatisfy { $0.mode.contains(.read) && $0.mode.contains(.write) && $0.lastClosedAt == nil })
    #expect(file.readerCount == 10)
    for pid in UInt32(101)...110 { job.close(pid, out, fd: 1) }
    #expect(job.file("/w/out")?.accesses.allSatisfy { $0.lastClosedAt != nil && !$0.isUpperBound } == true)
  }

  @Test func readersBeyondTheFirstAreCounted() throws {
    let job = started { $0.listsFilesRead = true }
    for pid in UInt32(101)...150 {
      job.fork(100, pid)
      job.open(pid, "/lib", "libc.so.6", out)
    }
    let file = try #require(job.file("/lib/libc.so.6"))
    #expect(file.readers.count == 32)
    #expect(file.readerCount == 50)
    #expect(file.writers.isEmpty)
  }

  @Test func credentialsAreListedThoughOnlyRead() throws {
    let job = started()
    job.open(100, "/lib", "libc.so.6", out)
    job.open(100, "/root/.ssh", "id", .init(6))
    job.open(100, "/root", ".npmrc", .init(7))
    let snapshot = job.snapshot()
    #expect(Set(snapshot.files.map(\.path.text)) == ["/root/.ssh/id", "/root/.npmrc"])
    #expect(snapshot.files.allSatisfy { $0.readers == [1] && $0.writers.isEmpty })
    #expect(snapshot.filesRead == 3)
  }

  @Test func limitsAreKeptAndSaid() {
    let job = Job {
      $0.limits.files = 100
      $0.limits.processes = 5
      $0.limits.flows = 3
      $0.limits.changes = 4
      $0.listsFilesRead = true
    }
    job.exec(100, "/bin/sh")
    for number in 0..<200 { job.open(100, "/w", "f\(number)", .init(UInt64(1000 + number)), read: true) }
    for number in 0..<10 { job.operation(.unlink, 100, in: "/w", "f\(number)") }
    for pid in UInt32(200)..<210 { job.fork(100, pid) }
    for number in 0..<10 {
      var body = mt_sock()
      body.sock = UInt64(number + 1)
      body.remote_port = UInt16(number + 1)
      job.send(.connect, 100, body: body)
    }
    let snapshot = job.snapshot()
    #expect(snapshot.opens == 200)
    // The program's own file is one of the hundred.
    #expect(snapshot.files.count <= 100)
    #expect(snapshot.filesNotKept == 101)
    #expect(snapshot.processes.count == 5)
    #expect(snapshot.notKept.processes == 6)
    #expect(snapshot.flows.count == 3)
    #expect(snapshot.notKept.flows == 7)
    #expect(snapshot.changes.count == 4)
    #expect(snapshot.notKept.changes == 6)
    #expect(!snapshot.notKept.isEmpty)
  }

  @Test func memoryStaysBelowItsLimit() {
    let job = Job { $0.limits.bytes = 2 << 20 }
    job.exec(100, "/bin/sh")
    for number in 0..<60_000 {
      let file = Job.File(UInt64(number + 1))
      job.open(100, "/w/\(number / 50)", "a-rather-long-file-name-\(number)", file, write: number % 3 == 0)
    }
    #expect(job.state.bytes < 2 << 20)
    let snapshot = job.snapshot()
    #expect(snapshot.filesNotKept > 1000)
    #expect(snapshot.opens == 60_000)
    // What matters more still finds room.
    job.fork(100, 101)
    job.exec(101, "/bin/late", ["late"])
    #expect(job.process(101)?.images.map(\.executable.text) == ["/bin/late"])
  }

  @Test func imagesThatTakeTurnsNeedNoMoreRoomThanThereIs() {
    let job = Job { $0.limits.bytes = 1 << 20 }
    job.exec(100, "/bin/sh")
    job.fork(100, 101)
    let file = Job.File(1)
    for _ in 0..<50_000 {
      job.open(100, "/w", "shared", file)
      job.open(101, "/w", "shared", file)
    }
    #expect(job.state.bytes < 1 << 20)
    #expect(job.snapshot().notKept.isEmpty)
    // An image that never used the file finds no room.
    job.fork(100, 102)
    job.open(102, "/w", "shared", file)
    #expect(job.snapshot().notKept.accesses == 1)
  }
}
