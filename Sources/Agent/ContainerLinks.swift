internal import KernelABI
internal import Observation

/// Which container is whose, by what daemons told the processes of jobs.
///
/// Nothing is guessed: a container belongs to the job whose process was told its id, in answer to a request to make it or
/// to build; or, as BuildKit tells nobody the ids of what it runs, to the one job that was told that a step executes just
/// this command.
struct ContainerLinks {
  /// A process that asked a daemon.
  struct Asker: Hashable {
    var slot: UInt16
    var process: UInt32
    var start: UInt64
  }

  struct Link: Equatable {
    enum How: String {
      /// The daemon answered with its id.
      case created
      /// It runs a step of a build, and the daemon told its id.
      case build
      /// It runs a step of a build, whose command the daemon told.
      case command
    }

    var asker: Asker
    var how: How
    var image: String?
    var name: String?
    /// The digest of a build's step.
    var step: String?
    /// Others whose builds have the very same step: BuildKit does it once for all.
    var sharers: [Asker] = []
  }

  enum Decision: Equatable {
    case belongs(Link)
    /// Nobody was told of it yet.
    case unknown
    /// Several jobs were told of steps that it may be.
    case several
  }

  /// What a container runs, by which a step of a build is recognised.
  struct Execution {
    /// When its first program was executed, CLOCK_REALTIME.
    var at: UInt64
    var arguments: [[UInt8]]
    /// A variable of its environment; nil: it has none of that name, or cannot be asked any more.
    var variable: (String) -> [UInt8]?
    /// Its root directory; nil: not known.
    var layers: OverlayLayers?
  }

  private struct Conversation {
    var asker: Asker
    var talk = DaemonConversation()
    var steps: [String: DaemonConversation.Step] = [:]
    /// The place in the order in which builds began.
    var number: UInt64
  }

  /// By the daemon's socket.
  private var conversations: [UInt64: Conversation] = [:]
  private var askers: [Asker: Set<UInt64>] = [:]
  /// By their ids, or the first twelve digits of these. Who was told first has it: others can hear of it later.
  private var told: [String: Link] = [:]
  /// What a job had started, and when, by the names in ``told``.
  private var awaited: [String: (asker: Asker, at: UInt64)] = [:]
  /// Of these, those in which something was executed, or of which it is known that this is not to be seen.
  private var explained: Set<String> = []
  /// Names of the containers whose cgroups were seen: whatever is executed in one is.
  private var seen: Set<String> = []
  private var seenSteps = false
  /// Digests of steps whose containers were found, and when the last began. CLOCK_REALTIME.
  private var found: [String: UInt64] = [:]
  /// Steps of jobs that are over, whose containers were not found, and since when: a container of which it is not known yet whose
  /// it is may be theirs, and does not become another job's because nobody else is left. CLOCK_BOOTTIME.
  private var departed: [(step: DaemonConversation.Step, at: UInt64)] = []
  /// When a container, and one of a step, was last found to be nobody's; 0: none was.
  private var lostAt: UInt64 = 0
  private var lostStepAt: UInt64 = 0
  /// Since when jobs have builds done of which the daemon tells nothing, by their slots. CLOCK_BOOTTIME.
  private var silentSince: [UInt16: UInt64] = [:]
  /// The directories with the results of steps, by their digests.
  private var results: [String: String] = [:]
  /// What was told and not kept, as there was too much.
  private(set) var dropped: UInt64 = 0
  /// Processes that have ended, for the kernel side to forget on which sockets they waited.
  private var ended: [(asker: Asker, socket: UInt64)] = []

  private static let limit = 65_536
  private static let stepLimit = 10_000
  private var begun: UInt64 = 0

  /// Whether a process lives that may be waiting for an answer.
  var isAwaiting: Bool { !askers.isEmpty }
  /// Pieces of what was said that were too long to be understood, or could not be read.
  private(set) var cut: UInt64 = 0

  // MARK: - What comes

