internal import Jobs
package import Observation

extension JSONReport {
  package static func write(_ policy: ReportInput.PolicyInForce, to json: inout JSONOutput) {
    json.object("policy") { json in
      json.member("file", policy.file)
      json.member("sha256", policy.digest)
      json.array("notes") { json in for note in policy.notes { json.member(nil, note) } }
    }
  }

  static func write(_ suggestion: ReportInput.Suggestion, to json: inout JSONOutput) {
    json.object("suggestedPolicy") { json in
      json.member(named: "file", suggestion.digest == nil ? nil : SuggestedPolicy.fileName)
      json.member(named: "sha256", suggestion.digest)
      if let objection = suggestion.objection { json.member("absent", objection) }
    }
  }

  static func write(
    _ denial: DenialSummary, policy: ReportInput.PolicyInForce?, clock: WallClock, to json: inout JSONOutput
  ) {
    json.member("section", denial.section?.name ?? "unknown")
    json.member("operation", denial.operation)
    json.member("effect", denial.effect.name)
    if denial.rule != 0 { json.member("rule", denial.rule) } else { json.null("rule") }
    json.member("decidedBy", DenialText.rule(denial, policy))
    json.member("process", denial.process)
    json.member("image", denial.image)
    if let host = denial.host { json.name("host", base64: "hostBase64", truncated: "hostTruncated", host) }
    if let address = denial.address { json.member("address", address) }
    if denial.port != 0 { json.member("port", denial.port) }
    if let transport = denial.networkProtocol { json.member("protocol", transport.rawValue) }
    if let path = denial.path { json.name("path", base64: "pathBase64", truncated: "pathTruncated", path) }
    if let target = denial.target {
      json.object("target") { json in
        if target.process != 0 { json.member("process", target.process) } else { json.null("process") }
        json.member("pid", target.pid)
      }
    }
    json.member("count", denial.count)
    json.member("firstAt", clock.rfc3339(denial.firstAt))
    json.member("lastAt", clock.rfc3339(denial.lastAt))
  }
}
