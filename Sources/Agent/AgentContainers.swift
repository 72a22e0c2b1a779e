internal import EventLog
internal import Jobs
internal import KernelABI
internal import KernelSensor
internal import Observation
internal import Policy
internal import Recording
internal import Reporting

/// A slot that the kernel side has made for what is executed in one container: in whose job that is, is found out here.
struct ContainerSlot {
  let slot: UInt16
  let cgroup: UInt64
  /// nil: the record that tells of its cgroup was lost.
  let name: ContainerName?
  /// Of its cgroup, which may be gone when it is known whose it is.
  let path: String?
  let since: UInt64
  /// The first that was executed in it.
  let process: UInt32
  /// What was done in it before it was known whose it is: whole records.
  var records: [UInt8] = []
  /// Of what it hands to TLS nothing is kept but this, as of a job.
  var requests = RequestDecoder()
  var waiting: UInt64 = 0
  /// It did more than is kept.
  var hasOverflowed = false
  /// The first program that is executed.
  var execution: ContainerLinks.Execution?
  /// The job's slot; 0: not known yet.
  var owner: UInt16 = 0
  /// Number in the job, and its step.
  var number: UInt32 = 0
  var step: UInt32 = 0
  /// What rules of its job's policy can be for.
  var origin = ContainerOrigin(image: .unknown, step: 0)
  /// Since when no process of it lives; 0: one does.
  var emptySince: UInt64 = 0
  var closedAt: UInt64 = 0
  /// Its first program is there, and waits for the policy: what came before was the runtime, which no policy is for.
  var hasBegun = false
  /// Something in it waited for its policy and went on without.
  var hasGoneOn = false

  /// It may execute a step of a build.
  var mayBeStep: Bool { name?.kind ?? .buildStep == .buildStep }
}

/// A container that is in no job's report.
struct ForeignContainer: Sendable {
  enum Reason: String {
    /// No job's process was told of it.
    case unknown
    /// Several jobs build with this very command at once.
    case several
    /// The record of its cgroup was lost, its description was gone before it was read, or it did more than is kept before
    /// it was known whose it is.
    case lost
  }

  var id: String?
  var cgroup: String?
  var startedAt: UInt64
  var records: UInt64
  var reason: Reason
}

/// What the agent knows of containers.
struct AgentContainers {
  var links = ContainerLinks()
  /// By the cgroup's id.
  var cgroups: [UInt64: (name: ContainerName, path: String, bundle: ContainerBundle?)] = [:]
  /// Runtimes with a kernel of their own that have made the cgroups of containers, by these's ids.
  var runtimes: [String: String] = [:]
  var slots: [UInt16: ContainerSlot] = [:]
  var attributed: UInt64 = 0
  var unattributed: UInt64 = 0
  /// Those that came last.
  var foreign: [ForeignContainer] = []
  /// Bytes that wait until it is known whose they are.
  var waitingBytes = 0
  var isHeld = false
  /// Slots of containers that have just been found to be a job's.
  var found: [UInt16] = []
  var held = HeldProcesses()

  /// How long it may take to find out whose a container is.
  static let patience: UInt64 = 10_000_000_000
  /// Bytes kept of one, and of all, until then.
  static let limit = 16 << 20
  static let limitOfAll = 128 << 20
  static let foreignLimit = 50
  static let cgroupLimit = 16_384

  /// Whether something ran, or runs, in a container for a job and is not in its report.
  func lack(slot: UInt16, since start: UInt64) -> Bool {
    let waiting = slots.values.filter { $0.owner == 0 }
    return links.lacks(slot: slot, since: start, isStepWaiting: waiting.contains(where: \.mayBeStep))
      || waiting.contains { links.mayBeOfSilentBuild($0.since, slot: slot) }
  }

  /// Whether a container that waits may be found to be the job's in a moment.
  func mayGain(slot: UInt16, since start: UInt64, now: UInt64) -> Bool {
    slots.values.contains { $0.owner == 0 && now &- $0.since < 2 * ContainerLinks.settling }
      && lack(slot: slot, since: start)
  }

