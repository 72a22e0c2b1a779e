internal import Glibc
internal import KernelSensor
package import Observation
internal import Recording
internal import Reporting
internal import Supervision

/// What an agent is doing, as of one moment; schema `martlet.agent/v1`.
struct AgentStatus: Sendable {
  static let schema = "martlet.agent/v1"

  struct Job: Sendable {
    var identifier: String
    var slot: UInt16
    var facts: ReportInput.Job
    /// CLOCK_BOOTTIME.
    var startedAt: UInt64
    var clock: WallClock
    var isKeyed: Bool
    var isClosing: Bool
    var records: UInt64
    var bytes: Int
    var directory: String
    var unseen: [ReportInput.Unseen]
    var sheds: [ReportInput.Shed]
    /// By the kernel's count; nil: it would not tell.
    var processes: UInt64?
    var counts: JobCounts?
    var policy: ReportInput.PolicyInForce?

    init(_ job: UnsafeMutablePointer<AgentJob>, _ slot: JobSlot?, _ counts: JobCounts?) {
      identifier = job.pointee.identifier
      self.slot = job.pointee.slot
      facts = job.pointee.facts
      startedAt = job.pointee.startedAt
      clock = job.pointee.clock
      isKeyed = job.pointee.isKeyed
      isClosing = job.pointee.closedAt != 0
      records = job.pointee.recorder.tallies.total
      bytes = job.pointee.recorder.bytes
      directory = job.pointee.directory.temporaryPath
      unseen = job.pointee.unseen
      sheds = job.pointee.sheds
      policy = job.pointee.policy.inForce
      processes = slot?.processes
      self.counts = counts
    }
  }

  var jobs: [Job] = []
  var counts = AgentCounts()
  /// Slots whose job is closed and that are not given back.
  var closing = 0
  var containers = ContainerCounts()
  var governor = Governor(Governor.Ceilings())
  /// Of what requests are read; nil: of nothing.
  var requestFiles: RequestProber.Counts?
  var sensor: SensorStatus?
  var recognition: RecognitionCounts?
  var missingHooks: [(family: String, reason: String)] = []
  /// What denies on when who loaded it is gone.
  var pinned: [PinnedSensors.Entry] = []

  /// What is not the reader's.
  struct Surroundings: Sendable {
    var version = Version.current
    var startedAt: UInt64
    var settings: AgentSettings
    var reports: ReportWorker.Counts
    var turnedAway: UInt64
    /// Agents that were replaced, and have jobs that are not over.
    var draining: [HandOverFacts] = []
    /// The process of the agent that took over from this one.
    var replacedBy: UInt32?
  }

  // MARK: - JSON

  /// One line.
  ///
  /// - Parameter isTrusted: who asks may see what jobs there are; else numbers alone are told.
  func json(_ surroundings: Surroundings, isTrusted: Bool) -> [UInt8] {
    ControlAnswer.line { json in
      json.member("schema", Self.schema)
      json.member("version", surroundings.version)
      json.member("pid", getpid())
      json.member("ready", true)
      json.member("startedAt", WallClock(offset: Clock.wallOffset).rfc3339(surroundings.startedAt))
      json.member("replacedBy", orNull: surroundings.replacedBy)
      json.array("draining") { json in
        for other in surroundings.draining {
          json.object { json in
            json.member("pid", other.process)
            json.member("version", other.version)
            json.member("startedAt", other.startedAt)
            json.member("socket", other.socket)
          }
        }
      }
      writeCounts(surroundings, to: &json)
      writeSensor(to: &json)
      guard isTrusted else { return }
      let settings = surroundings.settings
      json.member("output", settings.output)
      json.array("rules") { json in
        for rule in settings.configuration.rules { json.object { rule.write(to: &$0) } }
      }
      json.array("pinned") { json in for entry in pinned { json.object { Self.write(entry, to: &$0) } } }
      settings.policies.write(of: settings.configuration, to: &json)
      settings.filters.write(of: settings.configuration, to: &json)
      json.array("jobs") { json in for job in jobs { json.object { write(job, to: &$0) } } }
      json.array("unattributedContainers") { json in
        for container in containers.foreign { json.object { container.write(to: &$0) } }
      }
      json.array("unseenContainers") { json in
        for container in containers.unseen { json.object { container.write(to: &$0) } }
      }
      json.array("recent") { json in
        for job in surroundings.reports.recent {
          json.object { json in
            json.member("id", job.identifier)
            json.member("rule", job.rule)
            if let verdict = job.verdict { json.member("verdict", verdict) } else { json.null("verdict") }
            json.member("path", job.path)
          }
        }
      }
      let problems = settings.log.problems
      json.object("problems") { json in
        json.member("count", problems.count)
        json.member("last", problems.last)
      }
    }
  }

