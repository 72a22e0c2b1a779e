internal import Jobs
internal import Observation

extension HTMLReport {
  static func writeDenials(_ input: ReportInput, _ tree: ProcessTree, to html: inout HTMLOutput) {
    let denials = input.snapshot.denials
    if denials.isEmpty { return }
    heading(DenialText.heading(input), denials.count, to: &html)
    html.markup("<p class=\"hint\">What the policy does not allow, or what would have hurt martlet itself, and what ")
    html.markup("became of it. Each is told once for a program and rule, however often it was tried.</p>\n")
    html.markup("<div class=\"scroll\"><table>\n<thead><tr>")
    html.markup(
      "<th class=\"num\">After</th><th>What</th><th>To what</th><th>Process</th><th>Rule</th><th>Effect</th></tr></thead>"
    )
    html.markup("\n<tbody>\n")
    let omitted = rows(denials, bytes: securityBytes, to: &html) { html, denial in
      html.numberCell(Units.duration(denial.firstAt > input.startedAt ? denial.firstAt - input.startedAt : 0))
      html.cell { html in
        html.markup("<span class=\"badge\">")
        html.text(denial.operation)
        html.markup("</span>")
      }
      html.cell { $0.code(DenialText.object(denial) { tree.label(ofProcess: $0) }, limit: 300) }
      html.cell { write(process: denial.process, tree, to: &$0) }
      html.cell { $0.text(DenialText.rule(denial, input.policy), limit: 200) }
      html.cell { html in
        if denial.effect == .observed {
          html.markup("<span class=\"badge\">")
        } else {
          html.markup("<span class=\"badge bad\">")
        }
        html.text(DenialText.effect(denial))
        html.markup("</span>")
      }
    }
    html.markup("</tbody></table></div>\n")
    html.more(omitted, "denials")
    html.markup("</section>\n")
  }

  static func writeSuggestion(_ input: ReportInput, to html: inout HTMLOutput) {
    guard let suggestion = input.suggestion else { return }
    html.markup("<section>\n<h2>Suggested policy</h2>\n")
    if let objection = suggestion.objection {
      html.markup("<p class=\"none\">There is none: ")
      html.text(objection, limit: 1000)
      html.markup(".</p>\n</section>\n")
      return
    }
    html.markup("<p class=\"hint\">")
    html.code(SuggestedPolicy.fileName)
    html.markup(" beside this page is the narrowest policy under which this run would have passed. To keep to it: ")
    html.code(SuggestedPolicy.command(in: "DIR"))
    html.markup("</p>\n</section>\n")
  }
}
