internal import Jobs
internal import KernelABI
internal import Observation

extension EventSerializer {
  /// What the policy does not allow: an OCSF detection finding with the fields of what was done.
  func writeDenial(_ record: RecordView, _ applied: borrowing Applied, to out: inout Line) {
    let body = record.denial
    out.append(",\"policy\":{\"section\":")
    out.append(number: UInt32(body.section))
    out.append(",\"operation\":")
    out.append(number: UInt32(body.operation))
    out.append(",\"rule\":")
    out.append(number: body.rule)
    out.append(",\"action\":")
    out.append(number: UInt32(body.action))
    out.append(",\"effect\":")
    out.append(number: UInt32(body.effect))
    out.append(UInt8(ascii: "}"))
    if body.section == PolicySectionKind.network.rawValue {
      out.append(",\"connection_info\":{\"protocol_bit\":")
      out.append(number: UInt32(body.protocol))
      out.append(",\"uid\":\"")
      out.append(number: body.sock)
      // All addresses are those of IPv6 here.
      out.append("\"},\"dst_endpoint\":{\"ip\":\"")
      out.append(addressOf: 10, body.remote)
      out.append("\",\"port\":")
      out.append(number: UInt32(body.port))
      if applied.detail.count > 0 {
        writeString(",\"hostname\":", base64: ",\"hostnameBase64\":", applied.detail, to: &out)
      }
      out.append(UInt8(ascii: "}"))
    }
    if body.target_tgid != 0 {
      out.append(",\"process\":{")
      if applied.targetID != 0 {
        out.append("\"uid\":\"")
        out.append(number: applied.targetID)
        out.append("\",")
      }
      out.append("\"pid\":")
      out.append(number: body.target_tgid)
      out.append(UInt8(ascii: "}"))
    }
    if applied.directory.count &+ applied.name.count > 0 {
      out.append(",\"file\":{")
      writePath(applied, to: &out)
      out.append(UInt8(ascii: "}"))
    }
  }

  /// What a resolver answered, and who it is.
  func writeAnswer(_ record: RecordView, to out: inout Line) {
    let body = record.answer
    out.append(",\"src_endpoint\":{\"ip\":\"")
    out.append(addressOf: 10, body.server)
    out.append("\"}")
    guard let message = record.string(.bytes), let answer = DNSAnswer(message) else { return }
    withUnsafeTemporaryAllocation(byteCount: DNSAnswer.nameLimit, alignment: 1) { buffer in
      answer.writeName(to: buffer)
      let name = UnsafeRawBufferPointer(rebasing: buffer[..<answer.nameLength])
      writeString(",\"query\":{\"hostname\":", base64: ",\"query\":{\"hostnameBase64\":", name, to: &out)
    }
    out.append("},\"answers\":[")
    var isFirst = true
    answer.forEachAddress { bytes, isV6 in
      if !isFirst { out.append(UInt8(ascii: ",")) }
      isFirst = false
      var address: AddressText.Bytes = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
      withUnsafeMutableBytes(of: &address) { $0.copyMemory(from: bytes) }
      out.append(UInt8(ascii: "\""))
      out.append(addressOf: isV6 ? 10 : 2, address)
      out.append(UInt8(ascii: "\""))
    }
    out.append(UInt8(ascii: "]"))
  }
}
