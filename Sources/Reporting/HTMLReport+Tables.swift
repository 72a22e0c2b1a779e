internal import Jobs
internal import Observation

extension HTMLReport {
  private static let maximumRows = 1500

  /// Writes rows while there is room; returns how many were left out.
  static func rows<Row>(
    _ rows: [Row], bytes: Int, to html: inout HTMLOutput, _ body: (inout HTMLOutput, Row) -> Void
  ) -> Int {
    let limit = html.bytes.count + bytes
    for (position, row) in rows.enumerated() {
      if position >= maximumRows || html.bytes.count > limit { return rows.count - position }
      html.markup("<tr>")
      body(&html, row)
      html.markup("</tr>\n")
    }
    return 0
  }

  static func heading(_ title: StaticString, _ count: Int, to html: inout HTMLOutput) {
    html.markup("<section>\n<h2>")
    html.markup(title)
    html.markup(" <span class=\"count\">")
    html.text(Units.grouped(count))
    html.markup("</span></h2>\n")
  }

  static func write(process id: UInt32, _ tree: ProcessTree, to html: inout HTMLOutput) {
    html.markup("<a class=\"who\" href=\"#p")
    html.number(id)
    html.markup("\">")
    html.text(tree.label(ofProcess: id), limit: 40)
    html.markup(" <small>")
    html.number(id)
    html.markup("</small></a>")
  }

  // MARK: - Network

  static func writeNetwork(_ input: ReportInput, _ tree: ProcessTree, to html: inout HTMLOutput) {
    let remote = input.snapshot.flows.filter { $0.kind != .unix }
    let local = input.snapshot.flows.filter { $0.kind == .unix }
    heading("Network", remote.count, to: &html)
    if remote.isEmpty {
      html.markup("<p class=\"none\">The job talked to no one over the network.</p>\n")
    } else {
      writeFlows(remote, tree, bytes: networkBytes - 100_000, to: &html)
    }
    if !local.isEmpty {
      html.markup("<details class=\"fold\"><summary>Unix sockets <span class=\"count\">")
      html.text(Units.grouped(local.count))
      html.markup("</span></summary>\n")
      writeFlows(local, tree, bytes: 100_000, to: &html)
      html.markup("</details>\n")
    }
    for gap in [FlowText.merging(input.snapshot)].compactMap(\.self) + RequestText.gaps(input).prefix(300) {
      html.markup("<p class=\"hint\">")
      html.text(gap, limit: 2000)
      html.markup("</p>\n")
    }
    html.markup("</section>\n")
  }

  /// Below a connection's address.
  private static func write(_ requests: FlowRequests, to html: inout HTMLOutput) {
    let listed = 20
    for request in requests.distinct.prefix(listed) {
      html.markup("<br><small>")
      html.code(RequestText.text(request), limit: 300)
      html.markup("</small>")
    }
    guard let rest = RequestText.rest(requests, listed: listed) else { return }
    html.markup("<br><small>")
    html.text(rest)
    html.markup("</small>")
  }

  private static func writeFlows(_ flows: [FlowSummary], _ tree: ProcessTree, bytes: Int, to html: inout HTMLOutput) {
    html.markup("<div class=\"scroll\"><table>\n<thead><tr><th>Address</th><th>Protocol</th><th>Process</th>")
    html.markup("<th>State</th><th class=\"num\">Duration</th><th class=\"num\">Sent</th>")
    html.markup("<th class=\"num\">Received</th></tr></thead>\n<tbody>\n")
    let omitted = rows(flows, bytes: bytes, to: &html) { html, flow in
      html.cell { html in
        let arrow: StaticString =
          if FlowText.isListener(flow) {
            "<span class=\"arrow\" title=\"listens\">◦</span> "
          } else if flow.isInbound {
            "<span class=\"arrow\" title=\"inbound\">←</span> "
          } else {
            "<span class=\"arrow\" title=\"outbound\">→</span> "
          }
        html.markup(arrow)
        if let host = flow.host {
          html.code(host.plainText, limit: 200)
          html.markup(" <small>")
          html.text(FlowText.counterpart(flow), limit: 200)
          html.markup("</small>")
        } else {
          html.code(FlowText.counterpart(flow), limit: 200, keep: .tail)
        }
        if flow.repeats > 0 {
          html.markup(" <small>")
          html.text("×\(Units.grouped(UInt64(flow.repeats) + 1))")
          html.markup("</small>")
        }
        if let named = FlowText.serverName(flow) {
          html.markup(" <small>")
          html.text(named, limit: 300)
          html.markup("</small>")
        }
        write(flow.requests, to: &html)
      }
      html.cell { $0.text(FlowText.kind(flow)) }
      html.cell { write(process: flow.process, tree, to: &$0) }
      html.cell { html in
        if flow.state == .failed {
          html.markup("<span class=\"badge bad\">")
          html.text(FlowText.state(flow))
          html.markup("</span>")
        } else {
          html.text(FlowText.state(flow))
        }
      }
      html.numberCell(flow.durationNanoseconds.map(Units.duration))
      html.numberCell(flow.sentBytes.map(Units.bytes))
      html.numberCell(flow.receivedBytes.map(Units.bytes))
    }
    html.markup("</tbody></table></div>\n")
    html.more(omitted, "connections")
  }

  // MARK: - Files

