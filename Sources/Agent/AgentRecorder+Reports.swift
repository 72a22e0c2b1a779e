internal import CSystem
internal import Glibc
internal import KernelSensor
internal import Recording
internal import Reporting
internal import Supervision

/// Reports of jobs that go on. Nothing is closed for them: what a job does afterwards is in the report that takes the place
/// of this one, so that a job gains nothing by asking early.
extension AgentRecorder {
  /// What was in flight has been read this long after; as for a job that is closed.
  private static let settling: UInt64 = 200_000_000
  /// A job's reports take no more than this share of the reader's time, a second apart at least.
  private static let share: UInt64 = 20

  /// Requests that wait for one job's next report.
  private static let maximumRequests = 1000

  /// Somebody wants a report. The answer goes to the desk, now or when it is there.
  mutating func take(_ request: ReportRequest, _ sensor: Sensor) {
    switch request.whose {
    case .process(let peer):
      guard let tagged = sensor.job(ofProcess: peer.pid, pidfd: peer.pidfd) else {
        return worker.desk.answer(request, .refused("process \(peer.pid) is in no job that the agent watches"))
      }
      guard let job = jobs[Int(containers.slots[tagged]?.owner ?? tagged)] else {
        return worker.desk.answer(
          request, .refused("the job that process \(peer.pid) was of is over, or not recorded: see the agent's status"))
      }
      var request = request
      // A job's other users, as those within a container, may know that it is watched, and not what its user's processes did.
      request.wantsFiles = request.wantsFiles && (peer.user == job.pointee.user || ControlServer.isTrusted(peer.user))
      put(request, job)
    case .named(let identifier):
      for slot in open where jobs[Int(slot)]?.pointee.identifier == identifier {
        if let job = jobs[Int(slot)] { put(request, job) }
        return
      }
      // It may have ended.
      worker.put(.answer(request, job: identifier))
    case .found: break
    }
  }

  private func put(_ request: ReportRequest, _ job: Place) {
    guard job.pointee.requests.count < Self.maximumRequests else {
      return worker.desk.answer(request, .refused("the job's report is asked for too often"))
    }
    job.pointee.requests.append(request.found)
  }

  /// Whether a report is due that is not a job's last.
  func isReportDue(now: UInt64) -> Bool { open.contains { jobs[Int($0)].map { isDue($0, now: now) } ?? false } }

  private func isDue(_ job: Place, now: UInt64) -> Bool {
    job.pointee.closedAt == 0 && job.pointee.reportInMaking == nil && now >= job.pointee.nextReportAt
      && job.pointee.requests.contains { Self.isDue($0, now: now) }
  }

  private static func isDue(_ request: ReportRequest, now: UInt64) -> Bool {
    request.summary == nil && now >= request.at &+ settling
  }

  /// Makes one of those that are due, as the rings are not read meanwhile.
  mutating func makeReport(_ sensor: Sensor, now: UInt64) {
    let patience = hasher?.limits.patience ?? 0
    let due = open.filter { jobs[Int($0)].map { isDue($0, now: now) } ?? false }
    for slot in due {
      guard let job = jobs[Int(slot)], job.pointee.isHashed(patience: patience, now: now) else { continue }
      return makeReport(of: job, sensor, now: now)
    }
  }

  private mutating func makeReport(of job: Place, _ sensor: Sensor, now: UInt64) {
    let slot = job.pointee.slot
    let served = job.pointee.requests.filter { Self.isDue($0, now: now) }
    job.pointee.requests.removeAll { Self.isDue($0, now: now) }
    job.pointee.goesOnHashing()
    do {
      var counts = try sensor.jobCounts(slot)
      counts += job.pointee.containerCounts
      for slot in job.pointee.containerSlots { counts += try sensor.jobCounts(slot) }
      let processes = try sensor.slot(slot).processes &+ processesInContainers(of: job.pointee, sensor)
      let asked = AskedReport(
        at: served.map(\.at).max() ?? now, by: served.contains { $0.asker == .job } ? .job : .other,
        processes: processes)
      var (input, recorded) = job.pointee.soFar(asked, counts: counts, after: reading, sensor: facts)
      if containers.lack(slot: slot, since: job.pointee.startedAt) {
        input.unseen.append(.init(reason: .container, from: nil, until: nil))
      }
      input.take(recorded)
      let making = ReportInMaking()
      job.pointee.reportInMaking = making
      let log = HeldDescriptors([try job.pointee.directory.duplicated(ReportFiles.logName)])
      worker.put(.soFar(JobSoFar(input: input, path: job.pointee.path, log: log, requests: served, making: making)))
    } catch {
      for request in served { worker.desk.answer(request, .refused("the report could not be made: \(error)")) }
    }
    job.pointee.nextReportAt = now &+ max(1_000_000_000, Self.share &* (mt_boottime_ns() &- now))
  }
}

/// What a report is made from whose job goes on.
struct JobSoFar: Sendable {
  var input: ReportInput
  /// Of the report.
  var path: String
  /// The job's event log, of which there may be more by now.
  var log: HeldDescriptors
  var requests: [ReportRequest]
  var making: ReportInMaking
}

/// Of a job at most one report waits for the worker or is written by it: who asks faster than that waits.
final class ReportInMaking: Sendable {}
