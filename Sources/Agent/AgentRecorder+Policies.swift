internal import KernelABI
internal import KernelSensor
internal import Observation
internal import Policy
internal import Recording
internal import Reporting

/// What jobs' policies stop, and what of a policy is known only when a job runs.
extension AgentRecorder {
  /// Denials of one job that are told in the agent's log; its report has all.
  private static let toldLimit = 50

  /// The agent does not own where a job writes: what was stopped is said in the agent's own log.
  @inline(never)
  func tell(_ record: RecordView, of job: Place) {
    guard record.denialEffect != .observed, job.pointee.told <= Self.toldLimit, AgentLog.isReady else { return }
    let policy = job.pointee.policy.inForce
    guard policy != nil || record.denialSection == .selfProtection else { return }
    job.pointee.told += 1
    let whose = "job \(job.pointee.identifier.prefix(8)) of \(job.pointee.facts.rule)"
    guard job.pointee.told <= Self.toldLimit else {
      return settings.log.tell("\(whose): more is stopped; see its report")
    }
    settings.log.tell("\(whose): \(job.pointee.recorder.sentence(ofDenial: record, policy))")
  }

  /// A first process or a step has begun: has found out what the job's policy says of the directory that it works in.
  @inline(never)
  func askPolicy(of job: Place, _ record: RecordView) {
    guard preparer != nil, job.pointee.policy.wantsDirectory(settings.policies) else { return }
    // Where a variable tells it, a process that does not have it may be anywhere.
    guard job.pointee.workspace != nil || !job.pointee.tellsWorkspace else { return }
    let process = JobPolicy.Process(pid: record.tgid, start: record.leaderStart)
    // What is being looked at may have been before this step.
    if job.pointee.policy.isAwaited { job.pointee.policy.next = process } else { askPolicy(of: job, process) }
  }

  private func askPolicy(of job: Place, _ process: JobPolicy.Process) {
    guard let preparer else { return }
    let policy = job.pointee.policy
    job.pointee.policy.next = nil
    job.pointee.policy.isAwaited = preparer.ask(
      PolicyQuestion(
        slot: job.pointee.slot, identifier: job.pointee.identifier, process: process.pid,
        processStart: process.start, workspace: job.pointee.workspace, user: job.pointee.user,
        policy: policy.current, hasDirectory: policy.hasDirectory, repositories: policy.repositories))
    if !job.pointee.policy.isAwaited {
      refuse("What the policy says of the job's directory is not in force: too many jobs wait for that.", of: job)
    }
  }

  /// Puts in force what has been found out.
  mutating func takePolicies(_ sensor: Sensor) {
    guard let preparer else { return }
    for outcome in preparer.take() {
      // The job may be over, and its slot another's.
      guard let job = jobs[Int(outcome.slot)], job.pointee.identifier == outcome.identifier, job.pointee.closedAt == 0
      else { continue }
      job.pointee.policy.isAwaited = false
      switch outcome.result {
      case .nothing: break
      case .refused(let reason): refuse(reason, of: job)
      case .made(let answer):
        do {
          try sensor.place(answer.prepared, on: outcome.slot, knowsContainers: !job.pointee.isRun)
          for slot in job.pointee.containerSlots {
            if let container = containers.slots[slot], container.hasBegun { try share(container, sensor) }
          }
          job.pointee.policy.replace(answer, at: job.pointee.clock.rfc3339(Clock.boottime))
        } catch {
          refuse("What the policy says of the job's directory is not in force: \(error)", of: job)
        }
      }
      if let next = job.pointee.policy.next { askPolicy(of: job, next) }
    }
  }

  /// Puts containers that were found to be jobs' under these jobs' policies.
  mutating func shareFound(_ sensor: Sensor) {
    guard !containers.found.isEmpty else { return }
    for case let container? in containers.found.map({ containers.slots[$0] }) {
      do {
        if preparer != nil, container.hasBegun { try share(container, sensor) }
      } catch {
        settings.log.say("a container is not under its job's policy: \(error)")
      }
      do {
        try sensor.shareFilter(of: container.owner, with: container.slot)
      } catch {
        settings.log.say("nothing is left out of what a container does, as of its job: \(error)")
      }
    }
    containers.found = []
  }

