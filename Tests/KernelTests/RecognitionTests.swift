import Glibc
import KernelABI
import KernelSensor
import Observation
import Testing

extension KernelTests {
  /// Jobs that nobody adds: recognised at exec, kept apart, their steps numbered.
  @Suite struct Recognition {
    static let mark = "MARTLET_TEST_MARK"
    static let key = "MARTLET_TEST_KEY"

    @Test(arguments: JobBench.lacking) func twoRunnersOfOneName(lacking: Set<KernelFeature>) throws {
      let bench = try JobBench.with(
        [JobRule(comm: "Runner.Worker", childrenAreSteps: true)], identity: ["STEP_NAME"], without: lacking)
      let deed = try bench.run(["two-runners"])
      var slots: Set<UInt16> = []
      for (id, other) in [("A", "B"), ("B", "A")] {
        let runner = try deed.number("\(id)-runner")
        let claim = try deed.claim(runner)
        #expect(claim.claim.is_new == 1 && claim.claim.reason == MT_CLAIM_COMM.rawValue && claim.claim.step == 0)
        #expect(Int(claim.claim.parent_tgid) == deed.pid)
        #expect(claim.string(.comm) == [UInt8]("Runner.Worker".utf8))
        let slot = claim.header.job
        slots.insert(slot)
        let steps = deed.steps(slot)
        #expect(steps[runner] == 0)
        for number in 1...3 {
          for part in ["", ".child", ".daemon"] {
            let pid = try deed.number("\(id).\(number)\(part)")
            #expect(steps[pid] == UInt32(number), "\(id).\(number)\(part)\n\(deed.summary)")
          }
          let first = try deed.number("\(id).\(number)")
          let told = deed.of(slot).filter { $0.type == .step && $0.step.step == UInt32(number) }
          #expect(told.map(\.pid) == [first] && told[0].variables == ["STEP_NAME=\(number)"], "\(deed.summary)")
          #expect(Int(told.first?.step.parent_tgid ?? 0) == runner)
        }
        // Each file by the process that says so, in this job and by nobody else.
        let names =
          ["\(id)-runner"] + (1...3).flatMap { number in ["", "-child", "-daemon"].map { "\(id)-\(number)\($0)" } }
        let touched = deed.touched(slot)
        #expect(Set(touched.map(\.name)) == Set(names), "\(deed.summary)")
        #expect(touched.count == names.count)
        #expect(touched.allSatisfy { !$0.name.hasPrefix(other) })
        // Who is born in the job ends in it, and nobody else is in it.
        let members = Set(deed.of(slot).filter { $0.type == .fork }.map { Int($0.fork.child_tgid) } + [runner])
        #expect(members.count == 13)
        #expect(Set(deed.of(slot).filter { $0.type == .exit }.map(\.pid)) == members)
        #expect(deed.of(slot).allSatisfy { members.contains($0.pid) })
        // The claim comes before all else.
        #expect(deed.of(slot).first?.type == .claim)
        #expect(try bench.sensor.slot(slot).steps == 3)
        try bench.release(slot)
      }
      #expect(slots.count == 2)
    }

    @Test(arguments: JobBench.lacking) func imagesByTheirPaths(lacking: Set<KernelFeature>) throws {
      let directory = try TemporaryDirectory()
      defer { directory.remove() }
      let bench = try JobBench.with(
        [
          JobRule(path: "/nowhere/bin/Worker"), JobRule(comm: "Worker", path: "good/bin/Worker"),
          JobRule(path: "/usr/bin/Whole"), JobRule(path: "\(directory.path)/Whole"),
        ], without: lacking)
      for (place, rule) in [
        ("good/bin/Worker", 1), ("deep/good/bin/Worker", 1), ("ungood/bin/Worker", nil), ("Worker", nil),
        ("good/bin/Worker2", nil), ("Whole", 3), ("deeper/Whole", nil),
      ] as [(String, UInt32?)] {
        var child = try Child(
          bench.actor, ["wait-then", "copied", place, "touch", place + ".there"], directory: directory.path)
        defer { child.end() }
        child.release()
        let deed = try bench.finish(&child, directory.path)
        #expect(deed.claims().map(\.claim.rule) == (rule.map { [$0] } ?? []), "\(place)\n\(deed.summary)")
        guard let claim = deed.claims().first else { continue }
        #expect(claim.claim.reason == MT_CLAIM_PATH.rawValue)
        #expect(deed.touched(claim.header.job).map(\.name) == [place.split(separator: "/").last.map { "\($0).there" }])
        try bench.release(claim.header.job)
      }
    }

