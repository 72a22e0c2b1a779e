internal import CSystem
internal import Glibc
internal import KernelSensor
internal import Observation
internal import Supervision

/// Another agent on this machine, whose jobs are not over: the one that this one replaces, or one that was replaced before.
final class Predecessor: Sendable {
  let facts: HandOverFacts
  let members: OtherMembers
  let pidfd: Int32
  /// Looks at one that is about to end, and microseconds between two of them.
  private static let turns = 200
  private static let pause: UInt32 = 50_000

  /// Finds one that another has replaced; nil if it has ended, or does.
  static func draining(at socket: String) throws -> Predecessor? {
    for turn in 1...turns {
      do {
        return try Predecessor(.look, path: socket)
      } catch let error as SystemError where error.code == ENOENT {
        return nil
      } catch let error as SystemError where error.code == ECONNREFUSED {
        // Killed.
        unlink(socket)
        return nil
      } catch {
        if turn == turns { throw error }
        usleep(pause)
      }
    }
    return nil
  }

  /// Asks who is there.
  ///
  /// - Parameter step: ``HandOverStep/look`` or ``HandOverStep/begin``
  init(_ step: HandOverStep, path: String) throws {
    let (value, attached) = try Self.ask(step, path: path)
    guard let facts = HandOverFacts(value), attached.count == 1 else {
      for descriptor in attached { close(descriptor) }
      throw HandOverRefusal("the agent at \(path) gave no answer that makes sense")
    }
    self.facts = facts
    members = try OtherMembers(attached[0])
    pidfd = mt_pidfd_open(pid_t(bitPattern: facts.process))
    guard pidfd >= 0 else { throw HandOverRefusal("process \(facts.process), the agent at \(path), has ended") }
  }

  deinit { if pidfd >= 0 { close(pidfd) } }

  var hasEnded: Bool { mt_pidfd_has_ended(pidfd) != 0 }

  func tell(_ step: HandOverStep, _ descriptors: [Int32] = []) throws -> JSONValue {
    try Self.ask(step, path: facts.socket, descriptors).0
  }

  /// Whether it ends: one whose last job is over may be about to.
  var ends: Bool {
    for _ in 0..<Self.turns where !hasEnded { usleep(Self.pause) }
    return hasEnded
  }

  private static func ask(
    _ step: HandOverStep, path: String, _ descriptors: [Int32] = []
  ) throws -> (JSONValue, [Int32]) {
    let conversation = try ControlConversation(path: path, milliseconds: 20_000)
    try conversation.send(step.line, attached: descriptors)
    _ = try conversation.introduce()
    let value = try conversation.receive().value
    guard let error = value["error"]?.text else { return (value, conversation.takeDescriptors()) }
    // What one says that knows nothing of it.
    guard !error.hasPrefix("there are the commands") else {
      throw HandOverRefusal("the agent at \(path) is of a version that cannot be replaced while it runs: stop it first")
    }
    throw HandOverRefusal(error)
  }

  /// Hands a connection over, whose process is in a job of this agent's.
  ///
  /// - Returns: false if it cannot take it
  func serve(_ connection: Int32, received: [UInt8]) -> Bool {
    let line = ControlAnswer.line { json in
      json.member("command", "serve")
      json.member("request", String(decoding: received, as: UTF8.self))
    }
    guard line.count <= ControlRequest.limit, case let socket = mt_local_connect(facts.socket), socket >= 0 else {
      return false
    }
    defer { close(socket) }
    let sent = line.withUnsafeBytes { mt_local_send(socket, $0.baseAddress, $0.count, [connection], 1) }
    return sent == line.count
  }

  func end() { _ = mt_pidfd_signal(pidfd, SIGTERM) }
}

/// All of them, as one agent knows them. Owned by the thread that speaks to clients.
final class Predecessors {
  private(set) var all: [Predecessor] = []
  /// The one that is replaced.
  let replaced: Predecessor?
  /// Further steps of its jobs join these.
  private var joins = true

