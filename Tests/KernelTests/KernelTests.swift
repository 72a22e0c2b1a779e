import KernelABI
import KernelSensor
import Observation
import Testing

/// What the kernel side sees of what programs really do, compared with what the system itself says.
///
/// The same tests run on the host and in each kernel of the matrix, see `Kernels/test`.
@Suite(.serialized, .enabled(if: Bench.isPossible, "loading kernel programs takes root and BTF"))
struct KernelTests {
  @Test func everyHookIsAttached() throws {
    let sensor = try Bench.shared.get().sensor
    #expect(sensor.missingHooks.map { "\($0.family): \($0.reason)" } == [])
    #expect(Set(sensor.hooks.map(\.family)).isSuperset(of: ["process", "file", "network"]))
  }

  /// Where another tier sees something it is because the one that was asked for does not, and that has a reason.
  @Test(.enabled(if: (try? Bench.hooks()) != .some(nil), "no --hooks")) func aForcedTierIsUsed() throws {
    let sensor = try Bench.shared.get().sensor
    let tier = try #require(try Bench.hooks())
    #expect(sensor.choices.contains { $0.tier == tier })
    for choice in sensor.choices {
      #expect(choice.passedOver.allSatisfy { !$0.reason.isEmpty }, "\(choice)")
    }
  }

  /// They hold at any time; each test here adds events of its own first.
  @Suite struct Counters {
    @Test func seenIsTheSumOfItsParts() throws {
      _ = try Bench.act("open", "open")
      let counters = try Bench.shared.get().sensor.counters()
      for (index, row) in counters.types.enumerated() {
        let parts = row.deduplicated + row.aggregated + row.sent + row.lost
        #expect(row.seen == parts, "\(RecordType(rawValue: UInt16(index))?.name ?? "none"): \(row)")
      }
      #expect(counters.types.allSatisfy { $0.lost == 0 && $0.unreadable == 0 })
      #expect(counters.mapFull.allSatisfy { $0 == 0 }, "\(counters.mapFull)")
      #expect(counters.types.contains { $0.sent > 0 })
    }

    @Test func whatWasSentWasReceived() throws {
      _ = try Bench.act("threads")
      let sensor = try Bench.shared.get().sensor
      let sent = try sensor.counters().types.reduce(0) { $0 + $1.sent }
      #expect(sensor.rings.received == sent)
      #expect(sensor.rings.sequenceGaps == 0)
      #expect(sensor.rings.late == 0)
      #expect(sensor.rings.malformed == 0)
      #expect(sensor.rings.stalled == 0)
    }

    @Test func sameAgainIsCountedNotSent() throws {
      let before = try Bench.shared.get().sensor.counters().types[Int(RecordType.open.rawValue)]
      let act = try Bench.act("again")
      let after = try Bench.shared.get().sensor.counters().types[Int(RecordType.open.rawValue)]
      let file = try act.file("file")
      // One to make it, one for all reads, one to read and write.
      let records = act.all(.open) { file.isIdentity(of: $0.file) }
      #expect(records.count == 3, "\(act.summary)")
      #expect(after.deduplicated - before.deduplicated >= UInt64(try act.number("reads")) - 1)
      #expect(after.seen - before.seen == after.sent - before.sent + after.deduplicated - before.deduplicated)
    }

    @Test(arguments: [1, 7]) func failedOpensAreCounted(count: Int) throws {
      let before = try Bench.shared.get().sensor.counters().types[Int(RecordType.open.rawValue)]
      let act = try Bench.act("missing", "\(count)")
      let after = try Bench.shared.get().sensor.counters().types[Int(RecordType.open.rawValue)]
      #expect(after.failed - before.failed == UInt64(count))
      #expect(try act.only(.exit).exit.failed_opens == UInt64(count))
    }

    @Test func refusedChangesAreCountedNotReported() throws {
      let changes: [RecordType] = [
        .rename, .unlink, .rmdir, .link, .symlink, .mkdir, .mknod, .truncate, .chmod, .chown,
      ]
      let before = try Bench.shared.get().sensor.counters().types
      let act = try Bench.act("refused")
      let after = try Bench.shared.get().sensor.counters().types
      for change in changes {
        act.none(change)
        // What is refused before a file system is asked, no hook on what it does ever sees.
        guard try Bench.tellsCalls("path", "operations by name") else { continue }
        #expect(after[Int(change.rawValue)].failed - before[Int(change.rawValue)].failed == 1, "\(change.name)")
      }
    }
  }
}
