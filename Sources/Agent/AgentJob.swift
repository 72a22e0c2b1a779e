internal import EventLog
internal import Jobs
internal import KernelABI
internal import KernelSensor
internal import Observation
internal import Recording
internal import Reporting
internal import Supervision

/// How the sensor as a whole was doing at one moment: what cannot be told of one job alone.
struct SensorReading: Sendable {
  /// When all of it had been read, CLOCK_BOOTTIME.
  var at: UInt64 = 0
  var status: SensorStatus?
  var missedRuns: UInt64 = 0
  var malformed: UInt64 = 0
  var late: UInt64 = 0
  var stalled: UInt64 = 0
  /// Why the kernel would not tell; empty if it did.
  var failure = ""

  /// Entries that each map has refused.
  var refused: [(name: String, count: UInt64)] { status?.maps.map { ($0.name, $0.refused) } ?? [] }
}

/// One job that is being recorded: its records' way, whose it is, and when it will be over.
struct AgentJob: ~Copyable {
  var recorder: JobRecorder
  let directory: OutputDirectory
  let identifier: String
  let slot: UInt16
  let clock: WallClock
  /// CLOCK_BOOTTIME.
  let startedAt: UInt64
  /// Other processes can join it, by its key.
  let isKeyed: Bool
  /// Nanoseconds; see ``AgentRule/linger``.
  let linger: UInt64

  private(set) var facts: ReportInput.Job
  private var identity: JobIdentity
  var unseen: [ReportInput.Unseen] = []
  /// What it has to do without, and did, to keep the agent below its ceilings.
  var shedding = Shedding.nothing
  var sheds: [ReportInput.Shed] = []
  var leftOut: UInt64 = 0
  var span = ReportInput.Span()
  var policy: JobPolicy
  /// What is left out of it; nil: nothing.
  let filter: ReportInput.FilterInForce?
  /// Denials that were told in the agent's log.
  var told = 0
  /// Reports that are wanted of it now; see AgentRecorder+Reports.
  var requests: [ReportRequest] = []
  /// When the next may be made that is not its last, CLOCK_BOOTTIME.
  var nextReportAt: UInt64 = 0
  /// There as long as one is being written.
  weak var reportInMaking: ReportInMaking?
  /// Of its first process, effective; nil: not told, or others have joined it of another user, by its key.
  private(set) var user: UInt32?
  /// A user has asked for it to be watched.
  private(set) var isRun = false
  /// What it did before the agent is not asked for.
  private let beginsHere: Bool
  /// The pod that a runner of GitHub's is in, which can have others made for the job.
  private(set) var runnerPod: PodLabels?
  /// The program that has them made, as its environment says; nil: none.
  private(set) var hooks: [UInt8]?
  private var hasCalledHooks = false
  /// A container of such a pod was found.
  var hasPods = false
  /// Slots of containers that live.
  private(set) var containerSlots: [UInt16] = []
  /// What the kernel side has counted of those that have ended.
  private(set) var containerCounts = JobCounts()
  /// Taken at most two seconds before the job began; if none ran then, ten.
  let before: SensorReading

  /// Those of its first processes that live, with their starts; 0: not known.
  private var first: [UInt32: UInt64] = [:]
  private var firstSeen = 0
  /// Of the first of them that ended, as wait(2) gives it.
  private(set) var waitStatus: UInt32?
  /// When the last of them ended; 0: one lives, or none was ever told.
  private var firstEndedAt: UInt64 = 0
  /// Since when the kernel has known of no process of it; 0: it knows of one.
  private var emptySince: UInt64 = 0
  /// When nothing could join it any more; 0: not yet.
  var closedAt: UInt64 = 0
  /// Since when the files are hashed that it leaves behind; 0: not yet.
  private var hashingSince: UInt64 = 0

  /// What the kernel side calls steps that have a name, by their numbers.
  private var stepKeys: [UInt32: UInt64] = [:]

  private static let maximumSteps = 10_000
  private static let maximumContainers = 10_000
  private static let maximumEarlier = 100

