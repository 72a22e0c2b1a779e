import Testing

@testable import Agent

@Suite struct GovernorTests {
  private static let second: UInt64 = 1_000_000_000

  /// An agent, its jobs, and a clock that nobody waits for.
  private struct Machine {
    var governor: Governor
    var figures = Governor.Figures(at: 100 * second, cpu: 0, memory: 1 << 20, hashes: false, jobs: [])

    init(processors: Double? = nil, memory: Int? = nil) {
      governor = Governor(Governor.Ceilings(processors: processors, memory: memory))
    }

    mutating func begin(_ slot: UInt16, events: UInt64 = 0, bytes: Int = 0) -> Governor.JobID {
      let id = Governor.JobID(slot: slot, startedAt: figures.at)
      figures.jobs.append(Governor.Job(id: id, events: events, bytes: bytes))
      return id
    }

    /// Seconds in which the agent takes this share of a CPU, and each job has so many events a second.
    mutating func run(_ seconds: Int, share: Double = 0, events: [UInt16: UInt64] = [:]) -> [Governor.Decision] {
      var decisions: [Governor.Decision] = []
      for _ in 0..<seconds {
        figures.at += second
        figures.cpu += UInt64(share * Double(second))
        for index in figures.jobs.indices { figures.jobs[index].events += events[figures.jobs[index].id.slot] ?? 0 }
        decisions += governor.step(figures)
      }
      return decisions
    }
  }

  private func begins(_ measure: Governor.Measure, _ cause: Governor.Cause = .cpu) -> Governor.Decision {
    Governor.Decision(measure: measure, cause: cause, begins: true)
  }

  private func ends(_ measure: Governor.Measure, _ cause: Governor.Cause = .cpu) -> Governor.Decision {
    Governor.Decision(measure: measure, cause: cause, begins: false)
  }

  @Test func withoutCeilingsNothingIsGivenUp() {
    var machine = Machine()
    _ = machine.begin(1, bytes: 1 << 40)
    machine.figures.memory = 1 << 40
    #expect(machine.run(100, share: 50, events: [1: 1_000_000]) == [])
  }

  @Test func belowThemNeither() {
    var machine = Machine(processors: 0.5, memory: 2 << 20)
    _ = machine.begin(1, bytes: 1 << 30)
    #expect(machine.run(100, share: 0.49, events: [1: 1_000_000]) == [])
    #expect(!machine.governor.isAtItsEnd)
  }

  @Test func cpuTimeIsGivenUpInThisOrder() {
    var machine = Machine(processors: 0.5)
    machine.figures.hashes = true
    let small = machine.begin(1)
    let large = machine.begin(2)
    let idle = machine.begin(3)
    let decisions = machine.run(60, share: 0.9, events: [1: 10, 2: 1000])
    #expect(
      decisions == [
        begins(.hashes), begins(.reads(large)), begins(.files(large)), begins(.reads(small)), begins(.files(small)),
      ])
    #expect(machine.governor.isAtItsEnd, "a job that does nothing has nothing to give up: \(idle)")
  }

  @Test func oneBusySecondIsNoReason() {
    var machine = Machine(processors: 0.5)
    _ = machine.begin(1)
    #expect(machine.run(20, share: 0.1, events: [1: 1]) == [])
    #expect(machine.run(1, share: 3, events: [1: 1]) == [])
    #expect(machine.run(20, share: 0.1, events: [1: 1]) == [])
  }

  @Test func theNextStepWaitsForWhatCameOfTheLast() {
    var machine = Machine(processors: 0.5)
    machine.figures.hashes = true
    let job = machine.begin(1)
    #expect(machine.run(Int(Governor.least / Self.second) + 1, share: 1, events: [1: 5]) == [begins(.hashes)])
    #expect(machine.run(Int(Governor.least / Self.second) - 1, share: 1, events: [1: 5]) == [])
    #expect(machine.run(1, share: 1, events: [1: 5]) == [begins(.reads(job))])
  }

  @Test func whatWasGivenUpLastIsTakenUpFirst() {
    var machine = Machine(processors: 0.5)
    machine.figures.hashes = true
    let job = machine.begin(1)
    #expect(machine.run(11, share: 1, events: [1: 5]) == [begins(.hashes), begins(.reads(job))])
    // Between the ceiling and where it is calm, all stays as it is.
    #expect(machine.run(100, share: 0.4, events: [1: 5]) == [])
    #expect(machine.run(200, share: 0.1, events: [1: 5]) == [ends(.reads(job)), ends(.hashes)])
    #expect(machine.governor.measures.isEmpty)
  }

  @Test func calmHasToLast() {
    var machine = Machine(processors: 0.5)
    machine.figures.hashes = true
    #expect(machine.run(6, share: 1) == [begins(.hashes)])
    for _ in 0..<10 {
      #expect(machine.run(20, share: 0.1) == [])
      #expect(machine.run(10, share: 0.45) == [])
    }
  }

  @Test func theJobOfWhichMostIsKeptKeepsNoMore() {
    var machine = Machine(memory: 10 << 20)
    let small = machine.begin(1, bytes: 1 << 20)
    let large = machine.begin(2, bytes: 8 << 20)
    machine.figures.memory = 11 << 20
    #expect(machine.run(1) == [begins(.keeping(large), .memory)])
    #expect(machine.run(1) == [], "what is freed goes back a little later")
    #expect(machine.run(1) == [begins(.keeping(small), .memory)])
    #expect(machine.run(4) == [])
    #expect(machine.governor.isAtItsEnd)
    // What was forgotten cannot be taken up.
    machine.figures.memory = 1
    #expect(machine.run(200) == [])
    #expect(!machine.governor.isAtItsEnd)
  }

  @Test func hashesAreTheFirstForMemoryToo() {
    var machine = Machine(memory: 10 << 20)
    machine.figures.hashes = true
    let job = machine.begin(1, bytes: 1)
    machine.figures.memory = 11 << 20
    #expect(machine.run(3) == [begins(.hashes, .memory), begins(.keeping(job), .memory)])
    machine.figures.memory = 5 << 20
    #expect(machine.run(60) == [ends(.hashes, .memory)])
  }

  @Test func aSlotsNextJobIsAnother() {
    var machine = Machine(processors: 0.5)
    let first = machine.begin(1)
    #expect(machine.run(6, share: 1, events: [1: 5]) == [begins(.reads(first))])
    machine.figures.jobs = []
    #expect(machine.run(1) == [])
    #expect(machine.governor.measures.isEmpty)
    let second = machine.begin(1)
    #expect(machine.run(8, share: 1, events: [1: 5]).contains(begins(.reads(second))))
  }
}
