internal import CSystem
internal import EventLog
internal import Glibc
internal import KernelABI
public import KernelSensor
public import Observation
internal import Policy
internal import Recording
internal import Reporting
internal import Supervision

/// One agent, from its options to its end.
public struct Agent {
  public var configuration: AgentConfiguration
  public var sensor: SensorOptions
  public var masker: SecretMasker
  /// What `--hooks` came to is in every report.
  public var forcedTier: HookTier? { sensor.hooks }
  private let log = AgentLog()

  /// Nanoseconds in which everything is flushed when the agent is told to stop.
  private static let patience: UInt64 = 5_000_000_000

  public init(configuration: AgentConfiguration, sensor: SensorOptions, masker: SecretMasker) {
    self.configuration = configuration
    self.sensor = sensor
    self.masker = masker
    self.sensor.recognisesJobs = true
    self.sensor.hashesImages = configuration.hashes
    self.sensor.names = configuration.names
  }

  /// Watches until somebody with the token, or a signal, ends it.
  ///
  /// - Parameter ready: called once, when every process that is a job's is recognised and the socket answers; with the
  ///   token that `stop` has to be given.
  /// - Throws: ``SensorError``, ``SystemError`` and ``OutputError``: why it cannot begin.
  /// - Returns: an exit status.
  public func run(ready: (_ token: String) -> Void) throws -> Int32 {
    // Before there is a second thread.
    var signals: Int32 = -1
    let taken = mt_signals_take(&signals)
    guard taken == 0 else { throw SystemError("take over the signals", code: -taken) }
    _ = mt_raise_descriptor_limit()
    let startedAt = mt_boottime_ns()
    Priority.raise()
    mt_keep_little_memory()

    try Sensor.preflight()
    let directory = try Self.openOutput(configuration.output)
    let journal = try Journal(in: directory)
    if journal.unreadable > 0 { log.say("the journal has \(journal.unreadable) lines that make no sense") }
    let policies = try AgentPolicies(configuration)
    var filters = AgentFilters(configuration)
    var sensorOptions = sensor
    filters.apply(to: &sensorOptions)
    // What a user asks for, too, is nobody else's price.
    sensorOptions.enforces = !policies.isEmpty
    sensorOptions.outlives = policies.isClosed
    let abandoned = PinnedSensors.abandoned()
    if !abandoned.isEmpty {
      let lost = abandoned.reduce(0) { $0 &+ $1.lost }
      log.say(
        "what was denied when a martlet before this one ended stays denied to \(abandoned.reduce(0) { $0 + $1.processes }) "
          + "processes that live; \(lost) records that nobody read were dropped")
    }
    let sensor = try Sensor(options: sensorOptions)
    try filters.place(in: sensor)
    let settings = AgentSettings(
      configuration: configuration, policies: policies, filters: filters, output: configuration.output, masker: masker,
      journal: journal,
      log: log,
      boot: Self.boot)
    try sensor.shield(.directory(directory))
    for path in [Policy.nodeDirectory] + configuration.files { try sensor.shield(path: path) }
    let terms = try policies.isEmpty ? nil : policies.place(in: sensor, log: log)
    let leftOver = HeldProcesses.releaseLeftOver()
    if !leftOver.isEmpty {
      log.say(
        "stopped in containers, as by an agent that was killed; let go on: \(leftOver.map(String.init).joined(separator: ", "))"
      )
    }
    let preparer = try terms.map { try PolicyPreparer($0, keepsRepositories: policies.keepsRepositories) }
    try preparer?.start()
    defer { preparer?.end() }
    let facts = SensorFacts(sensor, forcedTier: forcedTier)
    let recovery = JobRecovery(settings: settings, facts: facts)
    let worker = try ReportWorker(journal: journal, log: log, recovery: recovery, masker: masker)
    let hasher = configuration.hashes ? try FileHasher() : nil
    try hasher?.start()
    defer { hasher?.end() }
    let aftermath = try policies.isEmpty ? nil : Aftermath { [log] in log.say($0) }
    try aftermath?.start()
    defer { aftermath?.end() }
    var recorder = try AgentRecorder(
      settings: settings, facts: facts, worker: worker, hasher: hasher, aftermath: aftermath,
      preparer: preparer)
    recorder.read(sensor)
    let recognisedAt = try recognise(sensor, &recorder, settings)
    // Whoever is in their jobs stays under what they deny; new jobs are ours.
    PinnedSensors.closeAbandoned()
    let reader = try AgentReader(sensor: sensor, pace: RingPace(self.sensor.wakeup), recorder: recorder, log: log)
    try worker.start()
    for entry in journal.unfinished { worker.put(.recover(entry, seenAgainAt: recognisedAt)) }
    try reader.start()
    var server: ControlServer
    do {
      server = try ControlServer(path: configuration.socket)
    } catch {
      end(reader, worker)
      throw error
    }
    do {
      try sensor.shield(path: configuration.socket)
    } catch {
      end(reader, worker)
      throw error
    }
    // What loading took: the kernel's types alone are some tens of megabytes.
    mt_trim_memory()
    let token = ControlToken.make()
    ready(token.text)
    serve(
      &server, signals, reader, worker, token, terms,
      AgentStatus.Surroundings(
        startedAt: startedAt, settings: settings, reports: ReportWorker.Counts(), turnedAway: 0))
    return worker.counts.failed == 0 ? 0 : 1
  }

