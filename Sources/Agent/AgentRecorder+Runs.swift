internal import CSystem
internal import KernelSensor
internal import Policy
internal import Recording

/// Commands that users run under the agent: jobs that no rule has found, each begun because somebody asked.
extension AgentRecorder {
  /// Bytes that are kept of one, at most.
  static let runBytes = 32 << 20

  /// Begins a job with a process that waits to be let go.
  mutating func take(_ request: RunRequest, _ sensor: Sensor) {
    do {
      let identifier = try begin(request, sensor)
      worker.desk.answer(request.report, .watched(identifier))
    } catch {
      worker.desk.answer(request.report, .refused("the command cannot be watched: \(error)"))
    }
  }

  private mutating func begin(_ request: RunRequest, _ sensor: Sensor) throws -> String {
    let (peer, process) = (request.peer, request.process)
    // What a job does stays in the job's report, whoever asks.
    guard sensor.job(ofProcess: peer.pid) == nil, sensor.job(ofProcess: process.pid) == nil else {
      throw RunRefusal("it is part of a job that the agent watches already, and in the report of that")
    }
    guard !sensor.isAnothers(peer.pid), !sensor.isAnothers(process.pid) else {
      throw RunRefusal("it is part of a job that another agent watches, and in the report of that")
    }
    let limits = settings.configuration.limits
    // Not those whose report is all that is waited for.
    let runs = try open.filter { slot in
      guard jobs[Int(slot)]?.pointee.isRun ?? false else { return false }
      return try sensor.slot(slot).processes > 0
    }
    guard runs.count < max(1, limits.jobs / 4) else {
      throw RunRefusal("there are \(runs.count) such commands already")
    }
    let own = runs.count { jobs[Int($0)]?.pointee.user == peer.user }
    guard own < limits.runsPerUser else {
      throw RunRefusal("user \(peer.user) may run \(limits.runsPerUser) at once, and \(own) run")
    }
    guard let place = try sensor.takeSlot(rule: nil, key: nil) else {
      throw RunRefusal("all places for jobs are taken")
    }
    do {
      try sensor.addToJob(pidfd: process.pidfd, pid: Int32(process.pid), job: place.slot)
    } catch {
      if try sensor.closeJob(place.slot) { _ = try sensor.releaseSlot(place.slot) }
      throw error
    }
    let rule = AgentRule(name: "run", provider: "run", match: JobRule(), linger: 0)
    if let policy = request.policy { try sensor.place(policy.prepared, on: place.slot) }
    let begun = openJob(
      place.slot, rule: rule, reason: "asked", isKeyed: false, root: process.pid, policy: request.policy?.policy,
      filter: settings.filters.ofRule(nil),
      at: mt_boottime_ns())
    guard begun, let job = jobs[Int(place.slot)] else { throw RunRefusal("there is no place to write") }
    job.pointee.begin(with: process.pid, of: peer.user)
    job.pointee.policy.isWhole()
    if let note = request.policy?.policy.policy.notePlacesUnknown { job.pointee.policy.note(note) }
    job.pointee.recorder.limit(bytes: min(limits.bytesPerJob, Self.runBytes))
    job.pointee.requests.append(request.report.found)
    return job.pointee.identifier
  }
}
