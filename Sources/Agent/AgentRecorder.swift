internal import CSystem
internal import EventLog
internal import Glibc
internal import Jobs
internal import KernelABI
internal import KernelSensor
internal import Observation
internal import Recording
internal import Reporting
internal import Supervision

/// All jobs that are being recorded, by their slots: what the reader's thread keeps from record to record.
struct AgentRecorder: ~Copyable {
  typealias Place = UnsafeMutablePointer<AgentJob>

  /// What a slot without a job is.
  enum Vacancy: UInt8 {
    /// The kernel may begin a job in it.
    case free
    /// Its job is closed, and it is not given back yet.
    case closed
  }

  let settings: AgentSettings
  var facts: SensorFacts
  /// By slot.
  let jobs: UnsafeMutablePointer<Place?>
  private let vacancies: UnsafeMutablePointer<Vacancy>
  /// Slots with a job, in the order in which they began.
  private(set) var open: [UInt16] = []
  /// Closed slots, since when.
  private(set) var closing: [(slot: UInt16, since: UInt64)] = []

  private let workspace: FoldWorkspace
  private let workshop: FrameWorkshop
  let worker: ReportWorker
  let hasher: FileHasher?
  let prober: RequestProber?
  /// nil: there are no policies.
  let aftermath: Aftermath?
  let preparer: PolicyPreparer?

  var counts = AgentCounts()
  var containers = AgentContainers()
  var pods = AgentPods()
  var governor: Governor
  var governedAt: UInt64 = 0
  var isAtItsEnd = false
  /// The last reading, at most a second old while jobs run, else ten, and the one before.
  private(set) var reading = SensorReading()
  private var earlierReading = SensorReading()
  private var keptAt: UInt64 = 0
  private var releasedAt: UInt64 = 0
  private var reconciledAt: UInt64 = 0
  var adopted = AdoptedProcesses()
  var isAdopting = false
  /// See ``hearNames(_:now:)``; the sensor begins with them.
  var hearsNames = true
  /// When there was a job last; 0: never.
  var lastOpenAt: UInt64 = 0
  /// Another agent begins the jobs from now on: this one's are brought to their ends.
  var isDraining = false

  private static let second: UInt64 = 1_000_000_000
  /// After this nothing of a job that has no process can be in the rings any more: see ``RingSet/stalled``.
  static let settled: UInt64 = 1_200_000_000
  /// How long the agent's own end waits for files to be hashed.
  private static let lastHashes: UInt64 = 2_000_000_000

  init(
    settings: AgentSettings, facts: SensorFacts, worker: ReportWorker, hasher: FileHasher?, prober: RequestProber?,
    aftermath: Aftermath?, preparer: PolicyPreparer?
  ) throws(EventLogError) {
    let count = Int(MT_MAX_JOBS)
    jobs = .allocate(capacity: count)
    jobs.initialize(repeating: nil, count: count)
    vacancies = .allocate(capacity: count)
    vacancies.initialize(repeating: .free, count: count)
    self.settings = settings
    self.facts = facts
    self.worker = worker
    self.hasher = hasher
    self.prober = prober
    self.aftermath = aftermath
    self.preparer = preparer
    let limits = settings.configuration.limits
    governor = Governor(.init(processors: limits.cpuPercent.map { Double($0) / 100 }, memory: limits.agentBytes))
    workspace = FoldWorkspace(masker: settings.masker)
    workshop = try FrameWorkshop()
  }

  deinit {
    for slot in open {
      guard let place = jobs[Int(slot)] else { continue }
      place.deinitialize(count: 1)
      place.deallocate()
    }
    jobs.deallocate()
    vacancies.deallocate()
  }

  // MARK: - Records

  mutating func take(_ bytes: UnsafeRawBufferPointer) {
    guard let record = try? RecordView(validating: bytes) else {
      counts.malformed &+= 1
      return
    }
    counts.records &+= 1
    if record.type == .daemon || record.type == .cgroup { return takeOfContainers(record) }
    if record.type == .claim, record.claim.claimReason == .container { return takeContainerClaim(record) }
    // The view has checked that it is below MT_MAX_JOBS.
    guard let job = jobs[Int(record.job)] else { return takeWithoutJob(record) }
    if job.pointee.shedding != .nothing, job.pointee.leavesOut(record) { return counts.leftOut &+= 1 }
    if record.type == .claim { takeClaim(record, of: job) } else { job.pointee.recorder.take(record) }
    switch record.type {
    case .claim, .step:
      job.pointee.notice(record)
      askPolicy(of: job, record)
    case .denial: tell(record, of: job)
    case .exec:
      // The policy was put in force meanwhile.
      if record.isHeld { noteHeld(record) }
      if job.pointee.hooks != nil { job.pointee.noticeHooks(record) }
    case .exit:
      job.pointee.notice(record)
      if containers.links.isAwaiting {
        containers.links.processEnded(.init(slot: record.job, process: record.tgid, start: record.leaderStart))
      }
    case .fork: if isAdopting { noticeAdopted(record) }
    default: break
    }
  }

