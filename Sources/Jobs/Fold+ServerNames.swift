internal import KernelABI
internal import Observation

/// Whom connections name in their first bytes.
extension Fold {
  mutating func applyServerName(_ record: RecordView, _ image: UInt32) {
    let body = record.serverName
    withUnsafeTemporaryAllocation(byteCount: Int(MT_HOST_MAX), alignment: 1) { buffer in
      var count = 0
      for byte in record.string(.name) ?? Bytes(start: nil, count: 0) where count < buffer.count {
        buffer[count] = lowercased(byte)
        count &+= 1
      }
      let name = masking.detail(Bytes(rebasing: buffer[..<count]))
      applied.detail = keptServerName(name)
    }
    var flow = body.sock == 0 ? 0 : findFlow(body.sock)
    if flow == 0 {
      // In a log the connection is told at its end.
      flow = foreshadowFlow(body.sock, image, record.time)
      if flow == 0 { return }
    }
    let entry = flows[flow]
    entry.pointee.flags &= ~FlowEntry.serverName
    switch UInt32(body.by) {
    case MT_NAMED_BY_TLS.rawValue: entry.pointee.flags |= FlowEntry.isNamedByTLS
    case MT_NAMED_BY_HTTP.rawValue: entry.pointee.flags |= FlowEntry.isNamedByHTTP
    default: break
    }
    if body.is_hidden != 0 { entry.pointee.flags |= FlowEntry.hidesName }
    if body.is_hello_encrypted != 0 { entry.pointee.flags |= FlowEntry.encryptsHello }
    entry.pointee.namedPort = body.port
    entry.pointee.named = Self.isAddress(applied.detail) ? Arena.Reference() : merging.named
  }

  /// An address in a Host field names nobody.
  private static func isAddress(_ name: Bytes) -> Bool {
    name.allSatisfy { $0 == UInt8(ascii: ".") || ($0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9")) }
  }

  /// The name where it stays: once for those that follow each other.
  private mutating func keptServerName(_ name: Bytes) -> Bytes {
    if !equal(arena[merging.named], name) { merging.named = keep(name) }
    return arena[merging.named]
  }

  func serverName(ofFlow flow: UInt32) -> ServerName? {
    let entry = flows[flow].pointee
    let isTold = FlowEntry.isNamedByTLS | FlowEntry.isNamedByHTTP | FlowEntry.hidesName
    guard entry.flags & isTold != 0, !entry.named.isEmpty || entry.flags & FlowEntry.hidesName != 0 else { return nil }
    var out = ServerName()
    if entry.flags & FlowEntry.isNamedByTLS != 0 { out.source = .tls }
    if entry.flags & FlowEntry.isNamedByHTTP != 0 { out.source = .http }
    if !entry.named.isEmpty { out.name = Name(bytes: Array(arena[entry.named])) }
    out.port = entry.namedPort
    out.helloIsEncrypted = entry.flags & FlowEntry.encryptsHello != 0
    return out
  }
}