  mutating func tellForeign(_ container: ForeignContainer) {
    unattributed &+= 1
    if foreign.count >= Self.foreignLimit { foreign.removeFirst() }
    foreign.append(container)
  }
}

extension AgentRecorder {
  // MARK: - Records

  /// Records that are not of a job's own deeds: what daemons say, and what cgroups are made.
  @inline(never)
  mutating func takeOfContainers(_ record: RecordView) {
    switch record.type {
    case .daemon:
      if containers.links.take(record) { decideAll() }
    case .cgroup:
      let body = record.cgroup
      if body.is_gone != 0 {
        if let id = containers.cgroups[body.cgroup]?.name.id { containers.runtimes[id] = nil }
        containers.cgroups[body.cgroup] = nil
      } else if let path = record.string(.path), let name = ContainerName(cgroup: path),
        containers.cgroups.count < AgentContainers.cgroupLimit
      {
        containers.links.note(name)
        if let maker = record.string(.argv)?.split(separator: 0).first {
          let program = ContainerKeeper.lastPart(String(decoding: maker, as: UTF8.self))
          if ContainerKeeper.hasOwnKernel(program) { containers.runtimes[name.id] = program }
        }
        // Others are known by their ids.
        let runtime = name.kind == .buildStep ? record.string(.argv) : nil
        containers.cgroups[body.cgroup] = (
          name, String(decoding: path, as: UTF8.self),
          runtime.flatMap { ContainerBundle(ofRuntime: $0, process: record.tgid) }
        )
      }
    default: break
    }
  }

  /// A process in a container was found by its cgroup.
  @inline(never)
  mutating func takeContainerClaim(_ record: RecordView) {
    let isNew = containers.slots[record.job] == nil
    if isNew {
      let cgroup = record.claim.cgroup
      var container = ContainerSlot(
        slot: record.job, cgroup: cgroup, name: containers.cgroups[cgroup]?.name,
        path: containers.cgroups[cgroup]?.path, since: record.time, process: record.tgid)
      if let bundle = containers.cgroups[cgroup]?.bundle {
        container.execution = ContainerLinks.Execution(
          at: record.time &+ UInt64(bitPattern: Clock.wallOffset), arguments: bundle.arguments,
          variable: bundle.variable, layers: bundle.layers)
        // It may hold secrets.
        containers.cgroups[cgroup]?.bundle = nil
      }
      containers.slots[record.job] = container
    }
    guard let container = containers.slots[record.job] else { return }
    if container.owner != 0 { return deliver(record, of: container) }
    wait(record)
    // Of a container's later processes nothing is learnt.
    if isNew { decideAll() }
  }

  /// A record of a container of which it is not known whose it is.
  mutating func wait(_ record: RecordView) {
    if RequestDecoder.reads(record) { return waitPlain(record) }
    guard var container = containers.slots[record.job] else { return }
    let bytes = record.bytes
    if record.isHeld { noteHeld(record) }
    container.waiting &+= 1
    if !container.hasOverflowed, container.records.count + bytes.count <= AgentContainers.limit,
      containers.waitingBytes + bytes.count <= AgentContainers.limitOfAll
    {
      containers.slots[record.job] = nil  // Or the array would be copied.
      container.records.append(contentsOf: bytes)
      containers.waitingBytes += bytes.count
    } else {
      containers.waitingBytes -= container.records.count
      container.records = []
      container.hasOverflowed = true
    }
    // Without the bundle's description. What is executed in the machine's own mounts is the runtime.
    let isFirstExec =
      record.type == .exec && container.name?.kind == .buildStep && container.execution == nil
      && record.exec.exec_flags & MT_EXEC_OTHER_MNTNS.rawValue != 0
    if isFirstExec, let bytes = record.string(.argv) {
      var arguments = bytes.split(separator: 0, omittingEmptySubsequences: false).map { Array($0) }
      if arguments.last?.isEmpty ?? false { arguments.removeLast() }
      container.execution = ContainerLinks.Execution(
        at: record.time &+ UInt64(bitPattern: Clock.wallOffset), arguments: arguments,
        variable: ProcessScan.variables(of: record.tgid, startedAt: record.leaderStart),
        layers: OverlayLayers(ofProcess: record.tgid))
    }
    containers.slots[container.slot] = container
    if isFirstExec { decideAll() }
  }