  static func writeFiles(_ input: ReportInput, _ tree: ProcessTree, to html: inout HTMLOutput) {
    let written = input.snapshot.files.filter(\.wasWritten).sortedByPath()
    let kept = written.filter { !$0.isDeleted }
    let removed = written.filter(\.isDeleted)
    heading("Files written", written.count, to: &html)
    if kept.isEmpty {
      html.markup("<p class=\"none\">The job left no file that it had written.</p>\n")
    } else {
      write(kept, tree, bytes: filesBytes - 250_000, to: &html)
    }
    if !removed.isEmpty {
      html.markup("<details class=\"fold\"><summary>Written and removed again <span class=\"count\">")
      html.text(Units.grouped(removed.count))
      html.markup("</span></summary>\n")
      write(removed, tree, bytes: 250_000, to: &html)
      html.markup("</details>\n")
    }
    html.markup("<p class=\"hint\">")
    html.text(
      "\(Units.count(input.snapshot.filesRead, "file was", "files were")) read without being written; "
        + "\(Units.count(input.snapshot.failedOpens, "open", "opens")) failed."
        + (input.snapshot.bytes?.unknown.map { " Bytes read and written are not known: \($0)." } ?? ""))
    html.markup("</p>\n</section>\n")
  }

  private static func write(_ files: [FileSummary], _ tree: ProcessTree, bytes: Int, to html: inout HTMLOutput) {
    let hasBytes = files.contains { $0.bytes != nil }
    let hasDigests = files.contains { $0.digest != nil }
    html.markup("<div class=\"scroll\"><table>\n<thead><tr><th>Path</th><th>How</th><th class=\"num\">Size</th>")
    if hasBytes { html.markup("<th class=\"num\">Bytes written</th><th class=\"num\">Bytes read</th>") }
    if hasDigests { html.markup("<th>SHA-256</th>") }
    html.markup("<th>Written by</th></tr></thead>\n<tbody>\n")
    let omitted = rows(files, bytes: bytes, to: &html) { html, file in
      html.cell { html in
        html.path(file.path.pathText)
        if !file.path.isValidUTF8 { html.markup(" <span class=\"badge\">not UTF-8</span>") }
      }
      html.cell { html in
        if file.wasCreated {
          html.markup("<span class=\"badge new\">created</span>")
        } else {
          html.markup("<span class=\"badge\">changed</span>")
        }
      }
      html.numberCell(file.size.map(Units.bytes))
      if hasBytes {
        html.numberCell(file.bytes.map { Units.grouped($0.written) })
        html.numberCell(file.bytes.map { Units.grouped($0.read) })
      }
      if hasDigests {
        html.cell { html in
          guard let digest = file.digest else { return }
          if digest.sha256 != nil { html.code(DigestText.short(digest)) } else { html.text(DigestText.short(digest)) }
        }
      }
      html.cell { html in
        for (position, writer) in file.writers.prefix(3).enumerated() {
          if position > 0 { html.markup(", ") }
          write(process: writer, tree, to: &html)
        }
        if file.writers.count > 3 { html.text(" and \(Units.grouped(file.writers.count - 3)) more") }
      }
    }
    html.markup("</tbody></table></div>\n")
    html.more(omitted, "files")
  }

  // MARK: - Path changes

  static func writeChanges(_ input: ReportInput, _ tree: ProcessTree, to html: inout HTMLOutput) {
    let changes = input.snapshot.changes
    if changes.isEmpty { return }
    heading("Path changes", changes.count, to: &html)
    html.markup("<p class=\"hint\">Names that were made, moved or removed, and attributes that were set, in order ")
    html.markup("of time.</p>\n<div class=\"scroll\"><table>\n<thead><tr><th class=\"num\">After</th><th>What</th>")
    html.markup("<th>Path</th><th>Process</th></tr></thead>\n<tbody>\n")
    let omitted = rows(changes, bytes: changesBytes, to: &html) { html, change in
      html.numberCell(Units.duration(change.at > input.startedAt ? change.at - input.startedAt : 0))
      html.cell { html in
        html.markup("<span class=\"badge\">")
        html.text(change.kind.rawValue)
        html.markup("</span>")
        if let argument = ChangeText.argument(change) {
          html.markup(" <small>")
          html.text(argument)
          html.markup("</small>")
        }
      }
      html.cell { html in
        html.path(change.path.pathText, limit: 200)
        if let target = change.target {
          html.markup(" <span class=\"arrow\">→</span> ")
          html.path(target.pathText, limit: 200)
        }
      }
      html.cell { write(process: change.process, tree, to: &$0) }
    }
    html.markup("</tbody></table></div>\n")
    html.more(omitted, "changes")
    html.markup("</section>\n")
  }
}

/// What a path change set, in the notation of the shell.
enum ChangeText {
  static func argument(_ change: PathChange) -> String? {
    switch change.kind {
    case .chmod: String(change.argument & 0o7777, radix: 8)
    case .truncate: "to \(Units.bytes(change.argument))"
    case .chown: "\(owner(change.argument >> 32)):\(owner(change.argument & 0xffff_ffff))"
    case .rename, .unlink, .rmdir, .link, .symlink, .mkdir, .mknod: nil
    }
  }

  /// All ones: chown(2) leaves it as it is.
  private static func owner(_ id: UInt64) -> String { id == 0xffff_ffff ? "" : String(id) }
}