    @Test(arguments: ["first", "400th", "behind-long", "huge", "long"], JobBench.lacking)
    func markersWhereverTheyAre(kind: String, lacking: Set<KernelFeature>) throws {
      let bench = try JobBench.with(
        [JobRule(markers: ["ABSENT_IN_ALL"]), JobRule(markers: [Self.mark])], identity: [Self.mark], without: lacking)
      let before = try bench.sensor.recognitionCounts()
      let deed = try bench.run(["environment", kind, "\(Self.mark)=here", "touch", "there"])
      let claim = try deed.claim()
      #expect(claim.claim.rule == 1 && claim.claim.reason == MT_CLAIM_ENVIRONMENT.rawValue)
      #expect(claim.claim.key == 0 && claim.claim.step == 0 && claim.claim.is_new == 1)
      if kind == "long" {
        #expect(claim.variables.map(\.utf8.count) == [Self.mark.utf8.count + 1 + Int(MT_VARIABLE_VALUE_MAX)])
        #expect(claim.flags.contains(.truncated))
      } else {
        #expect(claim.variables == ["\(Self.mark)=here"])
        #expect(!claim.flags.contains(.truncated))
      }
      #expect(deed.touched(claim.header.job).map(\.name) == ["there"])
      let after = try bench.sensor.recognitionCounts()
      #expect(after.unreadable == before.unreadable && after.unclaimed == before.unclaimed)
      try bench.release(claim.header.job)
    }

    /// Whose list of variables is not one of the kernel's words.
    @Test(arguments: ["first", "400th", "behind-long", "huge", "long"], JobBench.lacking)
    func markersOfAProgramOf32Bits(kind: String, lacking: Set<KernelFeature>) throws {
      let bench = try JobBench.with([JobRule(markers: [Self.mark])], identity: [Self.mark], without: lacking)
      let before = try bench.sensor.recognitionCounts()
      let deed = try bench.run(["narrow", kind, "\(Self.mark)=here"])
      if deed.facts["no-32-bits"] != nil { return }
      let claim = try deed.claim()
      #expect(claim.claim.reason == MT_CLAIM_ENVIRONMENT.rawValue && claim.string(.comm) == [UInt8]("narrow".utf8))
      #expect(claim.variables.map { $0.prefix(Self.mark.utf8.count + 5) } == ["\(Self.mark)=here"])
      #expect(try bench.sensor.recognitionCounts() == before)
      try bench.release(claim.header.job)
    }

    @Test(arguments: JobBench.lacking) func anEnvironmentThatIsNotLookedAtToItsEndIsCounted(
      lacking: Set<KernelFeature>
    ) throws {
      let bench = try JobBench.with([JobRule(markers: [Self.mark])], without: lacking)
      let before = try bench.sensor.recognitionCounts()
      let deed = try bench.run(["environment", "too-many", "\(Self.mark)=here", "touch", "there"])
      #expect(deed.claims().isEmpty)
      #expect(try bench.sensor.recognitionCounts().unfinished > before.unfinished)
    }

    @Test(arguments: JobBench.lacking) func allThatARuleNamesHasToHold(lacking: Set<KernelFeature>) throws {
      let bench = try JobBench.with(
        [
          JobRule(uid: geteuid() + 1, markers: [Self.mark]), JobRule(markers: [Self.mark, "MARTLET_TEST_OTHER"]),
          JobRule(comm: "Named", markers: ["MARTLET_TEST_THIRD"]), JobRule(uid: geteuid(), markers: ["OF_USER"]),
        ], without: lacking)
      for (variables, name, rule) in [
        (["\(Self.mark)=1"], "Any", nil), (["\(Self.mark)=1", "MARTLET_TEST_OTHER="], "Any", 1),
        (["\(Self.mark)X=1", "MARTLET_TEST_OTHER=1"], "Any", nil), (["MARTLET_TEST_MAR=1"], "Any", nil),
        (["X\(Self.mark)=1", "MARTLET_TEST_OTHER=1", "A=\(Self.mark)=1", Self.mark], "Any", nil),
        (["MARTLET_TEST_THIRD=1"], "Any", nil), (["MARTLET_TEST_THIRD=1"], "Named", 2), (["OF_USER=1"], "Any", 3),
      ] as [([String], String, UInt32?)] {
        let deed = try bench.run(["as", name, "with"] + variables + ["--", "as", name, "touch", "there"])
        #expect(deed.claims().map(\.claim.rule) == (rule.map { [$0] } ?? []), "\(variables) \(name)\n\(deed.summary)")
        if let claim = deed.claims().first { try bench.release(claim.header.job) }
      }
    }