  private mutating func waitPlain(_ record: RecordView) {
    var made: [RecordBuilder] = []
    containers.slots[record.job]?.requests.take(record) { made.append($0) }
    for builder in made {
      builder.withRecord { wait($0) }
    }
  }

  /// In the order in which they began, which is the order of their numbers in the job.
  private mutating func decideAll() {
    let waiting = containers.slots.values.filter { $0.owner == 0 }.sorted { $0.since < $1.since }
    for container in waiting { decide(container.slot) }
  }

  /// Finds out whose a container is, if that can be told by now.
  private mutating func decide(_ slot: UInt16) {
    guard let container = containers.slots[slot], container.owner == 0, let name = container.name,
      !container.hasOverflowed,
      case .belongs(let link) = containers.links.decide(name, container.execution),
      let place = home(of: link.asker)
    else { return }
    if link.how == .command, Clock.boottime &- container.since < ContainerLinks.settling,
      containers.links.othersBuild(than: link.asker.slot)
    {
      return
    }
    var mine = container
    mine.owner = place.pointee.slot
    let asker = place.pointee.recorder.process(link.asker.process, start: link.asker.start)
    mine.step = asker.step
    mine.origin = ContainerOrigin(
      image: link.image.flatMap(ImageReference.init).map { .inside($0) } ?? .unknown,
      step: place.pointee.stepKey(asker.step))
    mine.number = place.pointee.noticeContainer(
      ReportInput.Job.Container(
        id: name.id, runtime: name.runtime, image: link.image, name: link.name,
        cgroup: container.path, foundBy: link.how.rawValue, askedBy: asker.id,
        startedAt: container.since), slot: slot)
    containers.links.note(explained: name.id)
    if let runtime = ownKernel(of: name, process: container.process) {
      place.pointee.cannotSee(name.id, runtime, at: container.since)
    }
    if let step = link.step {
      if let at = container.execution?.at { containers.links.note(foundStep: step, at: at) }
      if let layers = container.execution?.layers { containers.links.note(layers, of: step) }
    }
    for sharer in link.sharers { tell(sharer, of: container, name, recordedIn: place.pointee.identifier) }
    let records = mine.records
    containers.waitingBytes -= records.count
    mine.records = []
    place.pointee.recorder.takeOver(mine.requests)
    mine.requests = RequestDecoder()
    mine.execution = nil
    containers.slots[slot] = mine
    containers.attributed &+= 1
    jobs[Int(slot)] = place
    containers.found.append(slot)
    records.withUnsafeBytes { bytes in
      var rest = bytes[...]
      while rest.count >= MemoryLayout<mt_header>.size {
        let length = Int(rest.loadUnaligned(as: UInt32.self))
        let record = try? RecordView(validating: UnsafeRawBufferPointer(rebasing: rest.prefix(length)))
        if let record { deliver(record, of: mine) }
        rest = rest.dropFirst(max(length, MemoryLayout<mt_header>.size))
      }
    }
  }

  /// The job that a process is of: a container that has a daemon's socket in it can ask, too.
  private func home(of asker: ContainerLinks.Asker) -> Place? {
    let slot = containers.slots[asker.slot]?.owner ?? asker.slot
    guard slot != 0, let place = jobs[Int(slot)], place.pointee.slot == slot else { return nil }
    return place
  }

  /// A build of another job has this very step.
  private func tell(
    _ sharer: ContainerLinks.Asker, of container: ContainerSlot, _ name: ContainerName, recordedIn identifier: String
  ) {
    guard let place = home(of: sharer) else { return }
    let asker = place.pointee.recorder.process(sharer.process, start: sharer.start)
    place.pointee.noticeContainer(
      ReportInput.Job.Container(
        id: name.id, runtime: name.runtime, image: nil, name: nil, cgroup: container.path,
        foundBy: ContainerLinks.Link.How.command.rawValue, askedBy: asker.id, startedAt: container.since,
        recordedIn: identifier))
  }

