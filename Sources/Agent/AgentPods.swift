internal import CSystem
internal import Glibc
internal import KernelABI
internal import KernelSensor
internal import Observation
internal import Recording
internal import Reporting

/// What the agent knows of the containers that jobs' processes are in, without anybody having asked a daemon: on a node of
/// Kubernetes, where the kubelet has them started.
struct AgentPods {
  /// A cgroup that is a container's.
  struct Container {
    var name: ContainerName
    /// nil: as this agent sees it, it is not known where it is.
    var path: String?
    var labels: PodLabels?
    /// By what it is a job's: `cgroup`, a process of the job is in it; `pod`, its pod is.
    var foundBy = "cgroup"
  }

  /// A bundle that was made, and of which it is not known yet whose it is, or what its cgroup is.
  private struct Pending {
    var id: String
    var since: UInt64
  }

  var bundles = ContainerBundles()
  private let cgroups: CgroupPaths?
  private var known: [UInt64: Container] = [:]
  /// Cgroups of containers that were made for a job, with the job's slot, and when it is looked once more what is in them; 0:
  /// it was.
  private var watched: [(cgroup: UInt64, slot: UInt16, path: String, lookAt: UInt64)] = []
  private var pending: [Pending] = []

  private static let limit = 16_384
  /// How long a bundle's description and cgroup may take to be there.
  static let patience: UInt64 = 10_000_000_000
  /// Bundles that are looked at in one turn: a node has hundreds.
  private static let turn = 8

  init() { cgroups = try? CgroupPaths() }

  /// The container that a process is in which was just claimed; nil: it is in none.
  ///
  /// - Throws: if its cgroup is gone, so that it is not known any more what that was
  mutating func find(_ record: RecordView) throws(CgroupPaths.Gone) -> Container? {
    let cgroup = record.claim.cgroup
    if cgroup != 0, let container = known[cgroup] { return container }
    var path: [UInt8]
    if cgroup != 0 {
      guard let cgroups, let found = try cgroups.path(of: cgroup) else { return nil }
      path = found
    } else {
      // Of what was there before the agent: `0::/…`, seen from the agent's own group, if it is in a namespace.
      guard let found = ProcessScan.cgroup(of: record.tgid) else { return nil }
      path = found
    }
    guard let name = Self.container(in: &path) else { return nil }
    let text = String(decoding: path, as: UTF8.self)
    let container = Container(
      name: name, path: text.hasPrefix("/..") ? nil : text,
      labels: bundles.find(name.id)?.pod(cgroup: path))
    if cgroup != 0 {
      if known.count >= Self.limit { known = [:] }
      known[cgroup] = container
    }
    return container
  }

  /// The outermost container of a path, which is cut to it: what is within may have been made, and named, by the job.
  static func container(in path: inout [UInt8]) -> ContainerName? {
    for end in path.indices.dropFirst().filter({ path[$0] == UInt8(ascii: "/") }) + [path.endIndex] {
      guard let name = ContainerName(cgroup: path[..<end]), name.kind == .container else { continue }
      path.removeSubrange(end...)
      return name
    }
    return nil
  }

  // MARK: - Pods that a job has had made

