internal import Jobs
internal import Observation

/// `report.json`, schema `martlet.report/v1`: everything that the run came to, for programs.
///
/// The keys and their order up to `artifacts` are fixed; others may be added behind them and inside the objects.
/// Times are RFC 3339 in UTC with milliseconds, durations are in nanoseconds, sizes in bytes. What is not known is null.
public enum JSONReport {
  public static let schema = "martlet.report/v1"

  public static func write(_ input: ReportInput) -> [UInt8] {
    let judgement = Judgement(of: input)
    let tree = ProcessTree(input.snapshot.processes)
    var json = JSONOutput()
    json.object { json in
      json.newLine()
      json.member("schema", schema)
      json.newLine()
      json.member("verdict", judgement.verdict.rawValue)
      json.newLine()
      json.array("verdicts") { for verdict in judgement.verdicts { $0.member(nil, verdict.rawValue) } }
      json.newLine()
      writeJob(input, to: &json)
      json.newLine()
      writeSensor(input, to: &json)
      json.newLine()
      writeLog(input, to: &json)
      json.newLine()
      writeCounts(Tally(input, tree: tree), of: input, to: &json)
      json.newLine()
      json.lines("processes", tree.processes.indices) { write(process: $1, of: tree, clock: input.clock, to: &$0) }
      json.newLine()
      json.lines("network", input.snapshot.flows) { write($1, clock: input.clock, to: &$0) }
      json.newLine()
      json.lines("files", input.snapshot.files) { write($1, clock: input.clock, to: &$0) }
      json.newLine()
      json.array("findings") { _ in }
      json.newLine()
      json.array("artifacts") { _ in }
      json.newLine()
      json.lines("changes", input.snapshot.changes) { write($1, clock: input.clock, to: &$0) }
      json.newLine()
      json.lines("names", input.snapshot.names) { json, asked in
        json.name("name", base64: "nameBase64", truncated: "nameTruncated", asked.name)
        json.array("addresses") { json in for address in asked.addresses { json.member(nil, address) } }
      }
      json.newLine()
      json.lines("security", input.snapshot.actions) { write($1, clock: input.clock, to: &$0) }
      json.newLine()
      if let filter = input.filter {
        write(filter, to: &json)
        json.newLine()
      }
      if let policy = input.policy {
        write(policy, to: &json)
        json.newLine()
      }
      if let suggestion = input.suggestion {
        write(suggestion, to: &json)
        json.newLine()
      }
      json.lines("denials", input.snapshot.denials) {
        write($1, policy: input.policy, clock: input.clock, to: &$0)
      }
      json.newLine()
      json.lines("reasons", judgement.reasons) { json, reason in
        json.member("verdict", reason.verdict.rawValue)
        json.member("sentence", reason.sentence)
      }
      json.lastLine()
    }
    json.endDocument()
    return json.bytes
  }

  private static func writeJob(_ input: ReportInput, to json: inout JSONOutput) {
    json.object("job") { json in
      json.member("id", input.jobIdentifier)
      json.names("command", base64: "commandBase64", input.command)
      json.name(
        "workingDirectory", base64: "workingDirectoryBase64", truncated: "workingDirectoryTruncated",
        input.workingDirectory)
      json.member("startedAt", input.clock.rfc3339(input.startedAt))
      json.member("endedAt", input.clock.rfc3339(input.endedAt))
      json.member("durationNanoseconds", input.durationNanoseconds)
      json.exitStatus(input.waitStatus)
      if let job = input.job {
        write(job, clock: input.clock, to: &json)
        write(input.unseen, clock: input.clock, to: &json)
        write(input.sheds, clock: input.clock, to: &json)
        write(input.span, clock: input.clock, to: &json)
      }
    }
  }

  private static func writeSensor(_ input: ReportInput, to json: inout JSONOutput) {
    json.object("sensor") { json in
      json.member("kernel", input.kernelRelease)
      json.array("hooks") { json in
        for hook in input.hooks {
          json.object { json in
            json.member("family", hook.family)
            json.member("kind", hook.kind)
            json.member("target", hook.target)
            json.member("program", hook.program)
          }
        }
      }
      write(input.completeness, to: &json)
      if let forced = input.forcedHooks {
        json.object("forcedHooks") { json in
          json.member("tier", forced.tier)
          json.array("others") { json in for other in forced.others { json.member(nil, other) } }
        }
      }
      if let bytes = input.snapshot.bytes {
        json.object("bytes") { json in
          json.member("counted", bytes.unknown == nil)
          if let reason = bytes.unknown { json.member("reason", reason) }
        }
      }
      if let hashing = input.snapshot.hashing {
        write(hashing, notByKernel: input.hashObjection ?? hashing.kernelObjection, to: &json)
      }
      if let requests = input.snapshot.requests {
        write(requests, input.requestFiles, clock: input.clock, to: &json)
      }
      writeFold(input.snapshot, to: &json)
      if let cost = input.cost { write(cost, to: &json) }
      input.health.write(to: &json)
      json.member("version", input.version)
    }
  }