  func deliver(_ record: RecordView, of container: ContainerSlot) {
    guard let place = jobs[Int(container.owner)] else { return }
    guard record.type == .claim else { return place.pointee.recorder.take(record) }
    var body = record.claim
    body.step = container.step
    body.container = container.number
    var builder = RecordBuilder(
      .claim, time: record.time, tgid: record.tgid, leaderStart: record.leaderStart)
    builder.job = container.owner
    builder.setBody(body)
    if let comm = record.string(.comm) { builder.setString(.comm, comm) }
    if let name = container.name { builder.setString(.detail, name.id) }
    builder.withRecord { place.pointee.recorder.take($0) }
  }

  // MARK: - What has a kernel of its own

  /// What executes a container, if that is not this kernel; nil: this one does, as far as anybody can tell.
  private mutating func ownKernel(of name: ContainerName, process: UInt32) -> String? {
    if let runtime = containers.runtimes[name.id] { return runtime }
    // As something is executed in it, a runtime that nobody knows is taken for one of this kernel's.
    let runtime = name.kind == .container ? pods.bundles.find(name.id)?.runtime : nil
    // Its first program is what the others are within.
    let program = ProcessScan.link("/proc/\(process)/exe").map { String(decoding: $0, as: UTF8.self) }
    return [runtime, program.map(ContainerKeeper.lastPart)].lazy.compactMap(\.self)
      .first(where: ContainerKeeper.hasOwnKernel)
  }

  /// Of what jobs had started, and in which nothing is executed: who has started it may have a kernel of its own.
  private mutating func explainContainers(now: UInt64) {
    // Others have executed something by then.
    let unexplained = containers.links.unexplained(
      (now &- min(now, AgentContainers.patience))...(now &- min(now, 1_000_000_000)))
    if unexplained.isEmpty { return }
    pods.bundles.scan(now: now)
    for (id, link) in unexplained {
      guard let keeper = pods.bundles.keepers.first(where: { $0.id == id && !ContainerKeeper.isSeen($0.runtime) }),
        let place = home(of: link.asker)
      else { continue }
      containers.links.note(explained: id)
      let asker = place.pointee.recorder.process(link.asker.process, start: link.asker.start)
      place.pointee.noticeContainer(
        ReportInput.Job.Container(
          id: id, runtime: nil, image: link.image, name: link.name, cgroup: nil, foundBy: link.how.rawValue,
          askedBy: asker.id, startedAt: now))
      place.pointee.cannotSee(id, keeper.runtime, at: now)
    }
  }

  // MARK: - What is due

  mutating func keepContainers(_ sensor: Sensor, now: UInt64) {
    explainContainers(now: now)
    do {
      for (asker, socket) in containers.links.takeEnded() {
        try sensor.forgetTalk(socket, ofProcess: asker.process, start: asker.start)
      }
      if containers.isHeld != containers.links.isAwaiting {
        containers.isHeld = containers.links.isAwaiting
        try sensor.holdContainers(containers.isHeld)
      }
      containers.links.forgetDeparted(before: now &- min(now, 2 * AgentContainers.patience))
      decideAll()
      for (slot, container) in containers.slots {
        if container.owner == 0 {
          if now &- container.since > AgentContainers.patience { try leave(slot, sensor, now: now) }
        } else {
          try closeIfEmpty(slot, sensor, now: now)
        }
      }
    } catch {
      settings.log.say("containers cannot be followed: \(error)")
    }
  }

  /// Nobody's.
  private mutating func leave(_ slot: UInt16, _ sensor: Sensor, now: UInt64) throws(SensorError) {
    guard let container = containers.slots[slot] else { return }
    var reason = ForeignContainer.Reason.unknown
    if container.name == nil || container.hasOverflowed {
      reason = .lost
    } else if let name = container.name, containers.links.decide(name, container.execution) == .several {
      reason = .several
    }
    containers.links.note(lostAt: container.since, mayBeStep: container.mayBeStep)
    containers.waitingBytes -= container.records.count
    counts.unattributed &+= container.waiting
    containers.tellForeign(
      ForeignContainer(
        id: container.name?.id, cgroup: container.path, startedAt: container.since,
        records: container.waiting, reason: reason))
    containers.slots[slot] = nil
    containers.links.forget(slot: slot, now: now)
    try sensor.forgetContainer(container.cgroup)
    try sensor.closeJob(slot, evenIfAlive: true)
    close(slot, now: now)
  }

