internal import KernelABI
internal import Observation

extension Fold {
  /// What makes flows equal for a report.
  private struct FlowKey: Hashable {
    var process: UInt32
    var kind: FlowSummary.Kind
    var isInbound: Bool
    var state: FlowSummary.State
    var remote: String
    var remotePort: UInt16
    var localPort: UInt16
    var host: Name?
    var serverName: ServerName?
  }

  /// All flows in order of their start, equal ones as one.
  func flowSummaries() -> [FlowSummary] {
    var out: [FlowSummary] = []
    var places: [FlowKey: Int] = [:]
    // What was accepted is known from its end only.
    let known = flows.indices.filter { flows[$0].pointee.flags & FlowEntry.isFree == 0 }
    for flow in known.sorted(by: { flows[$0].pointee.startedAt < flows[$1].pointee.startedAt }) {
      let one = summary(ofFlow: flow)
      // Ports of the own side say something only where others come to them.
      let isServer = one.isInbound || one.kind == .listen || one.state == .bound
      let key = FlowKey(
        process: one.process, kind: one.kind, isInbound: one.isInbound, state: one.state,
        remote: isServer && one.remoteAddress.isEmpty ? one.localAddress : one.remoteAddress,
        remotePort: one.isInbound ? 0 : one.remotePort, localPort: isServer ? one.localPort : 0, host: one.host,
        serverName: one.serverName)
      if let place = places[key], one.error == out[place].error {
        Self.merge(one, into: &out[place])
      } else {
        places[key] = out.count
        out.append(one)
      }
    }
    return out
  }

  private static func merge(_ one: FlowSummary, into first: inout FlowSummary) {
    first.repeats &+= 1 &+ one.repeats
    first.lastAt = max(first.lastAt, one.lastAt)
    if let sent = one.sentBytes { first.sentBytes = (first.sentBytes ?? 0) &+ sent }
    if let received = one.receivedBytes { first.receivedBytes = (first.receivedBytes ?? 0) &+ received }
    if let duration = one.durationNanoseconds {
      first.durationNanoseconds = (first.durationNanoseconds ?? 0) &+ duration
    }
    first.requests.merge(one.requests)
    if one.startedAt < first.startedAt { first.startedAt = one.startedAt }
  }

  private enum Number {
    static let tcp: UInt16 = 6
    static let mptcp: UInt16 = 262
    static let udp: UInt16 = 17
    static let udpLite: UInt16 = 136
  }

  private func summary(ofFlow flow: UInt32) -> FlowSummary {
    let entry = flows[flow].pointee
    var out = FlowSummary()
    if entry.flags & FlowEntry.isUnix != 0 {
      out.kind = .unix
    } else if entry.flags & FlowEntry.isListener != 0 {
      out.kind = .listen
    } else {
      switch entry.protocolNumber {
      case Number.tcp, Number.mptcp: out.kind = .tcp
      case Number.udp, Number.udpLite: out.kind = .udp
      default: out.kind = .other
      }
    }
    out.state = FlowSummary.State(code: entry.state)
    out.isInbound = entry.flags & FlowEntry.isInbound != 0
    out.image = entry.image
    out.process = images[entry.image].pointee.process
    out.localPort = entry.localPort
    out.remotePort = entry.remotePort
    out.networkProtocol = entry.protocolNumber
    out.startedAt = entry.startedAt
    out.lastAt = entry.lastAt != 0 ? entry.lastAt : entry.startedAt &+ entry.duration
    out.repeats = entry.repeats
    out.error = entry.error
    out.requests = requests(ofFlow: flow)
    out.serverName = serverName(ofFlow: flow)
    if entry.flags & FlowEntry.hasBytes != 0 {
      out.durationNanoseconds = entry.duration
      out.sentBytes = entry.sent
      out.receivedBytes = entry.received
    }
    if out.kind == .unix {
      out.remoteAddress = Self.unixAddress(arena[entry.path])
    } else {
      out.localAddress = Self.addressText(entry.family, entry.local)
      if !entry.path.isEmpty { out.host = Name(bytes: Array(arena[entry.path])) }
      out.remoteAddress = out.kind == .listen || out.state == .bound ? "" : Self.addressText(entry.family, entry.remote)
    }
    return out
  }

  static func addressText(_ family: UInt16, _ address: Address) -> String {
    AddressText.string(family: family, address.bytes)
  }

  /// An address of ``peerAddress(_:_:)`` as text.
  static func peerText(_ address: Address) -> String { AddressText.string(peer: address.bytes) }

  private static func unixAddress(_ path: Bytes) -> String {
    guard path.count > 0, path[0] == 0 else { return String(decoding: path, as: UTF8.self) }
    // An abstract address; what follows may hold NULs of its own.
    var bytes: [UInt8] = [UInt8(ascii: "@")]
    bytes += path.dropFirst().map { $0 == 0 ? UInt8(ascii: "@") : $0 }
    return String(decoding: bytes, as: UTF8.self)
  }

  // MARK: - Loopback

  struct FlowEnd: Hashable {
    var family: UInt16
    var protocolNumber: UInt16
    var local: Address
    var localPort: UInt16
    var remote: Address
    var remotePort: UInt16

    var mirrored: FlowEnd {
      FlowEnd(
        family: family, protocolNumber: protocolNumber, local: remote, localPort: remotePort, remote: local,
        remotePort: localPort)
    }
  }

  /// Connections of which both ends are in the job: one's local address is the other's remote.
  func loopbackChannels() -> [ChannelSummary] {
    var inbound: [FlowEnd: UInt32] = [:]
    for flow in flows.indices where flows[flow].pointee.flags & FlowEntry.isInbound != 0 {
      inbound[end(flow)] = flow
    }
    if inbound.isEmpty { return [] }
    var out: [ChannelSummary] = []
    let others = FlowEntry.isInbound | FlowEntry.isUnix | FlowEntry.isFree
    for flow in flows.indices where flows[flow].pointee.flags & others == 0 {
      let own = end(flow)
      guard own.remotePort != 0, let other = inbound[own.mirrored] else { continue }
      var channel = ChannelSummary()
      channel.kind = .loopback
      channel.id = UInt32(files.count + out.count + 1)
      channel.identity = flows[flow].pointee.sock
      channel.holders = [holder(flow), holder(other)]
      out.append(channel)
    }
    return out
  }

  func end(_ flow: UInt32) -> FlowEnd {
    let entry = flows[flow].pointee
    return FlowEnd(
      family: entry.family, protocolNumber: entry.protocolNumber, local: entry.local, localPort: entry.localPort,
      remote: entry.remote, remotePort: entry.remotePort)
  }

  private func holder(_ flow: UInt32) -> FileAccess {
    let entry = flows[flow].pointee
    var out = FileAccess()
    out.image = entry.image
    out.process = images[entry.image].pointee.process
    out.mode = [.read, .write]
    out.firstOpenedAt = entry.startedAt
    if entry.lastAt != 0 {
      out.lastClosedAt = entry.lastAt
    } else if entry.flags & FlowEntry.hasBytes != 0 {
      out.lastClosedAt = entry.startedAt &+ entry.duration
    }
    return out
  }
}
