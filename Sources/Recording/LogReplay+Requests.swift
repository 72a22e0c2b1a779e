internal import KernelABI
internal import Observation

extension LogReplay {
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