  /// Looks who is there, and begins to replace the one that is to be replaced.
  init(_ configuration: AgentConfiguration) throws {
    let path = configuration.socket
    all = try Self.sideNames(of: path).compactMap(Predecessor.draining)
    var replaced: Predecessor?
    if configuration.replaces {
      do {
        let found = try Predecessor(.begin, path: path)
        all.removeAll { $0.facts.process == found.facts.process }
        all.append(found)
        replaced = found
      } catch let error as SystemError where [ECONNREFUSED, ENOENT].contains(error.code) {
        // Nobody is there to be replaced.
      }
    }
    self.replaced = replaced
  }

  private static func sideNames(of path: String) -> [String] {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return [] }
    let directory = String(path[...slash])
    let name = path[path.utf8.index(after: slash)...]
    return DirectoryNames.of(directory).filter { entry in
      entry.hasPrefix(name + ".") && UInt32(entry.dropFirst(name.utf8.count + 1)) != nil
    }.map { directory + $0 }
  }

  var descriptors: [Int32] { all.map(\.pidfd) }

  /// Makes each know the other, and keep its jobs off it: before this one's rules are in force.
  func meet(_ sensor: Sensor, _ configuration: AgentConfiguration, _ log: AgentLog) throws {
    let members = try sensor.members()
    for other in all {
      if other.facts.start != 0 { try sensor.shield(agent: other.facts.process, start: other.facts.start) }
      try sensor.shield(path: other.facts.socket)
      do {
        let answer = try other.tell(
          .beside(start: sensor.ownStart ?? 0, paths: [configuration.output] + configuration.files),
          [members.descriptor])
        if other === replaced, answer["beside"]?.bool != true {
          log.say(
            "martlet \(other.facts.version), which is replaced, cannot look whom this version has: later steps of its jobs are "
              + "jobs of their own")
          joins = false
        }
      } catch {
        guard other === replaced || !other.ends else { continue }
        throw error
      }
    }
  }

  /// From when this returns on, nobody but this agent begins jobs. Its rules are in force: an exec at which the other one does
  /// not begin a job any more is after this, and the programs that ask them come after the other one's.
  func takeOver(_ token: ControlToken) throws {
    guard let replaced else { return }
    Sensor.waitForPrograms()
    _ = try replaced.tell(.leave(token: token.text, joins: joins))
  }

  /// This agent is ready.
  func finish(_ log: AgentLog) {
    guard let replaced else { return }
    do {
      _ = try replaced.tell(.done)
    } catch {
      log.say(
        "process \(replaced.facts.process), which was replaced, could not be told to end after its jobs: \(error)")
    }
  }

  /// Passes a connection on to the agent that has its process in a job.
  func passOn(_ process: Int32, _ received: [UInt8], _ connection: Int32) -> Bool {
    guard let pid = UInt32(exactly: process), let home = all.first(where: { $0.members.contains(pid) }) else {
      return false
    }
    return home.serve(connection, received: received)
  }

  /// Looks which of them have ended. What one leaves behind that did not end by itself, this one closes and follows.
  func look(_ reader: AgentReader, _ settings: AgentSettings) {
    let ended = all.filter(\.hasEnded)
    if ended.isEmpty { return }
    all.removeAll(where: \.hasEnded)
    for other in ended {
      let isKilled = unlink(other.facts.socket) == 0
      if isKilled { settings.log.say("process \(other.facts.process), whose jobs were not over, was killed") }
      reader.perform { sensor, recorder in
        do {
          try sensor.forget(other.members)
          var now = mt_boottime_ns()
          if isKilled {
            PinnedSensors.closeAbandoned()
            HeldProcesses.releaseLeftOver(settings.log, but: recorder.containers.held.contains)
            now = try AgentRecorder.adoptAll(sensor, &recorder)
          }
          for entry in try settings.journal.takeLeft() { recorder.worker.put(.recover(entry, seenAgainAt: now)) }
        } catch {
          settings.log.say("\(error)")
        }
      }
    }
  }

  func end() { for other in all { other.end() } }
}
