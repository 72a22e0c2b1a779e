import Glibc
import Jobs
import KernelABI
import KernelSensor
import Observation
import Policy
import Recording
import Testing

/// One sensor for all tests of this process, and actors that run under it, each as a job of its own.
///
/// Tests that use it are in the serialized suite ``KernelTests``: one thread at a time.
final class Bench {
  nonisolated(unsafe) static let shared: Result<Bench, any Error> = Result { try Bench() }

  /// Loading takes root, and types that the kernel publishes.
  static let isPossible = geteuid() == 0 && access("/sys/kernel/btf/vmlinux", R_OK) == 0

  let sensor: Sensor
  let actor: String
  private var job: UInt16 = 0
  /// Records that were no records.
  private(set) var malformed: [String] = []

  /// Another one, which counts bytes.
  nonisolated(unsafe) static let counting: Result<Bench, any Error> = Result { try Bench(countsBytes: true) }

  /// Another one, which hashes what is executed and what is left behind.
  nonisolated(unsafe) static let hashing: Result<Bench, any Error> = Result { try Bench(hashesImages: true) }

  /// Another one, which keeps policies.
  nonisolated(unsafe) static let enforcing: Result<Bench, any Error> = Result { try Bench(enforces: true) }

  /// Another one, which looks at what is handed to TLS, by the actor's own functions.
  nonisolated(unsafe) static let reading: Result<Bench, any Error> = Result {
    let bench = try Bench(readsRequests: true)
    _ = bench.probes?.look(at: bench.actor, calledAs: "actor", now: { Clock.boottime })
    return bench
  }

  /// Another one, which can leave out what a filter says.
  nonisolated(unsafe) static let filtering: Result<Bench, any Error> = Result {
    var filter = EventFilter()
    filter.excludedPaths = ["/"]
    filter.users = .only([0])
    return try Bench(filters: [filter])
  }

  /// The actor's deed under a filter, and what that has left out.
  ///
  /// - Parameter make: makes the filter, for the directory that the actor works in
  static func filtered(
    _ words: String..., filter make: @escaping (String) -> EventFilter, location: SourceLocation = #_sourceLocation
  ) throws -> (act: Act, counts: FilteredCounts) {
    try filtered(words: words, filter: make, location: location)
  }

