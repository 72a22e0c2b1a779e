import CLibbpf
import CSystem
import Glibc
import KernelABI
public import Observation

/// What became of one job's events, of what user space cannot count from its records. Its `seen` is
/// ``deduplicated`` + ``aggregated`` + ``lost`` + the records that came.
public struct JobCounts: Sendable, Equatable {
  public var deduplicated: UInt64 = 0
  public var aggregated: UInt64 = 0
  /// Records of processes and network that found no place.
  public var lostCritical: UInt64 = 0
  /// Records of files that found no place.
  public var lostBulk: UInt64 = 0
  /// Calls that returned an error; not part of `seen`.
  public var failed: UInt64 = 0
  /// What its filter has left out; not part of `seen`.
  public var filtered = FilteredCounts()

  public var lost: UInt64 { lostCritical &+ lostBulk }

  public init() {}
}

/// What went wrong in looking at processes that are in no job.
public struct RecognitionCounts: Sendable, Equatable {
  /// Environments with more in them than was looked at.
  public var unfinished: UInt64 = 0
  /// Environments, or paths of images, that could not be read.
  public var unreadable: UInt64 = 0
  /// Processes that a rule claimed and that stay unwatched, as there was no slot or no memory.
  public var unclaimed: UInt64 = 0
  /// Jobs whose key could not be kept: what comes with it again makes another job.
  public var unkeyed: UInt64 = 0
  /// Programs that were executed and that no rule was asked about, as the kernel left that out.
  public var missed: UInt64 = 0

  public init() {}
}

/// A slot as the kernel side sees it now.
public struct JobSlot: Sendable, Equatable {
  /// Nanoseconds of CLOCK_BOOTTIME; 0: the slot has never been used.
  public var started: UInt64
  /// As in `mt_claim`; 0: none.
  public var key: UInt64
  /// Index of the rule that made it.
  public var rule: Int
  /// Number of the last step.
  public var steps: UInt32
  /// Processes that live.
  public var processes: UInt64
  /// Nothing joins it any more but children of its processes.
  public var isClosed: Bool
}

/// Where a process belongs that was there before the sensor, or that somebody asked for.
public struct JobPlace: Sendable, Equatable {
  public var slot: UInt16
  /// As in `mt_claim`; 0: none.
  public var key: UInt64
  /// 0: none.
  public var step: UInt32
  /// The job is new; else the process joins one with the same key.
  public var isNew: Bool
  /// Each child of the process begins a step.
  public var isRunner: Bool

  public init(slot: UInt16, key: UInt64, step: UInt32, isNew: Bool, isRunner: Bool) {
    self.slot = slot
    self.key = key
    self.step = step
    self.isNew = isNew
    self.isRunner = isRunner
  }
}

extension Sensor {
  // MARK: - Rules

  /// Puts rules in force, in place of those before: processes that exec from now on and are in no job are asked about.
  ///
  /// While they change none is in force for some microseconds. Jobs go on whatever rule made them.
  ///
  /// - Parameters:
  ///   - rules: at most ``JobRule/limit``; their indices are what `mt_claim` calls a rule
  ///   - identity: names of the environment variables whose values may be sent, in `claim` and `step`
  /// - Throws: if a rule says what the kernel side cannot hold, or without ``SensorOptions/recognisesJobs``
  public func setRules(_ rules: [JobRule], identity: [String]) throws(SensorError) {
    let tables = try RuleTables(rules, identity: identity)
    self.rules = rules
    var zero: UInt32 = 0
    var none = mt_rule_filter()
    let filter = try objects.map("rule_filter")
    try Self.set(&none, at: &zero, of: filter, named: "rule_filter")
    for (index, rule) in tables.rules.enumerated() {
      var index = UInt32(index)
      var rule = rule
      try Self.set(&rule, at: &index, of: objects.map("rules"), named: "rules")
    }
    let comms = try objects.map("rule_comms")
    try Self.removeAll(from: comms, keySize: Int(MT_COMM_MAX), named: "rule_comms")
    for (name, bits) in tables.comms {
      var bits = bits
      try Self.set(&bits, at: name.bytes, of: comms, named: "rule_comms")
    }
    let variables = try objects.map("rule_variables")
    try Self.removeAll(from: variables, keySize: MemoryLayout<mt_variable_name>.size, named: "rule_variables")
    for (name, variable) in tables.variables {
      var variable = variable
      try Self.set(&variable, at: name.bytes, of: variables, named: "rule_variables")
    }
    let cgroups = try objects.map("cgroup_paths")
    try Self.removeAll(from: cgroups, keySize: MemoryLayout<mt_cgroup_path>.size, named: "cgroup_paths")
    for (path, bits) in tables.cgroups {
      var bits = bits
      var key = mt_cgroup_path()
      let bytes = Array(path.utf8)
      key.prefix = UInt32(8 * bytes.count)
      withUnsafeMutableBytes(of: &key.path) { $0.copyBytes(from: bytes) }
      try Self.set(&bits, at: &key, of: cgroups, named: "cgroup_paths")
    }
    ruleFilter = tables.filter
    try putFilter()
  }