    @Test(arguments: JobBench.lacking) func treesWithOneKeyAreStepsOfOneJob(lacking: Set<KernelFeature>) throws {
      let bench = try JobBench.with(
        [JobRule(markers: [Self.mark], key: Self.key)], identity: [Self.key], without: lacking)
      // Alike in what fits one look at it.
      let long = String(repeating: "folder/", count: 100)
      func run(_ value: String) throws -> Record {
        try bench.run(["with", "\(Self.mark)=1", "\(Self.key)=\(value)", "--", "touch", value.suffix(2) + "x"]).claim()
      }
      let first = try run(long + "17")
      let second = try run(long + "17")
      let other = try run(long + "18")
      #expect([first, second, other].map(\.claim.is_new) == [1, 0, 1])
      #expect([first, second, other].map(\.claim.step) == [1, 2, 1])
      #expect(first.header.job == second.header.job && first.header.job != other.header.job)
      #expect(first.claim.key == second.claim.key && first.claim.key != other.claim.key && first.claim.key != 0)
      #expect(try bench.sensor.slot(first.header.job).key == first.claim.key)

      // User space comes to the same job.
      let place = try #require(try bench.sensor.takeSlot(rule: 0, key: Array((long + "17").utf8)))
      #expect(place == JobPlace(slot: first.header.job, key: first.claim.key, step: 3, isNew: false, isRunner: false))

      // Once it is closed, the same key makes another job.
      try bench.release(first.header.job)
      let third = try run(long + "17")
      #expect(third.claim.is_new == 1 && third.claim.step == 1 && third.claim.key == first.claim.key)
      try bench.release(other.header.job)
      try bench.release(third.header.job)

      // Without the key's variable each is a job.
      let alone = try bench.run(["with", "\(Self.mark)=1", "--", "touch", "there"]).claim()
      #expect(alone.claim.is_new == 1 && alone.claim.key == 0 && alone.claim.step == 0)
      try bench.release(alone.header.job)
    }

    @Test(arguments: JobBench.lacking) func slotsRunOutAndThatIsCounted(lacking: Set<KernelFeature>) throws {
      let bench = try JobBench.with([JobRule(markers: [Self.mark])], without: lacking)
      let index = Int(MT_MAP_JOBS.rawValue)
      var taken: [UInt16] = []
      while let place = try bench.sensor.takeSlot(rule: 0, key: nil) { taken.append(place.slot) }
      #expect(Set(taken) == Set(JobBench.slots) && taken.count == JobBench.slots.count)
      let before = try (bench.sensor.recognitionCounts().unclaimed, bench.sensor.counters())
      #expect(before.1.mapUsed?[index] == UInt64(taken.count))
      let deed = try bench.run(["with", "\(Self.mark)=1", "--", "touch", "there"])
      #expect(deed.records.allSatisfy { $0.pid != deed.pid }, "\(deed.summary)")
      let after = try (bench.sensor.recognitionCounts().unclaimed, bench.sensor.counters())
      #expect(after.0 > before.0 && after.1.mapFull[index] > before.1.mapFull[index])
      for slot in taken { try bench.release(slot) }
      #expect(try bench.sensor.counters().mapUsed?[index] == 0)
      // And then it goes on.
      let next = try bench.run(["with", "\(Self.mark)=1", "--", "touch", "there"]).claim()
      try bench.release(next.header.job)
    }

    @Test(arguments: JobBench.lacking) func onlyVariablesThatAreAllowedAreSent(lacking: Set<KernelFeature>) throws {
      let bench = try JobBench.with(
        [JobRule(markers: [Self.mark], key: Self.key)], identity: ["CI_JOB_ID", "CI_COMMIT_SHA"], without: lacking)
      let deed = try bench.run([
        "with", "SECRET=hunter2", "CI_JOB_TOKEN=hunter2", "CI_JOB_ID=17", "\(Self.mark)=hunter2",
        "\(Self.key)=hunter2", "CI_COMMIT_SHA=abc=def", "CI_JOB_ID_=hunter2", "--", "touch", "there",
      ])
      let claim = try deed.claim()
      #expect(claim.variables == ["CI_JOB_ID=17", "CI_COMMIT_SHA=abc=def"])
      let secret = [UInt8]("hunter2".utf8)
      for record in deed.of(claim.header.job) where record.type != .exec {
        let bytes = record.bytes
        #expect(!bytes.indices.contains { bytes[$0...].starts(with: secret) }, "\(record)")
      }
      try bench.release(claim.header.job)
    }

