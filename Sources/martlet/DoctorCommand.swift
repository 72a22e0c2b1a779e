import ArgumentParser
import Export
import Glibc
import KernelSensor
import Observation
import Policy
import Recording
import Reporting

/// `martlet doctor`.
struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Finds out what martlet can see on this machine, and what stands in its way.",
    discussion: """
      Looks at the kernel, tries every kind of hook it may have (loads a program, attaches it, and looks whether it \
      runs), and opens a sensor as 'martlet run' does. Of everything that martlet wants to see it says by which hooks \
      it does, and why better ones were passed over. Nothing stays behind.

      Exits with 0 if a run here would miss nothing that martlet can see, else with 1; with --policy also with 1 if it \
      requires prevention and a rule of it cannot be kept by preventing.
      """)

  @Flag(help: "Print a JSON object instead, schema martlet.doctor/v1.")
  var json = false

  @Option(help: RunHelp.hooks)
  var hooks: HookTier?

  @Option(
    help: ArgumentHelp(
      "Say of each rule of this policy what keeps it on this machine: whether the deed is prevented, the process killed "
        + "for it, or only told.", valueName: "file"))
  var policy: String?

  @Option(
    help: ArgumentHelp(
      "Say what is not attached where these classes of events are left out of all jobs, as 'martlet run' and the agent's "
        + "filters can.", valueName: "classes"))
  var excludeEvents = EventClasses()

  @Option(
    help: ArgumentHelp(
      "Pack what was found into this tar archive, for a bug report: both outputs, the kernel's name and configuration, "
        + "and what its verifier said. The host's name and the environment are not in it.", valueName: "file"))
  var bundle: String?

  func run() throws {
    let inUse: PolicyInUse?
    do {
      inUse = try policy.flatMap { path throws(PolicyInUse.Refusal) in try PolicyInUse.read(path) }
    } catch {
      Message.say(error.message)
      throw ExitCode(125)
    }
    var diagnosis = Sensor.diagnose(hooks: hooks, policy: inUse?.policy, leftOut: excludeEvents.classes)
    if !excludeEvents.classes.isEmpty {
      diagnosis.facts.append(
        .init(
          name: "filters",
          value: diagnosis.unattached.isEmpty
            ? "nothing less is attached" : "what is for these alone is not attached: \(names(diagnosis.unattached))"))
    }
    let namespace = PidNamespace.objection
    diagnosis.facts.append(
      .init(name: "pidNamespace", value: namespace?.problem ?? "the initial one", advice: namespace?.advice))
    let abandoned = PinnedSensors.abandoned()
    diagnosis.facts.append(
      .init(
        name: "pinned",
        value: abandoned.isEmpty
          ? "nothing"
          : "\(abandoned.count) by martlets that are gone, for \(abandoned.reduce(0) { $0 + $1.processes }) processes",
        advice: abandoned.isEmpty ? nil : "See martlet agent release"))
    let output = json ? DoctorReport.json(diagnosis, inUse) : DoctorReport.text(diagnosis, inUse)
    output.withUnsafeBytes { _ = Message.write($0, to: STDOUT_FILENO) }
    if let bundle {
      do {
        try DoctorBundle.write(diagnosis, to: bundle)
        Message.say("the bundle is in \(bundle)")
      } catch {
        Message.say("no bundle: \(error)")
        throw ExitCode(125)
      }
    }
    if let inUse, inUse.policy.requirePrevention, !inUse.inForce.notPrevented(diagnosis.enforcement).isEmpty {
      throw ExitCode(1)
    }
    if !diagnosis.isComplete { throw ExitCode(1) }
  }

  private func names(_ classes: [EventClass]) -> String { classes.map(\.rawValue).joined(separator: ", ") }
}
