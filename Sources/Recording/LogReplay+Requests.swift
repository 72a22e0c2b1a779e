internal import KernelABI
internal import Observation

extension LogReplay {
  func serverName(_ line: JSONValue, _ builder: inout RecordBuilder) {
    var body = mt_server_name()
    body.sock = line["connection_info"]?["uid"]?.number ?? 0
    switch line["by"]?.text {
    case "tls": body.by = UInt16(MT_NAMED_BY_TLS.rawValue)
    case "http": body.by = UInt16(MT_NAMED_BY_HTTP.rawValue)
    default: break
    }
    let peer = line["dst_endpoint"]
    body.port = UInt16(clamping: peer?["port"]?.unsigned ?? 0)
    body.is_hidden = line["hidden"]?.bool == true ? 1 : 0
    body.is_hello_encrypted = line["encrypted_client_hello"]?.bool == true ? 1 : 0
    builder.setBody(body)
    if let name = bytes(peer, "hostname", base64: "hostnameBase64") { builder.setString(.name, name) }
  }

  func request(_ line: JSONValue, _ builder: inout RecordBuilder) {
    var body = mt_request()
    body.sock = line["connection_info"]?["uid"]?.number ?? 0
    body.library = line["library"]?.text.flatMap { RequestLibrary(named: $0) }?.rawValue ?? 0
    var flags: UInt32 = 0
    if line["http2"]?.bool == true { flags |= MT_REQUEST_HTTP2.rawValue }
    if line["hidden"]?.bool == true { flags |= MT_REQUEST_HIDDEN.rawValue }
    body.flags = UInt16(flags)
    builder.setBody(body)
    guard let request = line["http_request"] else { return }
    let url = request["url"]
    builder.setString(.detail, bytes(request, "http_method", base64: "http_methodBase64") ?? [])
    builder.setString(.name, bytes(url, "hostname", base64: "hostnameBase64") ?? [])
    builder.setString(.path, bytes(url, "path", base64: "pathBase64") ?? [])
  }
}
