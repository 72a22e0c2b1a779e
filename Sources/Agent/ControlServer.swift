internal import CSystem
internal import Glibc
internal import Observation
internal import Supervision

/// The agent's end of its socket: a few connections at a time, each for a few seconds, one request on each.
///
/// Anybody on the machine can connect, jobs among them. So nothing that one client does holds up another: no call
/// blocks, a connection has a deadline, and a user has so many and no more, of which root's are apart. Owned by one
/// thread.
struct ControlServer: ~Copyable {
  /// A request that the agent has to answer.
  struct Question {
    /// Of its connection.
    var number: UInt64
    var request: ControlRequest
    /// Root or the agent's own user: may see everything.
    var isTrusted: Bool
    /// Who asks, if the request depends on it.
    var peer: PeerProcess?
    /// Which process connected, as far as that can be told without asking it.
    var process: Int32 = 0
    /// What came with the request.
    var attached: HeldDescriptors?

    var withoutPeer: Question {
      var question = self
      question.peer = nil
      return question
    }
  }

  /// What follows an answer.
  enum Next: Equatable {
    case end
    /// Another answer, whenever it comes: the connection has no deadline, nor does it count against those of its user.
    case another
    /// The client says something when it has kept what it was given; then this is asked.
    case receipt(ControlRequest)
  }

  private struct Connection {
    var number: UInt64
    var descriptor: Int32
    var peer: mt_peer
    var deadline: UInt64
    var received: [UInt8] = []
    /// A request that waits until it is known who asks.
    var unasked: (request: ControlRequest, peer: PeerProcess)?
    var answer: ArraySlice<UInt8>?
    var next = Next.end
    /// What goes with the answer's first byte.
    var attached: HeldDescriptors?
    /// What came with the request, of those that take something.
    var brought: HeldDescriptors?
    var isAsking = false
  }

  /// Connections of one user, of all users but root and the agent's own, and of all.
  static let userLimit = 4
  static let strangerLimit = 16
  static let limit = 32
  /// Nanoseconds that a connection may take.
  static let patience: UInt64 = 5_000_000_000

  /// Where clients come to.
  let path: String
  /// What the socket is called, unless it has lost its name to another agent's.
  private(set) var name: String?
  /// Passes a connection on whose process asks for its own job, and is in one of another agent. Told what was read; true if
  /// that has it.
  var passOn: (_ process: Int32, _ received: [UInt8], _ connection: Int32) -> Bool = { _, _, _ in false }
  private let socket: Int32
  private var connections: [Connection] = []
  private var lastNumber: UInt64 = 0
  /// Connections that were closed at once.
  private(set) var turnedAway: UInt64 = 0

