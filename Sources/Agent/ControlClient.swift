internal import CSystem
internal import Glibc
public import Observation
public import Supervision

/// Asks a running agent.
public enum ControlClient {
  /// Bytes of an answer: a thousand jobs have some hundred kilobytes.
  private static let limit = 64 << 20

  /// Sends one request and reads its answer.
  ///
  /// - Parameters:
  ///   - request: the members of the object, without braces.
  ///   - milliseconds: for all of it.
  /// - Throws: ENOENT and ECONNREFUSED if no agent listens there, EPERM if whoever does is neither root nor who asks.
  private static func ask(
    _ request: [UInt8], path: String, milliseconds: Int
  ) throws(SystemError) -> (value: JSONValue, bytes: [UInt8]) {
    let socket = mt_local_connect(path)
    guard socket >= 0 else { throw SystemError("reach an agent at \(path)", code: -socket) }
    defer { close(socket) }
    var peer = mt_peer()
    let code = mt_local_peer(socket, &peer)
    guard code == 0 else { throw SystemError("tell who listens at \(path)", code: -code) }
    // A token is not for anybody who happens to listen.
    guard peer.uid == 0 || peer.uid == geteuid() else {
      throw SystemError("trust what listens at \(path): it is user \(peer.uid)'s", code: EPERM)
    }
    let end = ControlServer.now + UInt64(milliseconds) * 1_000_000
    var rest = request[...]
    while !rest.isEmpty {
      try wait(socket, POLLOUT, until: end, path)
      let count = rest.withUnsafeBytes { send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      if count > 0 {
        rest = rest.dropFirst(count)
      } else if errno != EAGAIN && errno != EINTR {
        throw SystemError("talk to the agent at \(path)", code: errno)
      }
    }
    var answer: [UInt8] = []
    while answer.last != UInt8(ascii: "\n"), answer.count < limit {
      try wait(socket, POLLIN, until: end, path)
      let chunk = [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, count in
        count = max(0, recv(socket, buffer.baseAddress, buffer.count, 0))
      }
      if chunk.isEmpty { break }
      answer += chunk
    }
    guard let value = JSONValue(parsing: answer, values: 10_000_000) else {
      throw SystemError("read the answer of the agent at \(path)", code: EPROTO)
    }
    return (value, answer)
  }

  private static func wait(_ socket: Int32, _ events: Int32, until end: UInt64, _ path: String) throws(SystemError) {
    while true {
      let now = ControlServer.now
      guard now < end else { throw SystemError("get an answer of the agent at \(path)", code: ETIMEDOUT) }
      var waiting = pollfd(fd: socket, events: Int16(events), revents: 0)
      if poll(&waiting, 1, Int32(clamping: (end - now) / 1_000_000 + 1)) > 0 { return }
    }
  }

  /// Whether an agent is ready there.
  public static func isReady(path: String, milliseconds: Int = 1000) throws(SystemError) -> Bool {
    try ask(ControlAnswer.line { $0.member("command", "ready") }, path: path, milliseconds: milliseconds).value[
      "ready"]?.bool
      == true
  }

  /// Schema `martlet.agent/v1`, parsed and as it came.
  public static func status(
    path: String, milliseconds: Int = 10_000
  ) throws(SystemError) -> (value: JSONValue, bytes: [UInt8]) {
    try ask(ControlAnswer.line { $0.member("command", "status") }, path: path, milliseconds: milliseconds)
  }

  /// Has the agent stop, and returns when every report is written: `stopped` and `jobs`, or `error`.
  public static func stop(path: String, token: String, milliseconds: Int = 30_000) throws(SystemError) -> JSONValue {
    let request = ControlAnswer.line { json in
      json.member("command", "stop")
      json.member("token", token)
    }
    return try ask(request, path: path, milliseconds: milliseconds).value
  }
}