  /// Rules come into force before processes are looked for: what starts between is recognised by the kernel.
  ///
  /// - Returns: when every process of a job was one, CLOCK_BOOTTIME.
  private func recognise(
    _ sensor: Sensor, _ recorder: inout AgentRecorder, _ settings: AgentSettings
  ) throws(SensorError) -> UInt64 {
    let rules = configuration.rules.map { rule in
      var match = rule.match
      match.stepNames = JobIdentity.stepNames(of: rule.provider)
      return match
    }
    try sensor.openSlots(1...UInt16(clamping: min(max(1, configuration.limits.jobs), Int(MT_MAX_JOBS) - 1)))
    let cgroups = try rules.contains { $0.cgroup != nil } ? RuleCgroups() : nil
    try sensor.setRules(rules, identity: configuration.storedVariables)
    let scan = ProcessScan(configuration)
    if scan.unreadable > 0 {
      settings.log.say(
        "\(scan.unreadable) processes may not be looked at, for lack of CAP_SYS_PTRACE: jobs that they are of already are not "
          + "followed")
    }
    recorder.isAdopting = true
    for (process, rule) in scan.first(rules) {
      let key = rules[rule].key.flatMap { process.value(of: $0) }
      let cgroup = rules[rule].isByCgroup ? process.cgroup.flatMap { cgroups?.id(of: $0) } : nil
      adopt(process, rule: rule, key: key, cgroup: cgroup, sensor, &recorder, settings)
    }
    // A child may come before its parent, and whoever forks all the time always has another.
    for _ in 0..<64 where try sensor.adopt() == 0 { break }
    let now = mt_boottime_ns()
    repeat { sensor.rings.drain { recorder.take($0) } } while sensor.rings.hasBacklog
    recorder.tellAdopted(scan, now: now)
    recorder.isAdopting = false
    return now
  }

