import Glibc
import KernelABI
import Observation
import Testing

extension KernelTests {
  @Suite struct Processes {
    @Test(arguments: ["fork", "vfork", "posix-spawn", "clone-files"])
    func childIsSeen(kind: String) throws {
      let act = try Bench.act("spawn", kind)
      let child = try act.number("child")
      let fork = try act.only(.fork)
      #expect(fork.pid == act.pid)
      #expect(Int(fork.fork.child_tgid) == child)
      #expect(Int(fork.fork.child_ns_tgid) == child)
      #expect(Int(fork.fork.real_parent_tgid) == act.pid)
      #expect(fork.fork.shares_files == (kind == "clone-files" ? 1 : 0))
      let exit = try act.only(.exit) { $0.pid == child }
      #expect(Int(exit.exit.status) == (try act.number("status")))
      #expect(exit.header.leader_start == fork.fork.child_start)
      let execs = act.all(.exec) { $0.pid == child }
      #expect(execs.count == (kind == "vfork" || kind == "posix-spawn" ? 1 : 0))
      for exec in execs {
        #expect(Int(exec.exec.parent_tgid) == act.pid)
        #expect(exec.header.leader_start == fork.fork.child_start)
      }
    }

    @Test func childGivenToTheGrandparentIsStillTheJobs() throws {
      let act = try Bench.act("spawn", "clone-parent")
      let fork = try act.only(.fork)
      #expect(fork.pid == act.pid)
      #expect(Int(fork.fork.child_tgid) == (try act.number("child")))
      #expect(Int(fork.fork.real_parent_tgid) == (try act.number("parent")))
      #expect(getpid() == pid_t(try act.number("parent")))
      #expect(try act.only(.exit) { $0.pid != act.pid }.exit.status == 6 << 8)
    }

    @Test func daemonStaysInTheJob() throws {
      let act = try Bench.act("daemon")
      let grandchild = try act.number("grandchild")
      #expect(try act.only(.fork) { $0.pid != act.pid }.fork.child_tgid == UInt32(grandchild))
      let file = try act.file("file")
      let record = try act.only(.open) { file.isIdentity(of: $0.file) }
      #expect(record.pid == grandchild)
      #expect(record.path == (try act.text("path")))
    }

    @Test(arguments: ["status", "signal", "abort", "group", "threads", "leader-first"])
    func endIsSeenAsWaitSeesIt(kind: String) throws {
      let act = try Bench.act("end", kind)
      let exit = try act.only(.exit)
      // A core is dumped or not by the machine's settings, and after the event.
      #expect(exit.exit.status & 0xff7f == UInt32(bitPattern: act.status) & 0xff7f, "\(act.summary)")
      let threads: [String: UInt32] = ["group": 1, "threads": 3, "leader-first": 1]
      #expect(exit.exit.threads == threads[kind] ?? 0)
      switch kind {
      case "status": #expect(act.status == 42 << 8)
      case "signal": #expect(act.status & 0x7f == SIGKILL)
      case "group": #expect(act.status == 9 << 8)
      default: break
      }
    }

    @Test func exitTellsWhatWasUsed() throws {
      let act = try Bench.act("work")
      let exit = try act.only(.exit).exit
      let bytes = UInt64(try act.number("bytes"))
      #expect(exit.peak_rss > 4096)
      // The facts that the actor tells are written, too.
      #expect(exit.written_bytes >= bytes)
      #expect(exit.read_bytes >= bytes)
      // A tenth of a second by the clock of the scheduler; kernels that count ticks miss some of it.
      #expect(exit.user_ns + exit.system_ns > 0)
    }

    @Test func movingToAnotherCgroupDoesNotLeaveTheJob() throws {
      let act = try Bench.act("cgroup")
      let child = try act.number("child")
      let exec = try act.only(.exec) { $0.pid == child }
      #expect(Int(exec.exec.cgroup) == (try act.number("cgroup")))
      let own = try act.only(.exec) { $0.pid == act.pid }
      #expect(own.exec.cgroup != exec.exec.cgroup)
      let file = try act.file("file")
      #expect(try act.only(.open) { file.isIdentity(of: $0.file) }.pid == child)
    }
  }
}
