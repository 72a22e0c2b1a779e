import CSystem
import EventLog
import Glibc
import Jobs
import KernelSensor
import Observation
import Recording
import Supervision
import Synchronization

/// What the sensor's records came to.
struct RunRecording {
  var job: RecordedJob
  /// Why numbers of bytes are less than what was read and written; nil if they are exact, or were not asked for.
  var missingBytes: String?
  /// Why the kernel does not hash images, which it was asked to.
  var hashObjection: String?
  var completeness: Completeness
  var cost: ProcessCost
  /// Of it, nanoseconds for taking the programs off their hooks.
  var detachNanoseconds: UInt64
  /// What a filter has left out; nil if the kernel would not tell.
  var filtered: FilteredCounts?
  /// As it was when everything was read; nil if the kernel would not tell.
  var status: SensorStatus?
}

/// The way from the rings to the fold and the event log, on a thread of its own.
///
/// The main thread follows the command and its signals; this one reads. It runs ahead of the job's processes in the
/// scheduler's queue where that is allowed, because what it does not read in time is lost.
///
/// Sensor, fold and log belong to one thread at a time: to the creator's until ``start()``, then to the reader's, and
/// to that of ``finish(commandEndedAt:)`` again, since creating and joining a thread order all accesses.
final class Pipeline: @unchecked Sendable {
  let progress = Progress()

  private let sensor: Sensor
  private let interrupt: RingInterrupt
  private let state: JobState
  private let pace: RingPace
  /// Whether there are counts to look at.
  private let isCounted: Bool
  /// Told once a second, on the reader's thread.
  private let onStatus: ((SensorStatus) -> Void)?
  private let hasher: FileHasher?
  private let prober: RequestProber?
  private let uses: RequestUse?
  private let denials: DenialMessages?
  private let aftermath: Aftermath?
  private var log: EventLogWriter?
  private var recording: RunRecording?
  private var thread: RunningThread?
  /// CLOCK_BOOTTIME; 0 while the command runs.
  private let commandEnd = Atomic<UInt64>(0)

  private static let second: UInt64 = 1_000_000_000

  init(
    sensor: Sensor, sensorOptions: SensorOptions, options: JobOptions, log: consuming EventLogWriter,
    hasher: FileHasher? = nil, prober: RequestProber? = nil, denials: DenialMessages? = nil,
    aftermath: Aftermath? = nil,
    onStatus: ((SensorStatus) -> Void)? = nil
  ) {
    self.sensor = sensor
    self.hasher = hasher
    self.prober = prober
    uses = prober?.use(sensorOptions.filters.first)
    self.denials = denials
    self.aftermath = aftermath
    isCounted = sensorOptions.counts
    pace = RingPace(sensorOptions.wakeup)
    self.onStatus = onStatus
    self.log = consume log
    interrupt = sensor.rings.interrupt
    state = JobState(options: options)
  }

  func start() throws(SystemError) {
    thread = try startThread("the reader's", self) { $0.read() }
  }

  /// Reads everything that happened until then, takes the programs off their hooks, and reads the rest.
  ///
  /// - Parameter time: CLOCK_BOOTTIME, taken after the command was reaped: its own exit is older.
  /// - Returns: nil if it was not started.
  func finish(commandEndedAt time: UInt64) -> RunRecording? {
    guard let thread else { return nil }
    commandEnd.store(max(1, time), ordering: .releasing)
    interrupt.interrupt()
    thread.join()
    self.thread = nil
    return recording
  }

  // MARK: - The reader's thread

