internal import CSystem
internal import Glibc
internal import KernelSensor
internal import Observation
internal import Supervision

extension HandOverStep {
  /// As a request.
  var line: [UInt8] {
    ControlAnswer.line { json in
      json.member("command", "replace")
      switch self {
      case .look: json.member("step", "look")
      case .begin: json.member("step", "begin")
      case .beside(let start, let paths):
        json.member("step", "beside")
        json.member("start", start)
        json.array("paths") { json in for path in paths { json.member(nil, path) } }
      case .leave(let token, let joins):
        json.member("step", "leave")
        json.member("token", token)
        json.member("joins", joins)
      case .done: json.member("step", "done")
      }
    }
  }
}

/// What agents say of themselves to each other.
struct HandOverFacts: Equatable, Sendable {
  var version: String
  var process: UInt32
  /// RFC 3339.
  var startedAt: String
  /// ``Sensor/ownStart``; 0: not known.
  var start: UInt64
  /// Where it is reached when another has its place.
  var socket: String
  var output: String

  func write() -> [UInt8] {
    ControlAnswer.line { json in
      json.member("version", version)
      json.member("pid", process)
      json.member("startedAt", startedAt)
      json.member("start", start)
      json.member("socket", socket)
      json.member("output", output)
    }
  }

  init(version: String, process: UInt32, startedAt: String, start: UInt64, socket: String, output: String) {
    self.version = version
    self.process = process
    self.startedAt = startedAt
    self.start = start
    self.socket = socket
    self.output = output
  }

  init?(_ value: JSONValue) {
    guard let version = value["version"]?.text, let process = value["pid"]?.unsigned.flatMap(UInt32.init(exactly:)),
      let startedAt = value["startedAt"]?.text, let start = value["start"]?.unsigned,
      let socket = value["socket"]?.text, let output = value["output"]?.text
    else { return nil }
    self.init(
      version: version, process: process, startedAt: startedAt, start: start, socket: socket, output: output)
  }
}

/// This agent as one that hands over to another. Owned by the thread that speaks to clients.
struct HandOver {
  let facts: HandOverFacts
  /// Of this agent's own jobs.
  let members: OtherMembers
  /// Other agents that are there beside this one, the one that takes over among them.
  private(set) var others: [(process: PeerProcess, members: OtherMembers)] = []
  /// Who takes over.
  private(set) var successor: PeerProcess?
  /// When it was ready, by `ControlServer.now`.
  private(set) var doneAt: UInt64?
  /// What it has given out, and may be told to this one, too.
  private(set) var token: ControlToken?

  init(facts: HandOverFacts, members: OtherMembers) {
    self.facts = facts
    self.members = members
  }

  /// What to wait for: that another agent ends.
  var descriptors: [Int32] { others.map(\.process.pidfd) + (successor.map { [$0.pidfd] } ?? []) }

  /// Whether a process is another agent, which may pass connections on.
  func isAgent(_ process: Int32) -> Bool {
    others.contains { Int32($0.process.pid) == process && mt_pidfd_has_ended($0.process.pidfd) == 0 }
  }

  /// - Returns: an answer; nil: the reader has it
  mutating func take(
    _ step: HandOverStep, _ question: ControlServer.Question, _ server: inout ControlServer, _ journal: Journal,
    _ reader: AgentReader, _ desk: ReportDesk
  ) throws(HandOverRefusal) -> (line: [UInt8], attached: HeldDescriptors?)? {
    guard let peer = question.peer else { throw HandOverRefusal("it is not known which process asks") }
    // Who could end the agent by a signal: neither another user nor, whoever it is, a job.
    guard question.isTrusted else { throw HandOverRefusal("only root, or the user whose agent it is, may replace it") }
    guard !members.contains(peer.pid) else { throw HandOverRefusal("a process of a job cannot replace the agent") }
    switch step {
    case .look: break
    case .begin: try begin(peer, &server, journal)
    case .beside(let start, let paths):
      try know(peer, question.attached, start, paths, reader, desk, question.number)
      return nil
    case .leave(let token, let joins):
      try check(peer)
      self.token = ControlToken(text: token)
      reader.perform { [ticket = question.number] sensor, recorder in
        desk.say(
          HandOver.answer("left") {
            try sensor.leaveJobs(true, joins: joins)
            recorder.isDraining = true
            return true
          }, to: ticket)
      }
      return nil
    case .done:
      try check(peer)
      doneAt = ControlServer.now
      reader.perform { [path = server.path] sensor, recorder in
        // It is another one now.
        do { try sensor.shield(path: path) } catch { recorder.settings.log.say("\(error)") }
      }
      return (ControlAnswer.line { $0.member("done", true) }, nil)
    }
    let copy = fcntl(members.descriptor, F_DUPFD_CLOEXEC, 3)
    guard copy >= 0 else { throw HandOverRefusal("the agent has no descriptor left") }
    return (facts.write(), HeldDescriptors([copy]))
  }

