import CLibbpf
import CSystem
import Glibc
import KernelABI
import KernelPrograms
public import Observation

/// The kernel side of martlet at work: opening it loads and attaches every program, dropping it takes them away.
///
/// ```swift
/// let sensor = try Sensor(options: SensorOptions())
/// try sensor.addToJob(pidfd: pidfd, pid: pid, job: 1)
/// while running {
///   sensor.rings.wait(milliseconds: 10)
///   sensor.rings.drain { record in fold(record) }
/// }
/// sensor.detach()
/// sensor.rings.drainAll { record in fold(record) }
/// ```
///
/// Owned by one thread at a time.
public final class Sensor {
  /// What is attached.
  public let hooks: [Hook]
  /// By which hooks each function is seen, and which better ones were passed over.
  public let choices: [HookChoice]
  /// Whether every way is seen that bytes are read and written by: ``SensorOptions/countsBytes``.
  public let countsBytes: Bool
  public let isAskedForBytes: Bool
  /// What is left out of every job, so that not all that sees it is attached: ``SensorOptions/leftOut``. How much there was
  /// of it, nobody knows.
  public let unattached: [EventClass]
  /// Why the kernel does not hash images, which it was asked to: ``SensorOptions/hashesImages``.
  public var hashObjection: String? {
    choices.first { $0.request == .hashes && $0.hooks.isEmpty }?.reasons
  }
  /// Programs of which it was seen that they run.
  let provenPrograms: Set<String>
  /// What is not seen, although martlet has a program for it, and why.
  public private(set) var missingHooks: [(family: String, reason: String)]
  /// What the programs have seen.
  public var rings: RingSet

  let objects: LoadedObjects
  /// Of ``SensorOptions/outlives``.
  private(set) var pins: PinnedSensor?
  /// Which CPU each ring behind the first is for.
  let ringCPUs: [Int]
  /// While the sensor lives, if ``SensorOptions/countsRunTime`` asked for it.
  let runTime: RunTimeStatistics?
  /// The most that ``status()`` found in each map, by `mt_map`.
  var mapHighWater = [UInt64](repeating: 0, count: Int(MT_MAP_COUNT.rawValue))
  let possibleCPUs: Int

  /// The slots' state, shared with the kernel.
  let jobs: JobMemory
  /// Makes of a key's value what the programs make of it.
  let keyHash: KeyHash
  /// In force, by their indices.
  var rules: [JobRule] = []
  var ruleFilter = mt_rule_filter()
  var watchedCgroups: Set<UInt64> = []
  /// How many slots jobs can be made in.
  var openSlots = 0
  /// Files that the kernel side had no room for, of all policies: they are protected by their paths alone.
  var unprotectedInodes: UInt64 = 0
  /// By their numbers.
  var placedPolicies: [UInt32: PlacedPolicy] = [:]
  /// Those that new jobs get, and those that jobs are under by user space's doing.
  var policiesOfRules: Set<UInt32> = []
  var policyOfContainers = mt_policy()
  var policiesOfSlots: [UInt16: UInt32] = [:]
  /// Whether the kernel side notes what jobs write.
  var notesWrites = false
  /// By their places in the map of that name.
  var others = [OtherMembers?](repeating: nil, count: Int(MT_MAX_OTHERS))
  /// Jobs are left to another agent to begin.
  var leavesJobs = false
  var asksRules = true
  /// What ``shield(path:)`` has opened.
  var shieldedPlaces: [Int32] = []
  /// Numbers that were given last.
  var lastPolicy: UInt32 = 0
  var lastNetworkSet: UInt32 = 0
  var lastFilter: UInt32 = 0

  /// Of the features that there is a choice of, those in use.
  public let features: Set<KernelFeature>

  /// The sensor's programs for a kernel that has these features.
  static func programs(with features: Set<KernelFeature>) -> [(name: String, bytes: [UInt8])] {
    let program = KernelProgram.sensor(with: features)
    return [(KernelProgram.sensor.rawValue, program.object)]
  }