  init(
    recorder: consuming JobRecorder, directory: OutputDirectory, identifier: String, slot: UInt16, clock: WallClock,
    startedAt: UInt64, rule: AgentRule?, reason: String, isKeyed: Bool, beginsHere: Bool = false,
    policy: NamedPolicy? = nil, filter: ReportInput.FilterInForce? = nil,
    before: SensorReading
  ) {
    self.recorder = recorder
    self.directory = directory
    self.identifier = identifier
    self.slot = slot
    self.clock = clock
    self.startedAt = startedAt
    self.isKeyed = isKeyed
    self.beginsHere = beginsHere
    self.before = before
    self.policy = JobPolicy(policy)
    self.filter = filter
    linger = rule?.linger(isKeyed: isKeyed) ?? 2_000_000_000
    facts = ReportInput.Job(provider: rule?.provider ?? "unknown", rule: rule?.name ?? "unknown", reason: reason)
    identity = JobIdentity(provider: facts.provider)
  }

  // MARK: - Records

  /// What a record that was just folded says about the job itself.
  @inline(never)
  mutating func notice(_ record: RecordView) {
    switch record.type {
    case .claim: noticeClaim(record)
    case .step: noticeStep(record.step.step, key: record.step.name, at: record.time)
    case .exit: noticeExit(record)
    default: break
    }
  }

  private mutating func noticeClaim(_ record: RecordView) {
    // It came into the job from beside it, and what the job waits for is not its business.
    if record.claim.claimReason == .cgroup { return }
    first[record.tgid] = record.leaderStart
    user = firstSeen == 0 || user == record.claim.uid ? record.claim.uid : nil
    firstSeen += 1
    firstEndedAt = 0
    noticeStep(record.claim.step, key: record.claim.name, at: record.time)
  }

  private mutating func noticeStep(_ number: UInt32, key: UInt64, at time: UInt64) {
    let name = identity.take(recorder.variables)
    facts.facts = identity.values
    facts.variables = identity.others
    guard number != 0 else { return }
    // The first that is told: what a step's process executes later may say anything.
    if stepKeys[number] == nil, stepKeys.count < Self.maximumSteps { stepKeys[number] = key }
    if let index = facts.steps.lastIndex(where: { $0.number == number }) {
      // Told at each exec of its first process: the last of them is the one that knows best.
      if let name { facts.steps[index].name = name }
    } else if facts.steps.count < Self.maximumSteps {
      facts.steps.append(.init(number: number, name: name, startedAt: time))
    } else {
      facts.stepsNotKept &+= 1
    }
  }

  /// What the step of this number is called; nil: it has no name, or there is none.
  func stepName(_ number: UInt32) -> String? { facts.steps.last { $0.number == number }?.name }

  /// What the kernel side calls the step of this number; 0: not known, or that it is in none.
  func stepKey(_ number: UInt32) -> UInt64 { stepKeys[number] ?? 0 }

  private mutating func noticeExit(_ record: RecordView) {
    guard let start = first[record.tgid], start == 0 || start == record.leaderStart else { return }
    first[record.tgid] = nil
    if waitStatus == nil { waitStatus = record.exit.status }
    if first.isEmpty {
      firstEndedAt = max(1, record.time)
      if !isKeyed { recorder.firstProcessEnded(at: record.time) }
    }
  }

  /// A process of it was there before the agent.
  mutating func ran(since start: UInt64, unseenUntil time: UInt64) {
    if beginsHere { return span.from = time }
    guard let index = unseen.firstIndex(where: { $0.reason == .adopted }) else {
      return unseen.append(.init(reason: .adopted, from: start, until: time))
    }
    unseen[index].from = min(unseen[index].from ?? start, start)
  }

  /// All processes that it had before the agent are its own from here on.
  mutating func adopted(at time: UInt64) {
    if span.from != nil { span.from = time }
    for index in unseen.indices where unseen[index].reason == .adopted { unseen[index].until = time }
  }

  /// A process that is to be watched, and that no record tells of.
  mutating func begin(with pid: UInt32, of user: UInt32) {
    first[pid] = 0
    firstSeen = 1
    self.user = user
    isRun = true
  }

  /// Where it works, as its variables tell it, if they ever do.
  var workspace: String? { identity.workspace }
  var tellsWorkspace: Bool { identity.tellsWorkspace }

  // MARK: - Containers

