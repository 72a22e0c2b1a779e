import CLibbpf
import Glibc
import Observation
import Testing

@testable import KernelSensor

extension KernelTests {
  /// What martlet says about itself, and about others' programs, compared with what is known otherwise.
  @Suite struct Monitoring {
    private static let bpftool: String? = {
      let places: [String] = ["/usr/sbin/bpftool", "/usr/bin/bpftool"]
      return places.first { access($0, X_OK) == 0 }
    }()

    private func ownSensor(_ census: inout ProgramCensus) throws -> RunningSensor {
      let sensor = try Bench.shared.get().sensor
      let found = RunningSensor.find(in: try census.take(), known: [])
      let counters = try sensor.counters()
      return try #require(found.first { (try? $0.status().counters.types.map(\.sent)) == counters.types.map(\.sent) })
    }

    @Test func everyProgramIsFoundByItsWholeName() throws {
      let sensor = try Bench.shared.get().sensor
      var census = ProgramCensus()
      let sample = try census.take()
      let names = Set(sample.programs.filter(\.isMartlets).map(\.name))
      #expect(names.isSuperset(of: sensor.hooks.map(\.program)), "\(names)")
      #expect(names.contains("sched_process_exec"), "longer than the kernel's own name")
      #expect(zip(sample.programs, sample.programs.dropFirst()).allSatisfy { $0.id < $1.id })
      // Asked again, what is known is as what was asked.
      let again = try census.take()
      #expect(again.programs.map(\.name).filter(names.contains) == sample.programs.map(\.name).filter(names.contains))
    }

    @Test func seenFromOutsideASensorIsAsItIs() throws {
      let act = try Bench.act("open", "open")
      let sensor = try Bench.shared.get().sensor
      var census = ProgramCensus()
      let outside = try ownSensor(&census)
      let status = try outside.status()
      let inside = try sensor.status()
      #expect(status.rings.map(\.cpu) == inside.rings.map(\.cpu))
      #expect(status.rings.map(\.statistics.capacity) == inside.rings.map(\.statistics.capacity))
      #expect(status.maps.map(\.name) == inside.maps.map(\.name))
      #expect(status.maps.map(\.capacity) == inside.maps.map(\.capacity))
      #expect(status.maps.map(\.used) == inside.maps.map(\.used))
      #expect(outside.process == nil, "this process' own descriptors are not looked at")
      #expect(outside.jobs().allSatisfy { $0.processes > 0 && $0.number > 0 }, "\(act.summary)")
      // Known again as long as its programs are there.
      #expect(RunningSensor.find(in: try census.take(), known: [outside]).contains { $0 === outside })
    }

    private func used(_ sensor: Sensor) throws -> [String: UInt64] {
      let maps = try sensor.status().maps
      return Dictionary(uniqueKeysWithValues: maps.compactMap { map in map.used.map { (map.name, $0) } })
    }

    /// Goes through a map, entry by entry.
    private func entries(_ sensor: Sensor, _ name: String) throws -> UInt64 {
      let map = try sensor.objects.map(name)
      var key = [UInt8](repeating: 0, count: 64)
      var next = key
      var count: UInt64 = 0
      var result = bpf_map_get_next_key(map, nil, &next)
      while result == 0 {
        count += 1
        swap(&key, &next)
        result = bpf_map_get_next_key(map, &key, &next)
      }
      return count
    }

    /// What the places of an array come to, by which nearly every close and change of state is told to be of no interest.
    private func sum(_ sensor: Sensor, _ name: String) throws -> UInt64 {
      let map = try sensor.objects.map(name)
      var sum: UInt64 = 0
      var place: UInt32 = 0
      var count: UInt64 = 0
      while bpf_map_lookup_elem(map, &place, &count) == 0 {
        sum &+= count
        place += 1
      }
      return sum
    }

    @Test func fillOfTheMapsIsWhatIsInThem() throws {
      let act = try Bench.held("held") { sensor in
        // The connection that nobody answers goes on by itself: what is compared has to be of one moment.
        var used: [String: UInt64] = [:]
        var found: [String: UInt64] = [:]
        for _ in 0..<50 where used.isEmpty || used != found {
          used = try self.used(sensor)
          used["tags"] = nil
          found = [:]
          for name in used.keys { found[name] = try entries(sensor, name) }
        }
        #expect(used == found)
        #expect(used["processes"] == 2 && used["writers"] == 2, "\(used)")
        #expect(used["sockets", default: 0] >= 3, "\(used)")
        #expect(try sum(sensor, "flow_counts") >= 3 && sum(sensor, "writer_counts") == 2)
        // Nothing lists task storage: two processes of one thread each.
        #expect(try self.used(sensor)["tags"] == 2)
        #expect(try sensor.status().maps.allSatisfy { $0.used ?? 0 <= $0.highWater ?? 0 })
      }
      #expect(act.facts["held"] != nil)
    }

