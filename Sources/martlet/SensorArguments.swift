import ArgumentParser
import KernelSensor
import Observation

/// What `run` and `agent start` can be told about the sensor and about secrets.
struct SensorArguments: ParsableArguments {
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

  @Flag(help: "Report how often each kernel program ran and how long. Costs each run some 70 ns.")
  var programStats = false

  func validate() throws {
    do {
      _ = try masker()
    } catch {
      throw ValidationError(
        "--mask '\(error.pattern)' would match nearly everything: give at least two characters that are not * or ?")
    }
  }

  func options() -> SensorOptions {
    var sensor = SensorOptions()
    ringSize?.apply(to: &sensor)
    mapSize?.apply(to: &sensor)
    sensor.wakeup = wakeup
    sensor.hooks = hooks
    sensor.countsRunTime = programStats
    return sensor
  }

  func masker() throws(SecretMasker.PatternError) -> SecretMasker {
    try SecretMasker(mode: argv.masking, patterns: mask)
  }
}
