internal import Jobs
internal import KernelABI
internal import Observation

extension EventSerializer {
  /// Whom a connection names in its first bytes.
  func writeServerName(_ record: RecordView, _ applied: borrowing Applied, to out: inout Line) {
    let body = record.serverName
    writeConnection(body.sock, to: &out)
    switch UInt32(body.by) {
    case MT_NAMED_BY_TLS.rawValue: out.append(",\"by\":\"tls\"")
    case MT_NAMED_BY_HTTP.rawValue: out.append(",\"by\":\"http\"")
    default: break
    }
    if body.is_hidden != 0 { out.append(",\"hidden\":true") }
    if body.is_hello_encrypted != 0 { out.append(",\"encrypted_client_hello\":true") }
    guard !applied.detail.isEmpty else { return }
    out.append(",\"dst_endpoint\":{")
    writeString("\"hostname\":", base64: ",\"hostnameBase64\":", applied.detail, to: &out)
    if body.port != 0 {
      out.append(",\"port\":")
      out.append(number: UInt32(body.port))
    }
    out.append(UInt8(ascii: "}"))
  }

  /// The number of a connection; 0: it is not known which it is.
  private func writeConnection(_ sock: UInt64, to out: inout Line) {
    if sock == 0 { return }
    out.append(",\"connection_info\":{\"uid\":\"")
    out.append(number: sock)
    out.append("\"}")
  }

  /// What was asked for over TLS: OCSF's HTTP activity, with the connection's number.
  func writeRequest(_ record: RecordView, _ applied: borrowing Applied, to out: inout Line) {
    let body = record.request
    out.append(",\"library\":\"")
    out.append(RequestLibrary(body).name)
    out.append(UInt8(ascii: "\""))
    if body.flags & UInt16(MT_REQUEST_HTTP2.rawValue) != 0 { out.append(",\"http2\":true") }
    writeConnection(body.sock, to: &out)
    guard body.flags & UInt16(MT_REQUEST_HIDDEN.rawValue) == 0 else {
      out.append(",\"hidden\":true")
      return
    }
    out.append(",\"http_request\":{")
    writeString("\"http_method\":", base64: ",\"http_methodBase64\":", applied.name2, to: &out)
    out.append(",\"url\":{")
    writeString("\"path\":", base64: ",\"pathBase64\":", applied.name, to: &out)
    if !applied.detail.isEmpty {
      writeString(",\"hostname\":", base64: ",\"hostnameBase64\":", applied.detail, to: &out)
    }
    out.append("}}")
  }
}
