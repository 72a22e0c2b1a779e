internal import EventLog
internal import Glibc
internal import Jobs
internal import KernelSensor
internal import Observation
internal import Recording
internal import Reporting
internal import Supervision

/// Closes jobs that an agent left unfinished: from what is in their event logs, up to the last whole frame.
struct JobRecovery: Sendable {
  let settings: AgentSettings
  let facts: SensorFacts

  /// - Parameter seenAgainAt: from when on this agent saw all processes of jobs, CLOCK_BOOTTIME.
  /// - Returns: nil if there is nothing of the job.
  func recover(_ entry: JournalEntry, seenAgainAt: UInt64) throws -> (ReportInput, OutputDirectory)? {
    let path = settings.output + "/" + entry.name
    guard let directory = try OutputDirectory(path: path, continuing: entry.directory) else { return nil }
    let log = try directory.reopen(ReportFiles.logName)
    let rule =
      settings.configuration.rules.first { $0.name == entry.rule }
      ?? AgentRule(name: entry.rule, provider: entry.provider, match: JobRule())
    var options = JobOptions(rootProcess: 0, masker: settings.masker)
    options.hashesFiles = settings.configuration.hashes
    options.readsRequests = settings.configuration.requests
    options.limits.bytes = settings.configuration.limits.bytesPerJob
    // What a path led to then is not what it leads to now.
    options.resolvesPaths = false
    options.pathsAreCanonical = true
    let recorder = JobRecorder(state: JobState(options: options), log: nil)
    var job = AgentJob(
      recorder: recorder, directory: directory, identifier: entry.job, slot: 1,
      clock: WallClock(offset: entry.clockOffset),
      startedAt: entry.startedAt, rule: rule, reason: entry.reason, isKeyed: rule.match.key != nil,
      before: SensorReading())

    var reader = try EventLogReader(fileDescriptor: log)
    var replay = LogReplay(clockOffset: entry.clockOffset)
    while let frame = try reader.nextFrame() {
      frame.forEachLine { line in
        replay.replay(line) { record in
          job.recorder.take(record)
          job.notice(record)
          job.noticeContainer(replayed: record)
        }
      }
    }
    let summary = reader.summary
    // What is behind the last whole frame vouches for nothing.
    guard ftruncate(log, off_t(clamping: summary.bytes)) == 0 else {
      throw SystemError("cut the event log of job \(entry.job) to its last whole frame", code: errno)
    }
    let last = max(replay.lastTime, entry.startedAt)
    // Times of another boot are on another clock.
    let until = entry.boot == settings.boot ? seenAgainAt : nil
    if entry.reason == ClaimReason.adopted.name.description {
      job.unseen.append(.init(reason: .adopted, from: nil, until: entry.startedAt))
    }
    job.unseen.append(.init(reason: .died, from: last, until: until))
    let finished = job.finish(counts: JobCounts(), after: SensorReading(), sensor: facts, endedAt: last)
    var input = finished.input
    input.take(finished.recorded)
    input.endedAt = max(last, entry.startedAt)
    input.health = SensorHealth()
    input.filter = entry.filter.map { .init(words: $0) }
    input.policy = entry.policy.map { settings.policies.inForce($0) }
    input.log = ReportInput.Log(summary)
    input.snapshot.filesNotKept &+= replay.notUnderstood
    if !reader.faults.isEmpty, reader.faults.contains(where: { $0.kind != .truncated }) {
      input.logError = reader.faults.map(\.description).joined(separator: ", ")
    }
    return (input, directory)
  }
}