  /// The first program of a container waits.
  mutating func noteHeld(_ record: RecordView) {
    containers.held.note(record)
    containers.slots[record.job]?.hasBegun = true
    if containers.slots[record.job]?.owner ?? 0 != 0 { containers.found.append(record.job) }
  }

  /// Lets what waits in containers go on, where it is known under which policy, or for too long not.
  mutating func releaseHeld(_ sensor: Sensor, now: UInt64) {
    guard !containers.held.isEmpty else { return }
    for one in containers.held.waiting {
      let container = containers.slots[one.slot]
      if container?.owner == 0 {
        guard one.isLate(now) else { continue }
        containers.slots[one.slot]?.hasGoneOn = true
        do {
          try sensor.endHold(on: one.slot)
        } catch {
          settings.log.say("what is executed in a container has to wait: \(error)")
        }
      }
      containers.held.end(one, isRefused: isRefused(one, of: container), now: now)
    }
    containers.held.settle(now: now)
  }

  /// Whether a policy denies what is about to run in a container: of its job or, where that is not known, the machine's.
  private func isRefused(_ one: HeldProcesses.Held, of container: ContainerSlot?) -> Bool {
    let job = container.flatMap { jobs[Int($0.owner)] }
    let known = job.map { $0.pointee.policy.current } ?? settings.policies.ofContainers
    guard let policy = known?.policy, let exec = policy.exec else { return false }
    var program = one.program
    if (exec.deny + exec.allow).contains(where: { !$0.sha256.isEmpty }) { program.hash(as: one.pid) }
    // Who executed it is the runtime, which no rule can mean.
    let step = job?.pointee.stepName(container?.step ?? 0)
    let actor = PolicyActor(
      executable: "", step: step.map { .inside($0) } ?? .unknown, image: container?.origin.image ?? .unknown)
    guard let (file, decision) = policy.gravest(ofExec: program.files, by: actor), decision.action != .allow else {
      return false
    }
    let isRefused = decision.action >= .deny
    guard let container, job != nil else {
      settings.log.say(
        "a container that is no job's \(isRefused ? "was to run" : "runs") what the machine's policy denies: "
          + VisibleText.terminal(file.path, limit: 200))
      return isRefused
    }
    var builder = RecordBuilder(.denial, time: one.since, tgid: one.pid, leaderStart: one.startedAt)
    builder.job = container.slot
    var body = mt_denial()
    body.rule = decision.rule
    body.operation = UInt16(MT_OP_EXEC.rawValue)
    body.section = UInt8(MT_SECTION_EXEC.rawValue)
    body.action = decision.action.number
    body.effect = UInt8((isRefused ? MT_EFFECT_KILLED : MT_EFFECT_TOLD).rawValue)
    if file == program.files.first { body.file = program.identity }
    builder.setBody(body)
    builder.setString(.path, file.path)
    builder.withRecord { deliver($0, of: container) }
    return isRefused
  }

  private func share(_ container: ContainerSlot, _ sensor: Sensor) throws(SensorError) {
    try sensor.sharePolicy(of: container.owner, with: container.slot, container.origin)
    guard container.hasGoneOn, let job = jobs[Int(container.owner)] else { return }
    job.pointee.policy.note(
      "Container \(container.number) was under the machine's policy alone at first: it was not known whose it is.")
  }

  private func refuse(_ reason: String, of job: Place) {
    let shown = VisibleText.terminal(reason, limit: 1000)
    job.pointee.policy.note(shown)
    settings.log.say("job \(job.pointee.identifier.prefix(8)) of \(job.pointee.facts.rule): \(shown)")
  }
}
