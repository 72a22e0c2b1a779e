public import Jobs
internal import KernelABI
public import Observation
public import Reporting

/// What a policy, or martlet's self-protection, stopped, in a line for a log: what, by which rule, and how to allow it.
public enum DenialSentence {
  public static func text(
    _ record: RecordView, _ applied: borrowing Applied, _ policy: ReportInput.PolicyInForce?
  ) -> String {
    let body = record.denial
    let host = String(decoding: applied.detail, as: UTF8.self)
    let path = String(decoding: applied.path, as: UTF8.self)
    let address = address(body)
    let section = record.denialSection?.name ?? "policy"
    let isOwn = record.denialSection == .selfProtection
    let line = isOwn ? nil : policy?.lines[body.rule]
    let otherwise = isOwn ? section : "the default of its section \(section)"
    let place = line.map { "\(policy?.file ?? ""):\($0)" } ?? otherwise
    var object = [host, address.map { host.isEmpty ? $0 : "(\($0))" } ?? "", path].filter { !$0.isEmpty }
    if object.isEmpty, body.target_tgid != 0 { object = ["process \(body.target_tgid)"] }
    let verb = record.denialEffect == .killed ? "killed for" : "denied"
    var text = "\(verb) \(DeniedOperation.name(body.operation)) \(object.joined(separator: " "))"
    text += " by process \(record.tgid): \(place)"
    if let advice = advice(body, host: host, address: address) { text += "; to allow it: \(advice)" }
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
    let peer = isName ? "host: \(host)" : "address: \(AddressText.string(peer: body.remote))"
    let port = body.operation == UInt16(MT_OP_QUERY.rawValue) ? 443 : body.port
    let udp = UInt32(body.protocol) == MT_PROTOCOL_UDP.rawValue && body.operation != UInt16(MT_OP_QUERY.rawValue)
    return "network: {allow: [{\(peer), ports: [\(port)]\(udp ? ", protocols: [udp]" : "")}]}"
  }

  private static func address(_ body: mt_denial) -> String? {
    guard body.section == PolicySectionKind.network.rawValue, body.port != 0 else { return nil }
    let text = AddressText.string(peer: body.remote)
    return text.utf8.contains(UInt8(ascii: ":")) ? "[\(text)]:\(body.port)" : "\(text):\(body.port)"
  }
}
