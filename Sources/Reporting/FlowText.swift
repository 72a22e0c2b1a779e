internal import Jobs

/// A flow in words: the same in every form of the report.
enum FlowText {
  /// `140.82.112.3:443`, `[2001:db8::1]:443`, or a unix socket's path.
  static func remote(_ flow: FlowSummary) -> String { end(flow, flow.remoteAddress, flow.remotePort) }

  /// What stands for the other side: the remote end, or the local one of a listener.
  static func counterpart(_ flow: FlowSummary) -> String {
    isListener(flow) ? end(flow, flow.localAddress, flow.localPort) : remote(flow)
  }

  /// The counterpart, with the name that it was given by.
  static func named(_ flow: FlowSummary) -> String {
    flow.host.map { "\($0.plainText) \(counterpart(flow))" } ?? counterpart(flow)
  }

  /// Whom its first bytes name, if that says more than ``named(_:)``.
  static func serverName(_ flow: FlowSummary) -> String? {
    guard let named = flow.serverName else { return nil }
    let protocolName = named.source == .http ? "HTTP" : "TLS"
    guard let name = named.name else {
      return named.source == nil ? "for whom is not known" : "for whom is hidden in its \(protocolName)"
    }
    if named.helloIsEncrypted { return "as \(name.plainText), and perhaps for another one: its TLS hides more" }
    return name == flow.host ? nil : "for \(name.plainText) by its \(protocolName)"
  }

  static func isListener(_ flow: FlowSummary) -> Bool {
    if flow.kind == .listen { return true }
    switch flow.state {
    case .bound, .listening: return true
    case .requested, .established, .failed, .closed: return false
    }
  }

  /// That equal connections were not kept apart; nil where all were.
  static func merging(_ snapshot: JobSnapshot) -> String? {
    if snapshot.flowsMerged == 0 { return nil }
    return "The job had more connections than a report keeps apart. \(Units.count(snapshot.flowsMerged, "is", "are")) "
      + "told together with equal ones, of the same program, to the same place and with the same outcome, which say how "
      + "many they are; the event log has a line for each connection."
  }

  private static func end(_ flow: FlowSummary, _ address: String, _ port: UInt16) -> String {
    if flow.kind == .unix { return address.isEmpty ? "(unnamed)" : address }
    let host = address.isEmpty ? "?" : (address.utf8.contains(UInt8(ascii: ":")) ? "[\(address)]" : address)
    return port == 0 ? host : "\(host):\(port)"
  }

  static func kind(_ flow: FlowSummary) -> String {
    switch flow.kind {
    case .tcp: "TCP"
    case .udp: "UDP"
    case .unix: "unix"
    case .listen: flow.networkProtocol == 17 ? "UDP" : "TCP"
    case .other: protocolName(flow.networkProtocol)
    }
  }

  /// Names of IANA's protocol numbers that a build can be expected to use.
  private static func protocolName(_ number: UInt16) -> String {
    switch number {
    case 1: "ICMP"
    case 6: "TCP"
    case 17: "UDP"
    case 58: "ICMPv6"
    case 132: "SCTP"
    case 255: "raw"
    default: "protocol \(number)"
    }
  }

  static func state(_ flow: FlowSummary) -> String {
    switch flow.state {
    case .requested: flow.kind == .udp ? "sent" : "asked for"
    case .established: flow.isInbound ? "accepted" : "open at the end"
    case .failed: "failed: \(errorName(flow.error))"
    case .closed: flow.isInbound ? "accepted, closed" : "closed"
    case .bound: "bound"
    case .listening: "listening"
    }
  }

  /// Linux error numbers that connecting can give.
  static func errorName(_ number: Int32) -> String {
    switch number {
    case 1: "EPERM"
    case 2: "ENOENT"
    case 3: "ESRCH"
    case 8: "ENOEXEC"
    case 9: "EBADF"
    case 11: "EAGAIN"
    case 13: "EACCES"
    case 16: "EBUSY"
    case 19: "ENODEV"
    case 22: "EINVAL"
    case 38: "ENOSYS"
    case 97: "EAFNOSUPPORT"
    case 99: "EADDRNOTAVAIL"
    case 101: "ENETUNREACH"
    case 103: "ECONNABORTED"
    case 104: "ECONNRESET"
    case 110: "ETIMEDOUT"
    case 111: "ECONNREFUSED"
    case 113: "EHOSTUNREACH"
    case 129: "EKEYREJECTED"
    default: "error \(number)"
    }
  }
}