  private func check(_ peer: PeerProcess) throws(HandOverRefusal) {
    guard peer.pid == successor?.pid else { throw HandOverRefusal("another process has begun to replace the agent") }
  }

  private mutating func begin(
    _ peer: PeerProcess, _ server: inout ControlServer, _ journal: Journal
  ) throws(HandOverRefusal) {
    if let successor {
      throw HandOverRefusal(
        doneAt == nil
          ? "process \(successor.pid) is replacing the agent already"
          : "process \(successor.pid) has replaced this agent, which has jobs that are not over")
    }
    do throws(SystemError) {
      try journal.stepAside()
      try server.stepAside()
    } catch {
      try? journal.stepBack()
      throw HandOverRefusal(error.description)
    }
    successor = peer
  }

  private mutating func know(
    _ peer: PeerProcess, _ attached: HeldDescriptors?, _ start: UInt64, _ paths: [String], _ reader: AgentReader,
    _ desk: ReportDesk, _ ticket: UInt64
  ) throws(HandOverRefusal) {
    guard let given = attached?.numbers.first, case let copy = fcntl(given, F_DUPFD_CLOEXEC, 3), copy >= 0 else {
      throw HandOverRefusal("the members of its sensor did not come with the request")
    }
    let members: OtherMembers
    do throws(SensorError) {
      members = try OtherMembers(copy)
    } catch {
      throw HandOverRefusal(error.description)
    }
    others.append((peer, members))
    reader.perform { sensor, recorder in
      desk.say(
        HandOver.answer("beside") {
          if start != 0 { try sensor.shield(agent: peer.pid, start: start) }
          for path in paths { try sensor.shield(path: path) }
          return try sensor.know(members)
        }, to: ticket)
    }
  }

  private static func answer(_ word: StaticString, _ work: () throws -> Bool) -> [UInt8] {
    do {
      let isDone = try work()
      return ControlAnswer.line { $0.member(word, isDone) }
    } catch {
      return ControlAnswer.error("\(error)")
    }
  }

  /// Whether this agent can end: another one is ready, and nothing is left to be done here.
  ///
  /// - Parameter isIdle: all reports are written, and nobody waits for one
  func isOver(_ reader: AgentReader, _ isIdle: Bool) -> Bool {
    // Who had connected by then has been heard.
    guard let doneAt, ControlServer.now >= doneAt + 1_000_000_000 else { return false }
    return isIdle && reader.hasDrained
  }

  /// Looks which other agents have ended. If the one that was to take over has, this one goes on as before.
  mutating func look(_ server: inout ControlServer, _ journal: Journal, _ reader: AgentReader, _ log: AgentLog) {
    let ended = others.filter { mt_pidfd_has_ended($0.process.pidfd) != 0 }
    others.removeAll { mt_pidfd_has_ended($0.process.pidfd) != 0 }
    for (_, members) in ended {
      reader.perform { sensor, _ in
        do { try sensor.forget(members) } catch { log.say("\(error)") }
      }
    }
    guard let successor, doneAt == nil, mt_pidfd_has_ended(successor.pidfd) != 0 else { return }
    log.say("process \(successor.pid), which was to replace this agent, ended before it could: this one goes on")
    goOn(&server, journal, log)
    reader.perform { sensor, recorder in
      recorder.isDraining = false
      do { try sensor.leaveJobs(false) } catch { log.say("\(error)") }
    }
  }

  /// The names are this agent's again: nobody has taken over.
  mutating func goOn(_ server: inout ControlServer, _ journal: Journal, _ log: AgentLog) {
    guard successor != nil, doneAt == nil else { return }
    do throws(SystemError) {
      try server.stepBack()
      try journal.stepBack()
    } catch {
      log.say(error.description)
    }
    (successor, token) = (nil, nil)
  }
}

struct HandOverRefusal: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}