  private func writeCounts(_ surroundings: Surroundings, to json: inout JSONOutput) {
    json.object("counts") { json in
      json.member("running", jobs.count)
      json.member("opened", counts.opened)
      json.member("adopted", counts.adopted)
      json.member("closed", counts.closed)
      json.member("unrecorded", counts.unrecorded)
      json.member("reportsWaiting", surroundings.reports.waiting)
      json.member("reportsWritten", surroundings.reports.written)
      json.member("reportsFailed", surroundings.reports.failed)
      json.member("reportsSoFar", surroundings.reports.writtenSoFar)
      json.member("recovered", surroundings.reports.recovered)
      json.member("closing", closing)
      json.member("records", counts.records)
      json.member("unattributed", counts.unattributed)
      json.member("malformed", counts.malformed)
      json.member("limited", counts.limited)
      json.member("leftOut", counts.leftOut)
      json.member("turnedAway", surroundings.turnedAway)
    }
    json.object("containers") { json in containers.write(to: &json) }
    json.object("ceilings") { json in governor.write(to: &json) }
    json.object("requests") { json in
      json.member("files", requestFiles?.files ?? 0)
      json.member("filesRead", requestFiles?.read ?? 0)
      json.member("filesBeyond", requestFiles?.beyond ?? 0)
    }
    json.object("memory") { json in
      json.member("residentBytes", Self.residentBytes)
      json.member("peakResidentBytes", ProcessCost().peakResidentBytes)
      json.member("jobBytes", counts.foldBytes)
      json.member("ringBytes", sensor?.rings.reduce(0) { $0 + $1.statistics.capacity } ?? 0)
    }
    json.object("recognition") { json in
      json.member("unfinished", orNull: recognition?.unfinished)
      json.member("unreadable", orNull: recognition?.unreadable)
      json.member("unclaimed", orNull: recognition?.unclaimed)
      json.member("unkeyed", orNull: recognition?.unkeyed)
      json.member("missed", orNull: recognition?.missed)
    }
  }

  private func writeSensor(to json: inout JSONOutput) {
    json.object("sensor") { json in
      json.member("lost", sensor?.counters.types.reduce(0) { $0 &+ $1.lost } ?? 0)
      json.array("rings") { json in
        for ring in sensor?.rings ?? [] {
          json.object { json in
            json.member("kind", ring.kind)
            json.member("cpu", orNull: ring.cpu)
            json.member("capacityBytes", ring.statistics.capacity)
            json.member("waitingBytes", ring.statistics.available)
            json.member("highWaterBytes", ring.statistics.highWater)
          }
        }
      }
      json.array("maps") { json in
        for map in sensor?.maps ?? [] {
          json.object { json in
            json.member("name", map.name)
            json.member("capacity", orNull: map.capacity)
            json.member("used", orNull: map.used)
            json.member("refused", map.refused)
          }
        }
      }
      json.array("missingHooks") { json in
        for hook in missingHooks {
          json.object { json in
            json.member("family", hook.family)
            json.member("reason", hook.reason)
          }
        }
      }
    }
  }

  static func write(_ entry: PinnedSensors.Entry, to json: inout JSONOutput) {
    json.member("name", entry.name)
    json.member("owner", entry.owner)
    json.member("ownerLives", entry.ownerLives)
    json.member("processes", entry.processes)
    json.member("lost", entry.lost)
  }

  private func write(_ job: Job, to json: inout JSONOutput) {
    json.member("id", job.identifier)
    json.member("slot", job.slot)
    json.member("startedAt", job.clock.rfc3339(job.startedAt))
    JSONReport.write(job.facts, clock: job.clock, to: &json)
    JSONReport.write(job.unseen, clock: job.clock, to: &json)
    JSONReport.write(job.sheds, clock: job.clock, to: &json)
    json.member("closing", job.isClosing)
    json.member("processes", orNull: job.processes)
    json.member("records", job.records)
    json.member("lost", orNull: job.counts?.lost)
    json.member("bytes", job.bytes)
    json.member("directory", job.directory)
    if let policy = job.policy { JSONReport.write(policy, to: &json) } else { json.null("policy") }
  }

  /// Of the agent's process, now.
  private static var residentBytes: UInt64 {
    let fields = ProcessScan.file("/proc/self/statm", limit: 256).split(separator: UInt8(ascii: " "))
    guard fields.count > 1, let pages = UInt64(String(decoding: fields[1], as: UTF8.self)) else { return 0 }
    return pages &* UInt64(max(0, sysconf(Int32(_SC_PAGESIZE))))
  }
}

extension Governor {
  /// What is given up, without the names of jobs.
  fileprivate func write(to json: inout JSONOutput) {
    json.member("cpuPercent", orNull: ceilings.processors.map { $0 * 100 })
    json.member("cpuPercentTaken", orNull: processors.map { $0 * 100 })
    json.member("memoryBytes", orNull: ceilings.memory)
    json.member("memoryBytesTaken", orNull: ceilings.isNone ? nil : memory)
    json.member("exhausted", isAtItsEnd)
    json.array("givenUp") { json in
      for entry in measures {
        json.object { json in
          json.member("what", entry.measure.name)
          json.member("cause", entry.cause.rawValue)
          json.member("since", WallClock(offset: Clock.wallOffset).rfc3339(entry.since))
        }
      }
    }
  }
}

extension Governor.Measure {
  fileprivate var name: String {
    switch self {
    case .hashes: "hashes"
    case .reads: "reads"
    case .files: "files"
    case .keeping: "keeping"
    }
  }
}

extension AgentRule {
  /// The members of an object that says all of it.
  package func write(to json: inout JSONOutput) {
    json.member("name", name)
    json.member("provider", provider)
    json.member(named: "comm", match.comm)
    json.member(named: "path", match.path)
    json.member("uid", orNull: match.uid)
    json.array("markers") { json in for marker in match.markers { json.member(nil, marker) } }
    json.member(named: "key", match.key)
    json.member("steps", match.childrenAreSteps ? "children" : "none")
    json.member("lingerSeconds", Double(linger(isKeyed: match.key != nil)) / 1_000_000_000)
  }
}
