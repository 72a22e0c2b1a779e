import CLibbpf
import CSystem
import Glibc
import Synchronization

/// What it costs to hand records of 64 bytes to user space, and how long they take, by kind of ring and wake-up.
///
/// The kernel runs the program itself, as often and as fast as it can (`BPF_PROG_TEST_RUN`), so there is nothing in
/// the figures but the program. A reader takes the records at the same time and does nothing with them.
public struct TransportBench {
  /// As fast as the producers can.
  public struct Throughput: Sendable, Equatable {
    public var mode: String
    public var producers: Int
    /// CPU time of a producer for one event, wake-ups included.
    public var nanosecondsPerEvent: Double
    /// Of all producers, that the reader got.
    public var receivedPerSecond: Double
    /// From 0 to 1: events for which there was no room. One that is lost is cheaper than one that is sent.
    public var lost: Double
  }

  /// At a thousand events a second, as a build makes them: the reader sleeps in between.
  public struct Latency: Sendable, Equatable {
    public var mode: String
    /// What one event costs the process in which it happens, wake-up included.
    public var nanosecondsPerEvent: Double
    /// Nanoseconds from the hook to the reader's look.
    public var median: Double
    public var p99: Double
  }

  public struct Result: Sendable {
    public var throughput: [Throughput] = []
    public var latency: [Latency] = []
  }

  fileprivate enum Rings { case shared, perCPU, perf }

  /// How the reader waits: for a wake-up at most so many milliseconds, or without being woken.
  fileprivate enum Wait: Equatable {
    case poll(Int32)
    case sleep(UInt32)
  }

  fileprivate struct Mode {
    var name: String
    var program: String
    var rings: Rings
    var wait: Wait
  }

  private static let throughputModes = [
    Mode(name: "shared ring, default wake-up", program: "shared_default", rings: .shared, wait: .poll(10)),
    Mode(name: "shared ring, timer 1 ms", program: "shared_timer", rings: .shared, wait: .sleep(1)),
    Mode(name: "shared ring, forced per 64 KiB", program: "shared_forced", rings: .shared, wait: .poll(10)),
    Mode(name: "ring per CPU, default wake-up", program: "cpu_default", rings: .perCPU, wait: .poll(10)),
    Mode(name: "ring per CPU, timer 1 ms", program: "cpu_timer", rings: .perCPU, wait: .sleep(1)),
    Mode(name: "ring per CPU, forced per 64 KiB", program: "cpu_forced", rings: .perCPU, wait: .poll(10)),
    Mode(name: "perf buffer, default wake-up", program: "perf_default", rings: .perf, wait: .poll(10)),
  ]
  private static let latencyModes = [
    Mode(name: "ring, default wake-up", program: "cpu_default", rings: .perCPU, wait: .poll(100)),
    Mode(name: "ring, forced per 64 KiB or 10 ms", program: "cpu_forced", rings: .perCPU, wait: .poll(10)),
    Mode(name: "ring, timer 1 ms", program: "cpu_timer", rings: .perCPU, wait: .sleep(1)),
    Mode(name: "ring, timer 10 ms", program: "cpu_timer", rings: .perCPU, wait: .sleep(10)),
    Mode(name: "perf buffer, default wake-up", program: "perf_default", rings: .perf, wait: .poll(100)),
  ]
  private static let roundNanoseconds: UInt64 = 500_000_000
  private static let samples = 1000

  /// - Parameter report: told before each measurement.
  public static func run(report: (String) -> Void) throws(SensorError) -> Result {
    let online = readText("/sys/devices/system/cpu/online").map(parseCPUList) ?? [0]
    var result = Result()
    for producers in Set([1, min(online.count, 8)]).sorted() {
      for mode in throughputModes {
        report("\(mode.name), \(producers) at once")
        result.throughput.append(try throughput(mode, producers: Array(online.suffix(producers))))
      }
    }
    for mode in latencyModes {
      report("latency: \(mode.name)")
      result.latency.append(try latency(mode))
    }
    return result
  }

  private static func throughput(_ mode: Mode, producers: [Int]) throws(SensorError) -> Throughput {
    let stage = try Stage(mode)
    let reader = try stage.startReader()
    let start = monotonicNanoseconds()
    let threads = producers.map { Producer(program: stage.program, cpu: $0, until: start + roundNanoseconds) }
    for thread in threads { thread.start() }
    for thread in threads { thread.join() }
    let elapsed = Double(monotonicNanoseconds() - start)
    reader.stop()
    if let error = threads.lazy.compactMap(\.error).first {
      throw .systemCall("The kernel would not run \(mode.program)", errno: error)
    }
    let (sent, lost) = try stage.tally()
    let events = Double(threads.reduce(0) { $0 + $1.events })
    return Throughput(
      mode: mode.name, producers: producers.count,
      nanosecondsPerEvent: Double(threads.reduce(0) { $0 + $1.cpuNanoseconds }) / max(1, events),
      receivedPerSecond: Double(reader.received) / elapsed * 1e9,
      lost: Double(lost) / Double(max(1, sent + lost)))
  }

