internal import CSystem
internal import Glibc
internal import Jobs
internal import Observation
internal import Recording
internal import Reporting
internal import Supervision
internal import Synchronization

/// Writes reports, and everything else that may take its time, on a thread of its own.
final class ReportWorker: @unchecked Sendable {
  enum Item: Sendable {
    case report(FinishedJob)
    /// A job that goes on.
    case soFar(JobSoFar)
    /// Somebody wants the report of a job that is no longer open.
    case answer(ReportRequest, job: String)
    /// Who wanted a report has it.
    case remove(path: String)
    /// A job that an agent before this one left unfinished.
    case recover(JournalEntry, seenAgainAt: UInt64)
  }

  /// A job whose report is there, or could not be written.
  struct Closed: Sendable {
    var identifier: String
    var rule: String
    var verdict: String?
    var verdicts: [String] = []
    var logHead: String?
    /// Where the report is, or why it is not.
    var path: String
  }

  struct Counts: Sendable {
    var waiting = 0
    var written: UInt64 = 0
    var failed: UInt64 = 0
    var recovered: UInt64 = 0
    /// Reports of jobs that went on.
    var writtenSoFar: UInt64 = 0
    /// The last that were closed, the latest first.
    var recent: [Closed] = []
  }

  private struct Queue {
    var items: [Item] = []
    var wantsSync = false
    var isWorking = false
    var isEnding = false

    mutating func next() -> (item: Item?, wantsSync: Bool, isEnding: Bool) {
      defer { wantsSync = false }
      isWorking = !items.isEmpty
      return (items.isEmpty ? nil : items.removeFirst(), wantsSync, isEnding)
    }
  }

  private static let recentLimit = 20

  private let queue = Mutex(Queue())
  private let state = Mutex(Counts())
  private let doorbell: Doorbell
  /// Rings when the last item is done after ``end()``.
  let finished: Doorbell
  /// Who waits for a report gets it here.
  let desk: ReportDesk
  private let journal: Journal
  private let log: AgentLog
  private let recovery: JobRecovery
  private let masker: SecretMasker
  private var thread: RunningThread?
  private let isOver = Atomic<Bool>(false)

  init(journal: Journal, log: AgentLog, recovery: JobRecovery, masker: SecretMasker) throws(SystemError) {
    doorbell = try Doorbell()
    finished = try Doorbell()
    desk = try ReportDesk()
    self.journal = journal
    self.log = log
    self.recovery = recovery
    self.masker = masker
  }

  var counts: Counts {
    var counts = state.withLock { $0 }
    counts.waiting = queue.withLock { $0.items.count + ($0.isWorking ? 1 : 0) }
    return counts
  }

  /// From any thread.
  func put(_ item: Item) {
    queue.withLock { $0.items.append(item) }
    doorbell.ring()
  }

  /// A job was opened: brings the journal to the disk. From any thread.
  func sync() {
    queue.withLock { $0.wantsSync = true }
    doorbell.ring()
  }

  /// Nothing is put any more: what is there is done, and then ``finished`` rings.
  func end() {
    queue.withLock { $0.isEnding = true }
    doorbell.ring()
  }

  var hasEnded: Bool { isOver.load(ordering: .acquiring) }

  func start() throws(SystemError) {
    thread = try startThread("the worker's", self) { $0.work() }
  }

  /// Waits for the thread after ``finished`` rang.
  func join() {
    guard let thread else { return }
    thread.join()
    self.thread = nil
  }

  // MARK: - The worker's thread

  private func work() {
    mt_thread_describe("martlet-reports", -5)
    let workspace = FoldWorkspace(masker: masker)
    // What jobs took goes back to the system, at most once a second.
    var hasWorked = false
    var trimmedAt = Clock.boottime
    // With new reports on the disk, too, it takes tens of milliseconds and more: while there is something to do no more often
    // than file systems do it by themselves.
    var isUnsynced = false
    var syncedAt = trimmedAt
    while true {
      let (next, wantsSync, isEnding) = queue.withLock { $0.next() }
      isUnsynced = isUnsynced || wantsSync
      if isUnsynced, next == nil || Clock.boottime &- syncedAt >= 5_000_000_000 {
        syncJournal()
        isUnsynced = false
        syncedAt = Clock.boottime
      }
      if let next {
        isUnsynced = true
        hasWorked = true
        switch next {
        case .report(let job): write(job, workspace)
        case .soFar(let job): write(job)
        case .answer(let request, let job): answer(request, job: job)
        case .remove(let path): remove(path)
        case .recover(let entry, let time): recover(entry, seenAgainAt: time)
        }
        // Not held any longer: each job's memory is free when its report is written.
        continue
      }
      if isEnding { break }
      if hasWorked, Clock.boottime &- trimmedAt >= 1_000_000_000 {
        mt_trim_memory()
        trimmedAt = Clock.boottime
        hasWorked = false
      }
      doorbell.wait(milliseconds: hasWorked ? 1000 : -1)
    }
    syncJournal()
    isOver.store(true, ordering: .releasing)
    finished.ring()
  }

  private func syncJournal() {
    do { try journal.sync() } catch { log.say(error.description) }
  }

  private func write(_ job: FinishedJob, _ workspace: FoldWorkspace) {
    job.recorded.state.move(to: workspace)
    job.input.take(job.recorded)
    Self.name(&job.input)
    publish(job.input, in: job.directory, for: job.requests)
  }