  private func adopt(
    _ process: FoundProcess, rule: Int, key: [UInt8]?, cgroup: UInt64?, _ sensor: Sensor,
    _ recorder: inout AgentRecorder,
    _ settings: AgentSettings
  ) {
    // Recognised by the kernel meanwhile.
    if sensor.job(ofProcess: process.pid) != nil { return }
    let pidfd = mt_pidfd_open(pid_t(process.pid))
    guard pidfd >= 0 else { return }
    defer { close(pidfd) }
    guard ProcessScan.isThere(process) else { return }
    do {
      guard let place = try sensor.takeSlot(rule: rule, key: key, cgroup: cgroup) else {
        return settings.log.say("process \(process.pid) is a job's, and all places for jobs are taken")
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
      settings.log.say("process \(process.pid) cannot be followed: \(error)")
    }
  }

  // MARK: - While it runs

  private func serve(
    _ server: inout ControlServer, _ signals: Int32, _ reader: AgentReader, _ worker: ReportWorker,
    _ token: ControlToken, _ terms: PolicyTerms?, _ surroundings: AgentStatus.Surroundings
  ) {
    var surroundings = surroundings
    var waiting: [ControlServer.Question] = []
    var reporting: [UInt64: ControlServer.Question] = [:]
    var stopping: [ControlServer.Question] = []
    var deadline: UInt64 = 0
    while true {
      let now = ControlServer.now
      if deadline != 0, now >= deadline {
        log.say("not all reports could be written in time: the next agent closes what is left")
        break
      }
      let extra = [signals, reader.doorbell.descriptor, worker.finished.descriptor, worker.desk.doorbell.descriptor]
      var polled = server.polled(extra)
      var timeout = server.timeout(now: now)
      if deadline != 0 {
        let left = Int32(clamping: (deadline - now) / 1_000_000 + 1)
        timeout = timeout < 0 ? left : min(timeout, left)
      }
      poll(&polled, nfds_t(polled.count), timeout)
      var wantsEnd = Self.endWanted(signals)
      for question in server.advance(polled[extra.count...], now: ControlServer.now) {
        switch question.request {
        case .ready: server.answer(question, ControlAnswer.line { $0.member("ready", true) })
        case .status:
          if waiting.isEmpty { reader.askStatus() }
          waiting.append(question)
        case .report(let job, let given, let wantsFiles):
          guard job == nil || question.isTrusted || given.map(token.matches) ?? false else {
            server.answer(question, ControlAnswer.error("a job is named by root, or with the agent's token"))
            continue
          }
          guard let whose = job.map(ReportRequest.Whose.named) ?? question.peer.map(ReportRequest.Whose.process) else {
            server.answer(question, ControlAnswer.error("it is not known which process asks"))
            continue
          }
          // Who does not wait keeps no process' descriptor open.
          reporting[question.number] = question.withoutPeer
          reader.ask(
            ReportRequest(ticket: question.number, whose: whose, wantsFiles: wantsFiles, at: mt_boottime_ns()))
        case .run(let process, let policy, let wantsColour, let wantsHashes):
          do throws(RunRefusal) {
            guard let peer = question.peer else { throw RunRefusal("it is not known which process asks") }
            guard !wantsHashes || configuration.hashes else { throw RunRefusal("the agent hashes nothing (--hashes)") }
            let report = ReportRequest(
              ticket: question.number, whose: .process(peer), wantsFiles: true, at: mt_boottime_ns(),
              summary: .init(hasColour: wantsColour))
            let given = try GivenProcess(process, of: peer)
            let inForce = try RunPolicy.make(policy, given, of: peer, surroundings.settings.policies, terms)
            reader.ask(RunRequest(report: report, peer: peer, process: given, policy: inForce))
            reporting[question.number] = question.withoutPeer
          } catch {
            server.answer(question, ControlAnswer.error(error.description))
          }
        case .kept(let path): worker.put(.remove(path: path))
        case .stop(let given):
          guard token.matches(given) else {
            log.say("somebody asked to stop with a wrong token")
            server.answer(question, ControlAnswer.error("the token is not the one that 'martlet agent start' gave"))
            continue
          }
          wantsEnd = true
          stopping.append(question)
        }
      }
      if reader.doorbell.silence(), let status = reader.takeStatus() {
        surroundings.reports = worker.counts
        surroundings.turnedAway = server.turnedAway
        for question in waiting { server.answer(question, status.json(surroundings, isTrusted: question.isTrusted)) }
        waiting = []
      }
      answer(&reporting, &server, worker)
      if wantsEnd, deadline == 0 {
        deadline = ControlServer.now + Self.patience
        Self.notify("STOPPING=1")
        reader.end()
      }
      if reader.hasEnded { worker.end() }
      if worker.hasEnded { break }
    }
    if worker.hasEnded {
      reader.join()
      worker.join()
    }
    answer(&reporting, &server, worker)
    for question in reporting.values { server.answer(question, ControlAnswer.error("the agent was stopped")) }
    let counts = worker.counts
    for question in stopping {
      server.answer(
        question,
        ControlAnswer.line { json in
          json.member("stopped", true)
          json.member("reportsWritten", counts.written)
          json.member("reportsFailed", counts.failed)
          json.member("reportsWaiting", counts.waiting)
        })
    }
    server.finish(milliseconds: 200)
  }

  private func answer(
    _ reporting: inout [UInt64: ControlServer.Question], _ server: inout ControlServer, _ worker: ReportWorker
  ) {
    for (ticket, answer) in worker.desk.take() {
      guard let question = reporting[ticket] else { continue }
      if case .watched(let identifier) = answer {
        server.answer(question, ControlAnswer.line { $0.member("watched", identifier) }, then: .another)
        continue
      }
      reporting[ticket] = nil
      switch answer {
      case .watched: break
      case .refused(let reason): server.answer(question, ControlAnswer.error(reason))
      case .made(let report):
        // Made for who asks alone, who says when it can go.
        let then: ControlServer.Next = report.summary == nil ? .end : .receipt(.kept(path: report.path))
        server.answer(question, report.json(hasFiles: report.descriptors != nil), report.descriptors, then: then)
      }
    }
  }

  private func end(_ reader: AgentReader, _ worker: ReportWorker) {
    reader.end()
    reader.join()
    worker.end()
    worker.join()
  }

  private static func endWanted(_ signals: Int32) -> Bool {
    var signal = mt_signal()
    var isWanted = false
    while mt_signal_read(signals, &signal) == 1 {
      if [SIGTERM, SIGINT].contains(signal.number) { isWanted = true }
    }
    return isWanted
  }

  /// Tells systemd, if it is who started us.
  static func notify(_ state: String) {
    guard let name = getenv("NOTIFY_SOCKET") else { return }
    _ = mt_local_notify(name, state)
  }

  /// As ``notify(_:)``, when the agent is ready.
  public static func notifyReady() { notify("READY=1") }

  private static func openOutput(_ path: String) throws(SystemError) -> Int32 {
    if mkdir(path, 0o755) != 0, errno != EEXIST { throw SystemError("make the directory \(path)", code: errno) }
    let directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { throw SystemError("open the directory \(path)", code: errno) }
    return directory
  }

  /// Of this boot, as the kernel names it.
  private static var boot: String {
    String(decoding: ProcessScan.file("/proc/sys/kernel/random/boot_id", limit: 64).filter { $0 > 0x20 }, as: UTF8.self)
  }
}

extension SensorFacts {
  init(_ sensor: Sensor, forcedTier: HookTier?) {
    kernelRelease = KernelName().release
    hooks = sensor.hooks
    missingHooks = sensor.missingHooks
    hashObjection = sensor.hashObjection
    forcedHooks = forcedTier.map { .init($0, sensor) }
  }
}

extension ControlToken {
  static func make() -> ControlToken { ControlToken(text: JobIdentifier.make()) }
}