  private static func latency(_ mode: Mode) throws(SensorError) -> Latency {
    let stage = try Stage(mode)
    let reader = try stage.startReader(samples: samples)
    var total = 0.0
    for index in 0..<samples {
      // From 0.5 to 1.5 ms, so that no timer is met always at the same distance.
      usleep(UInt32(500 + (index * 7919) % 1000))
      var options = testRunOptions(repeating: 1)
      let result = testRun(stage.program, &options)
      guard result == 0 else {
        reader.stop()
        throw .systemCall("The kernel would not run \(mode.program)", errno: -result)
      }
      total += Double(options.duration)
    }
    usleep(50_000)
    reader.stop()
    let sorted = reader.latencies.sorted()
    guard !sorted.isEmpty else { throw .systemCall("No event of \(mode.program) arrived", errno: ENODATA) }
    return Latency(
      mode: mode.name, nanosecondsPerEvent: total / Double(samples), median: Double(sorted[sorted.count / 2]),
      p99: Double(sorted[min(sorted.count - 1, sorted.count * 99 / 100)]))
  }

  /// The loaded programs of one mode, and their rings.
  private final class Stage {
    let program: Int32
    private let object: OpaquePointer
    private let mode: Mode
    private let possibleCPUs: Int
    private var cpuRings: [Int32] = []

    init(_ mode: Mode) throws(SensorError) {
      self.mode = mode
      let possible = libbpf_num_possible_cpus()
      guard possible > 0 else { throw .systemCall("Could not count the possible CPUs", errno: -possible) }
      possibleCPUs = Int(possible)
      if mode.rings == .perCPU {
        for _ in 0..<possibleCPUs {
          let ring = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "cpu_ring", 0, 0, 8 << 20, nil)
          if ring >= 0 { cpuRings.append(ring) }
        }
      }
      let inner = cpuRings
      let loaded: OpaquePointer
      do throws(SensorError) {
        loaded = try BenchObject.load(configure: { object in
          guard let map = bpf_object__find_map_by_name(object, "cpu_rings") else { return }
          bpf_map__set_max_entries(map, UInt32(possible))
          if let first = inner.first { bpf_map__set_inner_map_fd(map, first) }
        }) { $0 == mode.program }
      } catch {
        for ring in inner { close(ring) }
        throw error
      }
      object = loaded
      program = bpf_program__fd(bpf_object__find_program_by_name(object, mode.program))
      let outer = bpf_object__find_map_fd_by_name(object, "cpu_rings")
      for (index, ring) in cpuRings.enumerated() {
        var key = UInt32(index)
        var value = ring
        bpf_map_update_elem(outer, &key, &value, 0)
      }
    }

    deinit {
      bpf_object__close(object)
      for ring in cpuRings { close(ring) }
    }

    func startReader(samples: Int = 0) throws(SensorError) -> Reader {
      switch mode.rings {
      case .perf:
        return try Reader(perf: bpf_object__find_map_fd_by_name(object, "perf"), mode.wait, samples: samples)
      case .shared:
        return try Reader(rings: [bpf_object__find_map_fd_by_name(object, "shared")], mode.wait, samples: samples)
      case .perCPU: return try Reader(rings: cpuRings, mode.wait, samples: samples)
      }
    }

    /// struct tally of bench.bpf.c, summed.
    func tally() throws(SensorError) -> (sent: UInt64, lost: UInt64) {
      var key: UInt32 = 0
      var values = [UInt64](repeating: 0, count: possibleCPUs * 3)
      let map = bpf_object__find_map_fd_by_name(object, "tallies")
      let result = bpf_map_lookup_elem(map, &key, &values)
      if result != 0 { throw .mapFailed("tallies", "read", errno: -result) }
      let firsts = stride(from: 0, to: values.count, by: 3)
      return (firsts.reduce(0) { $0 + values[$1] }, firsts.reduce(0) { $0 + values[$1 + 1] })
    }
  }
}

