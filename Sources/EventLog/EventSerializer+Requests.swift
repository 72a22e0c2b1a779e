internal import Jobs
internal import KernelABI
internal import Observation

extension EventSerializer {
  /// What was asked for over TLS: OCSF's HTTP activity, with the connection's number.
  func writeRequest(_ record: RecordView, _ applied: borrowing Applied, to out: inout Line) {
    let body = record.request
    out.append(",\"library\":\"")
    out.append(RequestLibrary(body).name)
    out.append(UInt8(ascii: "\""))
    if body.flags & UInt16(MT_REQUEST_HTTP2.rawValue) != 0 { out.append(",\"http2\":true") }
    if body.sock != 0 {
      out.append(",\"connection_info\":{\"uid\":\"")
      out.append(number: body.sock)
      out.append("\"}")
    }
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