  /// What ends gives its slot back while its job goes on: a build has a container for each step.
  private mutating func closeIfEmpty(_ slot: UInt16, _ sensor: Sensor, now: UInt64) throws(SensorError) {
    guard var container = containers.slots[slot] else { return }
    if container.closedAt != 0 {
      guard now >= container.closedAt &+ Self.settled else { return }
      if let job = jobs[Int(container.owner)] {
        job.pointee.forgetContainer(slot: slot, counts: try sensor.jobCounts(slot))
      }
      containers.slots[slot] = nil
      containers.links.forget(slot: slot, now: now)
      jobs[Int(slot)] = nil
      return close(slot, now: now &- Self.settled)
    }
    if try sensor.slot(slot).processes > 0 {
      container.emptySince = 0
    } else if container.emptySince == 0 {
      container.emptySince = now
    } else if now &- container.emptySince > 1_000_000_000, try sensor.closeJob(slot) {
      container.closedAt = now
    }
    containers.slots[slot] = container
  }

  /// The job is over, and with it what its containers do that live on.
  ///
  /// - Returns: what the kernel side has counted of its containers
  mutating func closeContainers(of owner: UInt16, _ sensor: Sensor, now: UInt64) throws(SensorError) -> JobCounts {
    containers.links.forget(slot: owner, now: now)
    var sum = JobCounts()
    for (slot, container) in containers.slots where container.owner == owner {
      sum += try sensor.jobCounts(slot)
      try sensor.closeJob(slot, evenIfAlive: true)
      containers.slots[slot] = nil
      containers.links.forget(slot: slot, now: now)
      jobs[Int(slot)] = nil
      close(slot, now: now)
    }
    return sum
  }

  /// Processes of its containers that live.
  func processesInContainers(of job: borrowing AgentJob, _ sensor: Sensor) throws(SensorError) -> UInt64 {
    var sum: UInt64 = 0
    for slot in job.containerSlots { sum &+= try sensor.slot(slot).processes }
    return sum
  }
}

/// Containers that daemons started, as a status has them.
struct ContainerCounts: Sendable {
  /// Found to be a job's, and of those the ones that live.
  var attributed: UInt64 = 0
  var running = 0
  /// Of which it is not known yet whose they are.
  var waiting = 0
  /// In no job's report.
  var unattributed: UInt64 = 0
  /// Answers of daemons that were too long to be understood, and what was told and not kept.
  var unreadAnswers: UInt64 = 0
  var foreign: [ForeignContainer] = []
  /// Of the machine, now; see ``ContainerBundles/unseen(now:)``.
  var unseen: [UnseenContainer] = []

  init() {}

  init(_ containers: AgentContainers) {
    attributed = containers.attributed
    running = containers.slots.values.count { $0.owner != 0 && $0.closedAt == 0 }
    waiting = containers.slots.values.count { $0.owner == 0 }
    unattributed = containers.unattributed
    unreadAnswers = containers.links.cut &+ containers.links.dropped
    foreign = containers.foreign
  }

  func write(to json: inout JSONOutput) {
    json.member("attributed", attributed)
    json.member("running", running)
    json.member("waiting", waiting)
    json.member("unattributed", unattributed)
    json.member("unreadAnswers", unreadAnswers)
    json.member("unseen", unseen.count)
  }
}

extension UnseenContainer {
  func write(to json: inout JSONOutput) {
    json.member("id", id)
    json.member("runtime", runtime)
    JSONReport.write(pod, to: &json)
  }
}

extension ForeignContainer {
  func write(to json: inout JSONOutput) {
    json.member(named: "id", id)
    json.member(named: "cgroup", cgroup)
    json.member("startedAt", WallClock(offset: Clock.wallOffset).rfc3339(startedAt))
    json.member("records", records)
    json.member("reason", reason.rawValue)
  }
}
