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
      "Keep to this policy: what it does not allow is stopped, or told, as it says. See docs/policy.md and "
        + "'martlet doctor --policy'.", valueName: "file"))
  var policy: String?

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

  @OptionGroup var sensor: SensorArguments

  @OptionGroup var filters: FilterArguments

  @Flag(help: .hidden)
  var uncounted = false

  @Flag(
    help: ArgumentHelp(
      "Count the bytes that programs read and write through each open file. 'martlet doctor' says whether this kernel "
        + "has the hooks for it."))
  var bytes = false

  @Flag(
    help: ArgumentHelp(
      "Hash what programs execute, and the files that the command leaves behind: SHA-256, by the kernel where it can. "
        + "Costs time for each new program; see docs/benchmarks.md."))
  var hashes = false

  @Flag(
    help: ArgumentHelp(
      "Tell what the command asks for over TLS: method, host and path of each HTTP request that it hands to OpenSSL, "
        + "GnuTLS or Go's crypto/tls, and by which connection; never the query, other headers or a body. See "
        + "docs/requests.md."))
  var requests = false

  @Flag(
    inversion: .prefixedNo,
    help: ArgumentHelp(
      "Tell by which names the command found the addresses that it speaks to, its resolvers' answers, and whom its "
        + "connections name in their first bytes, by TLS or HTTP/1.")
  )
  var names = true

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
    try sensor.validate()
    try filters.validate()
    let filter = filters.filter
    if bytes, !filter.excludedPaths.isEmpty || filter.users != nil {
      throw ValidationError("--bytes counts for all files and users: it cannot be combined with filters of these")
    }
    if requests, filter.events.contains(.network) {
      throw ValidationError("--requests tells of connections, which --exclude-events leaves out")
    }
  }

  func run() throws {
    var options = sensor.options()
    options.counts = !uncounted
    options.countsBytes = bytes
    options.hashesImages = hashes
    options.names = names
    options.readsRequests = requests
    options.leaveOut(of: filters.filter)
    let run = Run(
      // The parser's strings are repaired where they are not UTF-8; the command gets its own bytes.
      arguments: Array(ProcessArguments.bytes.suffix(command.count)), output: output, policy: policy,
      failOn: failOn, user: user,
      sensor: options, metrics: MetricsPlaces(file: metricsFile, listen: metricsListen),
      masker: try sensor.masker(),
      live: live, onlyOfOwnSensor: onlyOfOwnSensor)
    throw ExitCode(run.execute())
  }
}
