import Glibc
import KernelABI
import KernelSensor
import Observation
import Testing

/// A sensor that recognises jobs, one for all tests with the same features. Each test puts its own rules in force, and
/// gives the slots back that it had.
final class JobBench {
  /// What tests lack: nothing, and what old kernels do. Those take no CPU from a task within a program, and the programs
  /// for them have nobody who takes turns.
  static let lacking: [Set<KernelFeature>] =
    Preemption.ofThisKernel.isWithinTheKernel ? [[]] : [[], [.loops], [.loops, .taskStorage]]
  nonisolated(unsafe) private static var benches: [Set<KernelFeature>: JobBench] = [:]
  static let slots: ClosedRange<UInt16> = 1...8

  let sensor: Sensor
  let actor: String
  private(set) var records: [Record] = []

  static func with(
    _ rules: [JobRule], identity: [String] = [], without features: Set<KernelFeature>
  ) throws -> JobBench {
    let bench = try benches[features] ?? JobBench(without: features)
    benches[features] = bench
    try silence(allBut: bench)
    try bench.sensor.setRules(rules, identity: identity)
    bench.collect()
    bench.records = []
    return bench
  }

  /// Another one that takes over from one, and goes with its last holder.
  static func successor(
    of bench: JobBench, _ rules: [JobRule], without features: Set<KernelFeature>
  ) throws -> JobBench {
    let other = try JobBench(without: features, others: [bench.sensor.members()])
    try bench.sensor.know(other.sensor.members())
    try other.sensor.setRules(rules, identity: [])
    return other
  }

  /// Each sees what is done for the others.
  static func silence(allBut bench: JobBench? = nil) throws {
    let all = benches.values + [keeper, filter].compactMap { $0 }
    for other in all where other !== bench { try other.sensor.setRules([], identity: []) }
  }

  /// One that keeps policies, too.
  static func enforcing(_ rules: [JobRule]) throws -> JobBench {
    let bench = try keeper ?? JobBench(without: [], enforces: true)
    keeper = bench
    try silence()
    try bench.sensor.setRules(rules, identity: [])
    bench.collect()
    bench.records = []
    return bench
  }
  nonisolated(unsafe) private static var keeper: JobBench?

  /// One that leaves out of the jobs of rules what these filters say. There is one such test.
  static func filtering(_ rules: [JobRule], _ filters: [Int: EventFilter]) throws -> JobBench {
    let bench = try JobBench(without: [], filters: Array(filters.values))
    filter = bench
    try silence()
    try bench.sensor.setFilters(rules: filters, asked: nil)
    try bench.sensor.setRules(rules, identity: [])
    return bench
  }
  nonisolated(unsafe) private static var filter: JobBench?

  /// What was seen so far.
  func forget() {
    collect()
    records = []
  }

  private init(
    without features: Set<KernelFeature>, enforces: Bool = false, filters: [EventFilter] = [],
    others: [OtherMembers] = []
  ) throws {
    actor = try findActor()
    var options = SensorOptions()
    options.recognisesJobs = true
    options.enforces = enforces
    options.others = others
    options.filters = filters
    // Several of these live beside others in a guest with little memory.
    options.criticalRingBytes = 1 << 20
    options.bulkRingBytes = 1 << 20
    options.mapEntries = ["processes": 8192, "writers": 8192, "sockets": 8192, "thread_tags": 8192]
    options.hooks = try Bench.hooks()
    options.withheld = features.union(Bench.withheld)
    sensor = try Sensor(options: options)
    #expect(sensor.missingHooks.map { "\($0.family): \($0.reason)" } == [])
    try sensor.openSlots(Self.slots)
  }

  private func drain() {
    var new: [Record] = []
    sensor.rings.drain { bytes in
      guard let view = try? RecordView(validating: bytes) else { return }
      new.append(
        Record(
          type: view.type, header: view.header, bytes: [UInt8](bytes), path: [], path2: [], pathIsResolved: true,
          pathIsTruncated: false, executable: [], filename: [], workingDirectory: [], arguments: [],
          targetIsInJob: false))
    }
    records += new
  }

  /// Takes all records that there are.
  func collect() {
    let deadline = monotonicSeconds() + 20
    repeat {
      let before = records.count
      drain()
      sensor.rings.wait(milliseconds: 20)
      drain()
      let sent = (try? sensor.counters().types.reduce(0) { $0 + $1.sent }) ?? 0
      if records.count == before, sensor.rings.received >= sent { return }
    } while monotonicSeconds() < deadline
  }

