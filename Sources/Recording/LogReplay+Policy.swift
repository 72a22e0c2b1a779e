internal import KernelABI
internal import Observation

extension LogReplay {
  func denial(_ line: JSONValue, _ builder: inout RecordBuilder) {
    let policy = line["policy"]
    var body = mt_denial()
    body.section = UInt8(clamping: policy?["section"]?.unsigned ?? 0)
    body.operation = UInt16(clamping: policy?["operation"]?.unsigned ?? 0)
    body.rule = policy?["rule"]?.uint32 ?? 0
    body.action = UInt8(clamping: policy?["action"]?.unsigned ?? 0)
    body.effect = UInt8(clamping: policy?["effect"]?.unsigned ?? 0)
    body.protocol = UInt16(clamping: line["connection_info"]?["protocol_bit"]?.unsigned ?? 0)
    body.sock = line["connection_info"]?["uid"]?.number ?? 0
    if let peer = line["dst_endpoint"] {
      body.port = UInt16(clamping: peer["port"]?.unsigned ?? 0)
      if let remote = Self.address(peer["ip"]?.text) { Self.set(&body.remote, to: remote) }
      if let host = bytes(peer, "hostname", base64: "hostnameBase64") { builder.setString(.name, host) }
    }
    body.target_tgid = line["process"]?["pid"]?.uint32 ?? 0
    body.target_start = line["process"]?["uid"]?.number.flatMap { start(ofProcess: $0) } ?? 0
    builder.setBody(body)
    if let path = bytes(line["file"], "path", base64: "pathBase64") { builder.setString(.path, path) }
  }

  /// A message that says the same: RFC 1035, 4.
  func answer(_ line: JSONValue, _ builder: inout RecordBuilder) {
    var body = mt_answer()
    if let server = Self.address(line["src_endpoint"]?["ip"]?.text) { Self.set(&body.server, to: server) }
    let addresses = (line["answers"]?.array ?? []).compactMap { Self.address($0.text) }
    var message: [UInt8] = [0, 0, 0x80, 0, 0, 1, UInt8(truncatingIfNeeded: addresses.count >> 8)]
    message += [UInt8(truncatingIfNeeded: addresses.count), 0, 0, 0, 0]
    for label in (bytes(line["query"], "hostname", base64: "hostnameBase64") ?? []).split(separator: UInt8(ascii: "."))
    {
      message += [UInt8(min(label.count, 63))] + label.prefix(63)
    }
    message += [0, 0, 1, 0, 1]
    for address in addresses {
      let type: UInt8 = address.bytes.count == 4 ? 1 : 28
      message += [0xc0, 12, 0, type, 0, 1, 0, 0, 0, 0, 0, UInt8(address.bytes.count)] + address.bytes
    }
    body.bytes = UInt32(message.count)
    builder.setBody(body)
    builder.setString(.bytes, message)
  }

  /// As the records have it: IPv4 as ::ffff:a.b.c.d.
  private static func set(_ field: inout AddressText.Bytes, to address: (family: UInt16, bytes: [UInt8])) {
    let bytes =
      address.bytes.count == 4 ? [UInt8](repeating: 0, count: 10) + [0xff, 0xff] + address.bytes : address.bytes
    withUnsafeMutableBytes(of: &field) { $0.copyBytes(from: bytes.prefix($0.count)) }
  }
}
