import ArgumentParser
import Export
import Glibc
import KernelSensor
import Observation
import Supervision

/// `martlet run`.
struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Runs a command, watches it, and writes a report.",
    usage: """
      martlet run [OPTION ...] -- COMMAND [ARGUMENT ...]
      sudo martlet run -- make test
      """,
    discussion: RunHelp.text)

  @Option(
    name: [.short, .long],
    help: ArgumentHelp(
      "Where to leave the report. An earlier report there is replaced; anything else stays, and the report is put "
        + "beside it as DIR.1, DIR.2, …", valueName: "dir"))
  var output = "martlet-report"

  @Option(
    help: ArgumentHelp(
      "Exit with 3 if the command succeeded and one of these applies: findings, blocked, incomplete. Separate "
        + "several by commas.", valueName: "verdicts"))
  var failOn = FailOn()

  @Option(
    help: ArgumentHelp(
      "Run the command as this user: NAME, UID or UID:GID. Default: who called sudo, otherwise who runs martlet.",
      valueName: "user"))
  var user: String?

  @Option(
    help: ArgumentHelp(
      "How to keep arguments: 'masked' hides passwords and tokens, 'hashed' keeps no argument in clear, 'full' "
        + "hides nothing.", valueName: "mode"))
  var argv = ArgumentMode.masked

  @Option(
    help: ArgumentHelp(
      "Hide what matches this too: literal text, in which * stands for anything but white space and ? for one "
        + "character. May be repeated.", valueName: "pattern"))
  var mask: [String] = []

  @Option(
    help: ArgumentHelp(
      "Memory between kernel and martlet: critical=SIZE for processes and network, bulk=SIZE for files on each "
        + "CPU, or both with a comma. SIZE takes K, M and G. Only needed when a run reports losses.",
      valueName: "sizes"))
  var ringSize: RingSizes?

  @Option(
    help: ArgumentHelp(
      "Entries of the kernel's tables: processes=N, writers=N (files open for writing), sockets=N, open_files=N "
        + "(with --bytes, in use at once), several with a comma. Only needed when a run reports that one was full.",
      valueName: "sizes"))
  var mapSize: MapSizes?

  @Option(
    help: ArgumentHelp(
      "When the kernel wakes martlet: 'timer' never, 'adaptive' when a ring fills up, 'immediate' for every event, "
        + "which slows the command down.", valueName: "mode"))
  var wakeup = SensorOptions.Wakeup.adaptive

  @Option(help: RunHelp.hooks)
  var hooks: HookTier?

  @Flag(help: .hidden)
  var uncounted = false
  @Flag(
    help: ArgumentHelp(
      "Count the bytes that programs read and write through each open file. 'martlet doctor' says whether this kernel "
        + "has the hooks for it."))
  var bytes = false

  @Flag(help: "Report how often each kernel program ran and how long. Costs each run some 70 ns.")
  var programStats = false

  @Option(
    help: ArgumentHelp(
      "Keep metrics about martlet itself in this file, for the textfile collector of Prometheus' node_exporter.",
      valueName: "file"))
  var metricsFile: String?

  @Option(
    help: ArgumentHelp(
      "Serve these metrics over HTTP while the command runs, at /metrics: ADDRESS:PORT, or PORT for 127.0.0.1.",
      valueName: "address"))
  var metricsListen: ListenAddress?

  @Flag(
    inversion: .prefixedNo,
    help: "Draw a status line on standard error, or show no status at all. Default: the terminal's title.")
  var live: Bool?

  @Argument(
    parsing: .postTerminator, help: ArgumentHelp("The command and its arguments, after --.", valueName: "command"))
  var command: [String] = []

  func validate() throws {
    if command.isEmpty {
      throw ValidationError("there is no command to run: put it after --, as in 'martlet run -- make'")
    }
    do {
      _ = try masker()
    } catch {
      throw ValidationError(
        "--mask '\(error.pattern)' would match nearly everything: give at least two characters that are not * or ?")
    }
  }

  func run() throws {
    var sensor = SensorOptions()
    ringSize?.apply(to: &sensor)
    mapSize?.apply(to: &sensor)
    sensor.wakeup = wakeup
    sensor.hooks = hooks
    sensor.countsRunTime = programStats
    sensor.counts = !uncounted
    sensor.countsBytes = bytes
    let run = Run(
      // The parser's strings are repaired where they are not UTF-8; the command gets its own bytes.
      arguments: Array(ProcessArguments.bytes.suffix(command.count)), output: output, failOn: failOn, user: user,
      sensor: sensor, metrics: MetricsPlaces(file: metricsFile, listen: metricsListen), masker: try masker(),
      live: live)
    throw ExitCode(run.execute())
  }

  private func masker() throws(SecretMasker.PatternError) -> SecretMasker {
    try SecretMasker(mode: argv.masking, patterns: mask)
  }
}