private func monotonicNanoseconds(_ clock: clockid_t = CLOCK_MONOTONIC) -> UInt64 {
  var time = timespec()
  clock_gettime(clock, &time)
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

private func testRunOptions(repeating count: Int32) -> bpf_test_run_opts {
  var options = bpf_test_run_opts()
  options.sz = MemoryLayout<bpf_test_run_opts>.size
  options.repeat = count
  return options
}

/// Runs a program that takes a packet.
private func testRun(_ program: Int32, _ options: inout bpf_test_run_opts) -> Int32 {
  let packet = [UInt8](repeating: 0, count: 64)
  return packet.withUnsafeBytes { packet in
    options.data_in = packet.baseAddress
    options.data_size_in = UInt32(packet.count)
    return bpf_prog_test_run_opts(program, &options)
  }
}

/// Runs `body` on a thread of its own; ``join()`` orders all that it did before what follows.
private class Worker: @unchecked Sendable {
  private var thread = pthread_t()
  private var isRunning = false

  func work() {}

  func start() {
    let code = pthread_create(
      &thread, nil,
      { context in
        guard let context else { return nil }
        Unmanaged<Worker>.fromOpaque(context).takeRetainedValue().work()
        return nil
      }, Unmanaged.passRetained(self).toOpaque())
    isRunning = code == 0
    if !isRunning { Unmanaged.passUnretained(self).release() }
  }

  func join() {
    if isRunning { pthread_join(thread, nil) }
    isRunning = false
  }
}

private final class Producer: Worker, @unchecked Sendable {
  private let program: Int32
  private let cpu: Int
  private let deadline: UInt64
  private(set) var events = 0
  private(set) var cpuNanoseconds: UInt64 = 0
  private(set) var error: Int32?

  init(program: Int32, cpu: Int, until deadline: UInt64) {
    self.program = program
    self.cpu = cpu
    self.deadline = deadline
  }

  override func work() {
    _ = mt_thread_pin(Int32(cpu))
    let chunk: Int32 = 10_000
    while monotonicNanoseconds() < deadline {
      let before = monotonicNanoseconds(CLOCK_THREAD_CPUTIME_ID)
      var options = testRunOptions(repeating: chunk)
      let result = testRun(program, &options)
      guard result == 0 else {
        error = -result
        return
      }
      cpuNanoseconds += monotonicNanoseconds(CLOCK_THREAD_CPUTIME_ID) - before
      events += Int(chunk)
    }
  }
}

/// Takes records until it is stopped, and notes how old the first of them were.
private final class Reader: Worker, @unchecked Sendable {
  fileprivate var received = 0
  fileprivate var latencies: [UInt64] = []
  fileprivate let samples: Int
  private let wait: TransportBench.Wait
  private let isStopped = Atomic(false)
  private var rings: OpaquePointer?
  private var perf: OpaquePointer?

  private init(_ wait: TransportBench.Wait, samples: Int, none: Void) {
    self.wait = wait
    self.samples = samples
    super.init()
    latencies.reserveCapacity(samples)
  }

  convenience init(rings maps: [Int32], _ wait: TransportBench.Wait, samples: Int) throws(SensorError) {
    self.init(wait, samples: samples, none: ())
    let context = Unmanaged.passUnretained(self).toOpaque()
    rings = maps.first.flatMap { ring_buffer__new($0, takeRingSample, context, nil) }
    guard rings != nil else { throw .systemCall("Could not read the rings", errno: errno) }
    for map in maps.dropFirst() { ring_buffer__add(rings, map, takeRingSample, context) }
    start()
  }

  convenience init(perf map: Int32, _ wait: TransportBench.Wait, samples: Int) throws(SensorError) {
    self.init(wait, samples: samples, none: ())
    // As much memory for each CPU as a ring of a CPU has.
    let pages = (8 << 20) / sysconf(Int32(_SC_PAGESIZE))
    perf = perf_buffer__new(map, pages, takePerfSample, nil, Unmanaged.passUnretained(self).toOpaque(), nil)
    guard perf != nil else { throw .systemCall("Could not read the perf buffer", errno: errno) }
    start()
  }

  deinit {
    ring_buffer__free(rings)
    perf_buffer__free(perf)
  }

  func stop() {
    isStopped.store(true, ordering: .releasing)
    join()
  }

  override func work() {
    while !isStopped.load(ordering: .acquiring) {
      switch wait {
      case .poll(let milliseconds):
        if perf != nil {
          perf_buffer__poll(perf, milliseconds)
        } else {
          ring_buffer__poll(rings, milliseconds)
          // What nobody was woken for.
          ring_buffer__consume(rings)
        }
      case .sleep(let milliseconds):
        usleep(milliseconds * 1000)
        ring_buffer__consume(rings)
      }
    }
    if rings != nil { ring_buffer__consume(rings) }
  }

  fileprivate func take(_ record: UnsafeRawPointer?) {
    received += 1
    guard latencies.count < samples, let record else { return }
    // The record begins with bpf_ktime_get_ns().
    latencies.append(monotonicNanoseconds() &- record.loadUnaligned(as: UInt64.self))
  }
}

private func takeRingSample(
  context: UnsafeMutableRawPointer?, data: UnsafeMutableRawPointer?, size: Int
) -> Int32 {
  if let context { Unmanaged<Reader>.fromOpaque(context).takeUnretainedValue().take(data) }
  return 0
}

private func takePerfSample(
  context: UnsafeMutableRawPointer?, cpu: Int32, data: UnsafeMutableRawPointer?, size: UInt32
) {
  if let context { Unmanaged<Reader>.fromOpaque(context).takeUnretainedValue().take(data) }
}