  /// Opens, loads and attaches everything.
  ///
  /// - Throws: what ``preflight()`` throws, and whatever the kernel has against a program or map that martlet
  ///   cannot do without.
  public convenience init(options: SensorOptions = SensorOptions()) throws(SensorError) {
    try Self.preflight(seesMachine: options.recognisesJobs)
    PinnedSensors.releaseIdle()
    let features = KernelFeature.available(without: options.withheld)
    try self.init(objects: Self.programs(with: features), options: options, features: features)
  }

  /// - Parameters:
  ///   - features: what the programs may use
  ///   - table: what to see
  ///   - notes: take down how each program fared, and look of each whether it runs, not only of those that might not
  init(
    objects parts: [(name: String, bytes: [UInt8])], options: SensorOptions,
    features: Set<KernelFeature> = Set(KernelFeature.allCases),
    table: [HookFunction] = HookFunction.table, notes: TrialNotes? = nil
  ) throws(SensorError) {
    let possible = libbpf_num_possible_cpus()
    guard possible > 0 else { throw .systemCall("Could not count the possible CPUs", errno: -possible) }
    possibleCPUs = Int(possible)
    self.features = features
    let online = readText("/sys/devices/system/cpu/online").map(parseCPUList) ?? []
    ringCPUs = online.isEmpty ? [0] : online
    runTime = options.countsRunTime ? try RunTimeStatistics() : nil
    let criticalBytes = RingMemory.size(atLeast: options.criticalRingBytes)
    let bulkBytes = RingMemory.size(atLeast: options.bulkRingBytes)

    let bulk = try BulkRings(cpus: ringCPUs, byteCount: bulkBytes)
    let slots = possibleCPUs * Int(MT_SLOTS)
    let config = try Self.config(
      criticalBytes: criticalBytes, bulkBytes: bulkBytes, cpuCount: possible, options, features: features)
    keyHash = KeyHash(seed: config.seed)
    let settings = ObjectSettings(
      config: config,
      entries: ["critical": UInt32(criticalBytes), "bulk": UInt32(possible), "inflight": UInt32(slots)]
        .merging(options.entries) { fixed, _ in fixed },
      innerRing: bulk.descriptors[0], innerProcesses: options.others.first?.descriptor,
      unusedMaps: features.unusedMaps.union(options.unusedMaps))
    let assembly = try Self.assemble(
      parts, table, settings, bulk, possibleCPUs: possibleCPUs, options, notes: notes)
    objects = assembly.objects
    choices = assembly.choices
    isAskedForBytes = options.countsBytes
    let unwanted = options.unwanted
    unattached = unwanted.filter { one in
      table.contains { $0.classes?.contains(one) ?? false && !$0.isWanted(without: unwanted) }
    }.sorted()
    countsBytes = options.countsBytes && choices.allSatisfy { $0.request != .bytes || !$0.hooks.isEmpty }
    provenPrograms = assembly.proven
    missingHooks = choices.filter(\.isMissing).map { ($0.family, $0.reasons) }
    hooks = objects.hooks

    // No process is in a job yet, so the reader is there before the first record.
    let critical = try objects.map("critical")
    jobs = try JobMemory(map: objects.map("jobs"))
    let inflight = try InflightMemory(map: objects.map("inflight"), count: slots)
    let memory: [RingMemory]
    do {
      memory = try bulk.mapAll(after: critical, criticalBytes)
    } catch {
      inflight.release()
      throw error
    }
    rings = try RingSet(memory: memory, inflight: inflight, cpuCount: possibleCPUs)
    if options.outlives { pins = try PinnedSensor(objects) }
    if options.names || options.enforces { try placeResolvers(Resolvers.ofThisMachine, of: 0) { _ in } }
    for other in options.others where try !know(other) {
      throw .systemCall(
        "The agents whose jobs are not over are of versions that cannot be there together", errno: EINVAL)
    }
    try shieldItself()
  }

