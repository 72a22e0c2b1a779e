import Glibc
import KernelABI
import KernelSensor
import Observation
import Testing

extension KernelTests {
  /// What stands in for features that old kernels lack, on this kernel: the same deeds give the same records.
  ///
  /// Not where the kernel takes the CPU from tasks within programs: no kernel that lacks them does, so the programs for old
  /// kernels have nobody take turns, and what they are not run for is repeated for minutes.
  @Suite(.enabled(if: !Preemption.ofThisKernel.isWithinTheKernel)) struct Fallbacks {
    /// Without loops the sensor is the one for old kernels; without task storage it finds tags by thread as well.
    static let lacking: [Set<KernelFeature>] = [[.loops], [.loops, .taskStorage]]

    /// Deeds that need loops, tags of threads and processes, or atomic operations.
    static let deeds: [[String]] = [
      ["threads"], ["spawn", "vfork"], ["spawn", "clone-files"], ["daemon"], ["end", "threads"], ["end", "group"],
      ["end", "leader-first"], ["image", "thread"], ["image", "many", "12"], ["image", "arguments"],
      ["close", "range"], ["close", "high"], ["inherited"], ["name", "too-long"], ["pass", "scm"], ["pass", "pidfd"],
      ["dup", "dup2"], ["again"], ["renamed"], ["open", "openat2"], ["path", "rename-exchange"], ["path", "mkdirat"],
      ["path", "fchown"], ["copy", "sendfile"],
      ["pair", "pipe"], ["mmap", "shared"], ["udp", "sendto"],
      ["unix", "path"], ["socket", "raw"],
    ]

    @Test(arguments: lacking) func theSameIsSeen(lacking: Set<KernelFeature>) throws {
      // By the same hooks: old kernels lack what some of the better ones need.
      let plain = try Bench.without([], hooks: .typedTracepoint)
      let without = try Bench.without(lacking, hooks: .typedTracepoint)
      #expect(without.sensor.features.isDisjoint(with: lacking))
      #expect(without.sensor.missingHooks.map(\.reason) == plain.sensor.missingHooks.map(\.reason))
      for deed in Self.deeds {
        let expected = try plain.repeated(deed)
        let found = try without.repeated(deed)
        #expect(found.facts["failed"] == nil && found.facts["unsupported"] == nil, "\(deed) \(found.facts)")
        // Where programs can be preempted the kernel leaves runs out, of which it tells.
        if try without.sensor.missedRuns() + plain.sensor.missedRuns() > 0 { continue }
        #expect(Self.tally(found) == Self.tally(expected), "\(deed)")
      }
      #expect(without.malformed == [])
      let counters = try without.sensor.counters()
      #expect(counters.types.allSatisfy { $0.seen == $0.deduplicated + $0.aggregated + $0.sent + $0.lost })
      #expect(counters.types.allSatisfy { $0.lost == 0 && $0.unreadable == 0 })
      #expect(counters.mapFull.allSatisfy { $0 == 0 })
      #expect(without.sensor.rings.sequenceGaps == 0 && without.sensor.rings.malformed == 0)
    }

    @Test(arguments: lacking) func flowsThatAreOpenWhenTheSensorGoesAreTold(lacking: Set<KernelFeature>) throws {
      let act = try Bench.held("held", without: lacking)
      let flows = act.all(.flowOpen).count
      #expect(flows == (try Bench.held("held").all(.flowOpen).count))
      #expect(flows > 1)
    }

    @Test(arguments: lacking) func stormsAreWhole(lacking: Set<KernelFeature>) throws {
      let bench = try Bench.without(lacking)
      let act = try bench.repeated(["storm", "4", "80", "5"])
      #expect(act.status == 0, "\(act.facts)")
      let opens = act.all(.open) { !$0.path.isEmpty && $0.open.how == 0 && $0.open.open_flags & 0o100 != 0 }
      let names = opens.compactMap { $0.path.split(separator: UInt8(ascii: "/")).last }
      #expect(names.count == opens.count && names.allSatisfy(SelfTellingText.isWhole))
      let arguments = act.all(.exec).compactMap { $0.string(.argv)?.split(separator: 0) }
        .filter { $0.count == 8 && $0[1].elementsEqual("storm-end".utf8) }
      // No more is missing than runs that the kernel left out, and says so.
      let missed = Int(try bench.sensor.missedRuns())
      #expect(opens.count <= 4 * 80 && arguments.count <= 4 * 5)
      let missing = 4 * 80 + 4 * 5 - opens.count - arguments.count
      #expect(missing <= missed, "\(opens.count) opens, \(arguments.count) execs, \(missed) runs left out")
      #expect(arguments.allSatisfy { $0.dropFirst(2).allSatisfy(SelfTellingText.isWhole) })
      #expect(bench.sensor.rings.sequenceGaps == 0 && bench.malformed == [])
    }

    /// Records by what they are, and about which file below the actor's directory.
    private static func tally(_ act: Act) -> [String: Int] {
      let lines = act.records.map { record in
        let start = [UInt8]("\(act.directory)/".utf8)
        let isBelow = record.path.starts(with: start)
        let path = isBelow ? String(decoding: record.path.dropFirst(start.count), as: UTF8.self) : ""
        // What is behind a number of the process' own differs from run to run.
        let name = path.contains { $0.isNumber } ? "" : path
        return "\(record.type.name) \(record.header.flags) \(name)"
      }
      return Dictionary(grouping: lines) { $0 }.mapValues(\.count)
    }
  }
}