  /// Processes that exec in this cgroup and are in no job become part of `job`, unless a rule without markers holds for
  /// them: a cgroup says less than a name, and more than an environment.
  ///
  /// - Parameters:
  ///   - cgroup: its id in the v2 hierarchy; those below it have ids of their own
  ///   - step: of the processes
  public func watchCgroup(_ cgroup: UInt64, job: UInt16, step: UInt32 = 0) throws(SensorError) {
    try watchCgroup(cgroup, mt_cgroup(rule: 0, step: step, job: try checked(job), is_container: 0, reserved: (0, 0)))
  }

  /// The first process that execs in this cgroup and is in no job makes one by this rule, whose conditions do not count.
  public func watchCgroup(_ cgroup: UInt64, rule: Int) throws(SensorError) {
    guard rules.indices.contains(rule) else { throw .systemCall("There is no rule \(rule)", errno: EINVAL) }
    try watchCgroup(cgroup, mt_cgroup(rule: UInt32(rule), step: 0, job: 0, is_container: 0, reserved: (0, 0)))
  }

  private func watchCgroup(_ cgroup: UInt64, _ entry: mt_cgroup) throws(SensorError) {
    var cgroup = cgroup
    var entry = entry
    try Self.set(&entry, at: &cgroup, of: objects.map("rule_cgroups"), named: "rule_cgroups")
    watchedCgroups.insert(cgroup)
    try putFilter()
  }

  /// Ends ``watchCgroup(_:job:step:)``; what is in a job by then stays there.
  public func forgetCgroup(_ cgroup: UInt64) throws(SensorError) {
    guard watchedCgroups.remove(cgroup) != nil else { return }
    try putFilter()
    var cgroup = cgroup
    bpf_map_delete_elem(try objects.map("rule_cgroups"), &cgroup)
  }

  func putFilter() throws(SensorError) {
    var filter = ruleFilter
    if !watchedCgroups.isEmpty { filter.kinds |= MT_RULES_BY_CGROUP.rawValue }
    if others.contains(where: { $0 != nil }) { filter.kinds |= MT_RULES_BESIDE.rawValue }
    if leavesJobs { filter.kinds |= MT_RULES_JOIN.rawValue }
    if !asksRules { (filter.by_comm, filter.by_marker, filter.nameless) = (0, 0, 0) }
    var zero: UInt32 = 0
    try Self.set(&filter, at: &zero, of: objects.map("rule_filter"), named: "rule_filter")
  }

  /// What went wrong in looking at processes so far, on all CPUs.
  public func recognitionCounts() throws(SensorError) -> RecognitionCounts {
    let values: [mt_recognition] = try perCPUValues(
      objects.map("recognition"), named: "recognition", 0, possibleCPUs, zero: mt_recognition())
    var counts = RecognitionCounts()
    for value in values {
      counts.unfinished &+= value.unfinished
      counts.unreadable &+= value.unreadable
      counts.unclaimed &+= value.unclaimed
      counts.unkeyed &+= value.unkeyed
    }
    counts.missed = try objects.missedRuns { ($0.name.turn?.program ?? $0.name.name) == "recognise" }
    return counts
  }

