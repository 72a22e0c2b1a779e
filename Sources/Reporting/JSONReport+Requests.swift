internal import Jobs
internal import Observation

extension JSONReport {
  /// Of one connection, or of those without.
  static func write(_ requests: FlowRequests, to json: inout JSONOutput) {
    json.member("count", requests.count)
    json.member("unlisted", requests.unlisted)
    json.array("distinct") { json in
      for request in requests.distinct {
        json.object { json in
          json.member("method", request.method)
          json.name("host", base64: "hostBase64", truncated: "hostTruncated", request.host)
          json.name("path", base64: "pathBase64", truncated: "pathTruncated", request.path)
          json.member("http2", request.isHTTP2)
          json.member("library", request.library.name.description)
          json.member("process", request.process)
          json.member("count", request.count)
        }
      }
    }
  }

  /// What came of reading requests.
  static func write(
    _ counting: RequestCounting, _ files: RequestFiles?, clock: WallClock, to json: inout JSONOutput
  ) {
    json.object("requests") { json in
      json.member("count", counting.count)
      json.member("hidden", counting.hidden)
      json.member("cut", counting.cut)
      json.object("withoutConnection") { write(counting.withoutConnection, to: &$0) }
      guard let files else { return }
      json.array("files") { json in
        for file in files.files {
          json.object { json in
            json.member("path", file.path)
            if let library = file.library { json.member("library", library.name.description) }
            if let since = file.readSince { json.member("readSince", clock.rfc3339(since)) }
            if let since = file.usedSince { json.member("usedSince", clock.rfc3339(since)) }
            if let objection = file.objection { json.member("notRead", objection) }
          }
        }
      }
      json.member("filesBeyond", files.beyond)
      json.member("filesGone", files.gone)
    }
  }
}
