import KernelABI
import Observation
import Testing

@testable import Jobs

@Suite struct SecurityTests {
  private func started() -> Job {
    let job = Job()
    job.exec(100, "/bin/sh", ["sh"])
    return job
  }

  private func body(_ kind: SecurityKind, _ flags: SecurityFlags = [], _ change: (inout mt_security) -> Void = { _ in })
    -> mt_security
  {
    var body = mt_security()
    body.kind = kind.rawValue
    body.security_flags = flags.rawValue
    change(&body)
    return body
  }

  @Test func equalActionsAreCounted() throws {
    let job = started()
    let first = job.send(.security, 100, body: body(.bpfMap) { $0.argument = 2 }, strings: [(.detail, "a")])
    let last = job.send(.security, 100, body: body(.bpfMap) { $0.argument = 2 }, strings: [(.detail, "a")])
    job.send(.security, 100, body: body(.bpfMap) { $0.argument = 2 }, strings: [(.detail, "b")])
    job.send(.security, 100, body: body(.bpfMap) { $0.argument = 3 }, strings: [(.detail, "a")])
    let actions = job.snapshot().actions
    #expect(actions.map(\.count) == [2, 1, 1])
    #expect(actions.map { $0.detail?.text } == ["a", "b", "a"])
    #expect(actions[0].firstAt == first && actions[0].lastAt == last)
    #expect(actions.allSatisfy { $0.kind == .bpfMap && $0.process == 1 })
  }

  @Test func whatEndedOtherwiseIsAnotherAction() throws {
    let job = started()
    job.send(.security, 100, body: body(.moduleLoad, .hasOutcome) { $0.error = 8 })
    job.send(.security, 100, body: body(.moduleLoad, .hasOutcome) { $0.error = 1 })
    job.send(.security, 100, body: body(.moduleLoad, .hasOutcome))
    // Where nobody knows how it ended, a number that is there by chance says nothing.
    job.send(.security, 100, body: body(.moduleLoad) { $0.error = 5 })
    #expect(
      job.snapshot().actions.map(\.outcome) == [.failure(error: 8), .failure(error: 1), .success, .unknown])
  }

  @Test func aTargetOfTheJobIsNamed() throws {
    let job = started()
    job.fork(100, 101)
    func access(_ pid: UInt32, _ start: UInt64) -> SecurityAction.Target? {
      job.send(
        .security, 100,
        body: body(.vmRead) {
          $0.target_tgid = pid
          $0.target_start = start
        })
      return job.snapshot().actions.last?.target
    }
    #expect(access(101, Job.start(101)) == .init(process: 2, pid: 101))
    #expect(job.applied.targetID == 2)
    // The same number at another time is another process, and none of the job's.
    #expect(access(101, 5) == .init(process: 0, pid: 101))
    #expect(job.applied.targetID == 0)
    #expect(access(1, 1) == .init(process: 0, pid: 1))
    #expect(job.snapshot().processes.count == 2)
  }

  @Test func mountsAreResolvedWhereTheyWereOnlyGiven() throws {
    let job = started()
    let (work, strings) = job.directory("/work")
    job.send(
      .security, 100, body: body(.mount, .hasOutcome) { $0.dir = work },
      strings: [(.path, "./mnt"), (.path2, "a/../source"), (.detail, "tmpfs")] + strings)
    #expect(job.path == "/work/mnt" && job.path2 == "a/../source")
    job.send(.security, 100, body: body(.mount), strings: [(.path, "/work/mnt"), (.path2, "proc")])
    #expect(job.path == "/work/mnt" && job.path2 == "proc")
    let actions = job.snapshot().actions
    #expect(actions.map { $0.path?.text } == ["/work/mnt", "/work/mnt"])
    #expect(actions.map { $0.source?.text } == ["a/../source", "proc"])
    #expect(actions[0].detail?.text == "tmpfs" && actions[1].detail == nil)
  }

  @Test func secretsAreMasked() throws {
    let job = started()
    let secret = "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"
    job.send(
      .security, 100, body: body(.mount),
      strings: [(.path, "/mnt/\(secret)"), (.path2, "https://user:\(secret)@host/share"), (.detail, secret)])
    let action = try #require(job.snapshot().actions.first)
    for name in [action.path, action.source, action.detail] {
      let text = try #require(name?.text)
      #expect(!text.contains("0123456789abcdef") && !text.isEmpty, "\(text)")
    }
    #expect(!job.path.contains(secret) && !job.path2.contains(secret))
  }

  @Test func whatDoesNotFitIsCounted() throws {
    let job = Job { $0.limits.actions = 2 }
    job.exec(100, "/bin/sh")
    for number in 0..<5 { job.send(.security, 100, body: body(.bpfMap) { $0.argument = UInt64(number) }) }
    job.send(.security, 100, body: body(.bpfMap) { $0.argument = 1 })
    #expect(job.snapshot().actions.map(\.count) == [1, 2])
    #expect(job.snapshot().notKept.actions == 3)
  }

  @Test func rightsAreThereWhereTheyAreKnown() throws {
    let job = started()
    job.send(
      .security, 100,
      body: body(.setuid, [.hasBefore, .hasAfter]) {
        $0.before = (0, 0, 9)
        $0.after = (1000 | 1000 << 32, 1000 | 1000 << 32, 0)
      })
    job.send(.security, 100, body: body(.setuid, [.hasAfter, .hasOutcome]) { $0.after = (1, 2, 3) })
    let actions = job.snapshot().actions
    #expect(actions.map(\.before) == [[0, 0, 9], nil])
    #expect(actions[1].after == [1, 2, 3])
  }

  @Test(arguments: [
    ("/lib64/ld-linux-x86-64.so.2", ["ld.so", "/bin/true"], "/bin/true"),
    ("/usr/lib/ld-2.31.so", ["x", "--library-path", "/l", "--inhibit-cache", "./prog", "--list"], "./prog"),
    ("/lib/ld-musl-x86_64.so.1", ["x", "prog"], "prog"), ("/lib64/ld-linux-x86-64.so.2", ["x"], nil),
  ]) func anExplicitLoader(path: String, arguments: [String], program: String?) throws {
    let job = Job()
    job.exec(100, path, arguments)
    let image = try #require(job.process(100)?.images.first)
    #expect(image.isLoader)
    #expect(image.loadedProgram?.text == program)
  }

  @Test(arguments: ["/usr/bin/ld", "/usr/bin/x86_64-linux-gnu-ld.bfd", "/opt/ld-linux/bin/app", "/bin/ld-wrapper", ""])
  func otherPrograms(path: String) throws {
    let job = Job()
    job.exec(100, path, ["x", "y"])
    let image = try #require(job.process(100)?.images.first)
    #expect(!image.isLoader && image.loadedProgram == nil)
  }

  @Test func aProgramInMemoryThatHasAPath() throws {
    let job = Job()
    job.exec(100, "/dev/shm/x", flags: MT_EXEC_TMPFS.rawValue)
    job.exec(100, "/bin/x")
    #expect(job.process(100)?.images.map(\.isInTmpfs) == [true, false])
  }
}