  /// Of a slot that has no job: a claim begins one.
  @inline(never)
  private mutating func takeWithoutJob(_ record: RecordView) {
    let slot = record.job
    if containers.slots[slot] != nil { return wait(record) }
    let begins = record.type == .claim && record.claim.is_new != 0
    // Slot 0 is no job. A closed one's processes may live on: what they do is nobody's.
    guard slot != 0, begins || vacancies[Int(slot)] == .free else {
      counts.unattributed &+= 1
      return
    }
    let claim = record.claim
    let rule = settings.rule(begins ? Int(claim.rule) : -1)
    let reason = begins ? claim.claimReason?.name.description ?? "unknown" : "unknown"
    let policy = settings.policies.ofRule(begins ? Int(claim.rule) : nil)
    let filter = begins ? settings.filters.ofRule(Int(claim.rule)) : settings.filters.ofUnknownRule
    guard
      openJob(
        slot, rule: rule, reason: reason, isKeyed: claim.key != 0, policy: policy, filter: filter, at: record.time)
    else { return }
    if !begins { jobs[Int(slot)]?.pointee.unseen.append(.init(reason: .claimLost, from: nil, until: record.time)) }
    guard let job = jobs[Int(slot)] else { return }
    if record.type == .claim { takeClaim(record, of: job) } else { job.pointee.recorder.take(record) }
    job.pointee.notice(record)
    if begins { askPolicy(of: job, record) }
  }

  /// Some hundred microseconds: a directory and a file are made.
  mutating func openJob(
    _ slot: UInt16, rule: AgentRule?, reason: String, isKeyed: Bool, root: UInt32 = 0, policy: NamedPolicy? = nil,
    filter: ReportInput.FilterInForce?, at time: UInt64
  ) -> Bool {
    let identifier = JobIdentifier.make()
    let clock = WallClock(offset: Clock.wallOffset)
    let provider = rule?.provider ?? "unknown"
    let name = JobName.make(provider: provider, at: time, clock: clock, identifier: identifier)
    do {
      let directory = try OutputDirectory(path: settings.output + "/" + name, owner: nil)
      var logOptions = EventLogOptions()
      logOptions.jobIdentifier = identifier
      logOptions.version = Version.current
      logOptions.clockOffset = clock.offset
      let descriptor = try directory.create(ReportFiles.logName)
      let log = try EventLogWriter(fileDescriptor: descriptor, options: logOptions, workshop: workshop)
      try settings.journal.opened(
        JournalEntry(
          job: identifier, directory: directory.temporaryName, name: name, rule: rule?.name ?? "unknown",
          provider: provider, reason: reason, startedAt: time, clockOffset: clock.offset, boot: settings.boot,
          policy: policy.map { .init(file: $0.inForce.file, digest: $0.inForce.digest) }, filter: filter?.words))
      var options = JobOptions(rootProcess: root, masker: settings.masker)
      options.limits.bytes = settings.configuration.limits.bytesPerJob
      // Who reads the report of what was given to us is not root, who would see where any path leads.
      options.resolvesPaths = root == 0
      options.hashesFiles = settings.configuration.hashes
      // A filter that leaves out the network leaves these out, too.
      options.readsRequests = settings.configuration.requests && !(filter?.filter?.events.contains(.network) ?? false)
      let recorder = JobRecorder(
        state: JobState(options: options, workspace: workspace), log: log, hasher: hasher,
        uses: options.readsRequests ? prober?.use(filter?.filter) : nil, aftermath: aftermath)
      let place = Place.allocate(capacity: 1)
      place.initialize(
        to: AgentJob(
          recorder: recorder, directory: directory, identifier: identifier, slot: slot, clock: clock, startedAt: time,
          rule: rule, reason: reason, isKeyed: isKeyed, beginsHere: settings.configuration.beginsHere,
          policy: policy, filter: filter,
          // A claim may have waited in its ring while the last one was made.
          before: reading.at < time ? reading : earlierReading))
      jobs[Int(slot)] = place
      open.append(slot)
      shedFromTheBeginning(place, at: time)
      counts.opened &+= 1
      worker.sync()
      return true
    } catch {
      // What it does is counted as nobody's: without a place to write there is no report.
      settings.log.say("a job of the rule \(rule?.name ?? "unknown") cannot be recorded: \(error)")
      counts.unrecorded &+= 1
      close(slot, now: mt_boottime_ns())
      return false
    }
  }

