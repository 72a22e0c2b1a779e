internal import Jobs
internal import Observation

/// What concerns security in words: the same in every form of the report.
enum SecurityText {
  static func namespaces(_ flags: UInt64) -> [String] {
    NamespaceKind.all.filter { flags & $0.flag != 0 }.map { "\($0.name)" }
  }

  static func memory(_ flags: SecurityFlags) -> [String] {
    SecurityFlags.memory.filter { flags.contains($0.flag) }.map { "\($0.name)" }
  }

  static func identifiers(_ values: [UInt64]) -> [(name: String, id: UInt32)] {
    [
      ("real", UInt32(truncatingIfNeeded: values[0])), ("effective", UInt32(truncatingIfNeeded: values[0] >> 32)),
      ("saved", UInt32(truncatingIfNeeded: values[1])), ("fileSystem", UInt32(truncatingIfNeeded: values[1] >> 32)),
    ]
  }

  static func outcome(_ action: SecurityAction) -> String {
    switch action.outcome {
    case .success: "done"
    case .failure(let error): "failed: \(FlowText.errorName(error))"
    case .unknown: "asked for"
    }
  }

  /// What was done to what. Holds names from the job: to be escaped.
  static func object(_ action: SecurityAction, _ label: (UInt32) -> String) -> String {
    var parts: [String] = []
    if let target = action.target {
      parts.append(
        target.process != 0 ? "\(label(target.process)), pid \(target.pid), of this job" : "pid \(target.pid)")
    }
    if let source = action.source { parts.append("\(source.pathText) on") }
    if let path = action.path { parts.append(path.pathText) }
    switch action.kind {
    case .moduleLoad: if action.path == nil { parts.append(Units.bytes(action.argument)) }
    case .bpfMap, .bpfProgram: parts.append("type \(action.argument)")
    case .unshare, .clone, .setns: parts.append(namespaces(action.argument).joined(separator: ", "))
    case .execMemory: parts.append(memory(action.flags).joined(separator: ", "))
    case .setuid, .setgid, .capset:
      if let before = action.before { parts.append("\(rights(action, before)) to") }
      if let after = action.after { parts.append(rights(action, after)) }
    default: break
    }
    if let detail = action.detail { parts.append("(\(detail.plainText))") }
    return parts.filter { !$0.isEmpty }.joined(separator: " ")
  }

  private static func rights(_ action: SecurityAction, _ values: [UInt64]) -> String {
    if action.kind == .capset { return "0x" + String(values[0], radix: 16) }
    let ids = identifiers(values).map(\.id).filter { !action.flags.contains(.asked) || $0 != .max }
    // Nearly always all of them are one.
    return Set(ids).count == 1 ? String(ids[0]) : ids.map(String.init).joined(separator: "/")
  }
}
