import CSystem
import EventLog
import Glibc
import Jobs
import KernelSensor
import Observation
import Supervision
import Synchronization

/// What the sensor's records came to.
struct Recording {
  var snapshot: JobSnapshot
  var completeness: Completeness
  var log: LogSummary?
  /// Why the event log is not whole.
  var logError: String?
  var cost: ProcessCost
  /// Of it, nanoseconds for taking the programs off their hooks.
  var detachNanoseconds: UInt64
  /// As it was when everything was read; nil if the kernel would not tell.
  var status: SensorStatus?
}

/// CPU time of martlet's own process, in nanoseconds, and the moment at which it was read.
struct ProcessCost {
  var at = Clock.boottime
  var user: UInt64 = 0
  var system: UInt64 = 0
  var peakResidentBytes: UInt64 = 0

  init() {
    var usage = rusage()
    guard getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return }
    user = Self.nanoseconds(usage.ru_utime)
    system = Self.nanoseconds(usage.ru_stime)
    peakResidentBytes = UInt64(clamping: usage.ru_maxrss) * 1024
  }

  var total: UInt64 { user &+ system }

  private static func nanoseconds(_ time: timeval) -> UInt64 {
    UInt64(clamping: time.tv_sec) * 1_000_000_000 + UInt64(clamping: time.tv_usec) * 1000
  }
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
  private let longestInterval: Int32
  /// Whether there are counts to look at.
  private let isCounted: Bool
  /// Told once a second, on the reader's thread.
  private let onStatus: ((SensorStatus) -> Void)?
  private var log: EventLogWriter?
  private var recording: Recording?
  private var thread: pthread_t?
  /// CLOCK_BOOTTIME; 0 while the command runs.
  private let commandEnd = Atomic<UInt64>(0)

  /// Milliseconds between two looks at the rings, unless one of them is filling up.
  private static let interval: Int32 = 10
  /// The most that it becomes while nothing comes, where the kernel wakes the reader before a ring is full: each look
  /// costs 10,000 instructions.
  private static let longestInterval: Int32 = 80
  private static let second: UInt64 = 1_000_000_000

  init(
    sensor: Sensor, sensorOptions: SensorOptions, options: JobOptions, log: consuming EventLogWriter,
    onStatus: ((SensorStatus) -> Void)? = nil
  ) {
    self.sensor = sensor
    isCounted = sensorOptions.counts
    longestInterval = sensorOptions.wakeup == .timer ? Self.interval : Self.longestInterval
    self.onStatus = onStatus
    self.log = consume log
    interrupt = sensor.rings.interrupt
    state = JobState(options: options)
  }

  func start() throws(SystemError) {
    var thread = pthread_t()
    let code = pthread_create(
      &thread, nil,
      { context in
        guard let context else { return nil }
        Unmanaged<Pipeline>.fromOpaque(context).takeRetainedValue().read()
        return nil
      }, Unmanaged.passRetained(self).toOpaque())
    guard code == 0 else {
      Unmanaged.passUnretained(self).release()
      throw SystemError("start the reader's thread", code: code)
    }
    self.thread = thread
  }

  /// Reads everything that happened until then, takes the programs off their hooks, and reads the rest.
  ///
  /// - Parameter time: CLOCK_BOOTTIME, taken after the command was reaped: its own exit is older.
  /// - Returns: nil if it was not started.
  func finish(commandEndedAt time: UInt64) -> Recording? {
    guard let thread else { return nil }
    commandEnd.store(max(1, time), ordering: .releasing)
    interrupt.interrupt()
    pthread_join(thread, nil)
    self.thread = nil
    return recording
  }

  // MARK: - The reader's thread

  private func read() {
    mt_thread_describe("martlet-reader", -10)
    var reader = Reader(log: log.take())
    var nextPublication: UInt64 = 0
    var interval = Self.interval
    while commandEnd.load(ordering: .acquiring) == 0 {
      sensor.rings.wait(milliseconds: interval)
      let count = sensor.rings.drain { reader.take($0, state) }
      interval = count > 0 ? Self.interval : min(interval * 2, longestInterval)
      let now = mt_boottime_ns()
      reader.flush(now: now)
      if isCounted, now >= nextPublication {
        publishStatus(reader.tallies)
        nextPublication = now &+ Self.second
      }
    }
    reader.commandEnd = commandEnd.load(ordering: .acquiring)
    // First what is there, while the hooks are still on: taking them off takes as long as many events.
    repeat { sensor.rings.drain { reader.take($0, state) } } while sensor.rings.hasBacklog
    let before = ProcessCost()
    sensor.detach()
    let detaching = ProcessCost().total &- before.total
    sensor.rings.drainAll { reader.take($0, state) }
    reader.endCommand(state)
    recording = finish(reader, detaching: detaching)
  }

  private func publishStatus(_ tallies: RecordTallies) {
    let status = try? sensor.status()
    progress.publish(tallies, lost: status?.counters.types.reduce(0) { $0 &+ $1.lost } ?? 0)
    if let status { onStatus?(status) }
  }

  private func finish(_ reader: consuming Reader, detaching: UInt64) -> Recording {
    let malformed = reader.malformed
    let (log, logError) = reader.finishLog()
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
    var snapshot = state.snapshot()
    if let missing = missingBytes(completeness) { snapshot.forgetBytes(because: missing) }
    return Recording(
      snapshot: snapshot, completeness: completeness, log: log, logError: logError, cost: cost,
      detachNanoseconds: detaching, status: status)
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
  var tallies = RecordTallies()
  private(set) var malformed: UInt64 = 0
  /// CLOCK_BOOTTIME; 0 while the command runs.
  var commandEnd: UInt64 = 0
  private var log: EventLogWriter?
  private var logError: String?
  private var lastSummary = LogSummary()

  init(log: consuming EventLogWriter?) { self.log = log }

  mutating func take(_ bytes: UnsafeRawBufferPointer, _ state: JobState) {
    guard let record = try? RecordView(validating: bytes) else {
      malformed &+= 1
      return
    }
    if commandEnd != 0, record.time > commandEnd { endCommand(state) }
    tallies.count(record)
    state.apply(record)
    guard logError == nil else { return }
    do {
      try log?.append(record, state.applied)
    } catch {
      giveUpLog(error)
    }
  }

  /// Tells the fold where the command ended, once.
  mutating func endCommand(_ state: JobState) {
    guard commandEnd != 0 else { return }
    state.commandEnded(at: commandEnd)
    commandEnd = 0
  }

  mutating func flush(now: UInt64) {
    guard logError == nil else { return }
    do {
      try log?.flushIfDue(now: now)
    } catch {
      giveUpLog(error)
    }
  }

  /// The rest of the run is still folded: a full disk costs the log, not the report.
  private mutating func giveUpLog(_ error: EventLogError) {
    logError = error.description
    if let summary = log?.summary { lastSummary = summary }
  }

  consuming func finishLog() -> (LogSummary?, String?) {
    if let logError { return (lastSummary, logError) }
    guard let log = log.take() else { return (nil, nil) }
    let before = log.summary
    do {
      return (try log.finish(), nil)
    } catch {
      return (before, error.description)
    }
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