  /// A container was found to be the job's. Returns its number: one that is found once more, as somebody executes something
  /// in it, has the one that it had.
  ///
  /// - Parameter slot: whose records are the job's; nil: they are in another job's report
  @discardableResult
  mutating func noticeContainer(_ container: ReportInput.Job.Container, slot: UInt16? = nil) -> UInt32 {
    if let slot { containerSlots.append(slot) }
    if let index = facts.containers.firstIndex(where: { $0.id == container.id }) { return UInt32(index + 1) }
    guard facts.containers.count < Self.maximumContainers else {
      facts.containersNotKept &+= 1
      return 0
    }
    facts.containers.append(container)
    return UInt32(facts.containers.count)
  }

  /// What an event log says of a container; by what a daemon's was found it does not say.
  mutating func noticeContainer(replayed record: RecordView) {
    let body = record.claim
    guard Int(body.container) == facts.containers.count + 1, let bytes = record.string(.detail) else { return }
    let (id, labels) = PodLabels.decode(bytes)
    let foundBy =
      switch body.claimReason {
      case .container: "unknown"
      case .cgroup: "pod"
      default: "cgroup"
      }
    noticeContainer(
      ReportInput.Job.Container(
        id: id, runtime: nil, image: labels?.image, name: labels?.container, cgroup: nil, foundBy: foundBy, askedBy: 0,
        startedAt: record.time, pod: labels))
  }

  /// What executes one of its containers has a kernel of its own.
  mutating func cannotSee(_ container: String, _ runtime: String, at time: UInt64) {
    guard let index = facts.containers.firstIndex(where: { $0.id == container }),
      facts.containers[index].unseenRuntime == nil
    else { return }
    facts.containers[index].unseenRuntime = runtime
    unseen.append(.init(reason: .runtime, from: time, until: nil, detail: runtime))
  }

  /// A process of it was in a cgroup that is gone before anybody looked whether it was a container's.
  mutating func lostContainer(at time: UInt64) {
    if unseen.contains(where: { $0.reason == .container }) { return }
    unseen.append(.init(reason: .container, from: time, until: nil))
  }

  /// Its first process is in this pod.
  mutating func beginsInPod(_ labels: PodLabels, process: UInt32, start: UInt64) {
    guard runnerPod == nil, facts.provider == "github", !isKeyed else { return }
    runnerPod = labels
    hooks = ProcessScan.variables(of: process, startedAt: start)(RunnerPod.variable).flatMap { $0.isEmpty ? nil : $0 }
  }

  /// Whether it is the hooks that are executed: their path is one of the arguments.
  @inline(never)
  mutating func noticeHooks(_ record: RecordView) {
    guard !hasCalledHooks, let hooks, let arguments = record.string(.argv) else { return }
    hasCalledHooks = arguments.split(separator: 0).contains { $0.elementsEqual(hooks) }
  }

  /// A pod was made for it, and not on this node, or it was not found.
  var lacksPods: Bool { hasCalledHooks && !hasPods }

  mutating func forgetContainer(slot: UInt16, counts: JobCounts) {
    containerSlots.removeAll { $0 == slot }
    containerCounts += counts
  }

  // MARK: - Its end

  /// What is to become of it.
  enum Course: Equatable {
    case goesOn
    /// No process of it lives, and none is waited for.
    case ends
    /// Its first processes are over and others live on: the report lists them.
    case endsWithProcesses
  }

  /// - Parameter processes: that live, by the kernel's count.
  mutating func course(processes: UInt64, now: UInt64) -> Course {
    if processes > 0 {
      emptySince = 0
      guard first.isEmpty, firstEndedAt != 0, now > firstEndedAt else { return .goesOn }
      // A keyed job goes on with the next process that comes with the key, and what it leaves behind meanwhile may be
      // meant for that; but not for ever.
      return now - firstEndedAt >= (isKeyed ? 10 * linger : linger) ? .endsWithProcesses : .goesOn
    }
    if emptySince == 0 { emptySince = now }
    // Not known to have ended: that record was lost, or is not read yet.
    let patience = isKeyed || !first.isEmpty || firstSeen == 0 ? linger : 0
    return now - emptySince >= patience ? .ends : .goesOn
  }

  /// Where its report will be.
  var path: String { directory.path }

  /// What it writes from now on is hashed later.
  mutating func goesOnHashing() { hashingSince = 0 }

  /// Has its files hashed: at its end, or for a report before that. True when that is done, or has taken too long.
  mutating func isHashed(patience: UInt64, now: UInt64) -> Bool {
    if hashingSince == 0 {
      hashingSince = now
      recorder.hashWrittenFiles(now: now)
    }
    if recorder.isHashing, now &- hashingSince < patience { return false }
    recorder.giveUpHashing(now: now)
    return true
  }

