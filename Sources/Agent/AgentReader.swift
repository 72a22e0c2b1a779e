internal import CSystem
internal import EventLog
internal import Glibc
internal import KernelSensor
internal import Recording
internal import Supervision
internal import Synchronization

/// The thread that reads the rings, and owns the sensor and all jobs while it runs.
///
/// Sensor and recorder belong to one thread at a time: to the creator's until ``start()``, then to the reader's, and to
/// that of ``join()`` again.
final class AgentReader: @unchecked Sendable {
  /// Rings when there is an answer, and at the end.
  let doorbell: Doorbell

  private let sensor: Sensor
  private let pace: RingPace
  private let log: AgentLog
  private let interrupt: RingInterrupt
  private var recorder: AgentRecorder?
  private var thread: RunningThread?
  private let wantsStatus = Atomic<Bool>(false)
  private enum Request: Sendable {
    case report(ReportRequest)
    case run(RunRequest)
    case other(@Sendable (Sensor, inout AgentRecorder) -> Void)
  }
  private let requests = Mutex<[Request]>([])
  private let wantsEnd = Atomic<Bool>(false)
  private let isOver = Atomic<Bool>(false)
  private let isDrained = Atomic<Bool>(false)
  private let answer = Mutex<AgentStatus?>(nil)

  init(sensor: Sensor, pace: RingPace, recorder: consuming AgentRecorder, log: AgentLog) throws(SystemError) {
    self.sensor = sensor
    self.pace = pace
    self.log = log
    interrupt = sensor.rings.interrupt
    self.recorder = consume recorder
    doorbell = try Doorbell()
  }

  func start() throws(SystemError) {
    thread = try startThread("the reader's", self) { $0.read() }
  }

  /// Has a status made; ``doorbell`` rings when ``takeStatus()`` gives it.
  func askStatus() {
    wantsStatus.store(true, ordering: .releasing)
    interrupt.interrupt()
  }

  func takeStatus() -> AgentStatus? {
    answer.withLock { answer in
      defer { answer = nil }
      return answer
    }
  }

  /// Has a job's report made; the worker's desk has the answer, whatever it is.
  func ask(_ request: ReportRequest) {
    requests.withLock { $0.append(.report(request)) }
    interrupt.interrupt()
  }

  /// Has a process watched; the desk has an answer when it is, and another when its report is there.
  func ask(_ request: RunRequest) {
    requests.withLock { $0.append(.run(request)) }
    interrupt.interrupt()
  }

  /// Has something done that is about the sensor or all jobs.
  func perform(_ work: @escaping @Sendable (Sensor, inout AgentRecorder) -> Void) {
    requests.withLock { $0.append(.other(work)) }
    interrupt.interrupt()
  }

  /// Another agent has taken over, and no job is left here.
  var hasDrained: Bool { isDrained.load(ordering: .acquiring) }

  /// Takes the programs off their hooks and closes all jobs; ``doorbell`` rings then, and ``hasEnded`` is true.
  func end() {
    wantsEnd.store(true, ordering: .releasing)
    interrupt.interrupt()
  }

  var hasEnded: Bool { isOver.load(ordering: .acquiring) }

  func join() {
    guard let thread else { return }
    thread.join()
    self.thread = nil
  }

  // MARK: - The reader's thread

  private func read() {
    mt_thread_describe("martlet-reader", -10)
    do throws(SystemError) {
      try Priority.runFirst()
    } catch {
      log.say("\(error): with more work than CPUs, events may be lost, and counted")
    }
    guard var recorder = recorder.take() else { return }
    var pace = pace
    while !wantsEnd.load(ordering: .acquiring) {
      sensor.rings.wait(milliseconds: recorder.awaitsPods ? min(pace.milliseconds, 10) : pace.milliseconds)
      pace.found(sensor.rings.drain { recorder.take($0) })
      takeRequests(&recorder)
      recorder.hearNames(sensor, now: mt_boottime_ns())
      recorder.shareFound(sensor)
      recorder.takePolicies(sensor)
      recorder.releaseHeld(sensor, now: mt_boottime_ns())
      if recorder.awaitsPods { recorder.watchPods(sensor, now: mt_boottime_ns()) }
      recorder.keepHouse(sensor, now: mt_boottime_ns())
      isDrained.store(recorder.isDraining && recorder.open.isEmpty, ordering: .releasing)
      if wantsStatus.exchange(false, ordering: .acquiring) {
        let status = recorder.status(sensor)
        answer.withLock { $0 = status }
        doorbell.ring()
      }
    }
    takeRequests(&recorder)
    // First what is there, while the hooks are still on: taking them off takes as long as many events.
    repeat { sensor.rings.drain { recorder.take($0) } } while sensor.rings.hasBacklog
    let detachedAt = mt_boottime_ns()
    recorder.prober?.end()
    sensor.detach()
    sensor.rings.drainAll { recorder.take($0) }
    recorder.containers.held.releaseAll()
    recorder.closeAll(sensor, detachedAt: detachedAt)
    isOver.store(true, ordering: .releasing)
    doorbell.ring()
  }

  private func takeRequests(_ recorder: inout AgentRecorder) {
    let taken = requests.withLock { requests in
      defer { requests = [] }
      return requests
    }
    for request in taken {
      switch request {
      case .report(let request): recorder.take(request, sensor)
      case .run(let request): recorder.take(request, sensor)
      case .other(let work): work(sensor, &recorder)
      }
    }
  }
}
