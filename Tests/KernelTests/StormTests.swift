import Glibc
import KernelABI
import Observation
import Testing

@testable import KernelSensor

/// What the actor's storm puts into names and arguments: sixteen hexadecimal digits of a seed, then letters that
/// xorshift64* draws from it. A text of which a byte is another's, or missing, is not one any more.
enum SelfTellingText {
  static func isWhole(_ text: some Collection<UInt8>) -> Bool {
    guard text.count > 16, var state = UInt64(String(decoding: text.prefix(16), as: UTF8.self), radix: 16) else {
      return false
    }
    return text.dropFirst(16).allSatisfy { character in
      state ^= state >> 12
      state ^= state << 25
      state ^= state >> 27
      return character == 97 + UInt8((state &* 2_685_821_657_736_338_717) >> 33 % 26)
    }
  }
}

extension KernelTests {
  /// Producers of all CPUs at once, interrupts among them: no record may have a part of another.
  @Suite struct Storms {
    static let rounds = 160
    static let programs = 10

    @Test func recordsAreWhole() throws {
      let workers = max(2, sysconf(Int32(_SC_NPROCESSORS_ONLN))) * 2
      let connections = workers * Self.rounds / 8
      let sensor = try Bench.shared.get().sensor
      let missedBefore = try sensor.missedRuns()
      let unwatchedBefore = try Self.unwatched(sensor)
      let act = try Bench.act("storm", "\(workers)", "\(Self.rounds)", "\(Self.programs)", again: false) {
        $0.all(.tcpClose).count == 2 * connections
      }
      #expect(act.status == 0)
      #expect(sensor.rings.sequenceGaps == 0 && sensor.rings.malformed == 0 && sensor.rings.late == 0)

      // As many as were made, and each of them whole. The kernel leaves out a run of a program where another run of it
      // was preempted or interrupted on that CPU, and counts it: no more than that may be missing.
      let missed = Int(try sensor.missedRuns() - missedBefore)
      let opens = act.all(.open) { $0.open.how == 0 && $0.open.fmode & MT_FMODE_CREATED != 0 }
      let renames = act.all(.rename)
      let execs = act.all(.exec) { $0.pid != act.pid }
      let counts: [(what: String, found: Int, made: Int)] = [
        ("opens", opens.count, workers * Self.rounds),
        ("renames", renames.count, workers * Self.rounds),
        ("unlinks", act.all(.unlink).count, workers * Self.rounds),
        ("directories", act.all(.mkdir).count, workers),
        ("execs", execs.count, workers * Self.programs),
        ("connects", act.all(.connect).count, connections),
        ("ends of connections", act.all(.tcpClose).count, 2 * connections),
        ("ends of processes", act.all(.exit).count, act.all(.fork).count + 1),
      ]
      #expect(counts.allSatisfy { $0.found <= $0.made }, "\(counts)")
      let missing = counts.reduce(0) { $0 + max(0, $1.made - $1.found) }
      // Before Linux 7 a child gets no tag while another task is preempted in making one, which is counted: then all that
      // the child does is missing.
      if try Self.unwatched(sensor) == unwatchedBefore {
        #expect(missing <= missed, "\(missing) missing, \(missed) runs missed: \(counts)")
      }
      for record in opens + renames + act.all(.unlink) + act.all(.mkdir) {
        #expect(isWhole(record.path, in: act) && !record.flags.contains(.truncated), "\(record)")
      }
      #expect(renames.allSatisfy { isWhole($0.path2, in: act) })
      for record in execs {
        let words = try #require(record.string(.argv)).split(separator: 0)
        #expect(words.count == 8 && words[1].elementsEqual("storm-end".utf8), "\(record)")
        #expect(words.dropFirst(2).allSatisfy(SelfTellingText.isWhole), "\(record)")
        #expect(isWhole(record.workingDirectory, in: act), "\(record)")
      }
      for record in act.all(.connect) {
        #expect(record.sock.remote.0 == 127 && record.sock.remote.3 == 1 && record.sock.family == UInt16(AF_INET))
      }

      // Each CPU's numbers are there once each: what else the sensor saw meanwhile would leave a gap.
      for (place, records) in Dictionary(grouping: act.records, by: { [UInt16($0.header.ring_class), $0.header.cpu] }) {
        let numbers = records.map(\.header.sequence).sorted()
        #expect(zip(numbers, numbers.dropFirst()).allSatisfy { $0 + 1 == $1 }, "class and CPU \(place)")
      }
      #expect(act.records.allSatisfy { $0.bytes.count == Int($0.header.length) && $0.header.length % 8 == 0 })
    }

    /// Runners that start at once on all CPUs, with environments that take long to look through. Whoever is left out is not
    /// followed at all, and neither is what it starts.
    @Test func runnersAreRecognised() throws {
      let bench = try JobBench.with(
        [JobRule(comm: "Runner.Worker", key: Recognition.key)], without: [])
      let workers = max(2, sysconf(Int32(_SC_NPROCESSORS_ONLN))) * 2
      let made = workers * Self.rounds / 2
      let before = try (missed: bench.sensor.missedRuns(), counts: bench.sensor.recognitionCounts())
      let deed = try bench.run(
        ["environment", "400th", "\(Recognition.key)=crowd", "crowd", "\(workers)", "\(made / workers)"])
      let claims = deed.records.filter { $0.type == .claim }
      let after = try (missed: bench.sensor.missedRuns(), counts: bench.sensor.recognitionCounts())
      #expect(Set(claims.map(\.pid)).count == claims.count && claims.count <= made)
      let key = bench.sensor.keyHash.ofValue(Array("crowd".utf8))
      #expect(claims.allSatisfy { $0.claim.key == key && $0.header.job == claims[0].header.job })
      // What the kernel leaves out it counts, and four take turns: hardly anything is.
      #expect(made - claims.count <= Int(after.missed - before.missed), "\(claims.count) of \(made)")
      #expect(made - claims.count <= made / 100, "\(claims.count) of \(made)")
      #expect(
        after.counts.unfinished == before.counts.unfinished && after.counts.unreadable == before.counts.unreadable)
      try bench.release(#require(claims.first).header.job)
    }

    /// Children that could not be followed.
    private static func unwatched(_ sensor: Sensor) throws -> UInt64 {
      try sensor.counters().types[Int(RecordType.fork.rawValue)].lost
    }

    /// All components below the actor's directory.
    private func isWhole(_ path: [UInt8], in act: Act) -> Bool {
      let start = [UInt8](act.directory.utf8)
      guard path.starts(with: start) else { return false }
      let names = path.dropFirst(start.count).split(separator: UInt8(ascii: "/"))
      return !names.isEmpty && names.allSatisfy(SelfTellingText.isWhole)
    }
  }
}