  // MARK: - Slots

  /// Gives the kernel side slots to make jobs in.
  ///
  /// - Parameter slots: from 1 up to `MT_MAX_JOBS` - 1, none of them twice
  public func openSlots(_ slots: ClosedRange<UInt16>) throws(SensorError) {
    for slot in slots { try putBack(checked(slot)) }
    openSlots += slots.count
  }

  private func putBack(_ slot: UInt16) throws(SensorError) {
    var counts = [mt_job_counts](repeating: mt_job_counts(), count: possibleCPUs)
    var key = UInt32(slot)
    let cleared = counts.withUnsafeMutableBytes {
      bpf_map_update_elem(objects.maps["job_counts"] ?? -1, &key, $0.baseAddress, 0)
    }
    if cleared != 0 { throw .mapFailed("job_counts", "update", errno: -cleared) }
    try clearFilteredCounts(slot)
    var value = UInt32(slot)
    let result = bpf_map_update_elem(try objects.map("free_jobs"), nil, &value, 0)
    if result != 0 { throw .mapFailed("free_jobs", "update", errno: -result) }
  }

  /// Finds the job for a process that the kernel side did not recognise, as it would have: for what was there first,
  /// and for what somebody asks for. ``addToJob(pidfd:pid:job:step:isRunner:)`` is to follow, or ``closeJob(_:evenIfAlive:)``
  /// and ``releaseSlot(_:)``.
  ///
  /// - Parameters:
  ///   - rule: index of the rule that holds; nil: none, somebody has asked
  ///   - key: the value of its key's variable; nil: there is none
  ///   - cgroup: the id of its cgroup, for rules that tell jobs apart by that
  /// - Returns: nil if all slots are taken
  public func takeSlot(rule: Int?, key: [UInt8]?, cgroup: UInt64? = nil) throws(SensorError) -> JobPlace? {
    if let rule, !rules.indices.contains(rule) { throw .systemCall("There is no rule \(rule)", errno: EINVAL) }
    let isRunner = rule.map { rules[$0].childrenAreSteps } ?? false
    let rule = rule ?? Int(MT_MAX_RULES)
    let hash = key.map { keyHash.ofValue($0) } ?? cgroup.map { keyHash.ofCgroup($0) } ?? 0
    func place(_ slot: UInt16, isNew: Bool) -> JobPlace {
      let step = isRunner || hash == 0 ? 0 : jobs.nextStep(slot)
      return JobPlace(slot: slot, key: hash, step: step, isNew: isNew, isRunner: isRunner)
    }
    let keys = try objects.map("job_keys")
    var entry = mt_job_key(hash: hash, rule: UInt32(rule), reserved: 0)
    var slot: UInt32 = 0
    if hash != 0, bpf_map_lookup_elem(keys, &entry, &slot) == 0 { return place(UInt16(slot), isNew: false) }

    let queue = try objects.map("free_jobs")
    let popped = bpf_map_lookup_and_delete_elem(queue, nil, &slot)
    if popped == -ENOENT { return nil }
    if popped != 0 { throw .mapFailed("free_jobs", "read", errno: -popped) }
    try countEntry(MT_MAP_JOBS, 1)
    jobs.begin(UInt16(slot), rule: UInt32(rule), key: hash, at: mt_boottime_ns())
    try beginPolicy(on: UInt16(slot), rule: rule)
    try beginFilter(on: UInt16(slot), rule: rule)
    try explainDirectoriesAgain()
    if hash != 0, bpf_map_update_elem(keys, &entry, &slot, UInt64(BPF_NOEXIST)) != 0 {
      // Another process with the key was recognised meanwhile.
      var other: UInt32 = 0
      if bpf_map_lookup_elem(keys, &entry, &other) == 0 {
        jobs.setClosed(UInt16(slot), true)
        if try releaseSlot(UInt16(slot)) { return place(UInt16(other), isNew: false) }
        // Whoever looked for the slot's last job, which had this key, too, has joined this one.
        jobs.setClosed(UInt16(slot), false)
      }
    }
    return place(UInt16(slot), isNew: true)
  }