  /// Takes what was said. Returns true if something was learnt.
  mutating func take(_ record: RecordView) -> Bool {
    let body = record.daemon
    guard let bytes = record.string(.bytes) else {
      cut &+= 1
      return false
    }
    let asker = Asker(slot: record.job, process: record.tgid, start: record.leaderStart)
    if body.is_answer == 0 {
      if conversations[body.sock]?.asker != asker {
        guard conversations.count < Self.limit else {
          dropped &+= 1
          return false
        }
        begun &+= 1
        conversations[body.sock] = Conversation(asker: asker, number: begun)
        askers[asker, default: []].insert(body.sock)
      }
      conversations[body.sock]?.talk.take(request: bytes)
      if conversations[body.sock]?.talk.isSilent ?? false, silentSince[asker.slot] == nil {
        silentSince[asker.slot] = record.time
      }
      if let name = DaemonConversation.started(by: bytes) { expect(name, asker, at: record.time) }
      return false
    }
    guard var conversation = conversations[body.sock], conversation.asker == asker else { return false }
    let before = conversation.talk.cut
    let news = conversation.talk.take(answer: bytes, isCut: body.bytes > UInt64(bytes.count))
    cut &+= UInt64(conversation.talk.cut - before)
    for item in news {
      switch item {
      case .created(let id):
        tell(id, Link(asker: asker, how: .created, image: conversation.talk.image, name: conversation.talk.name))
      // It is said of steps that only change the image, too.
      case .runs(let digits): tell(digits, Link(asker: asker, how: .build))
      case .step(let step): note(step, &conversation)
      }
    }
    conversations[body.sock] = conversation
    return !news.isEmpty
  }

  /// Of containers that were there before, or that others have made, nothing was promised.
  private mutating func expect(_ name: String, _ asker: Asker, at time: UInt64) {
    let id = told[name] != nil ? name : told.first { $0.value.name == name }?.key
    if let id, told[id]?.asker.slot == asker.slot, awaited.count < Self.limit { awaited[id] = (asker, time) }
  }

  /// Something is executed in a container, or it is known why nothing that is executed in it is seen.
  mutating func note(explained id: String) {
    if awaited[id] != nil { explained.insert(id) }
  }

  /// What a job had started between these times, and in which nothing was executed that was seen.
  func unexplained(_ times: ClosedRange<UInt64>) -> [(id: String, link: Link)] {
    awaited.compactMap { id, entry in
      times.contains(entry.at) && !explained.contains(id) ? told[id].map { (id, $0) } : nil
    }
  }

  /// The cgroup of a container was made, and is watched.
  mutating func note(_ container: ContainerName) {
    if container.kind == .buildStep { seenSteps = true }
    if seen.count < Self.limit { seen.formUnion([container.id, String(container.id.prefix(12))]) }
  }

  /// It was found whose step a container executes, which began then.
  mutating func note(foundStep digest: String, at time: UInt64) {
    if found.count < Self.limit || found[digest] != nil { found[digest] = time }
  }

  /// Whether it is known which container executes it: no other does, unless it is begun anew, as a build without a cache does.
  private func isFound(_ step: DaemonConversation.Step) -> Bool {
    guard let time = found[step.digest], let startedAt = step.startedAt else { return false }
    return startedAt <= time &+ Self.clockError
  }

  /// It will not be found out any more whose a container is, which may execute a step.
  mutating func note(lostAt time: UInt64, mayBeStep: Bool) {
    lostAt = max(lostAt, time)
    if mayBeStep { lostStepAt = max(lostStepAt, time) }
  }

  /// Whether a container that began then may be of a build of which the daemon told this job nothing.
  func mayBeOfSilentBuild(_ start: UInt64, slot: UInt16) -> Bool {
    silentSince[slot].map { start >= $0 } ?? false
  }

  /// Whether a job but that of this slot has a build done, and may still be told of its steps: a container can be there before its
  /// own step is told, while the same command of another's is known already.
  func othersBuild(than slot: UInt16) -> Bool {
    conversations.values.contains { $0.asker.slot != slot && $0.talk.purpose == .build && askers[$0.asker] != nil }
  }

  /// Whether something ran in a container for a job and is not in its report.
  ///
  /// - Parameters:
  ///   - start: of the job, CLOCK_BOOTTIME
  ///   - isStepWaiting: there is a container which may execute a step, and of which it is not known yet whose it is
  func lacks(slot: UInt16, since start: UInt64, isStepWaiting: Bool) -> Bool {
    if mayBeOfSilentBuild(lostAt, slot: slot) { return true }
    if awaited.contains(where: { $0.value.asker.slot == slot && !seen.contains($0.key) }) { return true }
    // Of a step's container it is not known whose it is: perhaps this job's, if it lacks one.
    guard lostStepAt > start || isStepWaiting || !seenSteps else { return false }
    return conversations.values.contains { $0.asker.slot == slot && !unfound($0).isEmpty }
  }

  /// Steps that execute, or have executed, something in a container that was not found.
  private func unfound(_ conversation: Conversation) -> [DaemonConversation.Step] {
    conversation.steps.values.filter { $0.startedAt != nil && !$0.isCached && !isFound($0) }
  }