  /// Runs an actor, in no job, to its end and that of all that it started.
  func run(_ words: [String], _ location: SourceLocation = #_sourceLocation) throws -> Deed {
    let directory = try TemporaryDirectory()
    defer { directory.remove() }
    var child = try Child(actor, ["wait-then"] + words, directory: directory.path)
    defer { child.end() }
    child.release()
    return try finish(&child, directory.path, location)
  }

  func finish(
    _ child: inout Child, _ directory: String, _ location: SourceLocation = #_sourceLocation
  ) throws -> Deed {
    while child.readOutput() {
      sensor.rings.wait(milliseconds: 5)
      drain()
    }
    let status = child.reap()
    collect()
    let deed = Deed(pid: Int(child.pid), directory: directory, facts: child.facts, records: records, status: status)
    let failure = child.facts["failed"] ?? child.facts["unsupported"]
    try #require(
      failure == nil, "the actor says: \(String(decoding: hexadecimal(failure ?? ""), as: UTF8.self))",
      sourceLocation: location)
    #expect(status == 0, "\(deed.summary)", sourceLocation: location)
    return deed
  }

  /// Closes the job and gives its slot back.
  func release(_ slot: UInt16, _ location: SourceLocation = #_sourceLocation) throws {
    #expect(try sensor.slot(slot).processes == 0, sourceLocation: location)
    #expect(try sensor.closeJob(slot), sourceLocation: location)
    #expect(try sensor.releaseSlot(slot), sourceLocation: location)
  }
}

/// What actors did that started in no job.
struct Deed {
  var pid: Int
  var directory: String
  var facts: [String: String]
  var records: [Record]
  var status: Int32

  var summary: String {
    "pid \(pid) status \(status)\n" + records.map { "  job \($0.header.job) \($0)\n" }.joined()
      + facts.sorted { $0.key < $1.key }.map { "  \($0.key)=\($0.value)\n" }.joined()
  }

  func number(_ key: String, _ location: SourceLocation = #_sourceLocation) throws -> Int {
    try #require(facts[key].flatMap { Int($0) }, "the actor did not tell \(key)\n\(summary)", sourceLocation: location)
  }

  /// The claims of this process; others on the machine may be claimed at the same time.
  func claims(_ pid: Int? = nil) -> [Record] { records.filter { $0.type == .claim && $0.pid == pid ?? self.pid } }

  func claim(_ pid: Int? = nil, _ location: SourceLocation = #_sourceLocation) throws -> Record {
    let found = claims(pid)
    return try #require(
      found.count == 1 ? found[0] : nil, "\(found.count) claims\n\(summary)", sourceLocation: location)
  }

  func of(_ slot: UInt16) -> [Record] { records.filter { $0.header.job == slot } }

  /// The names of files that were made, by what they are called in the records.
  func touched(_ slot: UInt16) -> [(name: String, pid: Int)] {
    of(slot).compactMap { record in
      guard record.type == .open, record.open.fmode & MT_FMODE_CREATED != 0, let name = record.string(.name) else {
        return nil
      }
      return (String(decoding: name, as: UTF8.self), record.pid)
    }
  }

  /// In which step each process of the job is, by what forks, claims and steps say.
  func steps(_ slot: UInt16) -> [Int: UInt32] {
    var steps: [Int: UInt32] = [:]
    for record in of(slot) {
      if record.type == .fork { steps[Int(record.fork.child_tgid)] = record.fork.step }
      if record.type == .claim { steps[record.pid] = record.claim.step }
    }
    return steps
  }
}

extension Record {
  var claim: mt_claim { view(\.claim, mt_claim()) }
  var step: mt_step { view(\.step, mt_step()) }
  var daemon: mt_daemon { view(\.daemon, mt_daemon()) }
  var cgroup: mt_cgroup_change { view(\.cgroup, mt_cgroup_change()) }

  var variables: [String] {
    var found: [String] = []
    bytes.withUnsafeBytes { raw in
      guard let view = try? RecordView(validating: raw) else { return }
      view.forEachVariable { name, value in
        found.append(String(decoding: name, as: UTF8.self) + "=" + String(decoding: value, as: UTF8.self))
      }
    }
    return found
  }
}