  private func read() {
    mt_thread_describe("martlet-reader", -10)
    var reader = Reader(state, log: log.take(), hasher, uses, denials, aftermath)
    var nextPublication: UInt64 = 0
    var pace = pace
    while commandEnd.load(ordering: .acquiring) == 0 {
      sensor.rings.wait(milliseconds: pace.milliseconds)
      pace.found(sensor.rings.drain { reader.take($0) })
      let now = mt_boottime_ns()
      reader.recorder.flush(now: now)
      if isCounted, now >= nextPublication {
        publishStatus(reader.recorder.tallies)
        nextPublication = now &+ Self.second
      }
    }
    reader.recorder.firstProcessEnded(at: commandEnd.load(ordering: .acquiring))
    // First what is there, while the hooks are still on: taking them off takes as long as many events.
    repeat { sensor.rings.drain { reader.take($0) } } while sensor.rings.hasBacklog
    let before = ProcessCost()
    prober?.end()
    sensor.detach()
    let detaching = ProcessCost().total &- before.total
    sensor.rings.drainAll { reader.take($0) }
    reader.recorder.finishHashing()
    hasher?.end()
    aftermath?.end()
    recording = finish(reader, detaching: detaching)
  }

  private func publishStatus(_ tallies: RecordTallies) {
    let status = try? sensor.status()
    progress.publish(tallies, lost: status?.counters.types.reduce(0) { $0 &+ $1.lost } ?? 0)
    if let status { onStatus?(status) }
  }

  private func finish(_ reader: consuming Reader, detaching: UInt64) -> RunRecording {
    let malformed = reader.malformed
    let job = reader.recorder.finish()
    let cost = ProcessCost()
    var completeness = Completeness()
    completeness.missingHooks = sensor.missingHooks
    completeness.received = sensor.rings.received
    completeness.malformed = malformed &+ sensor.rings.malformed
    completeness.late = sensor.rings.late
    completeness.stalled = sensor.rings.stalled
    completeness.sequenceGaps = sensor.rings.sequenceGaps
    var status: SensorStatus?
    do {
      let last = try sensor.status()
      completeness.count(last)
      status = last
      completeness.missedRuns = try sensor.missedRuns()
    } catch {
      completeness.missingHooks.append(("counter", error.description))
    }
    let filtered = try? sensor.jobCounts(1).filtered
    completeness.missingHooks += job.requestFiles?.missingHooks ?? []
    return RunRecording(
      job: job, missingBytes: missingBytes(completeness), hashObjection: sensor.hashObjection,
      completeness: completeness, cost: cost, detachNanoseconds: detaching, filtered: filtered,
      status: status)
  }
}

extension Pipeline {
  /// Why numbers of bytes are less than what was read and written; nil if they are exact, or were not asked for.
  private func missingBytes(_ completeness: Completeness) -> String? {
    guard sensor.isAskedForBytes else { return nil }
    guard sensor.countsBytes else { return "the kernel has no hooks that tell the results of reads and writes" }
    let lost = completeness.types.first { $0.name == RecordType.io.name }?.counts.lost ?? 0
    let isWhole = completeness.received == completeness.sent && completeness.malformed == 0
    if lost > 0 || completeness.sequenceGaps > 0 || !isWhole {
      return "records that tell of them were lost"
    }
    return ((try? sensor.missedBytes()) ?? 1) == 0 ? nil : "the kernel left out a program that counts them"
  }
}

/// What the reader's thread keeps from record to record.
private struct Reader: ~Copyable {
  var recorder: JobRecorder
  private(set) var malformed: UInt64 = 0

  /// What is told at once.
  private var denials: DenialMessages?
  private let state: JobState

  init(
    _ state: JobState, log: consuming EventLogWriter?, _ hasher: FileHasher?, _ uses: RequestUse?,
    _ denials: DenialMessages?, _ aftermath: Aftermath?
  ) {
    self.state = state
    self.denials = denials
    recorder = JobRecorder(state: state, log: log, hasher: hasher, uses: uses, aftermath: aftermath)
  }

  mutating func take(_ bytes: UnsafeRawBufferPointer) {
    guard let record = try? RecordView(validating: bytes) else {
      malformed &+= 1
      return
    }
    recorder.take(record)
    if record.type == .denial { denials?.take(record, state.applied) }
  }
}

extension Completeness {
  fileprivate mutating func count(_ status: SensorStatus) {
    let counters = status.counters
    for type in RecordType.allCases where Int(type.rawValue) < counters.types.count {
      let row = counters.types[Int(type.rawValue)]
      types.append((type.name, type.isCritical, row))
    }
    mapFull = status.maps.map { ($0.name, $0.refused) }
  }
}