  // MARK: - What is due

  /// To be called every few milliseconds; looks at the jobs ten times a second.
  mutating func keepHouse(_ sensor: Sensor, now: UInt64) {
    guard now >= keptAt &+ Self.second / 10 else { return }
    keptAt = now
    let isFinishing = open.contains { jobs[Int($0)]?.pointee.closedAt ?? 0 != 0 }
    let isReportDue = isReportDue(now: now)
    // A reading takes some million instructions: without jobs there is little that could change.
    if isFinishing || isReportDue || now >= reading.at &+ (open.isEmpty ? 10 : 1) * Self.second {
      read(sensor)
      limitMemory()
    }
    for slot in open {
      guard let job = jobs[Int(slot)] else { continue }
      job.pointee.recorder.flush(now: now)
      look(at: job, sensor, now: now)
    }
    if isReportDue { makeReport(sensor, now: now) }
    keepContainers(sensor, now: now)
    govern(now: now)
    if isDraining { leaveRules(sensor) }
    if now >= releasedAt &+ Self.second {
      releasedAt = now
      for entry in PinnedSensors.releaseIdle() {
        settings.log.tell("nobody is left to whom what the martlet \(entry.owner) denied has to stay denied: released")
      }
    }
    giveBack(sensor, now: now)
  }

  /// Only jobs with a key can still be joined.
  private func leaveRules(_ sensor: Sensor) {
    if open.contains(where: { jobs[Int($0)]?.pointee.isKeyed ?? false }) { return }
    do { try sensor.stopJoining() } catch { settings.log.say("\(error)") }
  }

  private mutating func look(at job: Place, _ sensor: Sensor, now: UInt64) {
    let slot = job.pointee.slot
    if job.pointee.closedAt != 0 {
      // What was in the rings when it was closed has been read since.
      guard now >= job.pointee.closedAt &+ Self.second / 5 else { return }
      let patience = RequestProber.patience
      guard !job.pointee.recorder.isLookingAtFiles || now >= job.pointee.closedAt &+ patience else { return }
      if job.pointee.isHashed(patience: hasher?.limits.patience ?? 0, now: now) { finish(slot, sensor, endedAt: now) }
      return
    }
    do {
      let processes = try sensor.slot(slot).processes &+ processesInContainers(of: job.pointee, sensor)
      switch job.pointee.course(processes: processes, now: now) {
      case .goesOn: return
      case .ends:
        if containers.mayGain(slot: slot, since: job.pointee.startedAt, now: now) { return }
        guard try sensor.closeJob(slot) else { return }
      case .endsWithProcesses: try sensor.closeJob(slot, evenIfAlive: true)
      }
      job.pointee.closedAt = now
      forgetPods(of: slot, sensor)
      job.pointee.goesOnHashing()
    } catch {
      settings.log.say("the job in slot \(slot) cannot be closed: \(error)")
    }
  }

  /// Hands the job to who writes its report.
  private mutating func finish(_ slot: UInt16, _ sensor: Sensor, endedAt: UInt64) {
    guard let place = jobs[Int(slot)] else { return }
    var after = reading
    var counts = JobCounts()
    do {
      counts = try sensor.jobCounts(slot)
      counts += place.pointee.containerCounts
      if containers.lack(slot: slot, since: place.pointee.startedAt) {
        place.pointee.unseen.append(.init(reason: .container, from: nil, until: nil))
      }
      if place.pointee.lacksPods { place.pointee.unseen.append(.init(reason: .container, from: nil, until: nil)) }
      counts += try closeContainers(of: slot, sensor, now: endedAt)
    } catch {
      after.failure = error.description
    }
    forgetPods(of: slot, sensor)
    let job = place.move()
    place.deallocate()
    jobs[Int(slot)] = nil
    close(slot, now: endedAt)
    open.removeAll { $0 == slot }
    self.counts.closed &+= 1
    worker.put(.report(job.finish(counts: counts, after: after, sensor: facts, endedAt: endedAt)))
  }

  /// What comes of this slot is nobody's until it is given back.
  mutating func close(_ slot: UInt16, now: UInt64) {
    vacancies[Int(slot)] = .closed
    closing.append((slot, now))
  }

  /// Closed slots that no process is in any more.
  private mutating func giveBack(_ sensor: Sensor, now: UInt64) {
    // What does not come free may have processes by the kernel's count alone: their ends went unseen.
    if now >= reconciledAt &+ 30 * Self.second, closing.contains(where: { now >= $0.since &+ 30 * Self.second }) {
      reconciledAt = now
      do {
        _ = try sensor.reconcile()
      } catch {
        settings.log.say("what lives of closed jobs cannot be counted anew: \(error)")
      }
    }
    closing.removeAll { slot, since in
      guard now >= since &+ Self.settled else { return false }
      do {
        // One whose job could not be recorded has been closed by nobody.
        if try !sensor.slot(slot).isClosed { try sensor.closeJob(slot, evenIfAlive: true) }
        guard try sensor.releaseSlot(slot) else { return false }
        vacancies[Int(slot)] = .free
        return true
      } catch {
        settings.log.say("slot \(slot) cannot be given back: \(error)")
        // Never again: a slot that is given back twice would hold two jobs.
        return true
      }
    }
  }

