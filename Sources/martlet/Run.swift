import Agent
import CSystem
import EventLog
import Export
import Glibc
import Jobs
import KernelSensor
import Observation
import Policy
import Recording
import Reporting
import Supervision

/// One `martlet run`, from the options to the exit status.
struct Run {
  /// The command and its arguments, as bytes.
  var arguments: [[UInt8]]
  var output: String
  /// Path of the policy; nil: only the machine's own, if it has one.
  var policy: String?
  var failOn: FailOn
  var user: String?
  var sensor: SensorOptions
  var metrics: MetricsPlaces
  var masker: SecretMasker
  var live: Bool?
  /// Options that were given and that no agent can do for us.
  var onlyOfOwnSensor: [String]

  /// Why the command was not run: an exit status and, unless a signal asked for it, words.
  struct Refusal: Error {
    var status: Int32 = 125
    var message: String?
  }

  /// A command that runs, and what watches it.
  private struct Job {
    var child: Child
    var pipeline: Pipeline
    var report: RunReport
    var metrics: RunMetricsExport?
  }

  /// - Returns: the exit status; see `martlet run --help`.
  func execute() -> Int32 {
    do {
      return try run()
    } catch let refusal as Refusal {
      if let message = refusal.message { Message.say(message) }
      return refusal.status
    } catch let error as SensorError {
      Message.say("\(error) The command was not run." + (error.detail.isEmpty ? "" : "\n\(error.detail)"))
      return 125
    } catch {
      Message.say("\(error)")
      return 125
    }
  }

  /// Everything that can be refused is asked for before the command is let go.
  private func run() throws -> Int32 {
    let inherited = try Inherited()
    let signals = try Signals()
    var environment = Environment.current
    let owner = TargetUser.invokingUser(environment: environment)
    if let agent = try reachAgent() {
      return try AgentRun(
        run: self, agent: agent, inherited: inherited, signals: signals, environment: environment,
        colour: Self.wantsColour(environment)
      ).execute()
    }
    let policy: PolicyInUse?
    do {
      policy = try PolicyInUse.read(self.policy)
      try policy?.check(inherited.sockets)
    } catch {
      throw Refusal(message: "\(error.message)\nThe command was not run.")
    }
    let user = try TargetUser.choose(option: user, environment: environment)
    let terminal = Terminal()
    var status = LiveStatus(wanted: live, terminal: terminal, environment: environment)
    let colour = Self.wantsColour(environment)
    user?.apply(to: &environment)

    if let (problem, advice) = PidNamespace.objection {
      throw Refusal(message: "\(problem). \(advice). The command was not run.")
    }
    let exporter = try metrics.open()
    let directory = try OutputDirectory(path: output, owner: owner)
    let job: Job
    do {
      let command = Command(arguments: arguments, environment: environment, user: user)
      job = try launch(
        command, into: directory, under: policy, metrics: exporter, inherited: inherited, signals: signals)
    } catch {
      directory.discard()
      throw error
    }

    var supervisor = Supervisor(child: job.child, signals: signals, terminal: terminal)
    let end = try supervisor.waitForEnd(status: &status) { job.pipeline.progress.line }
    let endedAt = Clock.boottime
    status.hide()
    terminal?.restore(after: end, of: job.child.pid)
    guard let recording = job.pipeline.finish(commandEndedAt: endedAt) else {
      throw Refusal(message: "the reader's thread ended without a recording")
    }
    if let status = recording.status { job.metrics?.finish(status, endedAt: endedAt) }
    let exitStatus = job.report.finish(
      recording, status: end, endedAt: endedAt, directory: directory, failOn: failOn, colour: colour)
    supervisor.dieIfInterrupted(end)
    return exitStatus
  }

  /// If we may load no programs and an agent that has runs here.
  ///
  /// - Throws: why we may not, if there is none
  private func reachAgent() throws -> RunConversation? {
    do {
      try Sensor.preflight(readsRequests: sensor.readsRequests)
      return nil
    } catch {
      // Root in a container has a way to get what is missing; the agent would say that it is not root.
      guard error.code == .notRoot, geteuid() != 0, let agent = try RunConversation.begin() else { throw error }
      return agent
    }
  }

