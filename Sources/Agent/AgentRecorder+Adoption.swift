internal import CSystem
internal import Glibc
internal import KernelABI
internal import KernelSensor
internal import Observation
internal import Recording

/// Processes of jobs that were there before the agent.
extension AgentRecorder {
  /// Looks for processes that rules hold for, which are in force already: what starts meanwhile is recognised by the kernel.
  ///
  /// - Returns: when every process of a job was one, CLOCK_BOOTTIME.
  static func adoptAll(_ sensor: Sensor, _ recorder: inout AgentRecorder) throws(SensorError) -> UInt64 {
    let settings = recorder.settings
    let scan = ProcessScan(settings.configuration)
    if scan.unreadable > 0 {
      settings.log.say(
        "\(scan.unreadable) processes may not be looked at, for lack of CAP_SYS_PTRACE: jobs that they are of already are not "
          + "followed")
    }
    recorder.isAdopting = true
    let rules = settings.configuration.rules.map(\.match)
    let cgroups = try rules.contains { $0.cgroup != nil } ? RuleCgroups() : nil
    for (process, rule) in scan.first(rules) where !sensor.isAnothers(process.pid) {
      let key = rules[rule].key.flatMap { process.value(of: $0) }
      let cgroup = rules[rule].isByCgroup ? process.cgroup.flatMap { cgroups?.id(of: $0) } : nil
      adopt(process, rule: rule, key: key, cgroup: cgroup, sensor, &recorder)
    }
    // A child may come before its parent, and whoever forks all the time always has another.
    for _ in 0..<64 where try sensor.adopt() == 0 { break }
    let now = mt_boottime_ns()
    repeat { sensor.rings.drain { recorder.take($0) } } while sensor.rings.hasBacklog
    recorder.tellAdopted(scan, now: now)
    recorder.isAdopting = false
    return now
  }

  private static func adopt(
    _ process: FoundProcess, rule: Int, key: [UInt8]?, cgroup: UInt64?, _ sensor: Sensor,
    _ recorder: inout AgentRecorder
  ) {
    let log = recorder.settings.log
    // Recognised by the kernel meanwhile.
    if sensor.job(ofProcess: process.pid) != nil { return }
    let pidfd = mt_pidfd_open(pid_t(process.pid))
    guard pidfd >= 0 else { return }
    defer { Glibc.close(pidfd) }
    guard ProcessScan.isThere(process) else { return }
    do {
      guard let place = try sensor.takeSlot(rule: rule, key: key, cgroup: cgroup) else {
        return log.say("process \(process.pid) is a job's, and all places for jobs are taken")
      }
      do {
        try sensor.addToJob(
          pidfd: pidfd, pid: pid_t(process.pid), job: place.slot, step: place.step, isRunner: place.isRunner)
      } catch {
        // It has just ended, or been recognised. The job stays if another process with its key has joined it meanwhile.
        if place.isNew, try sensor.closeJob(place.slot) { _ = try sensor.releaseSlot(place.slot) }
        throw error
      }
      // A process with its key has begun the job just now: what the kernel says of that is on its way.
      for _ in 0..<100 where !place.isNew && !recorder.isOpen(place.slot) {
        if sensor.rings.drain({ recorder.take($0) }) == 0 { usleep(1000) }
      }
      recorder.adopt(process, place, rule: rule, now: mt_boottime_ns())
    } catch {
      log.say("process \(process.pid) cannot be followed: \(error)")
    }
  }

  mutating func noticeAdopted(_ record: RecordView) {
    let body = record.fork
    // One that forks just now is told as it is.
    if body.child_start &+ 1_000_000 < record.time {
      adopted.children.append((record.job, body.child_tgid, body.child_start))
    }
  }

  func isOpen(_ slot: UInt16) -> Bool { jobs[Int(slot)] != nil }

  /// Begins or joins a job with a process that was there first.
  mutating func adopt(_ process: FoundProcess, _ place: JobPlace, rule index: Int, now: UInt64) {
    if place.isNew {
      let rule = settings.rule(index)
      let policy = settings.policies.ofRule(index)
      let filter = settings.filters.ofRule(index)
      guard
        openJob(
          place.slot, rule: rule, reason: "adopted", isKeyed: place.key != 0, policy: policy, filter: filter, at: now)
      else { return }
      counts.adopted &+= 1
    }
    // Also of one that a later process with its key has begun just now.
    jobs[Int(place.slot)]?.pointee.ran(since: process.startedAt, unseenUntil: now)
    adopted.slots.insert(place.slot)
    tell(process, of: place.slot, key: place.key, step: place.step, rule: index, start: 0, isNew: place.isNew, now: now)
  }

  /// Tells the programs of processes that the kernel's iterator has found.
  ///
  /// - Parameter now: when it had found all. Until then the jobs that were adopted had processes that nobody saw.
  mutating func tellAdopted(_ scan: ProcessScan, now: UInt64) {
    for slot in adopted.slots { jobs[Int(slot)]?.pointee.adopted(at: now) }
    for (slot, pid, start) in adopted.children {
      guard let process = scan.process(pid) else { continue }
      tellProgram(process, of: slot, start: start, now: now)
    }
    adopted = AdoptedProcesses()
  }

  private mutating func tell(
    _ process: FoundProcess, of slot: UInt16, key: UInt64, step: UInt32, rule: Int, start: UInt64, isNew: Bool,
    now: UInt64
  ) {
    var body = mt_claim()
    body.key = key
    body.rule = UInt32(clamping: rule)
    body.reason = MT_CLAIM_ADOPTED.rawValue
    body.step = step
    body.is_new = isNew ? 1 : 0
    body.parent_tgid = process.parent
    body.uid = process.user
    take(process.record(slot: slot, start: start, body: body, now: now))
  }

  mutating func tellProgram(_ process: FoundProcess, of slot: UInt16, start: UInt64, now: UInt64) {
    guard let job = jobs[Int(slot)] else { return }
    var body = mt_claim()
    body.reason = MT_CLAIM_ADOPTED.rawValue
    body.parent_tgid = process.parent
    body.uid = process.user
    // Not one of the job's first processes: for the fold and the log alone.
    process.record(slot: slot, start: start, body: body, now: now).withRecord { takeClaim($0, of: job) }
  }

  private mutating func take(_ builder: RecordBuilder) {
    builder.bytes.withUnsafeBytes { take($0) }
  }
}

/// What was found in one look at all processes.
struct AdoptedProcesses {
  /// Of jobs that had processes before.
  var slots: Set<UInt16> = []
  /// Found by the kernel's iterator: they had no exec to be seen.
  var children: [(slot: UInt16, pid: UInt32, start: UInt64)] = []
}