  deinit {
    for place in shieldedPlaces { close(place) }
  }

  private struct Assembly {
    var objects: LoadedObjects
    var choices: [HookChoice]
    var proven: Set<String>
  }

  /// Loads and attaches the best that works: whenever the kernel does not take a program everything is begun again
  /// without it.
  private static func assemble(
    _ parts: [(name: String, bytes: [UInt8])], _ table: [HookFunction], _ settings: ObjectSettings,
    _ bulk: borrowing BulkRings, possibleCPUs: Int, _ options: SensorOptions, notes: TrialNotes?
  ) throws(SensorError) -> Assembly {
    var objects = try LoadedObjects(parts)
    var selection = HookSelection(
      table: table, programs: objects.contents, forced: options.hooks, requests: options.requests,
      recognises: options.recognisesJobs, without: options.unwanted, isPreemptible: settings.config.preemptible != 0)
    defer { notes?.note(selection) }
    try selection.leaveOutWhatCannotWork()
    while true {
      try selection.checkForcedTier()
      do throws(Obstacle) {
        try objects.load(selection, settings)
        do {
          try bulk.fill(objects.map("bulk"), possibleCPUs: possibleCPUs)
          try objects.fillHandlers()
        } catch {
          throw .other(error)
        }
        try objects.attach()
        let proven = try objects.prove(all: notes != nil)
        if let notes {
          do {
            try notes.note(objects, proven)
            if notes.isWithoutCounts { notes.note(counts: try LoadedObjects(parts).counts(selection, settings)) }
          } catch {
            throw .other(error)
          }
        }
        return Assembly(objects: objects, choices: selection.choices, proven: proven)
      } catch {
        try selection.overcome(error)
        objects = try LoadedObjects(parts)
      }
    }
  }

  private static func config(
    criticalBytes: Int, bulkBytes: Int, cpuCount: Int32, _ options: SensorOptions, features: Set<KernelFeature>
  ) throws(SensorError) -> mt_config {
    var config = mt_config()
    let failed = withUnsafeMutableBytes(of: &config.seed) { seed in
      seed.baseAddress.map { getentropy($0, seed.count) } ?? -1
    }
    guard failed == 0 else { throw .systemCall("Could not get random bytes", errno: errno) }
    var namespace = stat()
    guard stat("/proc/self/ns/mnt", &namespace) == 0 else {
      throw .systemCall("Could not identify martlet's mount namespace", errno: errno)
    }
    config.mount_namespace = UInt32(truncatingIfNeeded: namespace.st_ino)
    config.critical_edge = options.wakeup.edge(ofRing: criticalBytes)
    config.bulk_edge = options.wakeup.edge(ofRing: bulkBytes)
    config.cpu_count = UInt32(cpuCount)
    config.page_size = UInt32(sysconf(Int32(_SC_PAGESIZE)))
    config.uncounted = options.counts ? 0 : 1
    config.task_storage = features.contains(.taskStorage) ? 1 : 0
    config.enforces = options.enforces ? 1 : 0
    config.lease_grace = UInt64(options.leaseGrace / .nanoseconds(1))
    config.names = options.names || options.enforces ? 1 : 0
    config.wakes_at_exec = options.readsRequests ? 1 : 0
    config.filters = options.filterBits
    config.counts_by_job = options.recognisesJobs ? 1 : 0
    config.preemptible = Preemption.ofThisKernel.isWithinTheKernel ? 1 : 0
    config.holds_cpu = config.preemptible != 0 && KernelName().isAtLeast(6, 15) ? 1 : 0
    return config
  }

