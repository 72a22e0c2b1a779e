import Glibc
import KernelABI
import Observation
import Testing

@testable import KernelSensor

extension KernelTests {
  /// Jobs whose processes were there first, and slots that are used again.
  @Suite struct Adoption {
    @Test(arguments: JobBench.lacking, [true, false])
    func aRunningTreeIsAdoptedWhole(lacking: Set<KernelFeature>, isRunner: Bool) throws {
      let bench = try JobBench.with([JobRule(comm: "Somebody.Else", childrenAreSteps: isRunner)], without: lacking)
      let directory = try TemporaryDirectory()
      defer { directory.remove() }
      // Not told to wait: it is not in a job before it has started all.
      var child = try Child(bench.actor, ["tree"], directory: directory.path, until: "ready")
      defer { child.end() }
      let place = try #require(try bench.sensor.takeSlot(rule: 0, key: nil))
      #expect(place.isNew && place.isRunner == isRunner && place.step == 0)
      try bench.sensor.addToJob(
        pidfd: child.pidfd, pid: child.pid, job: place.slot, step: place.step, isRunner: place.isRunner)
      var added = 0
      while case let found = try bench.sensor.adopt(), found > 0 { added += found }
      // Two threads, a child of one of them, a child, its child, and one that was left to the root by its parent.
      #expect(added == 6)
      #expect(try bench.sensor.slot(place.slot).processes == 5)
      #expect(try bench.sensor.adopt() == 0)

      child.release()
      let deed = try bench.finish(&child, directory.path)
      let root = Int(child.pid)
      let members = try ["threads-child", "child", "grandchild", "orphan"].map { try deed.number($0) } + [root]
      let touched = deed.touched(place.slot)
      for name in ["threads-child", "child", "grandchild", "orphan"] {
        #expect(touched.contains { $0.name == name && $0.pid == (try? deed.number(name)) }, "\(name)\n\(deed.summary)")
      }
      #expect(touched.contains { $0 == ("thread", root) } && touched.contains { $0 == ("root", root) })
      #expect(deed.of(place.slot).allSatisfy { members.contains($0.pid) }, "\(deed.summary)")
      let forks = deed.of(place.slot).filter { $0.type == .fork }
      let parents = Dictionary(uniqueKeysWithValues: forks.map { (Int($0.fork.child_tgid), $0.pid) })
      #expect(
        parents == [
          try deed.number("threads-child"): root, try deed.number("child"): root, try deed.number("orphan"): root,
          try deed.number("grandchild"): try deed.number("child"),
        ])
      let exits = deed.of(place.slot).filter { $0.type == .exit }
      #expect(Set(exits.map(\.pid)) == Set(members) && exits.count == members.count)
      // The same process in its fork and in all that it does.
      for fork in forks {
        let own = deed.of(place.slot).filter { $0.pid == Int(fork.fork.child_tgid) }
        #expect(own.allSatisfy { $0.header.leader_start == fork.fork.child_start } && !own.isEmpty)
      }
      let steps = deed.steps(place.slot)
      if isRunner {
        #expect(
          Set(
            [try deed.number("threads-child"), try deed.number("child"), try deed.number("orphan")].map { steps[$0] })
            == [1, 2, 3])
        #expect(steps[try deed.number("grandchild")] == steps[try deed.number("child")])
      } else {
        #expect(steps.values.allSatisfy { $0 == 0 })
      }
      try bench.release(place.slot)
    }

    @Test(arguments: JobBench.lacking) func aSlotIsNotUsedAgainWhileAProcessLives(lacking: Set<KernelFeature>) throws {
      let bench = try JobBench.with(
        [JobRule(markers: ["MARTLET_TEST_MARK"], key: "MARTLET_TEST_KEY")], without: lacking)
      let directory = try TemporaryDirectory()
      defer { directory.remove() }
      var child = try Child(
        bench.actor, ["with", "MARTLET_TEST_MARK=1", "MARTLET_TEST_KEY=1", "--", "tree"], directory: directory.path,
        until: "ready")
      defer { child.end() }
      bench.collect()
      let claim = try #require(bench.records.first { $0.type == .claim && $0.pid == Int(child.pid) })
      let slot = claim.header.job
      #expect(try bench.sensor.slot(slot).processes == 5)
      // Not closed, as it lives: what has its key joins it.
      #expect(try !bench.sensor.closeJob(slot) && !bench.sensor.releaseSlot(slot))
      let joined = try bench.run(["with", "MARTLET_TEST_MARK=1", "MARTLET_TEST_KEY=1", "--", "touch", "joined"]).claim()
      #expect(joined.header.job == slot && joined.claim.is_new == 0 && joined.claim.step == 2)
      // Closed although it lives: its children stay its, and what has its key makes another job.
      #expect(try !bench.sensor.closeJob(slot, evenIfAlive: true) && !bench.sensor.releaseSlot(slot))
      #expect(try bench.sensor.slot(slot).isClosed)
      let apart = try bench.run(["with", "MARTLET_TEST_MARK=1", "MARTLET_TEST_KEY=1", "--", "touch", "apart"]).claim()
      #expect(apart.header.job != slot && apart.claim.is_new == 1 && apart.claim.step == 1)
      var others: [UInt16] = []
      while let place = try bench.sensor.takeSlot(rule: 0, key: nil) { others.append(place.slot) }
      #expect(!others.contains(slot) && others.count == JobBench.slots.count - 2)
      #expect(try !bench.sensor.releaseSlot(slot))

      child.release()
      let deed = try bench.finish(&child, directory.path)
      #expect(Set(deed.touched(slot).map(\.name)).isSuperset(of: ["root", "child", "orphan", "joined"]))
      #expect(try bench.sensor.closeJob(slot) && bench.sensor.releaseSlot(slot))
      #expect(try bench.sensor.takeSlot(rule: 0, key: nil)?.slot == slot)
      try bench.release(slot)
      for other in others + [apart.header.job] { try bench.release(other) }
    }

    /// What was told to a slot's last job is told to its next again.
    @Test(arguments: JobBench.lacking) func theNextJobOfASlotIsToldAll(lacking: Set<KernelFeature>) throws {
      let bench = try JobBench.with([JobRule(markers: ["MARTLET_TEST_MARK"])], without: lacking)
      let directory = try TemporaryDirectory()
      defer { directory.remove() }
      for _ in 0..<2 {
        // The one slot that is free.
        var others: [UInt16] = []
        while let place = try bench.sensor.takeSlot(rule: 0, key: nil) { others.append(place.slot) }
        let popped = others.popLast()
        let last = try #require(popped)
        try bench.release(last)
        var child = try Child(
          bench.actor, ["wait-then", "with", "MARTLET_TEST_MARK=1", "--", "touch", "there"], directory: directory.path)
        defer { child.end() }
        child.release()
        let before = bench.records.count
        let deed = try bench.finish(&child, directory.path)
        let new = deed.records[before...].filter { $0.header.job == last }
        let open = try #require(new.first { $0.type == .open && $0.string(.name) == [UInt8]("there".utf8) })
        #expect(open.string(.dir) == [UInt8](directory.path.utf8))
        let exec = try #require(new.first { $0.type == .exec })
        #expect(exec.exec.exec_flags & MT_EXEC_DESCRIPTORS_FOLLOW.rawValue != 0)
        for slot in others + [last] { try bench.release(slot) }
      }
    }

    /// With room for two processes, the others are watched all the same, and their ends cannot be known.
    @Test(arguments: JobBench.lacking) func aJobWithMoreProcessesThanFitIsFoundToBeEmpty(
      lacking: Set<KernelFeature>
    ) throws {
      var options = SensorOptions()
      options.recognisesJobs = true
      options.hooks = try Bench.hooks()
      options.withheld = lacking.union(Bench.withheld)
      options.mapEntries["processes"] = 2
      let sensor = try Sensor(options: options)
      try sensor.setRules([JobRule(comm: "Somebody.Else")], identity: [])
      try sensor.openSlots(5...5)
      let directory = try TemporaryDirectory()
      defer { directory.remove() }
      var child = try Child(findActor(), ["tree"], directory: directory.path, until: "ready")
      defer { child.end() }
      let place = try #require(try sensor.takeSlot(rule: 0, key: nil))
      try sensor.addToJob(pidfd: child.pidfd, pid: child.pid, job: place.slot)
      while try sensor.adopt() > 0 {}
      #expect(try sensor.counters().mapFull[Int(MT_MAP_PROCESSES.rawValue)] > 0)
      #expect(try !sensor.closeJob(place.slot, evenIfAlive: true) && !sensor.releaseSlot(place.slot))
      #expect(try sensor.reconcile() == 0 && !sensor.releaseSlot(place.slot))
      child.release()
      while child.readOutput(waiting: 100) {}
      #expect(child.reap() == 0)
      // Nobody counted those that did not fit.
      #expect(try !sensor.releaseSlot(place.slot))
      #expect(try sensor.reconcile() == 1 && sensor.releaseSlot(place.slot))
      #expect(try sensor.takeSlot(rule: 0, key: nil)?.slot == place.slot)
    }

    @Test(arguments: JobBench.lacking) func processesOfACgroup(lacking: Set<KernelFeature>) throws {
      let bench = try JobBench.with([JobRule(), JobRule(key: "MARTLET_TEST_KEY")], without: lacking)
      guard let cgroup = try TestCgroup() else { return }
      defer { cgroup.remove() }
      let (id, group) = (cgroup.id, cgroup.path)
      let paths = try CgroupPaths()
      let path = try #require(try paths.path(of: id).map { String(decoding: $0, as: UTF8.self) })
      #expect(path.hasPrefix("/") && group.hasSuffix(path) && paths.id(of: path) == id)
      #expect(throws: CgroupPaths.Gone.self) { try paths.path(of: .max) }
      #expect(paths.id(of: path + "/none") == nil)
      let deed = ["with", "MARTLET_TEST_KEY=7", "--", "enter", group, "touch", "there"]

      try bench.sensor.watchCgroup(id, rule: 1)
      let claim = try bench.run(deed).claim()
      #expect(claim.claim.reason == MT_CLAIM_CGROUP.rawValue && claim.claim.rule == 1 && claim.claim.cgroup == id)
      #expect(claim.claim.is_new == 1 && claim.claim.key != 0)

      try bench.sensor.watchCgroup(id, job: claim.header.job, step: 9)
      let joined = try bench.run(deed).claim()
      #expect(joined.header.job == claim.header.job && joined.claim.is_new == 0 && joined.claim.step == 9)

      try bench.sensor.forgetCgroup(id)
      #expect(try bench.run(deed).claims().isEmpty)
      try bench.release(claim.header.job)
    }

    /// What a process is called and what it runs says more than its cgroup, and that more than its environment.
    @Test(arguments: JobBench.lacking) func aCgroupComesBetweenNamesAndMarkers(lacking: Set<KernelFeature>) throws {
      let bench = try JobBench.with(
        [
          JobRule(comm: "Unplaced", path: "/nowhere/Unplaced"), JobRule(comm: "Unmarked", markers: ["ABSENT"]),
          JobRule(comm: "Marked", markers: ["MARTLET_TEST_MARK"]), JobRule(markers: ["MARTLET_TEST_MARK"]),
          JobRule(comm: "Named"), JobRule(),
        ], without: lacking)
      guard let group = try TestCgroup() else { return }
      defer { group.remove() }
      try bench.sensor.watchCgroup(group.id, rule: 5)
      for (name, rule, reason) in [
        ("Unplaced", 5, MT_CLAIM_CGROUP), ("Unmarked", 5, MT_CLAIM_CGROUP), ("Marked", 5, MT_CLAIM_CGROUP),
        ("Any", 5, MT_CLAIM_CGROUP), ("Named", 4, MT_CLAIM_COMM),
      ] {
        let deed = try bench.run(["enter-as", group.path, name, "MARTLET_TEST_MARK=1", "touch", "there"])
        let claim = try deed.claim()
        #expect(claim.claim.rule == UInt32(rule) && claim.claim.reason == reason.rawValue, "\(name)\n\(deed.summary)")
        try bench.release(claim.header.job)
      }
      try bench.sensor.forgetCgroup(group.id)
    }

    /// A process has one job: it is not taken out of it by who looks for processes.
    @Test(arguments: JobBench.lacking) func aProcessStaysInItsJob(lacking: Set<KernelFeature>) throws {
      let bench = try JobBench.with([JobRule(markers: ["MARTLET_TEST_MARK"])], without: lacking)
      let directory = try TemporaryDirectory()
      defer { directory.remove() }
      var child = try Child(
        bench.actor, ["with", "MARTLET_TEST_MARK=1", "--", "wait-then", "touch", "there"], directory: directory.path)
      defer { child.end() }
      bench.collect()
      let slot = try #require(bench.records.first { $0.type == .claim && $0.pid == Int(child.pid) }).header.job
      let place = try #require(try bench.sensor.takeSlot(rule: nil, key: nil))
      #expect(place.isNew && !place.isRunner && place.key == 0)
      for job in [place.slot, slot] {
        let error = #expect(throws: SensorError.self) {
          try bench.sensor.addToJob(pidfd: child.pidfd, pid: child.pid, job: job)
        }
        #expect(error?.errno == EEXIST)
      }
      #expect(bench.sensor.job(ofProcess: UInt32(child.pid)) == slot)
      #expect(bench.sensor.job(ofProcess: UInt32(child.pid), pidfd: child.pidfd) == slot)
      #expect(try [slot, place.slot].map { try bench.sensor.slot($0).processes } == [1, 0])
      child.release()
      #expect(try bench.finish(&child, directory.path).touched(slot).map(\.name) == ["there"])
      try bench.release(slot)
      try bench.release(place.slot)
    }

    /// It is recognised after user space has listed it and before it has put its tag.
    @Test(arguments: JobBench.lacking) func whoIsRecognisedWhileItIsAddedIsCountedOnce(
      lacking: Set<KernelFeature>
    ) throws {
      let bench = try JobBench.with([JobRule(markers: ["MARTLET_TEST_MARK"])], without: lacking)
      let directory = try TemporaryDirectory()
      defer { directory.remove() }
      let place = try #require(try bench.sensor.takeSlot(rule: 0, key: nil))
      var child = try Child(
        bench.actor, ["wait-then", "with", "MARTLET_TEST_MARK=1", "--", "touch", "there"], directory: directory.path)
      defer { child.end() }
      try bench.sensor.list(UInt32(child.pid), pidfd: child.pidfd, in: place.slot, image: 1, isRunner: false)
      #expect(try bench.sensor.slot(place.slot).processes == 1)
      // Listed, as one of that number may have been whose end went unseen, and without a tag of its own.
      #expect(bench.sensor.job(ofProcess: UInt32(child.pid)) == place.slot)
      #expect(bench.sensor.job(ofProcess: UInt32(child.pid), pidfd: child.pidfd) == nil)
      child.release()
      let deed = try bench.finish(&child, directory.path)
      let claim = try deed.claim()
      #expect(claim.header.job != place.slot && deed.touched(claim.header.job).map(\.name) == ["there"])
      #expect(bench.sensor.job(ofProcess: UInt32(child.pid)) == nil)
      try bench.release(claim.header.job)
      try bench.release(place.slot)
    }

    /// With room for the tags of two threads, and processes that all want one job.
    @Test(.enabled(if: !Preemption.ofThisKernel.isWithinTheKernel))
    func slotsOfClaimsThatFailComeBackOnce() throws {
      try JobBench.silence()
      var options = SensorOptions()
      options.recognisesJobs = true
      options.hooks = try Bench.hooks()
      options.withheld = Bench.withheld.union([.loops, .taskStorage])
      options.mapEntries["thread_tags"] = 2
      let sensor = try Sensor(options: options)
      try sensor.setRules([JobRule(markers: ["MARTLET_TEST_MARK"], key: "MARTLET_TEST_KEY")], identity: [])
      try sensor.openSlots(JobBench.slots)
      let directory = try TemporaryDirectory()
      defer { directory.remove() }
      let index = Int(MT_MAP_JOBS.rawValue)
      func start(_ before: [String], key: String, _ after: [String]) throws -> Child {
        let environment = ["with", "MARTLET_TEST_MARK=1", "MARTLET_TEST_KEY=\(key)", "--"]
        return try Child(findActor(), before + environment + after, directory: directory.path)
      }
      func end(_ children: inout [Child]) {
        for index in children.indices { children[index].release() }
        for index in children.indices {
          while children[index].readOutput(waiting: 100) {}
          #expect(children[index].reap() == 0)
          children[index].end()
        }
      }
      // The third finds no room, nor does it leave a slot taken; it is asked again when it execs once more.
      var first = try (0..<3).map { try start([], key: "own-\($0)", ["wait-then", "exit"]) }
      #expect(try sensor.recognitionCounts().unclaimed == 1)
      #expect(try sensor.counters().mapUsed?[index] == 2)
      end(&first)
      for _ in 0..<10 {
        var children = try (0..<4).map { _ in try start(["wait-then"], key: "common", ["exit"]) }
        end(&children)
      }
      var claims: [(slot: UInt16, isNew: Bool)] = []
      sensor.rings.drain { bytes in
        guard let view = try? RecordView(validating: bytes), view.type == .claim else { return }
        claims.append((view.job, view.claim.is_new != 0))
      }
      #expect(try claims.count + Int(sensor.recognitionCounts().unclaimed) == 3 + 1 + 40)
      // Each slot that is taken has a claim that says so.
      let taken = Set(claims.map(\.slot))
      #expect(try sensor.counters().mapUsed?[index] == UInt64(taken.count))
      #expect(claims.count { $0.isNew } == taken.count)
      for slot in taken {
        #expect(try sensor.slot(slot).processes == 0)
        #expect(try sensor.closeJob(slot) && sensor.releaseSlot(slot))
      }
      var free: [UInt16] = []
      while let place = try sensor.takeSlot(rule: 0, key: nil) { free.append(place.slot) }
      #expect(free.sorted() == Array(JobBench.slots))
    }
  }
}

/// A cgroup of the v2 hierarchy for one test.
struct TestCgroup {
  let path: String
  /// Within the hierarchy.
  let name: String
  let id: UInt64

  /// nil where there is no such hierarchy.
  init?(below parent: TestCgroup? = nil) throws {
    let mounts = try String(contentsOfFile: "/proc/self/mountinfo")
    guard let line = mounts.split(separator: "\n").first(where: { $0.contains(" - cgroup2 ") }) else { return nil }
    name = "\(parent?.name ?? "")/martlet-test-\(getpid())"
    path = "\(line.split(separator: " ")[4])\(name)"
    guard mkdir(path, 0o755) == 0 else { throw CallFailed("mkdir \(path)") }
    var status = stat()
    guard stat(path, &status) == 0 else { throw CallFailed("stat") }
    id = UInt64(status.st_ino)
  }

  func remove() { rmdir(path) }
}

extension String {
  fileprivate init(contentsOfFile path: String) throws {
    guard let file = fopen(path, "re") else { throw CallFailed(path) }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while case let count = fread(&buffer, 1, buffer.count, file), count > 0 { bytes += buffer[..<count] }
    self = String(decoding: bytes, as: UTF8.self)
  }
}