  /// The key of a job that is all that is executed in this cgroup.
  package func key(ofCgroup id: UInt64) -> UInt64 { keyHash.ofCgroup(id) }

  /// Directories that were explained to the slot's last job are not known to its next.
  private func explainDirectoriesAgain() throws(SensorError) {
    var zero: UInt32 = 0
    var epoch: UInt64 = 0
    let map = try objects.map("rename_epoch")
    let result = bpf_map_lookup_elem(map, &zero, &epoch)
    if result != 0 { throw .mapFailed("rename_epoch", "read", errno: -result) }
    epoch &+= 2
    try Self.set(&epoch, at: &zero, of: map, named: "rename_epoch")
  }

  /// The slot as it is now.
  public func slot(_ slot: UInt16) throws(SensorError) -> JobSlot {
    let job = jobs[try checked(slot)]
    return JobSlot(
      started: job.started, key: job.key, rule: Int(job.rule), steps: job.steps, processes: job.live,
      isClosed: job.closed != 0)
  }

  /// Lets nothing join the job any more but children of its processes: what comes with its key makes another job.
  ///
  /// - Parameter evenIfAlive: close it although processes of it live; else it stays as it is then
  /// - Returns: whether no process of it lives
  @discardableResult
  public func closeJob(_ slot: UInt16, evenIfAlive: Bool = false) throws(SensorError) -> Bool {
    let slot = try checked(slot)
    let job = jobs[slot]
    let keys = try objects.map("job_keys")
    var key = mt_job_key(hash: job.key, rule: job.rule, reserved: 0)
    var value = UInt32(slot)
    var found: UInt32 = 0
    let isKeyed = job.key != 0 && bpf_map_lookup_elem(keys, &key, &found) == 0 && found == value
    // In this order: who finds the job closed may make another with its key.
    if isKeyed { bpf_map_delete_elem(keys, &key) }
    jobs.setClosed(slot, true)
    if jobs.live(slot) == 0 { return true }
    if evenIfAlive { return false }
    jobs.setClosed(slot, false)
    if isKeyed { bpf_map_update_elem(keys, &key, &value, UInt64(BPF_NOEXIST)) }
    return false
  }

  /// Gives the slot of a closed job back, for another job.
  ///
  /// - Returns: false if it is not closed, or if a process of it lives or may live, see ``reconcile()``
  public func releaseSlot(_ slot: UInt16) throws(SensorError) -> Bool {
    let slot = try checked(slot)
    guard jobs.isClosed(slot), !jobs.isOccupied(slot) else { return false }
    if objects.maps["rule_policies"] != nil { try endPolicy(on: slot) }
    try putBack(slot)
    try countEntry(MT_MAP_JOBS, -1)
    return true
  }

  /// What became of the job's events so far, on all CPUs; begins anew when the slot is given back.
  public func jobCounts(_ slot: UInt16) throws(SensorError) -> JobCounts {
    let values: [mt_job_counts] = try perCPUValues(
      objects.map("job_counts"), named: "job_counts", Int(checked(slot)), possibleCPUs, zero: mt_job_counts())
    var counts = JobCounts()
    for value in values {
      counts.deduplicated &+= value.deduplicated
      counts.aggregated &+= value.aggregated
      counts.lostCritical &+= value.lost_critical
      counts.lostBulk &+= value.lost_bulk
      counts.failed &+= value.failed
    }
    counts.filtered = try filteredCounts(slot)
    return counts
  }

  func checked(_ slot: UInt16) throws(SensorError) -> UInt16 {
    guard slot > 0, slot < MT_MAX_JOBS else { throw .systemCall("There is no job \(slot)", errno: EINVAL) }
    return slot
  }
}