    @Test func whatAJobPutsIntoTheMapsIsGoneWhenItHasEnded() throws {
      let sensor = try Bench.shared.get().sensor
      // What earlier tests left behind is there before and after.
      let before = try used(sensor)
      #expect(Set(before.keys) == ["tags", "processes", "writers", "sockets"])
      for words in [["threads"], ["work"], ["inherited"], ["open", "open"], ["accept", "child"]] {
        let act = words.count == 1 ? try Bench.act(words[0]) : try Bench.act(words[0], words[1])
        #expect(!act.all(.exit).isEmpty)
      }
      let after = try used(sensor)
      #expect(after == before)
      for name in ["processes", "writers", "sockets"] { #expect(try entries(sensor, name) == after[name]) }
      #expect(try sum(sensor, "flow_counts") == after["sockets"] && sum(sensor, "writer_counts") == after["writers"])
    }

    @Test func runsAreCountedOnlyWhileSomebodyLooks() throws {
      var census = ProgramCensus()
      func forks() throws -> UInt64 {
        _ = try Bench.act("open", "open")
        // Runs of what turns are taken at count for those that take them.
        let ours = try census.take().programs.filter { $0.isMartlets && $0.name.hasSuffix("sched_process_exec") }
        return ours.reduce(0) { $0 + $1.runs }
      }
      do {
        let statistics = try RunTimeStatistics()
        let before = try forks()
        #expect(try forks() > before)
        withExtendedLifetime(statistics) {}
      }
      // Another process of the machine can have them on, too: then this says nothing.
      let off = try forks()
      if try forks() != off { return }
      #expect(try forks() == off)
    }

    @Test(.enabled(if: bpftool != nil, "there is no bpftool"))
    func runTimesAreThoseOfBpftool() throws {
      let statistics = try RunTimeStatistics()
      var census = ProgramCensus()
      _ = try Bench.act("open", "open")
      // Programs go on running: what we read lies between two readings of the other.
      let before = try Self.askBpftool()
      let ours = try census.take().programs.filter(\.isMartlets)
      let after = try Self.askBpftool()
      #expect(!ours.isEmpty)
      for program in ours {
        guard let low = before[program.id], let high = after[program.id] else { continue }
        #expect((low.runs...high.runs).contains(program.runs), "\(program.name)")
        #expect((low.nanoseconds...high.nanoseconds).contains(program.nanoseconds), "\(program.name)")
      }
      #expect(ours.contains { before[$0.id] != nil && $0.runs > 0 && $0.nanoseconds > 0 })
      withExtendedLifetime(statistics) {}
    }

    /// Both read at the start and at the end of one window: what they say has happened in it is the same.
    @Test(.enabled(if: bpftool != nil, "there is no bpftool"))
    func runTimesOfAWindowAreWithinFivePercentOfBpftools() throws {
      let statistics = try RunTimeStatistics()
      var apart: [String] = []
      // What else the machine does between the one's reading and the other's falls into one window, not into all.
      for _ in 0..<5 {
        apart = try Self.differencesInOneWindow()
        if apart.isEmpty { break }
      }
      #expect(apart == [])
      withExtendedLifetime(statistics) {}
    }

    private static func differencesInOneWindow() throws -> [String] {
      var census = ProgramCensus()
      // In the same order both times: each sees the calls of one of the two bpftools.
      let ownStart = try census.take()
      let start = try askBpftool()
      for round in 0..<200_000 {
        _ = getppid()
        if round % 5 == 0 { close(open("/dev/null", O_RDONLY | O_CLOEXEC)) }
      }
      let ownEnd = try census.take()
      let end = try askBpftool()
      let before = Dictionary(ownStart.programs.map { ($0.id, $0.nanoseconds) }, uniquingKeysWith: { $1 })
      var compared = 0
      var apart: [String] = []
      for program in ownEnd.programs where program.isMartlets {
        guard let first = start[program.id], let last = end[program.id], let own = before[program.id] else { continue }
        let theirs = Double(last.nanoseconds - first.nanoseconds)
        // What has run less depends on what else the machine did between the two.
        guard theirs > 3_000_000 else { continue }
        compared += 1
        let ours = Double(program.nanoseconds - own)
        if abs(ours - theirs) > 0.05 * theirs { apart.append("\(program.name): \(ours) ns, bpftool \(theirs) ns") }
      }
      #expect(compared > 0, "nothing ran for 3 ms")
      return apart
    }

    /// Runs and nanoseconds by id, from lines like `"run_time_ns": 123,`.
    private static func askBpftool() throws -> [UInt32: (runs: UInt64, nanoseconds: UInt64)] {
      guard let output = popen("\(bpftool ?? "bpftool") prog show --json --pretty", "r") else {
        throw CallFailed("popen")
      }
      defer { pclose(output) }
      var found: [UInt32: (runs: UInt64, nanoseconds: UInt64)] = [:]
      var id: UInt32 = 0
      var line = [CChar](repeating: 0, count: 4096)
      while fgets(&line, Int32(line.count), output) != nil {
        let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let parts = text.split(separator: "\"")
        guard parts.count >= 3, let value = UInt64(parts[2].filter { ("0"..."9").contains($0) }) else { continue }
        switch parts[1] {
        case "id":
          id = UInt32(value)
          found[id] = (0, 0)
        case "run_time_ns": found[id]?.nanoseconds = value
        case "run_cnt": found[id]?.runs = value
        default: break
        }
      }
      return found
    }
  }
}
