internal import Jobs
internal import Observation

extension JSONReport {
  static func write(_ action: SecurityAction, clock: WallClock, to json: inout JSONOutput) {
    json.member("kind", action.kind?.name ?? "unknown")
    json.member("process", action.process)
    json.member("image", action.image)
    switch action.outcome {
    case .success: json.member("outcome", "success")
    case .failure(let error):
      json.member("outcome", "failure")
      json.member("error", error)
    case .unknown: json.member("outcome", "unknown")
    }
    if let target = action.target {
      json.object("target") { json in
        if target.process != 0 { json.member("process", target.process) } else { json.null("process") }
        json.member("pid", target.pid)
        if action.flags.contains(.byNumber) { json.member("pidIsAsGiven", true) }
        json.member("targetInJob", target.process != 0)
      }
    }
    if let path = action.path {
      json.name("path", base64: "pathBase64", truncated: "pathTruncated", path)
      if action.isUnresolved { json.member("pathIsUnresolved", true) }
    }
    if let source = action.source {
      json.name("source", base64: "sourceBase64", truncated: "sourceTruncated", source)
    }
    if let identity = action.identity { json.identity(identity) }
    writeArgument(action, to: &json)
    writeRights("before", action, action.before, to: &json)
    writeRights("after", action, action.after, to: &json)
    if action.flags.contains(.asked) { json.member("afterWasAskedFor", true) }
    json.member("count", action.count)
    json.member("firstAt", clock.rfc3339(action.firstAt))
    json.member("lastAt", clock.rfc3339(action.lastAt))
  }

  private static func writeArgument(_ action: SecurityAction, to json: inout JSONOutput) {
    switch action.kind {
    case .moduleLoad: if action.argument != 0 { json.member("bytes", action.argument) }
    case .bpfMap, .bpfProgram:
      json.member("bpfType", action.argument)
      if let detail = action.detail { json.name("name", base64: "nameBase64", truncated: "nameTruncated", detail) }
    case .mount, .umount, .moveMount:
      if let detail = action.detail {
        json.name("fileSystem", base64: "fileSystemBase64", truncated: "fileSystemTruncated", detail)
      }
      if action.kind != .moveMount { json.member("mountFlags", action.argument) }
    case .unshare, .clone, .setns:
      json.array("namespaces") { for name in SecurityText.namespaces(action.argument) { $0.member(nil, name) } }
    case .execMemory:
      json.member("protection", action.argument)
      json.member("call", action.flags.contains(.protect) ? "mprotect" : "mmap")
      json.array("memory") { for name in SecurityText.memory(action.flags) { $0.member(nil, name) } }
    default: break
    }
  }

  private static func writeRights(
    _ key: StaticString, _ action: SecurityAction, _ values: [UInt64]?, to json: inout JSONOutput
  ) {
    guard let values else { return }
    json.object(key) { json in
      if action.kind == .capset {
        json.member("effective", values[0])
        json.member("permitted", values[1])
        json.member("inheritable", values[2])
      } else {
        for (name, id) in SecurityText.identifiers(values) where !action.flags.contains(.asked) || id != .max {
          json.member(named: name, id)
        }
      }
    }
  }
}
