internal import Jobs
internal import Observation

extension HTMLReport {
  static func writeSecurity(_ input: ReportInput, _ tree: ProcessTree, to html: inout HTMLOutput) {
    let actions = input.snapshot.actions
    if actions.isEmpty { return }
    heading("Security", actions.count, to: &html)
    html.markup(
      "<p class=\"hint\">Access to other processes, code for the kernel, mounts, namespaces, changes of users ")
    html.markup("and rights, and memory that was made executable.</p>\n<div class=\"scroll\"><table>\n<thead><tr>")
    html.markup(
      "<th class=\"num\">After</th><th>What</th><th>Of what</th><th>Process</th><th>Outcome</th></tr></thead>")
    html.markup("\n<tbody>\n")
    let omitted = rows(actions, bytes: securityBytes, to: &html) { html, action in
      html.numberCell(Units.duration(action.firstAt > input.startedAt ? action.firstAt - input.startedAt : 0))
      html.cell { html in
        html.markup("<span class=\"badge\">")
        html.text(action.kind?.name ?? "unknown")
        html.markup("</span>")
        if action.count > 1 {
          html.markup(" <small>×")
          html.text(Units.grouped(action.count))
          html.markup("</small>")
        }
      }
      html.cell { $0.code(SecurityText.object(action) { tree.label(ofProcess: $0) }, limit: 300) }
      html.cell { write(process: action.process, tree, to: &$0) }
      html.cell { html in
        if case .failure = action.outcome { html.markup("<span class=\"badge bad\">") } else { html.markup("<span>") }
        html.text(SecurityText.outcome(action), limit: 80)
        html.markup("</span>")
      }
    }
    html.markup("</tbody></table></div>\n")
    html.more(omitted, "actions")
    html.markup("</section>\n")
  }
}