  private mutating func note(_ step: DaemonConversation.Step, _ conversation: inout Conversation) {
    var step = step
    if let known = conversation.steps[step.digest] {
      step.startedAt = step.startedAt ?? known.startedAt
      step.completedAt = step.completedAt ?? known.completedAt
      step.isCached = step.isCached || known.isCached
    } else if conversation.steps.count >= Self.stepLimit {
      dropped &+= 1
      return
    }
    conversation.steps[step.digest] = step
  }

  private mutating func tell(_ id: String, _ link: Link) {
    guard told[id] == nil else { return }
    guard told.count < Self.limit else {
      dropped &+= 1
      return
    }
    told[id] = link
  }

  /// A process of a job has ended.
  mutating func processEnded(_ asker: Asker) {
    guard let sockets = askers[asker] else { return }
    askers[asker] = nil
    ended += sockets.map { (asker, $0) }
    for socket in sockets where conversations[socket]?.asker == asker {
      // What it was told of steps is still true of what they run.
      if conversations[socket]?.steps.isEmpty ?? true { conversations[socket] = nil }
    }
  }

  /// Those that have ended since it was asked last, with the sockets of those whom they asked.
  mutating func takeEnded() -> [(asker: Asker, socket: UInt64)] {
    defer { ended = [] }
    return ended
  }

  /// A job is over: its slot may be another's soon.
  mutating func forget(slot: UInt16, now: UInt64) {
    silentSince[slot] = nil
    if askers.isEmpty, told.isEmpty, conversations.isEmpty { return }
    for asker in Array(askers.keys) where asker.slot == slot { processEnded(asker) }
    for conversation in conversations.values where conversation.asker.slot == slot {
      let steps = unfound(conversation)
      let room = Self.stepLimit - departed.count
      departed += steps.prefix(room).map { ($0, now) }
      dropped &+= UInt64(max(0, steps.count - room))
    }
    conversations = conversations.filter { $0.value.asker.slot != slot }
    told = told.filter { $0.value.asker.slot != slot }
    awaited = awaited.filter { $0.value.asker.slot != slot }
    if awaited.isEmpty { explained = [] }
  }

  /// No container that began before this time waits any more.
  mutating func forgetDeparted(before time: UInt64) {
    departed.removeAll { $0.at < time }
  }

  /// A container that runs a step of a build leaves its result in this directory: later steps begin with that.
  mutating func note(_ layers: OverlayLayers, of step: String) {
    if results.count < Self.limit { results[step] = layers.upper }
  }

  // MARK: - Whose it is

  /// - Parameter execution: the first in it; nil: there was none yet
  func decide(_ container: ContainerName, _ execution: Execution?) -> Decision {
    if let link = told[container.id] ?? told[String(container.id.prefix(12))] { return .belongs(link) }
    guard container.kind == .buildStep, let execution else { return .unknown }
    var steps = stepsUnderWay(
      at: execution.at, BuildCommand(execution.arguments, variable: execution.variable))
    func isOne() -> Bool { steps.allSatisfy { $0.step.digest == steps[0].step.digest } }
    if !isOne(), let layers = execution.layers {
      steps = steps.filter { $0.step.inputs.contains { results[$0].map(layers.lower.contains) ?? false } }
    }
    guard isOne() else { return .several }
    let askers = steps.compactMap(\.asker)
    guard let first = askers.first else { return .unknown }
    var link = Link(asker: first, how: .command, step: steps[0].step.digest)
    for other in askers where other.slot != first.slot && !link.sharers.contains(other) { link.sharers.append(other) }
    return .belongs(link)
  }

  /// Steps that execute this and were begun, and not completed, at that time, and whose container was not found; the first build's
  /// first. Without an asker: of a job that is over.
  private func stepsUnderWay(
    at time: UInt64, _ command: BuildCommand
  ) -> [(asker: Asker?, step: DaemonConversation.Step)] {
    func isUnderWay(_ step: DaemonConversation.Step) -> Bool {
      guard let startedAt = step.startedAt, startedAt <= time &+ Self.clockError, !isFound(step) else { return false }
      return step.completedAt.map { $0 &+ Self.clockError >= time } ?? true && command.matches(step.command)
    }
    let living = conversations.values.sorted { $0.number < $1.number }.flatMap { conversation in
      conversation.steps.values.filter(isUnderWay).map { (asker: Asker?.some(conversation.asker), step: $0) }
    }
    return living + departed.map(\.step).filter(isUnderWay).map { (asker: nil, step: $0) }
  }

  /// How long after a container has begun it may be told which steps execute, while several jobs have builds done. The daemon
  /// says so before it makes the container; what is said is told in other rings than what is executed.
  static let settling: UInt64 = 300_000_000

  /// How far two looks at CLOCK_REALTIME, converted, may be apart.
  private static let clockError: UInt64 = 1_000_000
}