  /// - Returns: whether there was no such entry
  static func put<Key: BitwiseCopyable, Value: BitwiseCopyable>(
    _ value: inout Value, at key: inout Key, of map: Int32, named name: String
  ) throws(SensorError) -> Bool {
    var result = bpf_map_update_elem(map, &key, &value, UInt64(BPF_NOEXIST))
    if result == 0 { return true }
    if result == -EEXIST { result = bpf_map_update_elem(map, &key, &value, 0) }
    if result != 0 { throw .mapFailed(name, "update", errno: -result) }
    return false
  }

  static func set<Key: BitwiseCopyable, Value: BitwiseCopyable>(
    _ value: inout Value, at key: inout Key, of map: Int32, named name: String
  ) throws(SensorError) {
    let result = bpf_map_update_elem(map, &key, &value, 0)
    if result != 0 { throw .mapFailed(name, "update", errno: -result) }
  }

  static func set<Value: BitwiseCopyable>(
    _ value: inout Value, at key: [UInt8], of map: Int32, named name: String
  ) throws(SensorError) {
    let result = key.withUnsafeBytes { bpf_map_update_elem(map, $0.baseAddress, &value, 0) }
    if result != 0 { throw .mapFailed(name, "update", errno: -result) }
  }

  /// Takes every entry out of a hash.
  static func removeAll(from map: Int32, keySize: Int, named name: String) throws(SensorError) {
    var key = [UInt8](repeating: 0, count: keySize)
    while key.withUnsafeMutableBytes({ bpf_map_get_next_key(map, nil, $0.baseAddress) }) == 0 {
      let result = key.withUnsafeBytes { bpf_map_delete_elem(map, $0.baseAddress) }
      if result != 0 { throw .mapFailed(name, "update", errno: -result) }
    }
  }

  /// What became of the events, as the kernel side counts it, summed over all CPUs.
  public func counters() throws(SensorError) -> SensorCounters {
    var counters = try SensorCounters(
      counters: objects.map("counters"), mapFull: objects.map("map_full"), mapUsed: objects.maps["map_used"],
      possibleCPUs: possibleCPUs)
    counters.mapFull[Int(MT_MAP_INODES.rawValue)] += unprotectedInodes
    return counters
  }

  /// Events that the kernel did not show to a program because it was running on that CPU already: an interrupt's
  /// event within the program's own. The programs cannot count these themselves.
  public func missedRuns() throws(SensorError) -> UInt64 {
    try objects.missedRuns()
  }

  /// Of these, those of the programs that count bytes.
  public func missedBytes() throws(SensorError) -> UInt64 {
    try objects.missedRuns { $0.family == "bytes" }
  }

  /// Takes every program off its hook; the flows that are still open then are told in records of their own.
  /// ``rings`` and ``counters()`` stay readable.
  ///
  /// One that outlives us stays as it is while a process of a job lives, for the next one to release.
  public func detach() {
    objects.staysAttached = pins?.settle() ?? false
    // None may begin any more and none may end unseen while they are told: its socket could be another's by then.
    let states = ProgramName(name: "inet_sock_set_state", section: "tp_btf/inet_sock_set_state")
    objects.detach(except: Set(["sock_release", "fentry_tcp_done", "fentry_tcp_init_transfer"] + states.turns))
    do {
      try tellOpenFlows()
    } catch {
      missingHooks.append(("network", error.description))
    }
    objects.detach()
    do {
      try objects.call("tell_open_files")
    } catch {
      missingHooks.append(("bytes", error.description))
    }
  }
}

extension Sensor {
  /// The programs of old kernels cannot go through a map: they are called for each flow, and take it out.
  private func tellOpenFlows() throws(SensorError) {
    if features.contains(.loops) {
      try objects.call("tell_open_flows")
      return
    }
    let sockets = try objects.map("sockets")
    var key: UInt64 = 0
    var last: UInt64?
    while bpf_map_get_next_key(sockets, nil, &key) == 0, key != last {
      last = key
      try objects.call("tell_open_flows", key)
    }
  }
}

@available(*, unavailable)
extension Sensor: Sendable {}
