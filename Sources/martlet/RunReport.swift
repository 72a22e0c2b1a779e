import EventLog
import Glibc
import Jobs
import KernelSensor
import Observation
import Recording
import Reporting
import Supervision

/// What is known about a run besides its records, and how it becomes files, a summary and an exit status.
struct RunReport {
  /// Unique for the run.
  let identifier: String
  let clockOffset: Int64
  /// CLOCK_BOOTTIME when the command was let go.
  var startedAt: UInt64 = 0
  var forcedHooks: ReportInput.ForcedHooks? {
    get { input.forcedHooks }
    set { input.forcedHooks = newValue }
  }
  var policy: ReportInput.PolicyInForce? {
    get { input.policy }
    set { input.policy = newValue }
  }
  var filter: ReportInput.FilterInForce? {
    get { input.filter }
    set { input.filter = newValue }
  }
  /// Read when the hooks had just been attached.
  private let attached = ProcessCost()
  private let ringBytes: UInt64
  private var input = ReportInput()

  init(arguments: [[UInt8]], masker: SecretMasker, hooks: [Hook], ringBytes: UInt64) {
    self.ringBytes = ringBytes
    identifier = JobIdentifier.make()
    clockOffset = Clock.wallOffset
    input.jobIdentifier = identifier
    input.clock = WallClock(offset: clockOffset)
    input.version = Version.current
    input.kernelRelease = KernelName().release
    input.command = Self.masked(arguments, masker)
    input.workingDirectory = Self.workingDirectory(masker)
    input.hooks = hooks
  }

  /// Writes the reports, says what the run came to, and tells the exit status.
  func finish(
    _ recording: RunRecording, status: WaitStatus, endedAt: UInt64, directory: OutputDirectory, failOn: FailOn,
    colour: Bool
  ) -> Int32 {
    var input = input
    input.take(recording.job)
    if let missing = recording.missingBytes { input.snapshot.forgetBytes(because: missing) }
    input.hashObjection = recording.hashObjection
    input.completeness = recording.completeness
    input.filter?.counts = recording.filtered
    input.startedAt = startedAt
    input.endedAt = endedAt
    input.waitStatus = UInt32(bitPattern: status.raw)
    input.cost = cost(recording.cost)
    input.cost?.detachNanoseconds = recording.detachNanoseconds
    if let status = recording.status { input.health = SensorHealth(status) }

    let published = Self.publish(&input, in: directory)
    let summary = TerminalSummary.write(input, reportDirectory: published?.path, colour: colour)
    summary.withUnsafeBytes { _ = Message.write($0, to: STDERR_FILENO) }
    if let published, let note = published.note { Message.say("the report is in \(published.path): \(note)") }

    return failOn.exitStatus(
      of: status, verdicts: published.map { _ in Set(Judgement(of: input).verdicts.map(\.rawValue)) })
  }

  /// What was spent between the two readings.
  private func cost(_ end: ProcessCost) -> ReportInput.Cost {
    var cost = ReportInput.Cost()
    cost.attachedAt = attached.at
    cost.startNanoseconds = attached.total
    cost.lastRecordAt = end.at
    cost.userNanoseconds = end.user - min(end.user, attached.user)
    cost.systemNanoseconds = end.system - min(end.system, attached.system)
    cost.peakResidentBytes = end.peakResidentBytes
    cost.ringBytes = ringBytes
    return cost
  }

  private static func publish(_ input: inout ReportInput, in directory: OutputDirectory) -> OutputDirectory.Published? {
    do {
      return try ReportFiles.publish(&input, in: directory)
    } catch {
      Message.say("\(error). What there is of the report is in \(directory.temporaryPath).")
      return nil
    }
  }

  private static func masked(_ arguments: [[UInt8]], _ masker: SecretMasker) -> [Name] {
    let joined = arguments.flatMap { argument -> [UInt8] in argument + [0] }
    var buffer = ByteBuffer(capacity: joined.count + 16)
    joined.withUnsafeBytes { _ = masker.maskArguments($0, into: &buffer) }
    var masked = buffer.array
    if masked.last == 0 { masked.removeLast() }
    return masked.split(separator: 0, omittingEmptySubsequences: false).map { Name(bytes: Array($0)) }
  }

  private static func workingDirectory(_ masker: SecretMasker) -> Name {
    guard let path = getcwd(nil, 0) else { return Name(bytes: []) }
    defer { free(path) }
    var buffer = ByteBuffer(capacity: 256)
    _ = masker.maskText(UnsafeRawBufferPointer(start: path, count: strlen(path)), into: &buffer)
    return Name(bytes: buffer.array)
  }
}