  private func launch(
    _ command: Command, into directory: OutputDirectory, under policy: PolicyInUse?, metrics exporter: MetricsExporter?,
    inherited: Inherited,
    signals: Signals
  ) throws -> Job {
    var sensorOptions = self.sensor
    sensorOptions.enforces = policy != nil
    sensorOptions.outlives = policy?.policy.onSensorError == .closed
    let sensor = try Sensor(options: sensorOptions)
    try sensor.shield(.directory(directory.descriptor))
    try sensor.shield(path: Policy.nodeDirectory)
    if let policy { try check(policy, sensor) }
    let ringBytes = sensor.rings.statistics.reduce(UInt64(0)) { $0 + UInt64($1.capacity) }
    var report = RunReport(arguments: arguments, masker: masker, hooks: sensor.hooks, ringBytes: ringBytes)
    report.policy = policy?.inForce
    if let note = policy?.policy.notePlacesUnknown { report.policy?.notes.append(note) }
    report.forcedHooks = self.sensor.hooks.map { ReportInput.ForcedHooks($0, sensor) }
    var logOptions = EventLogOptions()
    logOptions.jobIdentifier = report.identifier
    logOptions.version = Version.current
    logOptions.clockOffset = report.clockOffset
    let log = try EventLogWriter(fileDescriptor: directory.create(ReportFiles.logName), options: logOptions)

    let child = try Child(command, inherited: inherited)
    if let signal = try signals.endWanted(inherited: inherited) { throw Refusal(status: 128 + signal) }
    let filter = sensorOptions.filters.first
    if let filter { try sensor.setFilter(filter, on: 1) }
    report.filter = filter.map { .init($0, unattached: sensor.unattached) }
    try sensor.addToJob(pidfd: child.pidfd, pid: child.pid, job: 1)
    if let policy { try sensor.enforce(policy.policy, on: 1, in: Self.directory) }
    var jobOptions = JobOptions(rootProcess: UInt32(bitPattern: child.pid), masker: masker)
    jobOptions.countsBytes = sensor.countsBytes
    jobOptions.hashesFiles = self.sensor.hashesImages
    jobOptions.readsRequests = self.sensor.readsRequests
    let prober = try RequestProber(sensor, masker: masker)
    prober?.look(atCommand: arguments.first, environment: command.environment)
    let hasher = jobOptions.hashesFiles ? try FileHasher() : nil
    let aftermath = try policy.map { _ in try Aftermath { Message.say($0) } }
    report.startedAt = Clock.boottime
    let metrics = try exporter.map { try RunMetricsExport($0, report: report, first: sensor.status()) }
    let pipeline = Pipeline(
      sensor: sensor, sensorOptions: self.sensor, options: jobOptions, log: log, hasher: hasher,
      prober: prober, denials: DenialMessages(policy?.inForce), aftermath: aftermath,
      onStatus: metrics.map { $0.publish })
    try hasher?.start()
    try prober?.start()
    try aftermath?.start()
    try pipeline.start()
    report.startedAt = Clock.boottime
    do {
      try child.release()
    } catch {
      _ = pipeline.finish(commandEndedAt: Clock.boottime)
      throw Refusal(status: error.exitStatus, message: error.description)
    }
    return Job(child: child, pipeline: pipeline, report: report, metrics: metrics)
  }

  /// Says what of a policy cannot be prevented on this kernel, before the command starts; or refuses to start it.
  private func check(_ policy: PolicyInUse, _ sensor: Sensor) throws {
    if let note = policy.policy.notePlacesUnknown { Message.say(note) }
    let rows = sensor.enforcement(of: policy.policy)
    if policy.policy.onSensorError == .closed, let objection = policy.inForce.notKept(rows) {
      throw Refusal(message: "\(policy.inForce.file): \(objection).\nThe command was not run.")
    }
    let weak = policy.inForce.notPrevented(rows)
    guard let first = weak.first else { return }
    guard !policy.policy.requirePrevention else {
      throw Refusal(
        message: "the policy requires prevention, which this kernel cannot do for:\n  "
          + weak.joined(separator: "\n  ") + "\nWhy is told by 'martlet doctor --policy \(policy.inForce.file)'. "
          + "The command was not run.")
    }
    let rest =
      weak.count > 1 ? "; and \(weak.count - 1) more, see 'martlet doctor --policy \(policy.inForce.file)'" : ""
    Message.say("not prevented on this kernel: \(first)\(rest)")
  }

  /// Where the command starts: what relative paths of a policy are relative to.
  private static var directory: String {
    guard let path = getcwd(nil, 0) else { return "/" }
    defer { free(path) }
    return String(cString: path)
  }

  private static func wantsColour(_ environment: Environment) -> Bool {
    guard isatty(STDERR_FILENO) == 1, environment[bytes: "NO_COLOR"]?.isEmpty ?? true else { return false }
    return environment["TERM"].map { !$0.isEmpty && $0 != "dumb" } ?? false
  }
}
