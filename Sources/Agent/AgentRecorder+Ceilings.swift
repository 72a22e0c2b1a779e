internal import Glibc
internal import KernelABI
internal import Observation
internal import Recording
internal import Reporting

/// What is left out of a job's records.
enum Shedding: UInt8 {
  case nothing
  case reads
  case files
}

/// What the agent gives up to keep below its ceilings.
extension AgentRecorder {
  /// To be called every few milliseconds; measures once a second.
  mutating func govern(now: UInt64) {
    guard !governor.ceilings.isNone, now >= governedAt &+ 1_000_000_000 else { return }
    governedAt = now
    let decisions = governor.step(
      Governor.Figures(
        at: now, cpu: ProcessCost().total, memory: Self.ownBytes, hashes: hasher != nil,
        jobs: open.compactMap { slot in jobs[Int(slot)]?.pointee.expense }))
    for decision in decisions { apply(decision, now: now) }
    if governor.isAtItsEnd != isAtItsEnd {
      isAtItsEnd = governor.isAtItsEnd
      if isAtItsEnd { settings.log.say("the agent is above a ceiling of its limits, and has nothing left to give up") }
    }
  }

  /// Above the limit on all of them together, the largest job keeps no more than it has.
  mutating func limitMemory() {
    var total = 0
    var largest: (bytes: Int, slot: UInt16) = (0, 0)
    for slot in open {
      let bytes = jobs[Int(slot)]?.pointee.recorder.bytes ?? 0
      total += bytes
      if bytes > largest.bytes { largest = (bytes, slot) }
    }
    counts.foldBytes = total
    guard total > settings.configuration.limits.bytes, let job = jobs[Int(largest.slot)] else { return }
    job.pointee.recorder.limit(bytes: largest.bytes)
    counts.limited &+= 1
  }

  private mutating func apply(_ decision: Governor.Decision, now: UInt64) {
    let cause: ReportInput.Shed.Cause = decision.cause == .cpu ? .cpu : .memory
    settings.log.tell("\(decision.begins ? "gives up" : "takes up again") \(decision.what) (\(cause.rawValue))")
    switch decision.measure {
    case .hashes:
      hasher?.isPaused = decision.begins
      for slot in open { jobs[Int(slot)]?.pointee.shed(.hashes, cause, decision.begins, at: now) }
    case .reads(let id): job(id)?.pointee.shed(.reads, cause, decision.begins, at: now)
    case .files(let id): job(id)?.pointee.shed(.files, cause, decision.begins, at: now)
    case .keeping(let id):
      guard let job = job(id) else { return }
      job.pointee.recorder.limit(bytes: job.pointee.recorder.bytes)
      job.pointee.shed(.keeping, cause, true, at: now)
      counts.limited &+= 1
    }
  }

  private func job(_ id: Governor.JobID) -> Place? {
    guard let job = jobs[Int(id.slot)], job.pointee.startedAt == id.startedAt else { return nil }
    return job
  }

  /// A job that begins while all jobs have to do without something.
  func shedFromTheBeginning(_ job: Place, at time: UInt64) {
    for entry in governor.measures where entry.measure == .hashes {
      job.pointee.shed(.hashes, entry.cause == .cpu ? .cpu : .memory, true, at: time)
    }
  }

  /// Memory that nobody else has, and no file: rings are a file's.
  static var ownBytes: Int {
    for line in ProcessScan.file("/proc/self/status", limit: 8192).split(separator: UInt8(ascii: "\n"))
    where line.starts(with: "RssAnon:".utf8) {
      let digits = line.filter { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
      return (Int(String(decoding: digits, as: UTF8.self)) ?? 0) << 10
    }
    return 0
  }
}

extension Governor.Decision {
  var what: String {
    switch measure {
    case .hashes: "hashes"
    case .reads(let job): "files that the job in slot \(job.slot) opens to read"
    case .files(let job): "what the job in slot \(job.slot) does with files"
    case .keeping(let job): "to keep more of the job in slot \(job.slot)"
    }
  }
}

extension AgentJob {
  var expense: Governor.Job {
    Governor.Job(
      id: Governor.JobID(slot: slot, startedAt: startedAt),
      events: RecordType.allCases.reduce(0) { $1.isCritical ? $0 : $0 &+ recorder.tallies[$1] }, bytes: recorder.bytes)
  }

  mutating func shed(_ what: ReportInput.Shed.What, _ cause: ReportInput.Shed.Cause, _ begins: Bool, at time: UInt64) {
    if begins {
      // Many short times are told as one.
      if sheds.count < Self.maximumSheds { sheds.append(.init(what, cause, from: max(time, startedAt))) }
    } else if let index = sheds.lastIndex(where: { $0.what == what && $0.until == nil }) {
      sheds[index].until = time
    }
    switch what {
    case .reads: shedding = begins ? .reads : .nothing
    case .files: shedding = begins ? .files : .reads
    case .hashes, .keeping: break
    }
  }

  private static var maximumSheds: Int { 100 }

  /// Leaves a record out, if that is what the job has to do without.
  @inline(never)
  mutating func leavesOut(_ record: RecordView) -> Bool {
    // What explains a directory is needed for the names of those that come after.
    guard !record.isCritical, record.string(.dir) == nil, record.string(.dir2) == nil else { return false }
    if shedding == .reads {
      guard record.type == .open, record.open.fmode & UInt32(MT_FMODE_WRITE) == 0 else { return false }
    }
    recorder.leaveOut(record)
    leftOut &+= 1
    let what: ReportInput.Shed.What = shedding == .reads ? .reads : .files
    if let index = sheds.lastIndex(where: { $0.what == what }) { sheds[index].events &+= 1 }
    return true
  }
}