    /// All that is executed in a cgroup is one job, and what is executed in one below it another.
    @Test(arguments: JobBench.lacking) func cgroupsByTheirPaths(lacking: Set<KernelFeature>) throws {
      guard let group = try TestCgroup() else { return }
      defer { group.remove() }
      guard let below = try TestCgroup(below: group) else { return }
      defer { below.remove() }
      let bench = try JobBench.with(
        [
          JobRule(comm: "Somebody.Else", cgroup: group.name), JobRule(uid: 4242, cgroup: group.name),
          JobRule(cgroup: String(group.name.dropLast(1))), JobRule(cgroup: below.name + "/deeper"),
          JobRule(cgroup: group.name), JobRule(comm: "martlet-actor", cgroup: "/elsewhere"),
        ], without: lacking)
      #expect(try bench.run(["touch", "there"]).claims().isEmpty)
      let first = try bench.run(["enter", group.path, "touch", "there"]).claim()
      #expect(first.claim.reason == MT_CLAIM_CGROUP.rawValue && first.claim.rule == 4, "\(first)")
      #expect(first.claim.cgroup == group.id && first.claim.is_new == 1 && first.claim.key != 0)
      #expect(first.claim.key == bench.sensor.key(ofCgroup: group.id))
      bench.forget()
      let second = try bench.run(["enter", group.path, "touch", "there"]).claim()
      #expect(second.header.job == first.header.job && second.claim.is_new == 0 && second.claim.step == 2)
      bench.forget()
      let other = try bench.run(["enter", below.path, "touch", "there"]).claim()
      #expect(other.claim.rule == 4 && other.header.job != first.header.job && other.claim.cgroup == below.id)
      try bench.sensor.setRules([JobRule(cgroup: String(group.name.dropLast(1)) + "*")], identity: [])
      bench.forget()
      #expect(try bench.run(["touch", "there"]).claims().isEmpty)
      let begins = try bench.run(["enter", below.path, "touch", "there"]).claim()
      #expect(begins.claim.rule == 0 && begins.claim.is_new == 1)
      for slot in [first.header.job, other.header.job, begins.header.job] { try bench.release(slot) }
    }

    /// Two jobs side by side: what is left out of one is told of the other, and each has its own counts.
    @Test func filtersOfRulesAreTheirJobsOwn() throws {
      var files = EventFilter()
      files.events = EventClass.files
      var paths = EventFilter()
      paths.excludedPaths = ["/"]
      paths.includedPaths = ["/dev"]
      let bench = try JobBench.filtering(
        [JobRule(comm: "Files"), JobRule(comm: "Paths"), JobRule(comm: "Whole")], [0: files, 1: paths])
      func records(_ name: String) throws -> (slot: UInt16, records: [Record], counts: FilteredCounts) {
        bench.forget()
        let deed = try bench.run(["as", name, "filtered"])
        let slot = try deed.claim().header.job
        return (slot, deed.of(slot), try bench.sensor.jobCounts(slot).filtered)
      }
      let whole = try records("Whole")
      let withoutFiles = try records("Files")
      let withoutPaths = try records("Paths")
      let again = try records("Whole")
      func opens(_ records: [Record]) -> Int { records.filter { $0.type == .open }.count }
      #expect(whole.counts.total == 0 && again.counts.total == 0 && opens(whole.records) > 10)
      #expect(opens(withoutFiles.records) == 0 && withoutFiles.counts.total > 20)
      #expect(!withoutFiles.records.contains { $0.type == .rename })
      #expect(opens(withoutPaths.records) < opens(whole.records) && withoutPaths.counts.total > 10)
      #expect(opens(again.records) == opens(whole.records))
      for type in [RecordType.exec, .exit] {
        for job in [whole, withoutFiles, withoutPaths] { #expect(job.records.contains { $0.type == type }) }
      }
      for job in [whole, withoutFiles, withoutPaths, again] { try bench.release(job.slot) }
      // The slot's next job begins anew.
      #expect(try bench.sensor.jobCounts(withoutFiles.slot).filtered.total == 0)
    }

    @Test(arguments: JobBench.lacking) func countsOfAJobAreItsOwn(lacking: Set<KernelFeature>) throws {
      let bench = try JobBench.with([JobRule(markers: [Self.mark])], without: lacking)
      let deed = try bench.run(["with", "\(Self.mark)=1", "--", "again"])
      let slot = try deed.claim().header.job
      let counts = try bench.sensor.jobCounts(slot)
      #expect(counts.deduplicated >= UInt64(try deed.number("reads")) - 1)
      #expect(counts.lost == 0)
      let failed = try bench.run(["with", "\(Self.mark)=1", "--", "missing"])
      let other = try failed.claim().header.job
      #expect(try bench.sensor.jobCounts(other).failed > 0)
      #expect(try bench.sensor.jobCounts(slot) == counts)
      try bench.release(slot)
      #expect(try bench.sensor.jobCounts(slot) == JobCounts())
      try bench.release(other)
    }
  }
}