  /// Containers of pods that runners among `runners` have had made for their jobs: what is executed in them is to be theirs.
  ///
  /// - Parameter unclear: called with those of which it is not known whose they are, or that cannot be followed
  mutating func look(
    _ runners: [(slot: UInt16, pod: PodLabels)], now: UInt64, unclear: (UnclearContainer) -> Void
  ) -> [(slot: UInt16, cgroup: UInt64, container: Container, processes: [UInt32])] {
    if runners.isEmpty { return [] }
    pending += bundles.made(now: now).map { Pending(id: $0, since: now) }
    var found: [(slot: UInt16, cgroup: UInt64, container: Container, processes: [UInt32])] = []
    let turn = pending.prefix(Self.turn)
    pending.removeFirst(turn.count)
    for entry in turn {
      let isLate = now &- entry.since > Self.patience
      guard let bundle = bundles.look(entry.id) else {
        if isLate { unclear(UnclearContainer(id: entry.id, reason: .lost)) } else { pending.append(entry) }
        continue
      }
      guard let labels = bundle.pod(cgroup: []), !labels.isSandbox else { continue }
      let owners = runners.filter { RunnerPod.isMade(labels, by: $0.pod) }
      guard let owner = owners.first else { continue }
      guard owners.count == 1 else {
        unclear(
          UnclearContainer(id: entry.id, cgroup: bundle.cgroup, reason: .several, owners: owners.map(\.slot)))
        continue
      }
      guard let path = bundle.cgroup, let cgroup = cgroups?.id(of: path), let name = ContainerName(cgroup: path.utf8)
      else {
        if isLate {
          unclear(UnclearContainer(id: entry.id, cgroup: bundle.cgroup, reason: .lost, owners: [owner.slot]))
        } else {
          pending.append(entry)
        }
        continue
      }
      let container = Container(name: name, path: path, labels: bundle.pod(cgroup: Array(path.utf8)), foundBy: "pod")
      known[cgroup] = container
      watched.append((cgroup, owner.slot, path, now &+ Self.patience / 2))
      found.append((owner.slot, cgroup, container, cgroups?.processes(in: path) ?? []))
    }
    return found
  }

  /// What is in containers that were found some seconds ago: what a runtime had begun is over by then.
  mutating func lookAgain(now: UInt64) -> [(slot: UInt16, processes: [UInt32])] {
    var found: [(slot: UInt16, processes: [UInt32])] = []
    for index in watched.indices where watched[index].lookAt != 0 && now >= watched[index].lookAt {
      watched[index].lookAt = 0
      found.append((watched[index].slot, cgroups?.processes(in: watched[index].path) ?? []))
    }
    return found
  }

  /// A job takes no more processes. Returns the cgroups that were watched for it.
  mutating func forget(slot: UInt16) -> [UInt64] {
    let cgroups = watched.filter { $0.slot == slot }.map(\.cgroup)
    watched.removeAll { $0.slot == slot }
    for cgroup in cgroups { known[cgroup] = nil }
    return cgroups
  }
}

/// A container of which it is not known whose it is, or in which nothing could be followed.
struct UnclearContainer {
  var id: String
  var cgroup: String?
  var reason: ForeignContainer.Reason
  /// Slots of the jobs that may have had it made.
  var owners: [UInt16] = []
}

/// How GitHub's hooks for Kubernetes (actions/runner-container-hooks, packages/k8s) name the pods that they have made: the API
/// server, which knows a label `runner-pod`, is not asked, and no runtime is told of it.
enum RunnerPod {
  private static let nameLimit = 63

  /// - Parameters:
  ///   - labels: of a container
  ///   - runner: the pod that the job's `Runner.Worker` is in
  static func isMade(_ labels: PodLabels, by runner: PodLabels) -> Bool {
    guard labels.namespace == runner.namespace else { return false }
    if labels.pod == cut(runner.pod, "-workflow".utf8.count) + "-workflow" { return true }
    // `-step-` and eight digits of a UUID.
    let step = cut(runner.pod, "-step-".utf8.count + 8) + "-step-"
    return labels.pod.hasPrefix(step) && labels.pod.utf8.count == step.utf8.count + 8
      && labels.pod.suffix(8).allSatisfy { $0.isHexDigit }
  }

  private static func cut(_ name: String, _ ending: Int) -> String { String(name.prefix(nameLimit - ending)) }

  /// The program that has them made, which the runner executes for each job with a container.
  static let variable = "ACTIONS_RUNNER_CONTAINER_HOOKS"
}