  /// The first process' program is what a job is called by.
  private static func name(_ input: inout ReportInput) {
    guard let root = input.snapshot.processes.first(where: { $0.parent == 0 }), let image = root.images.first else {
      return
    }
    input.command = image.arguments
    input.workingDirectory = image.workingDirectory
  }

  /// In the place of the job's report, which takes it again later.
  private func write(_ job: JobSoFar) {
    var input = job.input
    Self.name(&input)
    do {
      let directory = try OutputDirectory(path: job.path, owner: nil)
      do {
        try directory.copy(job.log.numbers[0], upTo: input.log?.bytes ?? 0, to: ReportFiles.logName)
        let published = try ReportFiles.publish(&input, in: directory)
        state.withLock { $0.writtenSoFar &+= 1 }
        answer(job.requests, input, path: published.path)
      } catch {
        directory.discard()
        throw error
      }
    } catch {
      log.say("a report of job \(input.jobIdentifier), which goes on, could not be written: \(error)")
      refuse(job.requests, "the report could not be written: \(error)")
    }
  }

  private func answer(_ requests: [ReportRequest], _ input: ReportInput, path: String) {
    if requests.isEmpty { return }
    let judgement = Judgement(of: input)
    var made = MadeReport(
      identifier: input.jobIdentifier, path: path, verdict: judgement.verdict.rawValue,
      verdicts: judgement.verdicts.map(\.rawValue), logHead: input.log?.head)
    made.suggestsPolicy = input.suggestion?.digest != nil
    if let until = input.span.until {
      made.until = input.clock.rfc3339(until.at)
      made.processes = until.processes
    }
    answer(requests, made) { wanted in
      let text = TerminalSummary.write(input, reportDirectory: nil, colour: wanted.hasColour)
      return String(decoding: text, as: UTF8.self)
    }
  }

  private func answer(
    _ requests: [ReportRequest], _ made: MadeReport, summary: (ReportRequest.Summary) -> String? = { _ in nil }
  ) {
    do throws(SystemError) {
      let wanting = requests.filter(\.wantsFiles)
      let held = wanting.isEmpty ? nil : try MadeReport.open(made.path)
      for request in requests {
        var made = made
        made.summary = request.summary.flatMap(summary)
        made.descriptors = request.wantsFiles ? held : nil
        desk.answer(request, .made(made))
      }
    } catch {
      refuse(requests, error.description)
    }
  }

  /// A report that was made for somebody who has a copy of it.
  private func remove(_ path: String) {
    for name in MadeReport.files { unlink("\(path)/\(name)") }
    guard rmdir(path) == 0 else { return log.say("\(SystemError("remove \(path)", code: errno))") }
    state.withLock { counts in
      for index in counts.recent.indices where counts.recent[index].path == path {
        counts.recent[index].path = "(handed over)"
      }
    }
  }

  private func refuse(_ requests: [ReportRequest], _ reason: String) {
    for request in requests { desk.answer(request, .refused(reason)) }
  }

  /// Of the last jobs that were closed.
  private func answer(_ request: ReportRequest, job identifier: String) {
    guard let job = state.withLock({ $0.recent.first { $0.identifier == identifier } }) else {
      return refuse([request], "there is no job \(identifier), or it was closed some time ago")
    }
    guard let verdict = job.verdict else { return refuse([request], job.path) }
    answer(
      [request],
      MadeReport(
        identifier: identifier, path: job.path, verdict: verdict, verdicts: job.verdicts, logHead: job.logHead))
  }

  private func publish(_ input: ReportInput, in directory: OutputDirectory, for requests: [ReportRequest] = []) {
    var input = input
    let rule = input.job?.rule ?? ""
    do {
      let published = try ReportFiles.publish(&input, in: directory)
      if let note = published.note { log.say("the report is in \(published.path): \(note)") }
      let judgement = Judgement(of: input)
      closed(
        Closed(
          identifier: input.jobIdentifier, rule: rule, verdict: judgement.verdict.rawValue,
          verdicts: judgement.verdicts.map(\.rawValue), logHead: input.log?.head, path: published.path))
      answer(requests, input, path: published.path)
      do { try journal.closed(job: input.jobIdentifier, path: published.path) } catch { log.say(error.description) }
    } catch {
      // The journal keeps it open: the next agent tries again.
      let reason = "\(error). What there is of the report is in \(directory.temporaryPath)."
      log.say(reason)
      closed(Closed(identifier: input.jobIdentifier, rule: rule, path: reason))
      refuse(requests, reason)
    }
  }

  private func closed(_ job: Closed) {
    state.withLock { counts in
      if job.verdict == nil { counts.failed &+= 1 } else { counts.written &+= 1 }
      counts.recent.insert(job, at: 0)
      if counts.recent.count > Self.recentLimit { counts.recent.removeLast() }
    }
  }

  private func recover(_ entry: JournalEntry, seenAgainAt time: UInt64) {
    do {
      guard let (input, directory) = try recovery.recover(entry, seenAgainAt: time) else {
        // Killed between its report and the journal, or somebody has removed what there was.
        let path = recovery.settings.output + "/" + entry.name
        if access(path, F_OK) != 0 { log.say("job \(entry.job) was left unfinished, and nothing of it is left") }
        do { try journal.closed(job: entry.job, path: path) } catch { log.say(error.description) }
        return
      }
      publish(input, in: directory)
      state.withLock { $0.recovered &+= 1 }
    } catch {
      log.say("job \(entry.job) was left unfinished and could not be closed: \(error)")
    }
  }
}
