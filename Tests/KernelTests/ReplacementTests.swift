import Glibc
import KernelABI
import Observation
import Testing

@testable import KernelSensor

extension KernelTests {
  /// Two sensors, of which the second takes over from the first: at each exec one of them takes the process, whichever it is.
  @Suite struct Replacement {
    static let mark = "MARTLET_TEST_MARK"
    static let key = "MARTLET_TEST_KEY"
    static let rules = [JobRule(markers: [mark], key: key)]

    /// All with one pair: a sensor takes its time to load, on old kernels half a minute.
    @Test(arguments: JobBench.lacking) func oneAfterTheOther(lacking: Set<KernelFeature>) throws {
      let first = try JobBench.with(Self.rules, without: lacking)
      let second = try JobBench.successor(of: first, Self.rules + [JobRule(comm: "Outer")], without: lacking)
      defer { try? second.sensor.setRules([], identity: []) }
      try Self.takesOver(first, second)
      try Self.whoIsInAJobStaysThere(first, second)
      try Self.ofAKeyNoTwoJobsBegin(first, second)
    }

    /// Runs a process with a key, as both see it.
    private static func run(
      _ key: String, _ first: JobBench, _ second: JobBench
    ) throws -> (first: [Record], second: [Record]) {
      let deed = try first.run(["with", "\(mark)=1", "\(self.key)=\(key)", "--", "touch", "there"])
      second.collect()
      return (deed.claims(), second.records.filter { $0.type == .claim && $0.pid == deed.pid })
    }

    private static func takesOver(_ first: JobBench, _ second: JobBench) throws {
      let before = try (first.sensor.recognitionCounts(), first.sensor.counters().mapFull)
      // Both begin jobs: the first is asked first.
      let old = try Self.run("old", first, second)
      #expect(old.first.map(\.claim.is_new) == [1] && old.second.isEmpty)

      try first.sensor.leaveJobs(true)
      let new = try Self.run("new", first, second)
      #expect(new.first.isEmpty && new.second.map(\.claim.is_new) == [1])
      // A step of a job that there is goes where that is.
      let more = try Self.run("old", first, second)
      #expect(more.first.map(\.claim.is_new) == [0] && more.second.isEmpty)
      #expect(more.first.first?.header.job == old.first.first?.header.job && more.first.first?.claim.step == 2)
      let again = try Self.run("new", first, second)
      #expect(again.first.isEmpty && again.second.map(\.claim.is_new) == [0] && again.second[0].claim.step == 2)
      // Without a key, each is a job.
      let alone = try first.run(["with", "\(Self.mark)=1", "--", "touch", "there"])
      second.collect()
      let claims = second.records.filter { $0.type == .claim && $0.pid == alone.pid }
      #expect(alone.claims().isEmpty && claims.count == 1)
      // Nothing was turned away: it was somebody else's.
      #expect(try first.sensor.recognitionCounts() == before.0)
      #expect(try first.sensor.counters().mapFull == before.1)

      // What comes with the key of a job that is over is the second's.
      try first.release(try #require(old.first.first).header.job)
      let later = try Self.run("old", first, second)
      #expect(later.first.isEmpty && later.second.map(\.claim.is_new) == [1])
      // When it has none left that could be joined, it does not ask any more. And it may think better of it.
      try first.sensor.stopJoining()
      try first.sensor.leaveJobs(false)
      let back = try Self.run("back", first, second)
      #expect(back.first.map(\.claim.is_new) == [1] && back.second.isEmpty)
      try first.release(try #require(back.first.first).header.job)
      for slot in Set((new.second + claims + later.second).map(\.header.job)) { try second.release(slot) }
    }

    @Test func anotherVersionsMapIsNotLookedInto() throws {
      let first = try JobBench.with(Self.rules, without: [])
      // By processes, too, and with other values.
      let map = fcntl(try first.sensor.objects.map("shield_processes"), F_DUPFD_CLOEXEC, 3)
      #expect(try !first.sensor.know(OtherMembers(map)))
      let claims = try first.run(["with", "\(Self.mark)=1", "--", "touch", "there"]).claims()
      #expect(claims.count == 1)
      try first.release(try #require(claims.first).header.job)
    }

    /// A process of one's job is no other's, whatever it executes and has in its environment.
    private static func whoIsInAJobStaysThere(_ first: JobBench, _ second: JobBench) throws {
      // Of the first's job an image that only the second has a rule for, and the other way round.
      for (words, isFirsts) in [
        (["with", "\(Self.mark)=1", "\(Self.key)=1", "--", "as", "Outer", "touch", "there"], true),
        (["as", "Outer", "with", "\(Self.mark)=1", "\(Self.key)=2", "--", "touch", "there"], false),
      ] {
        let deed = try first.run(words)
        second.collect()
        let others = second.records.filter { $0.type == .claim && $0.pid == deed.pid }
        #expect((deed.claims().count, others.count) == (isFirsts ? (1, 0) : (0, 1)), "\(words)\n\(deed.summary)")
        for claim in deed.claims() { try first.release(claim.header.job) }
        for claim in others { try second.release(claim.header.job) }
      }
      // Neither does anybody inherit a job from a parent who has joined it later.
      let directory = try TemporaryDirectory()
      defer { directory.remove() }
      var child = try Child(first.actor, ["tree"], directory: directory.path, until: "ready")
      defer { child.end() }
      let place = try #require(try first.sensor.takeSlot(rule: 0, key: nil))
      try first.sensor.addToJob(pidfd: child.pidfd, pid: child.pid, job: place.slot)
      while try first.sensor.adopt() > 0 {}
      let processes = try first.sensor.slot(place.slot).processes
      #expect(processes == 5 && second.sensor.isAnothers(UInt32(child.pid)))
      let other = try #require(try second.sensor.takeSlot(rule: 1, key: nil))
      try second.sensor.addToJob(pidfd: child.pidfd, pid: child.pid, job: other.slot)
      #expect(try second.sensor.adopt() == 2, "its own threads alone")
      #expect(try second.sensor.slot(other.slot).processes == 1)
      child.release()
      _ = try first.finish(&child, directory.path)
      try first.release(place.slot)
      second.collect()
      try second.release(other.slot)
    }

    /// Two processes with one key at the moment at which the one leaves jobs to the other.
    private static func ofAKeyNoTwoJobsBegin(_ first: JobBench, _ second: JobBench) throws {
      for round in 0..<10 {
        let directory = try TemporaryDirectory()
        defer { directory.remove() }
        let words = ["wait-then", "with", "\(Self.mark)=1", "\(Self.key)=\(round)", "--", "touch", "there"]
        var children = try (0..<2).map { _ in try Child(first.actor, words, directory: directory.path) }
        defer { for index in children.indices { children[index].end() } }
        for index in children.indices { children[index].release() }
        usleep(UInt32(round) * 120)
        try first.sensor.leaveJobs(true)
        let pids = children.map { Int($0.pid) }
        for index in children.indices { _ = try first.finish(&children[index], directory.path) }
        second.collect()
        func claims(_ bench: JobBench) -> [Record] {
          bench.records.filter { $0.type == .claim && pids.contains($0.pid) }
        }
        let (old, new) = (claims(first), claims(second))
        #expect((old.count, new.count) == (2, 0) || (old.count, new.count) == (0, 2), "round \(round): \(old) \(new)")
        for (bench, claims) in [(first, old), (second, new)] {
          #expect(claims.count { $0.claim.is_new == 1 } == min(1, claims.count))
          for slot in Set(claims.map(\.header.job)) { try bench.release(slot) }
        }
        try first.sensor.leaveJobs(false)
      }
    }
  }
}