  /// - Parameters:
  ///   - counts: of the kernel side, of this job.
  ///   - after: taken when its last record had been read.
  consuming func finish(
    counts: JobCounts, after: SensorReading, sensor: SensorFacts, endedAt: UInt64
  ) -> FinishedJob {
    var input = input(after: after, sensor: sensor)
    input.filter?.counts = counts.filtered
    input.endedAt = firstEndedAt > startedAt ? max(firstEndedAt, isKeyed ? emptySince : 0) : endedAt
    input.waitStatus = waitStatus
    if isKeyed, firstEndedAt != 0 { recorder.firstProcessEnded(at: firstEndedAt) }
    let slot = slot
    let directory = directory
    let attribution = LossAttribution(before, after, since: startedAt)
    let before = before
    let requests = requests
    let leftOut = leftOut
    let recorded = recorder.finish()
    input.completeness = Completeness(recorded.tallies, counts, before, after, attribution, sensor.missingHooks)
    input.completeness.lateAttach = input.unseen.contains { $0.reason == .adopted }
    input.completeness.shed = leftOut
    input.completeness.missingHooks += recorded.requestFiles?.missingHooks ?? []
    return FinishedJob(
      slot: slot, recorded: recorded, directory: directory, input: input, requests: requests)
  }

  /// What there is by now, for a report before its end.
  ///
  /// - Parameters:
  ///   - asked: what has been read until then is whole
  ///   - counts: of the kernel side, of this job.
  ///   - after: taken now
  mutating func soFar(
    _ asked: AskedReport, counts: JobCounts, after: SensorReading, sensor: SensorFacts
  ) -> (input: ReportInput, recorded: RecordedSoFar) {
    let recorded = recorder.soFar()
    var asked = asked
    asked.logHead = recorded.log?.head
    asked.logFrames = recorded.log?.frames ?? 0
    var input = input(after: after, sensor: sensor)
    input.filter?.counts = counts.filtered
    input.endedAt = max(asked.at, startedAt)
    input.span.until = asked
    input.completeness = Completeness(
      recorded.tallies, counts, before, after, LossAttribution(before, after, since: startedAt), sensor.missingHooks)
    input.completeness.lateAttach = input.unseen.contains { $0.reason == .adopted }
    input.completeness.shed = leftOut
    input.completeness.missingHooks += recorded.requestFiles?.missingHooks ?? []
    if span.earlier.count < Self.maximumEarlier { span.earlier.append(asked) } else { span.earlierNotKept &+= 1 }
    return (input, recorded)
  }

  /// What a report says that is not in the records.
  private borrowing func input(after: SensorReading, sensor: SensorFacts) -> ReportInput {
    var input = ReportInput()
    input.jobIdentifier = identifier
    input.clock = clock
    input.version = Version.current
    input.kernelRelease = sensor.kernelRelease
    input.hooks = sensor.hooks
    input.forcedHooks = sensor.forcedHooks
    input.hashObjection = sensor.hashObjection
    input.startedAt = startedAt
    input.job = facts
    input.unseen = unseen
    input.sheds = sheds
    input.span = span
    input.policy = policy.inForce
    input.filter = filter
    if let status = after.status { input.health = SensorHealth(status) }
    return input
  }
}

/// What reports say about the sensor, which hardly changes while it runs.
struct SensorFacts: Sendable {
  var kernelRelease: String
  var hooks: [Hook]
  var forcedHooks: ReportInput.ForcedHooks?
  var missingHooks: [(family: String, reason: String)]
  /// Why the kernel does not hash images, if it was asked to.
  var hashObjection: String?
}

/// A job of which no record comes any more, on its way to whoever writes the reports.
///
/// It belongs to one thread at a time: to the reader's, until it is put into the worker's queue, and to that then.
final class FinishedJob: @unchecked Sendable {
  let slot: UInt16
  let recorded: RecordedJob
  let directory: OutputDirectory
  var input: ReportInput
  /// Who waits for its report.
  let requests: [ReportRequest]

  init(
    slot: UInt16, recorded: RecordedJob, directory: OutputDirectory, input: ReportInput, requests: [ReportRequest]
  ) {
    self.requests = requests
    self.slot = slot
    self.recorded = recorded
    self.directory = directory
    self.input = input
  }
}
