import Glibc
import Jobs
import KernelABI
import Observation
import Reporting

/// Tells people in the job's log what its policy stopped, a line each: what, which rule, and how to allow it. For the
/// reader's thread: where nobody takes the lines they are left out, as the report has everything.
struct DenialMessages {
  let policy: ReportInput.PolicyInForce
  private var told = 0
  private static let limit = 50

  init(_ policy: ReportInput.PolicyInForce) { self.policy = policy }

  mutating func take(_ record: RecordView, _ applied: borrowing Applied) {
    guard record.type == .denial, record.denialEffect != .observed, told <= Self.limit else { return }
    var ready = pollfd(fd: STDERR_FILENO, events: Int16(POLLOUT), revents: 0)
    // A pipe that is ready takes as much as a line at once.
    guard poll(&ready, 1, 0) == 1, ready.revents & Int16(POLLOUT) != 0 else { return }
    told += 1
    Message.say(told > Self.limit ? "more is stopped by the policy; see the report" : sentence(record, applied))
  }

  private func sentence(_ record: RecordView, _ applied: borrowing Applied) -> String {
    let body = record.denial
    let host = String(decoding: applied.detail, as: UTF8.self)
    let path = String(decoding: applied.path, as: UTF8.self)
    let address = Self.address(body)
    let section = record.denialSection?.name ?? "policy"
    let place = policy.lines[body.rule].map { "\(policy.file):\($0)" } ?? "the default of its section \(section)"
    var object = [host, address.map { host.isEmpty ? $0 : "(\($0))" } ?? "", path].filter { !$0.isEmpty }
    if object.isEmpty, body.target_tgid != 0 { object = ["process \(body.target_tgid)"] }
    let verb = record.denialEffect == .killed ? "killed for" : "denied"
    var text = "\(verb) \(DeniedOperation.name(body.operation)) \(object.joined(separator: " "))"
    text += " by process \(record.tgid): \(place)"
    if let advice = Self.advice(body, host: host, address: address) { text += "; to allow it: \(advice)" }
    return VisibleText.terminal(text, limit: 400)
  }

  /// The rule that would have let it through.
  private static func advice(_ body: mt_denial, host: String, address: String?) -> String? {
    guard body.section == PolicySectionKind.network.rawValue, body.operation != UInt16(MT_OP_ANSWER.rawValue) else {
      return nil
    }
    let isPacket = UInt32(body.protocol) & (MT_PROTOCOL_TCP.rawValue | MT_PROTOCOL_UDP.rawValue) != 0
    guard isPacket else { return "network: {allow: [{protocols: [\(body.protocol == 4 ? "icmp" : "raw")]}]}" }
    let isName = !host.isEmpty
    let peer = isName ? "host: \(host)" : "address: \(ip(body.remote))"
    let port = body.operation == UInt16(MT_OP_QUERY.rawValue) ? 443 : body.port
    let udp = UInt32(body.protocol) == MT_PROTOCOL_UDP.rawValue && body.operation != UInt16(MT_OP_QUERY.rawValue)
    return "network: {allow: [{\(peer), ports: [\(port)]\(udp ? ", protocols: [udp]" : "")}]}"
  }

  private static func address(_ body: mt_denial) -> String? {
    guard body.section == PolicySectionKind.network.rawValue, body.port != 0 else { return nil }
    let text = ip(body.remote)
    return text.utf8.contains(UInt8(ascii: ":")) ? "[\(text)]:\(body.port)" : "\(text):\(body.port)"
  }

  private static func ip(_ bytes: AddressText.Bytes) -> String {
    var text = ByteBuffer(capacity: 64)
    let isV4 = withUnsafeBytes(of: bytes) { $0.prefix(10).allSatisfy { $0 == 0 } && $0[10] == 0xff && $0[11] == 0xff }
    var shown: AddressText.Bytes = bytes
    if isV4 {
      withUnsafeMutableBytes(of: &shown) { to in
        withUnsafeBytes(of: bytes) { to.copyBytes(from: $0[12...]) }
      }
    }
    AddressText.append(family: isV4 ? 2 : 10, shown, to: &text)
    return text.text
  }
}
