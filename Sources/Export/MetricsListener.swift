import Glibc

/// A socket that answers HTTP requests for metrics: a few connections at a time, each for a few seconds, one request
/// on each. Owned by one thread.
public struct MetricsListener: ~Copyable {
  /// With the port that was given where any would do.
  public let address: ListenAddress

  private let socket: Int32
  private var connections: [Connection] = []
  private static let limit = 16
  /// Nanoseconds that a connection may take.
  private static let patience: UInt64 = 5_000_000_000

  private struct Connection {
    var descriptor: Int32
    var deadline: UInt64
    var received: [UInt8] = []
    var answer: ArraySlice<UInt8>?
  }

  public init(_ address: ListenAddress) throws(ExportError) {
    (socket, self.address) = try Self.open(address)
  }

  private static func open(_ address: ListenAddress) throws(ExportError) -> (socket: Int32, address: ListenAddress) {
    let doing = "listen on \(address)"
    guard var name = address.socketAddress else { throw ExportError("\(doing), which is no address", errno: EINVAL) }
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
    let socket = Glibc.socket(Int32(name.ss_family), kind, 0)
    guard socket >= 0 else { throw ExportError(doing, errno: errno) }
    var on: Int32 = 1
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
    var size = socklen_t(
      name.ss_family == AF_INET6 ? MemoryLayout<sockaddr_in6>.size : MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeBytes(of: &name) { bytes in
      bytes.baseAddress.map { bind(socket, $0.assumingMemoryBound(to: sockaddr.self), size) } == 0
    }
    guard isBound, listen(socket, 16) == 0 else {
      let error = errno
      close(socket)
      throw ExportError(doing, errno: error)
    }
    var bound = address
    withUnsafeMutableBytes(of: &name) { bytes in
      guard let base = bytes.baseAddress, getsockname(socket, base.assumingMemoryBound(to: sockaddr.self), &size) == 0
      else { return }
      // sin_port and sin6_port are at the same place.
      bound.port = UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
    }
    return (socket, bound)
  }

  deinit {
    for connection in connections { close(connection.descriptor) }
    close(socket)
  }

  /// Answers what there is, and returns when `stop` is readable or it is `deadline`.
  ///
  /// - Parameters:
  ///   - deadline: nanoseconds of CLOCK_MONOTONIC.
  ///   - metrics: makes the text of an answer.
  public mutating func serve(until deadline: UInt64, stop: Int32, metrics: () -> [UInt8]) {
    while true {
      let now = Self.now
      for index in connections.indices.reversed() where connections[index].deadline <= now { drop(index) }
      if now >= deadline { return }
      let next = min(deadline, connections.map(\.deadline).min() ?? deadline)
      var polled = [pollfd(fd: stop, events: Int16(POLLIN), revents: 0)]
      // With all places taken, others wait in the socket's queue.
      let accepts = connections.count < Self.limit
      polled.append(pollfd(fd: accepts ? socket : -1, events: Int16(POLLIN), revents: 0))
      for connection in connections {
        let events = connection.answer == nil ? POLLIN : POLLOUT
        polled.append(pollfd(fd: connection.descriptor, events: Int16(events), revents: 0))
      }
      let milliseconds = Int32(clamping: (next - now) / 1_000_000 + 1)
      guard poll(&polled, nfds_t(polled.count), milliseconds) > 0 else { continue }
      if polled[0].revents != 0 { return }
      for index in connections.indices.reversed() where polled[index + 2].revents != 0 {
        if !Self.advance(&connections[index], metrics) { drop(index) }
      }
      if polled[1].revents != 0 { accept() }
    }
  }

  private mutating func accept() {
    let descriptor = Glibc.accept(socket, nil, nil)
    guard descriptor >= 0 else { return }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
    connections.append(Connection(descriptor: descriptor, deadline: Self.now + Self.patience))
  }

  private mutating func drop(_ index: Int) {
    close(connections[index].descriptor)
    connections.remove(at: index)
  }

  /// False when the connection is done with.
  private static func advance(_ connection: inout Connection, _ metrics: () -> [UInt8]) -> Bool {
    if connection.answer == nil {
      var buffer = [UInt8](repeating: 0, count: 2048)
      let count = recv(connection.descriptor, &buffer, buffer.count, 0)
      if count < 0 { return errno == EAGAIN || errno == EINTR }
      if count == 0 { return false }
      connection.received += buffer[..<count]
      connection.answer = HTTPResponse.answer(to: HTTPRequest.parse(connection.received), metrics: metrics)?[...]
    }
    guard let answer = connection.answer else { return true }
    let count = answer.withUnsafeBytes { send(connection.descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
    if count < 0 { return errno == EAGAIN || errno == EINTR }
    connection.answer = answer.dropFirst(count)
    return count < answer.count
  }

  static var now: UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}