  static func filtered(
    words: [String], filter make: @escaping (String) -> EventFilter,
    location: SourceLocation = #_sourceLocation
  ) throws -> (act: Act, counts: FilteredCounts) {
    let bench = try filtering.get()
    #expect(bench.sensor.missingHooks.map { "\($0.family): \($0.reason)" } == [], sourceLocation: location)
    let act = try bench.run(words, prepared: [], filter: make) { _ in true }
    try #require(
      act.facts["failed"] == nil && act.facts["unsupported"] == nil, "\(failure(act))", sourceLocation: location)
    #expect(bench.malformed == [], sourceLocation: location)
    bench.malformed = []
    return (act, try bench.sensor.jobCounts(bench.job).filtered)
  }

  /// Whether its programs are those for old kernels.
  static var isOld: Bool { get throws { try enforcing.get().sensor.features != Set(KernelFeature.allCases) } }

  private let hasher: FileHasher?
  let probes: RequestProbes?

  private init(
    without features: Set<KernelFeature> = [], hooks: HookTier? = nil, countsBytes: Bool = false,
    hashesImages: Bool = false, enforces: Bool = false, readsRequests: Bool = false,
    filters: [EventFilter] = []
  ) throws {
    hasher = hashesImages ? try FileHasher() : nil
    try hasher?.start()
    actor = try findActor()
    var options = SensorOptions()
    options.hooks = try hooks ?? Self.hooks()
    options.withheld = features.union(Self.withheld)
    options.countsBytes = countsBytes
    options.hashesImages = hashesImages
    options.enforces = enforces
    options.names = true
    options.readsRequests = readsRequests
    options.filters = filters
    // Each deed is a job of its own here, although nothing recognises them.
    if !filters.isEmpty { options.mapEntries = ["filtered": UInt32(MT_MAX_JOBS), "job_counts": UInt32(MT_MAX_JOBS)] }
    options.leaseGrace = .milliseconds(500)
    sensor = try Sensor(options: options)
    probes = sensor.requestProbes(limit: 4)
  }

  /// The tier that the tests are to run in: `Kernels/test --hooks`.
  static func hooks() throws -> HookTier? {
    guard let name = getenv("MARTLET_TEST_HOOKS").map({ String(cString: $0) }), !name.isEmpty else { return nil }
    guard let tier = HookTier(rawValue: name) else { throw CallFailed("MARTLET_TEST_HOOKS=\(name)", EINVAL) }
    return tier
  }

  /// Whether a family of calls is told by the hook on their end, which knows what was asked for, and all that failed.
  /// Hooks on the functions that do it know what was done, however it was asked for.
  static func tellsCalls(_ family: String, _ function: String) throws -> Bool {
    let choice = try shared.get().sensor.choices.first { $0.family == family && $0.function == function }
    return try #require(choice).hooks.contains { $0.program == "sys_exit" }
  }

  /// The flags of an open as they are told: those given, or what the kernel keeps of them and what they came to.
  static func openFlags(_ given: Int32, creates: Bool = false) throws -> UInt32 {
    let given = UInt32(bitPattern: given)
    if try tellsCalls("file", "open") { return given }
    let forgotten = UInt32(bitPattern: O_EXCL | O_NOCTTY | O_CLOEXEC | (creates ? O_TRUNC : 0))
    return given & ~forgotten
  }

  /// Features that all tests do without: `Kernels/test --without loops,taskStorage`.
  static let withheld: Set<KernelFeature> = {
    let names = getenv("MARTLET_WITHHELD").map { String(cString: $0) } ?? ""
    return Set(names.split(separator: ",").compactMap { KernelFeature(rawValue: String($0)) })
  }()

  /// A sensor that does without features of the kernel.
  static func without(_ features: Set<KernelFeature>, hooks: HookTier? = nil) throws -> Bench {
    try Bench(without: features, hooks: hooks)
  }

  /// The actor's deed as this sensor sees it; it may fail.
  func repeated(_ words: [String]) throws -> Act {
    try run(words, prepared: []) { _ in true }
  }

  /// The actor's deed under a policy; it may fail.
  static func act(
    _ words: [String], under policy: Policy, prepared: [String] = [],
    altering alter: (Sensor, UInt16) throws -> Void = { _, _ in }
  ) throws -> Act {
    let bench = try enforcing.get()
    #expect(bench.sensor.missingHooks.map { "\($0.family): \($0.reason)" } == [])
    let act = try bench.run(words, prepared: prepared, under: policy, altering: alter) { _ in true }
    #expect(bench.malformed == [])
    bench.malformed = []
    return act
  }

  /// Runs an actor; `prepared` are files of five bytes that exist before it starts.
  ///
  /// - Parameters:
  ///   - again: run it again where the kernel left out runs of programs meanwhile: what was seen then says nothing
  ///   - until: what else has to have arrived; the wait ends after 20 s whatever has.
  static func act(
    _ words: String..., prepared: [String] = [], again: Bool = true, location: SourceLocation = #_sourceLocation,
    until isComplete: (Act) -> Bool = { _ in true }
  ) throws -> Act {
    let act = try shared.get().attempt(words, prepared: prepared, again: again, isComplete)
    try #require(act.facts["failed"] == nil, "\(failure(act))", sourceLocation: location)
    try #require(act.facts["unsupported"] == nil, "\(failure(act))", sourceLocation: location)
    checkInvariants(act, location, isWhole: again)
    return act
  }

  /// Runs an actor under a policy.
  ///
  /// - Parameters:
  ///   - mayFail: the actor may say that it cannot do what it is told
  ///   - rules: makes the policy, whose rules have numbers
  static func guarded(
    _ words: [String], prepared: [String] = [], mayFail: Bool = false,
    location: SourceLocation = #_sourceLocation, _ rules: (inout Policy) -> Void
  ) throws -> Act {
    let bench = try enforcing.get()
    var policy = Policy()
    rules(&policy)
    let act = try bench.run(["guarded"] + words, prepared: prepared, under: policy) { _ in true }
    try #require(
      mayFail || (act.facts["failed"] == nil && act.facts["unsupported"] == nil), "\(failure(act))",
      sourceLocation: location)
    #expect(bench.malformed == [], sourceLocation: location)
    return act
  }

  /// As ``act(_:prepared:location:until:)``, and nil where the kernel lacks `feature`, after a look whether it does.
  static func act(
    _ words: String..., needs feature: Feature, prepared: [String] = [], location: SourceLocation = #_sourceLocation
  ) throws -> Act? {
    let act = try shared.get().attempt(words, prepared: prepared) { _ in true }
    if !feature.isHere {
      #expect(
        act.facts["unsupported"] != nil || act.facts["failed"] != nil,
        "\(feature.rawValue) is here after all: \(feature.since.reason)", sourceLocation: location)
      return nil
    }
    try #require(
      act.facts["failed"] == nil && act.facts["unsupported"] == nil, "\(failure(act))", sourceLocation: location)
    checkInvariants(act, location)
    return act
  }

  private static func failure(_ act: Act) -> String {
    let text = String(decoding: hexadecimal(act.facts["failed"] ?? act.facts["unsupported"] ?? ""), as: UTF8.self)
    return "the actor says: \(text)"
  }

  /// Runs an actor that says when it waits to be killed, under a sensor of its own, which is taken off meanwhile.
  ///
  /// - Parameter look: what to do before that
  static func held(
    _ words: String..., without features: Set<KernelFeature> = [], look: (Sensor) throws -> Void = { _ in }
  ) throws -> Act {
    let bench = try Bench(without: features)
    let directory = try TemporaryDirectory()
    defer { directory.remove() }
    bench.job = 1
    var child = try Child(bench.actor, ["wait-then"] + words, directory: directory.path)
    defer { child.end() }
    try bench.sensor.addToJob(pidfd: child.pidfd, pid: child.pid, job: bench.job)
    let state = JobState(options: JobOptions(rootProcess: UInt32(child.pid), masker: SecretMasker(mode: .full)))
    var recorder = JobRecorder(state: state, log: nil)
    var records: [Record] = []
    child.release()
    while child.facts["held"] == nil {
      guard child.readOutput(waiting: 100) else { throw CallFailed("the actor ended: \(child.facts)", EPIPE) }
    }
    try look(bench.sensor)
    bench.sensor.detach()
    while try bench.sensor.rings.received < bench.sent() { bench.drain(into: &records, state, &recorder) }
    #expect(bench.malformed == [] && bench.sensor.missingHooks.isEmpty)
    return Act(
      pid: Int(child.pid), directory: directory.path, facts: child.facts, records: records, status: 0)
  }

  private func attempt(
    _ words: [String], prepared: [String], again: Bool = true, _ isComplete: (Act) -> Bool
  ) throws -> Act {
    var tries = 0
    while true {
      let missed = try sensor.missedRuns()
      let act = try run(words, prepared: prepared, isComplete)
      tries += 1
      if try sensor.missedRuns() == missed || !again || tries == 10 { return act }
    }
  }

  // MARK: - One run

  private func run(
    _ words: [String], prepared: [String], under policy: Policy? = nil,
    filter: ((String) -> EventFilter)? = nil,
    altering alter: (Sensor, UInt16) throws -> Void = { _, _ in }, _ isComplete: (Act) -> Bool
  ) throws -> Act {
    job += 1
    let directory = try TemporaryDirectory()
    defer { directory.remove() }
    for name in prepared { try directory.write("text\n", to: name) }

    var child = try Child(actor, ["wait-then"] + words, directory: directory.path)
    defer { child.end() }
    try sensor.addToJob(pidfd: child.pidfd, pid: child.pid, job: job)
    if let filter { try sensor.setFilter(filter(directory.path), on: job) }
    if let policy {
      try sensor.enforce(policy, on: job, in: directory.path)
      try alter(sensor, job)
    }
    defer { if policy != nil { try? sensor.endPolicy(on: job) } }
    var options = JobOptions(rootProcess: UInt32(child.pid), masker: SecretMasker(mode: .full))
    options.hashesFiles = hasher != nil
    let state = JobState(options: options)
    var recorder = JobRecorder(state: state, log: nil, hasher: hasher)
    var records: [Record] = []
    child.release()
    while child.readOutput() {
      sensor.rings.wait(milliseconds: 5)
      drain(into: &records, state, &recorder)
      recorder.flush(now: Clock.boottime)
      // An actor that waits until its program is hashed, as far as that is going to be.
      if let path = child.facts["until-hashed"].map(hexadecimal), !recorder.isHashing,
        records.contains(where: { $0.type == .exec && $0.executable == path })
      {
        try directory.write("", to: "hashed")
      }
    }
    let status = child.reap()
    var act = Act(
      pid: Int(child.pid), directory: directory.path, facts: child.facts, records: [], status: status)
    if act.facts["parent"] != nil, let adopted = act.facts["child"].flatMap({ Int32($0) }) {
      _ = waitpid(adopted, nil, 0)
    }

    let deadline = monotonicSeconds() + 20
    repeat {
      drain(into: &records, state, &recorder)
      act.records = records
      if try sensor.rings.received == sent(), isComplete(act) {
        // A record that is being built now is in no count yet: once more, after a pause.
        sensor.rings.wait(milliseconds: 20)
        let before = records.count
        drain(into: &records, state, &recorder)
        if records.count == before, try sensor.rings.received == sent() { break }
      }
      sensor.rings.wait(milliseconds: 10)
    } while monotonicSeconds() < deadline
    act.records = records
    if hasher != nil {
      recorder.finishHashing()
      act.snapshot = state.snapshot()
    }
    return act
  }

  private func sent() throws -> UInt64 { try sensor.counters().types.reduce(0) { $0 + $1.sent } }

  private func drain(into records: inout [Record], _ state: JobState, _ recorder: inout JobRecorder) {
    let job = job
    var bad: [String] = []
    sensor.rings.drain { bytes in
      do {
        let view = try RecordView(validating: bytes)
        guard view.job == job else { return }
        recorder.take(view)
        let applied = state.applied
        records.append(
          Record(
            type: view.type, header: view.header, bytes: [UInt8](bytes), path: [UInt8](applied.path),
            path2: [UInt8](applied.path2), pathIsResolved: applied.pathIsResolved,
            pathIsTruncated: applied.pathIsTruncated,
            executable: view.type == .exec ? [UInt8](applied.executable) : [],
            filename: view.type == .exec ? [UInt8](applied.filename) : [],
            workingDirectory: view.type == .exec ? [UInt8](applied.workingDirectory) : [],
            arguments: view.type == .exec ? [UInt8](applied.arguments) : [],
            targetIsInJob: applied.targetID != 0))
      } catch {
        bad.append("\(error): \(bytes.prefix(64).map { String($0, radix: 16) }.joined(separator: " "))")
      }
    }
    malformed += bad
  }

  // MARK: - What holds whatever an actor does

  /// - Parameter isWhole: whether all was seen, apart from what is counted
  private static func checkInvariants(_ act: Act, _ location: SourceLocation, isWhole: Bool = true) {
    guard case .success(let bench) = shared else { return }
    #expect(bench.malformed == [], sourceLocation: location)
    bench.malformed = []

    // Every process that was made has ended, once, and nobody else has.
    let forked = act.all(.fork).map { Int($0.fork.child_tgid) }
    let ended = act.all(.exit).map(\.pid)
    let processes = Set(forked + [act.pid])
    if isWhole {
      #expect((forked + [act.pid]).sorted() == ended.sorted(), "\(act.summary)", sourceLocation: location)
    } else {
      #expect(Set(ended).count == ended.count && processes.isSuperset(of: ended), sourceLocation: location)
    }
    #expect(act.records.allSatisfy { processes.contains($0.pid) }, "\(act.summary)", sourceLocation: location)

    // A pid means one process as long as the leader's start is the same, and that never changes.
    for pid in processes {
      let starts = Set(act.records.filter { $0.pid == pid }.map(\.header.leader_start))
      #expect(starts.count == 1 && !starts.contains(0), "pid \(pid) \(starts)", sourceLocation: location)
    }
    #expect(zip(act.records, act.records.dropFirst()).allSatisfy { $0.header.time <= $1.header.time })
    #expect(act.records.allSatisfy { !$0.flags.contains(.unreadable) }, "\(act.summary)", sourceLocation: location)
  }
}