  mutating func read(_ sensor: Sensor) {
    var next = SensorReading()
    do {
      next.status = try sensor.status()
      next.missedRuns = try sensor.missedRuns()
    } catch {
      next.failure = error.description
    }
    next.malformed = counts.malformed &+ sensor.rings.malformed
    next.late = sensor.rings.late
    next.stalled = sensor.rings.stalled
    next.at = mt_boottime_ns()
    earlierReading = reading
    reading = next
  }

  // MARK: - The end

  /// No record comes any more: every job is closed, whatever of it lives.
  mutating func closeAll(_ sensor: Sensor, detachedAt: UInt64) {
    read(sensor)
    for slot in open where jobs[Int(slot)]?.pointee.closedAt == 0 { jobs[Int(slot)]?.pointee.goesOnHashing() }
    while mt_boottime_ns() &- detachedAt < Self.lastHashes {
      // Not lazily: each of them has to be asked for.
      let isHashed = open.map { slot in
        jobs[Int(slot)]?.pointee.isHashed(patience: Self.lastHashes, now: mt_boottime_ns()) ?? true
      }
      if isHashed.allSatisfy({ $0 }) { break }
      usleep(5_000)
    }
    for slot in open {
      guard let job = jobs[Int(slot)] else { continue }
      let processes = (try? sensor.slot(slot).processes) ?? 1
      if processes > 0, job.pointee.closedAt == 0 {
        job.pointee.unseen.append(.init(reason: .stopped, from: detachedAt, until: nil))
      }
      finish(slot, sensor, endedAt: detachedAt)
    }
  }

  // MARK: - Status

  mutating func status(_ sensor: Sensor) -> AgentStatus {
    var status = AgentStatus()
    status.jobs = open.compactMap { slot in
      jobs[Int(slot)].map { AgentStatus.Job($0, try? sensor.slot(slot), try? sensor.jobCounts(slot)) }
    }
    status.counts = counts
    status.closing = closing.count
    status.containers = ContainerCounts(containers)
    status.governor = governor
    status.requestFiles = prober?.counts
    status.containers.unseen = pods.bundles.unseen(now: mt_boottime_ns())
    status.sensor = try? sensor.status()
    status.recognition = try? sensor.recognitionCounts()
    status.missingHooks = facts.missingHooks
    status.pinned = PinnedSensors.all()
    return status
  }
}

/// What an agent has counted.
struct AgentCounts: Sendable {
  var opened: UInt64 = 0
  var adopted: UInt64 = 0
  var closed: UInt64 = 0
  /// Jobs for which there was no place to write.
  var unrecorded: UInt64 = 0
  var records: UInt64 = 0
  var malformed: UInt64 = 0
  /// Records of processes whose job is closed: nobody's.
  var unattributed: UInt64 = 0
  /// Times that a job was told to keep no more.
  var limited: UInt64 = 0
  /// Events that were left out to keep below the ceilings.
  var leftOut: UInt64 = 0
  /// What the folds of all jobs take.
  var foldBytes = 0
}

/// What every part of an agent has to know. The journal and the log may be used by any thread.
struct AgentSettings: Sendable {
  let configuration: AgentConfiguration
  let policies: AgentPolicies
  let filters: AgentFilters
  /// As the configuration has it, absolute.
  let output: String
  let masker: SecretMasker
  let journal: Journal
  let log: AgentLog
  /// Of this boot.
  let boot: String

  func rule(_ index: Int) -> AgentRule? {
    configuration.rules.indices.contains(index) ? configuration.rules[index] : nil
  }
}

/// What a job's directory is called: `github-20261129T124502Z-1a2b3c4d`.
enum JobName {
  static func make(provider: String, at time: UInt64, clock: WallClock, identifier: String) -> String {
    let letters = provider.lowercased().unicodeScalars.filter {
      $0.isASCII && ($0.properties.isAlphabetic || $0 == "-")
    }
    var name = String(String.UnicodeScalarView(letters.prefix(32)))
    if name.isEmpty { name = "job" }
    let stamp = clock.rfc3339(time).prefix(19).filter { $0 != "-" && $0 != ":" }
    return "\(name)-\(stamp)Z-\(identifier.prefix(8))"
  }
}
