import KernelSensor
import Observation
import Policy
import Recording
import Reporting

/// What `martlet doctor` prints.
enum DoctorReport {
  static func text(_ diagnosis: Diagnosis, _ policy: PolicyInUse? = nil) -> [UInt8] {
    var text = "kernel      \(diagnosis.kernelRelease) \(diagnosis.machine)\n"
    for fact in diagnosis.facts {
      text += "\(mark(fact.advice == nil)) \(padded(fact.name, 16)) \(fact.value)\n"
    }
    if !diagnosis.trials.isEmpty {
      text += "\nKinds of hooks, each tried with a program of its own:\n"
      for trial in diagnosis.trials {
        let state = trial.outcome == .fires ? "" : ": \(trial.reason)"
        text += "  \(padded(trial.kind.rawValue, 10)) \(padded(trial.target, 20)) \(trial.outcome.rawValue)\(state)\n"
      }
    }
    if !diagnosis.functions.isEmpty {
      let forced = diagnosis.forcedTier
      let preferred = forced.map { " (\($0.rawValue) preferred)" } ?? ""
      text += "\nWhat martlet sees, and by which hooks\(preferred):\n"
      for function in diagnosis.functions { text += line(function, forced) }
    }
    if !diagnosis.controls.isEmpty {
      text += "\nWhat this kernel allows to be done about what a policy forbids:\n"
      for control in diagnosis.controls {
        let note = control.note.isEmpty ? "" : "; \(control.note)"
        text += "  \(padded(control.name, 16)) \(padded(control.strength.rawValue, 7)) \(control.means)\(note)\n"
      }
    }
    if let protection = diagnosis.selfProtection { text += "\n\(sentence(protection))\n" }
    if let policy {
      text += "\nWhat keeps the policy \(policy.inForce.file) here:\n"
      for row in diagnosis.enforcement {
        text += "  \(padded(policy.inForce.place(row), 24)) \(padded(row.section, 8)) \(padded(row.action.rawValue, 8))"
        text += " \(padded(row.strength.rawValue, 10)) \(row.reason)\n"
      }
      if policy.policy.onSensorError == .closed, let objection = policy.inForce.notKept(diagnosis.enforcement) {
        text += "  \(objection)\n"
      }
      if diagnosis.enforcement.isEmpty { text += "  it has no rule that does more than allow\n" }
    }
    text += "\n" + verdict(diagnosis)
    return Array(text.utf8)
  }

  private static func sentence(_ protection: Sensor.SelfProtection) -> String {
    switch protection {
    case .prevented: "What jobs do to martlet itself is refused here, to root's too."
    case .killed:
      "What jobs do to martlet itself cannot be refused here: who does it is killed, but a job that is root can kill "
        + "martlet first. Run jobs as another user."
    case .none: "Nothing keeps jobs that are root off martlet here. Run jobs as another user."
    }
  }

  private static func line(_ function: Diagnosis.Function, _ forced: HookTier?) -> String {
    let choice = function.choice
    let title = "\(padded(choice.family, 9)) \(padded(choice.function, 24))"
    let isMissed = choice.hooks.isEmpty && !choice.isOnRequest
    var text = "\(choice.hooks.isEmpty && !isMissed ? "  -" : mark(!isMissed)) \(title) "
    text += choice.hooks.isEmpty ? "not seen" : hooks(choice.hooks)
    if let request = choice.request {
      let option = "--\(request.rawValue)"
      let instead = request.standIn.map { ": with \(option) \($0)" } ?? ": \(option) is not to be had here"
      text += choice.hooks.isEmpty ? instead : " (with \(option))"
    }
    if let forced, let tier = choice.tier, tier != forced { text += " (not by \(forced.rawValue))" }
    text += choice.hooks.isEmpty || function.isProven ? "\n" : " (not tried)\n"
    for other in choice.passedOver { text += "      passed over: \(other.reason)\n" }
    return text
  }

  /// "tp_btf sys_exit", and each target once: the programs that one hook calls are one hook.
  private static func hooks(_ hooks: [Hook]) -> String {
    var seen: [String] = []
    for hook in hooks {
      let text = hook.target.isEmpty ? "run by martlet" : "\(hook.kind) \(hook.target)"
      if !seen.contains(text) { seen.append(text) }
    }
    return seen.joined(separator: ", ")
  }

  private static func verdict(_ diagnosis: Diagnosis) -> String {
    if diagnosis.isComplete { return "A run here would be complete.\n" }
    var text = diagnosis.error == nil ? "A run here would be incomplete.\n" : "martlet cannot run here.\n"
    for problem in problems(diagnosis) {
      text += "  \(problem.what). \(problem.advice.isEmpty ? "" : "\(problem.advice).")\n"
    }
    return text
  }

  /// What is missing, and what to do about it; both without a full stop.
  private static func problems(_ diagnosis: Diagnosis) -> [(what: String, advice: String)] {
    var problems: [(String, String)] = []
    if let error = diagnosis.error {
      problems.append((error.context + (error.errno.map { " (errno \($0))" } ?? ""), error.advice))
    }
    for fact in diagnosis.facts {
      guard let advice = fact.advice, advice != diagnosis.error?.advice else { continue }
      problems.append(("\(fact.name): \(fact.value)", advice))
    }
    for function in diagnosis.functions where function.choice.hooks.isEmpty && !function.choice.isOnRequest {
      let choice = function.choice
      let reasons = choice.passedOver.map(\.reason).joined(separator: "; ")
      problems.append(("\(choice.family): \(choice.function) is not seen: \(reasons)", ""))
    }
    return problems
  }

