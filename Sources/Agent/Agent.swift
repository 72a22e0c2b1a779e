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
    self.sensor.readsRequests = configuration.requests
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

    try Sensor.preflight(readsRequests: configuration.requests)
    let directory = try Self.openOutput(configuration.output)
    // Before the journal, which it leaves.
    let predecessors = try Predecessors(configuration)
    let journal = try Journal(in: directory)
    if journal.unreadable > 0 { log.say("the journal has \(journal.unreadable) lines that make no sense") }
    let policies = try AgentPolicies(configuration)
    var filters = AgentFilters(configuration)
    var sensorOptions = sensor
    filters.apply(to: &sensorOptions)
    // What a user asks for, too, is nobody else's price.
    sensorOptions.enforces = !policies.isEmpty
    sensorOptions.outlives = policies.isClosed
    sensorOptions.others = predecessors.all.map(\.members)
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
    // Other agents know what they have stopped.
    if predecessors.all.isEmpty { HeldProcesses.releaseLeftOver(log) }
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
    let prober = try RequestProber(sensor, masker: masker)
    prober?.look(atCommand: nil, environment: Environment.current)
    try prober?.start()
    defer { prober?.end() }
    var recorder = try AgentRecorder(
      settings: settings, facts: facts, worker: worker, hasher: hasher, prober: prober, aftermath: aftermath,
      preparer: preparer)
    recorder.read(sensor)
    let token = ControlToken.make()
    let recognisedAt = try recognise(sensor, &recorder, predecessors, token)
    // Whoever is in their jobs stays under what they deny; new jobs are ours.
    PinnedSensors.closeAbandoned()
    var handOver = try handOver(sensor, startedAt)
    let reader = try AgentReader(sensor: sensor, pace: RingPace(self.sensor.wakeup), recorder: recorder, log: log)
    try worker.start()
    for entry in journal.unfinished { worker.put(.recover(entry, seenAgainAt: recognisedAt)) }
    try reader.start()
    var server: ControlServer
    do {
      server = try listen(predecessors)
    } catch {
      end(reader, worker)
      throw error
    }
    reader.perform { [path = configuration.socket] sensor, recorder in
      do { try sensor.shield(path: path) } catch { recorder.settings.log.say("\(error)") }
    }
    // What loading took: the kernel's types alone are some tens of megabytes.
    mt_trim_memory()
    ready(token.text)
    // The service is, if it is one, and whose it is the other one says.
    if predecessors.replaced == nil { Self.notify("READY=1") }
    predecessors.finish(log)
    serve(
      &server, signals, reader, worker, token, terms, &handOver, predecessors,
      AgentStatus.Surroundings(
        startedAt: startedAt, settings: settings, reports: ReportWorker.Counts(), turnedAway: 0))
    return worker.counts.failed == 0 ? 0 : 1
  }

  private func listen(_ predecessors: Predecessors) throws(SystemError) -> ControlServer {
    var server = try ControlServer(path: configuration.socket, waits: predecessors.replaced != nil)
    server.passOn = predecessors.passOn
    try server.takePlace()
    return server
  }

  private func handOver(_ sensor: Sensor, _ startedAt: UInt64) throws(SensorError) -> HandOver {
    HandOver(
      facts: HandOverFacts(
        version: Version.current, process: UInt32(getpid()),
        startedAt: WallClock(offset: Clock.wallOffset).rfc3339(startedAt), start: sensor.ownStart ?? 0,
        socket: ControlServer.sideName(of: configuration.socket, UInt32(getpid())), output: configuration.output),
      members: try sensor.members())
  }

  /// Rules come into force before processes are looked for: what starts between is recognised by the kernel.
  ///
  /// - Returns: when every process of a job was one, CLOCK_BOOTTIME.
  private func recognise(
    _ sensor: Sensor, _ recorder: inout AgentRecorder, _ predecessors: Predecessors, _ token: ControlToken
  ) throws -> UInt64 {
    let rules = configuration.rules.map { rule in
      var match = rule.match
      match.stepNames = JobIdentity.stepNames(of: rule.provider)
      return match
    }
    try sensor.openSlots(1...UInt16(clamping: min(max(1, configuration.limits.jobs), Int(MT_MAX_JOBS) - 1)))
    try predecessors.meet(sensor, configuration, log)
    try sensor.setRules(rules, identity: configuration.storedVariables)
    try predecessors.takeOver(token)
    return try AgentRecorder.adoptAll(sensor, &recorder)
  }

  // MARK: - While it runs

  private func serve(
    _ server: inout ControlServer, _ signals: Int32, _ reader: AgentReader, _ worker: ReportWorker,
    _ token: ControlToken, _ terms: PolicyTerms?, _ handOver: inout HandOver, _ predecessors: Predecessors,
    _ surroundings: AgentStatus.Surroundings
  ) {
    let journal = surroundings.settings.journal
    var surroundings = surroundings
    var waiting: [ControlServer.Question] = []
    var reporting: [UInt64: ControlServer.Question] = [:]
    var stopping: [ControlServer.Question] = []
    var deadline: UInt64 = 0
    var endsAll = false
    while true {
      let now = ControlServer.now
      if deadline != 0, now >= deadline {
        log.say("not all reports could be written in time: the next agent closes what is left")
        break
      }
      if deadline == 0 {
        handOver.look(&server, journal, reader, log)
        predecessors.look(reader, surroundings.settings)
      }
      let extra =
        [signals, reader.doorbell.descriptor, worker.finished.descriptor, worker.desk.doorbell.descriptor]
        + handOver.descriptors + predecessors.descriptors
      var polled = server.polled(extra)
      var timeout = server.timeout(now: now)
      if deadline != 0 {
        let left = Int32(clamping: (deadline - now) / 1_000_000 + 1)
        timeout = timeout < 0 ? left : min(timeout, left)
      } else if handOver.doneAt != nil {
        timeout = timeout < 0 ? 200 : min(timeout, 200)
      }
      poll(&polled, nfds_t(polled.count), timeout)
      var wantsEnd = Self.endWanted(signals)
      var questions = server.advance(polled[extra.count...], now: ControlServer.now)
      while !questions.isEmpty {
        let question = questions.removeFirst()
        switch question.request {
        case .ready: server.answer(question, ControlAnswer.line { $0.member("ready", true) })
        case .status:
          if waiting.isEmpty { reader.askStatus() }
          waiting.append(question)
        case .report(let job, let given, let wantsFiles):
          guard
            job == nil || question.isTrusted
              || given.map({ token.matches($0) || handOver.token?.matches($0) ?? false }) ?? false
          else {
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
        case .run(let process, let policy, let wanted):
          do throws(RunRefusal) {
            guard let peer = question.peer else { throw RunRefusal("it is not known which process asks") }
            try wanted.check(configuration)
            let report = ReportRequest(
              ticket: question.number, whose: .process(peer), wantsFiles: true, at: mt_boottime_ns(),
              summary: .init(hasColour: wanted.colour))
            let given = try GivenProcess(process, of: peer)
            let inForce = try RunPolicy.make(policy, given, of: peer, surroundings.settings.policies, terms)
            reader.ask(RunRequest(report: report, peer: peer, process: given, policy: inForce))
            reporting[question.number] = question.withoutPeer
          } catch {
            server.answer(question, ControlAnswer.error(error.description))
          }
        case .kept(let path): worker.put(.remove(path: path))
        case .replace(let step):
          do throws(HandOverRefusal) {
            guard deadline == 0 else { throw HandOverRefusal("the agent is about to end") }
            if let (line, attached) = try handOver.take(step, question, &server, journal, reader, worker.desk) {
              server.answer(question, line, attached)
            } else {
              reporting[question.number] = question.withoutPeer
            }
            if step == .done, let successor = handOver.successor { Self.notify("MAINPID=\(successor.pid)") }
          } catch {
            server.answer(question, ControlAnswer.error(error.description))
          }
        case .serve(let request):
          guard handOver.isAgent(question.process), let given = question.attached?.numbers.first else {
            server.answer(question, ControlAnswer.error("another agent passes connections on, and nobody else"))
            continue
          }
          server.answer(question, ControlAnswer.line { $0.member("served", true) })
          let connection = fcntl(given, F_DUPFD_CLOEXEC, 3)
          if connection >= 0 { questions += server.take(connection, received: request, now: ControlServer.now) }
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
        surroundings.draining = predecessors.all.map(\.facts)
        surroundings.replacedBy = handOver.doneAt == nil ? nil : handOver.successor?.pid
        for question in waiting { server.answer(question, status.json(surroundings, isTrusted: question.isTrusted)) }
        waiting = []
      }
      answer(&reporting, &server, worker)
      if wantsEnd, deadline == 0 {
        deadline = ControlServer.now + Self.patience
        if handOver.doneAt == nil {
          Self.notify("STOPPING=1")
          handOver.goOn(&server, journal, log)
          predecessors.end()
          // They have as long, from now on.
          if !predecessors.all.isEmpty { deadline += Self.patience / 5 }
          endsAll = true
        }
        reader.end()
      } else if deadline == 0, handOver.isOver(reader, worker.counts.waiting == 0 && reporting.isEmpty) {
        log.tell("the last job is over of those that were there when another agent took over")
        deadline = ControlServer.now + Self.patience
        reader.end()
      }
      if reader.hasEnded { worker.end() }
      if worker.hasEnded, !endsAll || predecessors.all.allSatisfy(\.hasEnded) { break }
    }
    if worker.hasEnded {
      reader.join()
      worker.join()
      journal.end()
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
      if case .said(let line) = answer {
        reporting[ticket] = nil
        server.answer(question, line)
        continue
      }
      if case .watched(let identifier) = answer {
        let line = ControlAnswer.line { json in
          json.member("watched", identifier)
          json.member("requests", configuration.requests)
        }
        server.answer(question, line, then: .another)
        continue
      }
      reporting[ticket] = nil
      switch answer {
      case .watched, .said: break
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