  private static func write(_ hashing: FileHashing, notByKernel objection: String?, to json: inout JSONOutput) {
    json.object("hashes") { json in
      json.member("byKernel", hashing.byKernel)
      json.member("byUserSpace", hashing.byUserSpace)
      json.object("absent") { json in
        for absence in DigestAbsence.allCases {
          if let count = hashing.absent[absence] { json.member(named: absence.name.description, count) }
        }
      }
      if let objection { json.member("notByKernel", objection) }
    }
  }

  private static func write(_ cost: ReportInput.Cost, to json: inout JSONOutput) {
    json.object("cost") { json in
      json.member("attachedAt", cost.attachedAt)
      json.member("lastRecordAt", cost.lastRecordAt)
      json.member("startNanoseconds", cost.startNanoseconds)
      json.member("userNanoseconds", cost.userNanoseconds)
      json.member("systemNanoseconds", cost.systemNanoseconds)
      json.member("detachNanoseconds", cost.detachNanoseconds)
      json.member("peakResidentBytes", cost.peakResidentBytes)
      json.member("ringBytes", cost.ringBytes)
    }
  }

  /// What the fold of the records could not keep or not place.
  private static func writeFold(_ snapshot: JobSnapshot, to json: inout JSONOutput) {
    json.object("fold") { json in
      json.object("notKept") { json in
        for row in Omissions(snapshot).rows { json.member(named: row.key, row.count) }
      }
      if snapshot.flowsMerged > 0 { json.member("flowsMerged", snapshot.flowsMerged) }
      json.member("processesNotExited", snapshot.processesNotExited)
      json.member("orphans", snapshot.orphans)
      json.member("unknownDirectories", snapshot.unknownDirectories)
    }
  }

  private static func write(_ completeness: Completeness, to json: inout JSONOutput) {
    func total(_ field: KeyPath<Completeness.Counts, UInt64>) -> UInt64 {
      completeness.types.reduce(0) { $0 &+ $1.counts[keyPath: field] }
    }
    json.object("completeness") { json in
      json.member("seen", total(\.seen))
      json.member("sent", total(\.sent))
      json.member("deduplicated", total(\.deduplicated))
      json.member("aggregated", total(\.aggregated))
      json.object("lost") { json in
        json.member("critical", completeness.lostCritical)
        json.member("bulk", completeness.lostBulk)
      }
      json.member("truncated", total(\.truncated))
      json.member("unreadable", total(\.unreadable))
      json.object("mapFull") { for map in completeness.mapFull { $0.member(named: map.name, map.count) } }
      json.member("lateAttach", completeness.lateAttach)
      json.member("complete", completeness.isComplete)
      json.member("failed", total(\.failed))
      json.member("received", completeness.received)
      json.member("malformed", completeness.malformed)
      json.member("late", completeness.late)
      json.member("sequenceGaps", completeness.sequenceGaps)
      json.member("missedRuns", completeness.missedRuns)
      json.member("stalled", completeness.stalled)
      json.member("shed", completeness.shed)
      json.array("missingHooks") { json in
        for hook in completeness.missingHooks {
          json.object { json in
            json.member("family", hook.family)
            json.member("reason", hook.reason)
          }
        }
      }
      json.array("types") { json in
        for type in completeness.types { json.object { write(type, to: &$0) } }
      }
    }
  }

  private static func write(
    _ type: (name: String, isCritical: Bool, counts: Completeness.Counts), to json: inout JSONOutput
  ) {
    json.member("type", type.name)
    json.member("class", type.isCritical ? "critical" : "bulk")
    json.member("seen", type.counts.seen)
    json.member("sent", type.counts.sent)
    json.member("deduplicated", type.counts.deduplicated)
    json.member("aggregated", type.counts.aggregated)
    json.member("lost", type.counts.lost)
    json.member("truncated", type.counts.truncated)
    json.member("unreadable", type.counts.unreadable)
    json.member("failed", type.counts.failed)
  }

  private static func writeLog(_ input: ReportInput, to json: inout JSONOutput) {
    guard let log = input.log else { return json.null("log") }
    json.object("log") { json in
      json.member("head", log.head)
      json.member("frames", log.frames)
      json.member("lines", log.lines)
      json.member("bytes", log.bytes)
      if let error = input.logError { json.member("error", error) }
    }
  }

  private static func writeCounts(_ tally: Tally, of input: ReportInput, to json: inout JSONOutput) {
    let snapshot = input.snapshot
    json.object("counts") { json in
      json.member("processes", snapshot.processes.count)
      json.member("executions", tally.executions)
      json.member("failedProcesses", tally.failures)
      json.member("outlivedCommand", tally.outlived)
      json.member("connections", tally.connections)
      json.member("listeners", tally.listeners)
      json.member("filesWritten", tally.filesWritten)
      json.member("filesCreated", tally.filesCreated)
      json.member("filesDeleted", tally.filesDeleted)
      json.member("filesRead", snapshot.filesRead)
      json.member("opens", snapshot.opens)
      json.member("failedOpens", snapshot.failedOpens)
      json.member("pathChanges", snapshot.changes.count)
      json.member("records", snapshot.records)
    }
  }
}