  private static func mark(_ isGood: Bool) -> String { isGood ? "  ✓" : "  ✗" }

  private static func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.utf8.count))
  }

  static func json(_ diagnosis: Diagnosis, _ policy: PolicyInUse? = nil) -> [UInt8] {
    var json = JSONOutput()
    json.object { json in
      json.newLine()
      json.member("schema", "martlet.doctor/v1")
      json.newLine()
      json.member("version", Version.current)
      json.newLine()
      json.member("complete", diagnosis.isComplete)
      json.newLine()
      json.member(named: "selfProtection", diagnosis.selfProtection?.rawValue)
      json.newLine()
      json.object("kernel") { json in
        json.member("release", diagnosis.kernelRelease)
        json.member("machine", diagnosis.machine)
      }
      json.newLine()
      json.lines("facts", diagnosis.facts) { json, fact in
        json.member("name", fact.name)
        json.member("value", fact.value)
        if let advice = fact.advice { json.member("advice", advice) }
      }
      json.newLine()
      if let policy {
        json.lines("policy", diagnosis.enforcement) { json, row in
          json.member("rule", row.rule)
          json.member("place", policy.inForce.place(row))
          json.member("section", row.section)
          json.member("action", row.action.rawValue)
          json.member("strength", row.strength.rawValue)
          json.member("reason", row.reason)
          if policy.policy.onSensorError == .closed { json.member("outlives", row.outlives) }
        }
        json.newLine()
      }
      json.lines("kinds", diagnosis.trials) { json, trial in
        json.member("kind", trial.kind.rawValue)
        json.member("target", trial.target)
        json.member("outcome", trial.outcome.rawValue)
        if !trial.reason.isEmpty { json.member("reason", trial.reason) }
      }
      json.lines("controls", diagnosis.controls) { json, control in
        json.member("control", control.name)
        json.member("allows", control.strength.rawValue)
        json.member("means", control.means)
        if !control.note.isEmpty { json.member("note", control.note) }
      }
      if let trial = diagnosis.signalTrial {
        json.newLine()
        json.object("signals") { json in
          json.member("outcome", trial.outcome.rawValue)
          if !trial.reason.isEmpty { json.member("reason", trial.reason) }
        }
      }
      json.newLine()
      if let tier = diagnosis.forcedTier {
        json.member("forcedTier", tier.rawValue)
        json.newLine()
      }
      json.lines("functions", diagnosis.functions) { json, function in
        json.member("family", function.choice.family)
        json.member("function", function.choice.function)
        json.member("required", function.choice.isRequired)
        if let request = function.choice.request {
          json.member("onRequest", true)
          json.member("option", "--\(request.rawValue)")
          if let standIn = request.standIn { json.member("standIn", standIn) }
        }
        json.member("proven", function.isProven)
        if let tier = function.choice.tier { json.member("tier", tier.rawValue) }
        write("hooks", function.choice.hooks, to: &json)
        json.array("passedOver") { json in
          for other in function.choice.passedOver {
            json.object { json in
              write("hooks", other.hooks, to: &json)
              json.member("reason", other.reason)
            }
          }
        }
      }
      json.newLine()
      json.lines("programs", diagnosis.programs) { json, program in
        json.member("program", program.hook.program)
        json.member("kind", program.hook.kind)
        json.member("target", program.hook.target)
        json.member("loaded", program.isLoaded)
        if let isAttached = program.isAttached { json.member("attached", isAttached) }
        if let fires = program.fires { json.member("fired", fires) }
        if let count = program.verifiedInstructions { json.member("verifiedInstructions", count) }
        if !program.reason.isEmpty { json.member("reason", program.reason) }
        if program.isRefusedByVerifier { json.member("refusedByVerifier", true) }
        if !program.log.isEmpty { json.member("log", program.log) }
      }
      if let count = diagnosis.verifiedInstructions {
        json.newLine()
        json.member("verifiedInstructions", count)
      }
      json.newLine()
      json.lines("problems", problems(diagnosis)) { json, problem in
        json.member("problem", problem.what)
        if !problem.advice.isEmpty { json.member("advice", problem.advice) }
      }
      if let error = diagnosis.error {
        json.newLine()
        json.object("error") { json in
          json.member("code", error.code.rawValue)
          json.member("message", error.description)
          if !error.detail.isEmpty { json.member("detail", error.detail) }
        }
      }
      json.lastLine()
    }
    json.endDocument()
    return json.bytes
  }

  private static func write(_ key: StaticString, _ hooks: [Hook], to json: inout JSONOutput) {
    json.array(key) { json in
      for hook in hooks {
        json.object { json in
          json.member("kind", hook.kind)
          json.member("target", hook.target)
          json.member("program", hook.program)
        }
      }
    }
  }
}
