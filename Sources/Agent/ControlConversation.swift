internal import CSystem
internal import Glibc
internal import Observation
internal import Supervision

/// The client's end of one connection to an agent.
final class ControlConversation {
  /// Bytes of an answer: a thousand jobs have some hundred kilobytes.
  private static let limit = 64 << 20

  private let path: String
  private let socket: Int32
  /// By `ControlServer.now`, for all of it.
  var end: UInt64
  /// Behind the line that was read last.
  private var received: [UInt8] = []
  private var descriptors: [Int32] = []

  /// - Throws: ENOENT and ECONNREFUSED if no agent listens there, EPERM if whoever does is neither root nor who asks.
  init(path: String, milliseconds: Int) throws(SystemError) {
    self.path = path
    socket = mt_local_connect(path)
    end = ControlServer.now + UInt64(milliseconds) * 1_000_000
    guard socket >= 0 else { throw SystemError("reach an agent at \(path)", code: -socket) }
    var peer = mt_peer()
    let code = mt_local_peer(socket, &peer)
    guard code == 0 else { throw SystemError("tell who listens at \(path)", code: -code) }
    // A token is not for anybody who happens to listen.
    guard peer.uid == 0 || peer.uid == geteuid() else {
      throw SystemError("trust what listens at \(path): it is user \(peer.uid)'s", code: EPERM)
    }
  }

  deinit {
    if socket >= 0 { close(socket) }
    for descriptor in descriptors { close(descriptor) }
  }

  /// - Parameter attached: goes with the first byte, and stays the caller's
  func send(_ bytes: [UInt8], attached: [Int32] = []) throws(SystemError) {
    var attached = attached
    var rest = bytes[...]
    while !rest.isEmpty {
      try wait(POLLOUT)
      let count = rest.withUnsafeBytes {
        mt_local_send(socket, $0.baseAddress, $0.count, attached, Int32(attached.count))
      }
      if count > 0 {
        rest = rest.dropFirst(count)
        attached = []
      } else if count != -Int(EAGAIN) && count != -Int(EINTR) {
        throw SystemError("talk to the agent at \(path)", code: Int32(-count))
      }
    }
  }

  /// A line, and what came with it.
  func receive() throws(SystemError) -> (value: JSONValue, bytes: [UInt8]) {
    let feed = UInt8(ascii: "\n")
    var searched = 0
    while true {
      if let end = received[searched...].firstIndex(of: feed) {
        let line = Array(received[...end])
        received.removeSubrange(...end)
        guard let value = JSONValue(parsing: line, values: 10_000_000) else { break }
        return (value, line)
      }
      searched = received.count
      guard received.count < Self.limit else { break }
      try wait(POLLIN)
      var message = mt_local_message()
      let chunk = [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, count in
        count = max(0, mt_local_receive(socket, buffer.baseAddress, buffer.count, &message))
      }
      descriptors += message.taken
      if chunk.isEmpty { break }
      received += chunk
    }
    throw SystemError("read the answer of the agent at \(path)", code: EPROTO)
  }

  /// Shows the agent which process asks: says back what the agent says. False: it has answered instead of asking that, and
  /// ``receive()`` gives the answer.
  ///
  /// - Parameter attached: as of ``send(_:attached:)``
  func introduce(attached: [Int32] = []) throws(SystemError) -> Bool {
    let (value, line) = try receive()
    guard let challenge = value["challenge"]?.text else {
      received = line + received
      return value["error"] != nil
    }
    try send(Array("\(challenge)\n".utf8), attached: attached)
    return true
  }

  /// All that have come, from now on the caller's.
  func takeDescriptors() -> [Int32] {
    defer { descriptors = [] }
    return descriptors
  }

  private func wait(_ events: Int32) throws(SystemError) {
    while true {
      let now = ControlServer.now
      guard now < end else { throw SystemError("get an answer of the agent at \(path)", code: ETIMEDOUT) }
      var waiting = pollfd(fd: socket, events: Int16(events), revents: 0)
      if poll(&waiting, 1, Int32(clamping: (end - now) / 1_000_000 + 1)) > 0 { return }
    }
  }
}