  /// Makes the socket, and its directory if that is not there.
  ///
  /// - Parameter waits: another agent's is there: ``takePlace()`` follows
  init(path: String, waits: Bool = false) throws(SystemError) {
    if let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")), slash > path.startIndex {
      let directory = String(path[..<slash])
      if mkdir(directory, 0o755) == 0 { chmod(directory, 0o755) }
    }
    let name = waits ? "\(path)-\(getpid())" : path
    let made = mt_local_listen(name, 0o666, 128)
    guard made >= 0 else {
      throw SystemError(
        -made == EADDRINUSE ? "listen on \(path): is an agent running there?" : "listen on \(path)", code: -made)
    }
    socket = made
    self.name = name
    self.path = path
  }

  // MARK: - One agent after the other

  /// What the socket of an agent is called that has left its place to another.
  static func sideName(of path: String, _ process: UInt32) -> String { "\(path).\(process)" }

  /// From now on clients come here instead of to the agent that has been here: there is always one of the two.
  mutating func takePlace() throws(SystemError) {
    guard let name, name != path else { return }
    guard rename(name, path) == 0 else { throw SystemError("take over the socket \(path)", code: errno) }
    self.name = path
  }

  /// Gets a second name, by which this agent is reached when another has taken its place.
  mutating func stepAside() throws(SystemError) {
    let side = Self.sideName(of: path, UInt32(getpid()))
    unlink(side)
    guard link(path, side) == 0 else { throw SystemError("make \(side)", code: errno) }
    name = side
  }

  /// The place is this agent's again, whether another has taken it or not.
  mutating func stepBack() throws(SystemError) {
    guard let name, name != path else { return }
    var (mine, there) = (stat(), stat())
    // Of two names of one socket rename(2) leaves both.
    if lstat(name, &mine) == 0, lstat(path, &there) == 0, (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino) {
      unlink(name)
    } else if rename(name, path) != 0 {
      throw SystemError("take back the socket \(path)", code: errno)
    }
    self.name = path
  }

  /// Goes on with a connection that another agent had.
  ///
  /// - Parameter received: what was read of it
  mutating func take(_ connection: Int32, received: [UInt8], now: UInt64) -> [Question] {
    var peer = mt_peer()
    guard mt_local_peer(connection, &peer) == 0, hasRoom(for: peer.uid) else {
      turnedAway &+= 1
      close(connection)
      return []
    }
    add(connection, peer, now: now)
    var questions: [Question] = []
    connections[connections.count - 1].received = received
    if !parse(connections.count - 1, &questions) { drop(connections.count - 1) }
    return questions
  }

  deinit {
    for connection in connections { close(connection.descriptor) }
    close(socket)
    if let name { unlink(name) }
  }

  /// What to wait for: `extra` first, then the socket and its connections.
  func polled(_ extra: [Int32]) -> [pollfd] {
    var polled = (extra + [socket]).map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    for connection in connections {
      // A client that asks and goes shows by POLLHUP alone.
      let events = connection.answer != nil ? POLLOUT : connection.isAsking ? 0 : POLLIN
      polled.append(pollfd(fd: connection.descriptor, events: Int16(events), revents: 0))
    }
    return polled
  }

  /// Milliseconds until a connection's time is up; -1: there is none.
  func timeout(now: UInt64) -> Int32 {
    guard let next = connections.map(\.deadline).min(), next != .max else { return -1 }
    return next <= now ? 0 : Int32(clamping: (next - now) / 1_000_000 + 1)
  }

  /// Goes on with what is ready.
  ///
  /// - Parameter polled: what ``polled(_:)`` gave, without `extra`, after poll(2).
  /// - Returns: what is asked; each wants an ``answer(_:_:)``.
  mutating func advance(_ polled: ArraySlice<pollfd>, now: UInt64) -> [Question] {
    var questions: [Question] = []
    let first = polled.startIndex + 1
    for index in connections.indices.reversed() {
      let events = first + index < polled.endIndex ? polled[first + index].revents : 0
      if connections[index].deadline <= now || (events != 0 && !advance(index, &questions)) { drop(index) }
    }
    if polled.first?.revents ?? 0 != 0 { accept(now: now) }
    return questions
  }

  /// Sends an answer, as far as it goes at once. The client may be gone.
  mutating func answer(
    _ question: Question, _ bytes: [UInt8], _ attached: HeldDescriptors? = nil, then next: Next = .end
  ) {
    guard let index = connections.firstIndex(where: { $0.number == question.number }) else { return }
    connections[index].answer = bytes[...]
    connections[index].attached = attached
    connections[index].next = next
    connections[index].isAsking = false
    if next == .another { connections[index].deadline = .max }
    if case .receipt = next { connections[index].deadline = Self.now + 6 * Self.patience }
    if !send(index) { drop(index) }
  }

  /// Closes what has been answered, and gives the rest `milliseconds` to take its answer.
  mutating func finish(milliseconds: UInt64) {
    let end = Self.now + milliseconds * 1_000_000
    while !connections.isEmpty, Self.now < end {
      for index in connections.indices.reversed() where connections[index].answer == nil || !send(index) { drop(index) }
      if !connections.isEmpty { usleep(1000) }
    }
  }

  private mutating func accept(now: UInt64) {
    // So many at once that a flood of them does not keep root's waiting in the queue.
    for _ in 0..<256 {
      let descriptor = mt_local_accept(socket)
      guard descriptor >= 0 else { return }
      var peer = mt_peer()
      guard mt_local_peer(descriptor, &peer) == 0, hasRoom(for: peer.uid) else {
        turnedAway &+= 1
        close(descriptor)
        continue
      }
      add(descriptor, peer, now: now)
    }
  }

  private mutating func add(_ descriptor: Int32, _ peer: mt_peer, now: UInt64) {
    lastNumber += 1
    connections.append(
      Connection(number: lastNumber, descriptor: descriptor, peer: peer, deadline: now + Self.patience))
  }

  static func isTrusted(_ user: UInt32) -> Bool { user == 0 || user == geteuid() }

  private func hasRoom(for user: UInt32) -> Bool {
    // Of those that wait for the end of a command there are as many as may run.
    let connections = connections.filter { $0.deadline != .max }
    if connections.count >= Self.limit { return false }
    if Self.isTrusted(user) { return true }
    return connections.count { $0.peer.uid == user } < Self.userLimit
      && connections.count { !Self.isTrusted($0.peer.uid) } < Self.strangerLimit
  }

  private mutating func drop(_ index: Int) {
    close(connections[index].descriptor)
    connections.remove(at: index)
  }

  /// False when the connection is done with.
  private mutating func advance(_ index: Int, _ questions: inout [Question]) -> Bool {
    if connections[index].answer != nil { return send(index) }
    // Nothing was to be read: it has gone.
    if connections[index].isAsking { return false }
    if case .receipt(let request) = connections[index].next {
      var byte: UInt8 = 0
      if recv(connections[index].descriptor, &byte, 1, 0) == 1 { ask(index, request, peer: nil, &questions) }
      return false
    }
    if connections[index].unasked != nil { return identify(index, &questions) }
    var buffer = [UInt8](repeating: 0, count: ControlRequest.limit)
    var message = mt_local_message()
    let count = mt_local_receive(connections[index].descriptor, &buffer, buffer.count, &message)
    if count == -Int(EAGAIN) || count == -Int(EINTR) { return true }
    let brought = message.held
    guard count > 0 else { return false }
    if !brought.numbers.isEmpty { connections[index].brought = brought }
    connections[index].received += buffer[..<count]
    return parse(index, &questions)
  }

  private mutating func parse(_ index: Int, _ questions: inout [Question]) -> Bool {
    switch ControlRequest.parse(connections[index].received) {
    case .incomplete: return true
    case .refused(let reason):
      return refuse(index, reason)
    case .request(let request):
      if !request.takesDescriptors { connections[index].brought = nil }
      guard request.asksWho else {
        ask(index, request, peer: nil, &questions)
        return true
      }
      // Before it is asked: whoever watches it does that.
      let connection = connections[index]
      if request.isOfOwnJob, passOn(connection.peer.pid, connection.received, connection.descriptor) { return false }
      do throws(SystemError) {
        let peer = try PeerProcess(connectedBy: connections[index].peer, socket: connections[index].descriptor)
        let question = peer.question
        let count = question.withUnsafeBytes {
          Glibc.send(connections[index].descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        }
        connections[index].unasked = (request, peer)
        return count == question.count
      } catch {
        return refuse(index, error.description)
      }
    }
  }

  private mutating func ask(
    _ index: Int, _ request: ControlRequest, peer: PeerProcess?, _ questions: inout [Question]
  ) {
    connections[index].isAsking = true
    // From here on it is the agent that takes its time.
    connections[index].deadline = Self.now + (peer == nil ? 6 : 24) * Self.patience
    questions.append(
      Question(
        number: connections[index].number, request: request, isTrusted: Self.isTrusted(connections[index].peer.uid),
        peer: peer, process: connections[index].peer.pid, attached: connections[index].brought))
    connections[index].brought = nil
  }

  /// What was sent back, and by whom.
  private mutating func identify(_ index: Int, _ questions: inout [Question]) -> Bool {
    guard let (request, peer) = connections[index].unasked else { return false }
    var message = mt_local_message()
    var buffer = [UInt8](repeating: 0, count: 256)
    let count = mt_local_receive(connections[index].descriptor, &buffer, buffer.count, &message)
    if count == -Int(EAGAIN) || count == -Int(EINTR) { return true }
    let attached = message.held
    guard count > 0, attached.numbers.isEmpty else { return false }
    connections[index].unasked = nil
    guard peer.hasAnswered(buffer[..<count], sender: message.sender) else {
      return refuse(index, "who asks is not the process that connected")
    }
    ask(index, request, peer: peer, &questions)
    return true
  }

  private mutating func refuse(_ index: Int, _ reason: String) -> Bool {
    connections[index].answer = ControlAnswer.error(reason)[...]
    return send(index)
  }

  private mutating func send(_ index: Int) -> Bool {
    guard let answer = connections[index].answer else { return true }
    let numbers = connections[index].attached?.numbers ?? []
    let count = answer.withUnsafeBytes {
      mt_local_send(connections[index].descriptor, $0.baseAddress, $0.count, numbers, Int32(numbers.count))
    }
    if count < 0 { return count == -Int(EAGAIN) || count == -Int(EINTR) }
    connections[index].attached = nil
    connections[index].answer = answer.dropFirst(count)
    if count < answer.count { return true }
    if connections[index].next == .end { return false }
    connections[index].answer = nil
    connections[index].isAsking = connections[index].next == .another
    return true
  }

  static var now: UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}

/// Answers that need nothing but words: a JSON object and a line feed.
enum ControlAnswer {
  static func error(_ reason: String) -> [UInt8] { line { $0.member("error", reason) } }

  static func line(_ body: (inout JSONOutput) -> Void) -> [UInt8] {
    var json = JSONOutput()
    json.object { body(&$0) }
    json.endDocument()
    return json.bytes
  }
}
