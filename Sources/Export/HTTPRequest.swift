/// The head of an HTTP/1.x request (RFC 9112), as far as an endpoint needs it that answers GET and HEAD and closes.
public struct HTTPRequest: Sendable, Equatable {
  /// Without a body: HEAD.
  public var isHead: Bool
  /// Up to the query.
  public var path: String

  public enum Parsed: Sendable, Equatable {
    /// The head has not ended yet.
    case incomplete
    case request(HTTPRequest)
    /// The status to answer with: 400, 405, 413, 431 or 505.
    case refused(Int)
  }

  /// Bytes of a head; a scraper sends some 300.
  public static let limit = 8192

  /// Any bytes give an answer; what stands behind the head is not looked at.
  public static func parse(_ bytes: some Collection<UInt8>) -> Parsed {
    var lines: [ArraySlice<UInt8>] = []
    let head = Array(bytes.prefix(limit))
    var start = 0
    var isComplete = false
    while !isComplete, let end = head[start...].firstIndex(of: UInt8(ascii: "\n")) {
      var line = head[start..<end]
      if line.last == UInt8(ascii: "\r") { line.removeLast() }
      start = end + 1
      // An empty line before the request is to be ignored; the one behind the fields ends the head.
      if line.isEmpty { isComplete = !lines.isEmpty } else { lines.append(line) }
    }
    guard isComplete, let first = lines.first else { return head.count == limit ? .refused(431) : .incomplete }
    // No control character anywhere: a lone CR hides what stands behind it from other parsers.
    guard lines.allSatisfy({ $0.allSatisfy { $0 >= 0x20 && $0 != 0x7f || $0 == 0x09 } }) else { return .refused(400) }
    let words = first.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
    guard words.count == 3, !words[0].isEmpty, words[0].allSatisfy(isTokenByte), let path = path(of: words[1]) else {
      return .refused(400)
    }
    let version = String(decoding: words[2], as: UTF8.self)
    guard version == "HTTP/1.1" || version == "HTTP/1.0" else {
      return .refused(isOtherVersion(words[2]) ? 505 : 400)
    }
    let method = String(decoding: words[0], as: UTF8.self)
    guard method == "GET" || method == "HEAD" else { return .refused(405) }
    if let status = objection(to: lines.dropFirst(), needsHost: version == "HTTP/1.1") { return .refused(status) }
    return .request(HTTPRequest(isHead: method == "HEAD", path: path))
  }

  /// Of a target in origin form, `/path?query`, or in absolute form, `http://host/path`.
  private static func path(of target: ArraySlice<UInt8>) -> String? {
    var rest = target
    let scheme = Array("http://".utf8)
    if rest.starts(with: scheme) {
      rest = rest.dropFirst(scheme.count).drop { $0 != UInt8(ascii: "/") }
      if rest.isEmpty { return "/" }
    }
    guard rest.first == UInt8(ascii: "/"), rest.allSatisfy({ (0x21...0x7e).contains($0) }) else { return nil }
    return String(decoding: rest.prefix { $0 != UInt8(ascii: "?") }, as: UTF8.self)
  }

  private static func objection(to fields: ArraySlice<ArraySlice<UInt8>>, needsHost: Bool) -> Int? {
    var hosts = 0
    for field in fields {
      guard let colon = field.firstIndex(of: UInt8(ascii: ":")), colon > field.startIndex,
        field[..<colon].allSatisfy(isTokenByte)
      else { return 400 }
      switch String(decoding: field[..<colon], as: UTF8.self).lowercased() {
      case "host": hosts += 1
      case "transfer-encoding": return 413
      case "content-length":
        let value = field[(colon + 1)...].filter { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\t") }
        if value != [UInt8(ascii: "0")] { return 413 }
      default: break
      }
    }
    return hosts == 1 || (hosts == 0 && !needsHost) ? nil : 400
  }

  private static func isOtherVersion(_ word: ArraySlice<UInt8>) -> Bool {
    let digits = Array(word.dropFirst(5))
    return word.starts(with: "HTTP/".utf8) && digits.count == 3 && digits[1] == UInt8(ascii: ".")
      && (0x30...0x39).contains(digits[0]) && (0x30...0x39).contains(digits[2])
  }

  /// `tchar` of RFC 9110.
  private static func isTokenByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), 0x30...0x39: true
    default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
    }
  }
}

/// What the endpoint answers.
struct HTTPResponse {
  var status: Int
  var type = "text/plain; charset=utf-8"
  var body: [UInt8]

  /// To a parsed request; nil where it is not complete.
  static func answer(to parsed: HTTPRequest.Parsed, metrics: () -> [UInt8]) -> [UInt8]? {
    switch parsed {
    case .incomplete: return nil
    case .refused(let status): return HTTPResponse(status: status, body: Array("\(reason(status))\n".utf8)).bytes()
    case .request(let request):
      switch request.path {
      case "/metrics":
        let response = HTTPResponse(status: 200, type: PrometheusText.contentType, body: metrics())
        return response.bytes(withBody: !request.isHead)
      case "/":
        return HTTPResponse(status: 200, body: Array("martlet: the metrics are at /metrics\n".utf8))
          .bytes(withBody: !request.isHead)
      default:
        return HTTPResponse(status: 404, body: Array("\(reason(404))\n".utf8)).bytes(withBody: !request.isHead)
      }
    }
  }

  private func bytes(withBody: Bool = true) -> [UInt8] {
    var head = "HTTP/1.1 \(status) \(Self.reason(status))\r\nContent-Type: \(type)\r\n"
    head += "Content-Length: \(body.count)\r\nConnection: close\r\n"
    if status == 405 { head += "Allow: GET, HEAD\r\n" }
    return Array((head + "\r\n").utf8) + (withBody ? body : [])
  }

  private static func reason(_ status: Int) -> String {
    switch status {
    case 200: "OK"
    case 404: "Not Found"
    case 405: "Method Not Allowed"
    case 413: "Content Too Large"
    case 431: "Request Header Fields Too Large"
    case 505: "HTTP Version Not Supported"
    default: "Bad Request"
    }
  }
}
