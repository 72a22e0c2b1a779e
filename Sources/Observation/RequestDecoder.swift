internal import KernelABI

/// Makes of what processes hand to TLS what they ask for: of the kernel side's ``RecordType/tlsWrite`` and
/// ``RecordType/tlsSent`` records of type ``RecordType/request``, which have nothing of the plain text but method, host and
/// path.
///
/// The plain text is read where the ring has it, and is nowhere else. One for each job; total, and bounded whatever a job
/// does. Requests are few beside other events: this is the one reader of records that allocates.
public struct RequestDecoder: Sendable {
  public struct Limits: Sendable {
    /// HTTP/2 connections that are followed, and what is kept of all together; whoever comes next takes another's place.
    public var connections = 16_384
    public var bytes = 32 << 20
    /// Requests that are not sent yet.
    public var waiting = 8192
    /// Nanoseconds that one waits to be sent.
    public var patience: UInt64 = 10_000_000_000

    public init() {}
  }

  private struct Waiting: Sendable {
    var write: UInt64
    var time: UInt64
    var requests: [RecordBuilder]
  }

  private var limits: Limits
  private var connections: [UInt64: RequestFrames] = [:]
  /// Memory that connections take, about.
  public private(set) var bytes = 0
  private var waiting: [UInt64: Waiting] = [:]
  /// Of all of these.
  private var requestsWaiting = 0
  /// In the order in which they came; those that were sent are only left out.
  private var order: [UInt64] = []
  private var next = 0

  public init(limits: Limits = Limits()) { self.limits = limits }

  /// Whether it is of one of the two types: neither fold nor log ever sees such a record, only what is made of it.
  public static func reads(_ record: RecordView) -> Bool { record.type == .tlsWrite || record.type == .tlsSent }

  /// Takes a record of one of the two types, and calls `body` for each request of which by now all is known.
  public mutating func take(_ record: RecordView, _ body: (RecordBuilder) -> Void) {
    switch record.type {
    case .tlsWrite: write(record, body)
    case .tlsSent:
      let sent = record.tlsSent
      if let found = stopWaiting(sent.write) {
        found.requests.forEach { body(Self.joined($0, to: sent.sock, at: record.time)) }
      }
    default: break
    }
    giveUp(until: record.time, body)
  }

  /// No record comes any more: what is not joined to its connection is told without one.
  public mutating func finish(_ body: (RecordBuilder) -> Void) { giveUp(until: .max, body) }

  /// Goes on with what another one knows.
  public mutating func takeOver(_ other: consuming RequestDecoder) {
    connections.merge(other.connections) { mine, _ in mine }
    bytes = connections.values.reduce(0) { $0 + $1.bytes }
    waiting.merge(other.waiting) { mine, _ in mine }
    requestsWaiting = waiting.values.reduce(0) { $0 + $1.requests.count }
    order += other.order[other.next...]
  }

  /// Takes no more memory for connections from now on than this.
  public mutating func limit(bytes: Int) { limits.bytes = min(limits.bytes, bytes) }

  private mutating func write(_ record: RecordView, _ body: (RecordBuilder) -> Void) {
    let write = record.tlsWrite
    let bytes = record.string(.bytes) ?? UnsafeRawBufferPointer(start: nil, count: 0)
    let isUnreadable = record.flags.contains(.unreadable) || write.flags & UInt16(MT_TLS_HIDDEN.rawValue) != 0
    var texts: [RequestText] = []
    var isHidden = isUnreadable
    let isFrames = write.flags & UInt16(MT_TLS_FRAMES.rawValue) != 0
    if isFrames {
      (texts, isHidden) = frames(write, bytes)
    } else if !isUnreadable, let text = RequestText(head: bytes, isWhole: write.bytes <= UInt64(bytes.count)) {
      texts = [text]
    }
    var requests = texts.map { text in
      var builder = Self.builder(record, isFrames ? MT_REQUEST_HTTP2.rawValue : 0)
      builder.setString(.detail, text.method)
      builder.setString(.name, text.host)
      builder.setString(.path, text.path)
      if text.isCut { builder.flags.insert(.truncated) }
      return builder
    }
    if isHidden { requests.append(Self.builder(record, MT_REQUEST_HIDDEN.rawValue | MT_REQUEST_HTTP2.rawValue)) }
    if requests.isEmpty { return }
    guard write.sock == 0, write.flags & UInt16(MT_TLS_FOLLOWS.rawValue) != 0 else {
      requests.forEach(body)
      return
    }
    _ = stopWaiting(write.write)
    requestsWaiting += requests.count
    waiting[write.write] = Waiting(write: write.write, time: record.time, requests: requests)
    order.append(write.write)
  }

  private mutating func frames(
    _ write: mt_tls_write, _ plain: UnsafeRawBufferPointer
  ) -> (requests: [RequestText], isHidden: Bool) {
    let begins = write.flags & UInt16(MT_TLS_BEGINS.rawValue) != 0
    let known = connections.removeValue(forKey: write.stream)
    bytes -= known?.bytes ?? 0
    guard var connection = begins ? RequestFrames() : known else { return ([], true) }
    while connections.count >= limits.connections || bytes > limits.bytes, let victim = connections.first {
      bytes -= victim.value.bytes
      connections.removeValue(forKey: victim.key)
    }
    let result = connection.take(write, plain)
    bytes += connection.bytes
    connections[write.stream] = connection
    // The first write has settings, and mostly nothing else.
    return result
  }

  private mutating func stopWaiting(_ write: UInt64) -> Waiting? {
    let found = waiting.removeValue(forKey: write)
    requestsWaiting -= found?.requests.count ?? 0
    return found
  }

  private mutating func giveUp(until time: UInt64, _ body: (RecordBuilder) -> Void) {
    while next < order.count {
      if let first = waiting[order[next]] {
        let isDue = time == .max || first.time &+ limits.patience < time || requestsWaiting > limits.waiting
        guard isDue else { break }
        _ = stopWaiting(order[next])
        first.requests.forEach(body)
      }
      next += 1
    }
    // Mostly all are through.
    if next == order.count || next > 4096 {
      order.removeFirst(next)
      next = 0
    }
  }

  private static func builder(_ record: RecordView, _ flags: UInt32) -> RecordBuilder {
    let write = record.tlsWrite
    var builder = RecordBuilder(.request, time: record.time, tgid: record.tgid, leaderStart: record.leaderStart)
    builder.tid = record.tid
    builder.job = record.job
    builder.setBody(mt_request(sock: write.sock, library: write.library, flags: UInt16(flags), reserved: 0))
    return builder
  }

  private static func joined(_ request: RecordBuilder, to sock: UInt64, at time: UInt64) -> RecordBuilder {
    var out = request
    out.time = time
    out.updateBody(mt_request.self) { $0.sock = sock }
    return out
  }
}