extension AgentRecorder {
  /// A claim of a job, with the container that the process is in.
  @inline(never)
  mutating func takeClaim(_ record: RecordView, of job: Place) {
    var found: AgentPods.Container?
    do {
      if record.claim.container == 0 { found = try pods.find(record) }
    } catch {
      job.pointee.lostContainer(at: record.time)
    }
    guard let container = found else { return job.pointee.recorder.take(record) }
    let isWorker = record.claim.is_new != 0 || record.claim.claimReason == .adopted
    let labels = container.labels
    if isWorker, let labels { job.pointee.beginsInPod(labels, process: record.tgid, start: record.leaderStart) }
    let number = job.pointee.noticeContainer(
      ReportInput.Job.Container(
        id: container.name.id, runtime: container.name.runtime ?? labels?.runtime, image: labels?.image,
        name: labels?.container, cgroup: container.path, foundBy: container.foundBy, askedBy: 0,
        startedAt: record.time, pod: labels))
    var builder = RecordBuilder(record)
    var body = record.claim
    body.container = number
    builder.setBody(body)
    builder.setString(.detail, labels?.encoded(id: container.name.id) ?? Array(container.name.id.utf8))
    builder.withRecord { job.pointee.recorder.take($0) }
  }

  /// Whether there are jobs whose containers may come at any time; see ``watchPods(_:now:)``.
  var awaitsPods: Bool { open.contains { jobs[Int($0)]?.pointee.runnerPod != nil } }

  /// To be called every few milliseconds: a container's cgroup has to be known before its first program is executed, which
  /// is some hundredths of a second after its bundle is made.
  mutating func watchPods(_ sensor: Sensor, now: UInt64) {
    let runners = open.compactMap { slot in
      jobs[Int(slot)].flatMap { job in job.pointee.closedAt == 0 ? job.pointee.runnerPod.map { (slot, $0) } : nil }
    }
    var unclear: [UnclearContainer] = []
    for (slot, cgroup, container, processes) in pods.look(runners, now: now, unclear: { unclear.append($0) }) {
      do {
        try sensor.watchCgroup(cgroup, job: slot)
        jobs[Int(slot)]?.pointee.hasPods = true
        // A runtime's own process is about to execute the container's first program, and may have to do for that what a policy
        // denies the job.
        join(processes.filter { !ContainerKeeper.isRuntime($0) }, slot, sensor, now: now)
      } catch {
        settings.log.say("what is executed in the container \(container.name.id) cannot be followed: \(error)")
        jobs[Int(slot)]?.pointee.unseen.append(.init(reason: .container, from: now, until: nil))
      }
    }
    for (slot, processes) in pods.lookAgain(now: now) { join(processes, slot, sensor, now: now) }
    for container in unclear {
      containers.tellForeign(
        ForeignContainer(
          id: container.id, cgroup: container.cgroup, startedAt: now, records: 0, reason: container.reason))
      for slot in container.owners {
        jobs[Int(slot)]?.pointee.unseen.append(.init(reason: .container, from: now, until: nil))
      }
    }
  }

  /// What was executed before its cgroup was watched was not seen until now.
  private mutating func join(_ processes: [UInt32], _ slot: UInt16, _ sensor: Sensor, now: UInt64) {
    let others = processes.filter { sensor.job(ofProcess: $0) == nil }
    if others.isEmpty { return }
    let scan = ProcessScan(settings.configuration)
    for pid in others {
      guard let process = scan.process(pid) else { continue }
      let pidfd = mt_pidfd_open(pid_t(pid))
      guard pidfd >= 0 else { continue }
      defer { Glibc.close(pidfd) }
      guard ProcessScan.isThere(process) else { continue }
      do {
        try sensor.addToJob(pidfd: pidfd, pid: pid_t(pid), job: slot, step: 0, isRunner: false)
        jobs[Int(slot)]?.pointee.ran(since: process.startedAt, unseenUntil: now)
        tellProgram(process, of: slot, start: 0, now: now)
      } catch {
        settings.log.say("process \(pid) cannot be followed: \(error)")
      }
    }
  }

  /// Nothing joins the job any more.
  mutating func forgetPods(of slot: UInt16, _ sensor: Sensor) {
    for cgroup in pods.forget(slot: slot) {
      do {
        try sensor.forgetCgroup(cgroup)
      } catch {
        settings.log.say("a cgroup is watched on: \(error)")
      }
    }
  }
}
