import CLibbpf
import CSystem
import CTestSupport
import Glibc
import KernelABI
import Observation
import Testing

@testable import KernelSensor

/// Whether this process may load programs; the reason is in the test's output if it may not.
private let canLoad: Bool = {
  do {
    try Sensor.preflight()
    return true
  } catch {
    return false
  }
}()

/// A child that has stopped itself and execs its command when it is continued.
private struct StoppedCommand {
  let pid: pid_t
  let pidfd: Int32

  init(_ command: String) throws {
    var pid: pid_t = 0
    let words = ["/bin/sh", "-c", "kill -STOP $$; \(command)"]
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    try #require(posix_spawn(&pid, "/bin/sh", nil, nil, &arguments, environ) == 0)
    self.pid = pid
    var status: Int32 = 0
    try #require(waitpid(pid, &status, WUNTRACED) == pid)
    pidfd = open_pidfd(pid)
    try #require(pidfd >= 0)
  }

  func proceed() { kill(pid, SIGCONT) }

  /// Whether it has ended; reaps it.
  func hasEnded() -> Bool {
    var status: Int32 = 0
    return waitpid(pid, &status, WNOHANG) == pid
  }
}

@Suite("The sensor on this kernel", .enabled(if: canLoad, "needs root and a kernel with BTF"), .serialized)
struct SensorTests {
  private func openSensor(bulkBytes: Int = 16 << 20) throws -> Sensor {
    var options = SensorOptions()
    options.criticalRingBytes = 1 << 20
    options.bulkRingBytes = bulkBytes
    return try Sensor(objects: [("writes", FixtureObject.bytes)], options: options)
  }

  @Test("what loads is attached, fork first; what does not is named with the kernel's reason")
  func hooks() throws {
    let sensor = try openSensor()
    #expect(sensor.hooks.map(\.program) == ["sched_process_fork", "sys_exit", "connect4"])
    #expect(
      sensor.hooks.first
        == Hook(
          family: "process", kind: "tp_btf", target: "sched_process_fork", program: "sched_process_fork"))
    #expect(sensor.hooks.last?.kind == "cgroup")
    let missing = sensor.missingHooks.map(\.reason).sorted()
    #expect(missing.count == 2)
    #expect(missing.first == "absent: this kernel does not have it")
    #expect(missing.last?.hasPrefix("refused: R") == true, "the verifier's own words")
    #expect(sensor.missingHooks.allSatisfy { $0.family == "writes" })
  }

  @Test("every record of two busy processes arrives once, in order, and the counts agree")
  func records() throws {
    let sensor = try openSensor()
    let perCommand = 60_000
    // The shell forks: the child must inherit the tag.
    let commands = try (0..<2).map { _ in
      try StoppedCommand("(dd if=/dev/zero of=/dev/null bs=1 count=\(perCommand / 2) 2>&-); true")
    }
    for (index, command) in commands.enumerated() {
      try sensor.addToJob(pidfd: command.pidfd, pid: command.pid, job: UInt16(index + 1))
    }
    var perJob = [0, 0, 0]
    var last: UInt64 = 0
    var disorder = 0
    func drain(all: Bool = false) {
      func note(_ record: UnsafeRawBufferPointer) {
        let header = record.loadUnaligned(as: mt_header.self)
        perJob[min(Int(header.job), 2)] += 1
        if header.time < last { disorder += 1 }
        last = header.time
      }
      if all { sensor.rings.drainAll(note) } else { sensor.rings.drain(note) }
    }
    for command in commands { command.proceed() }
    var running = commands
    while !running.isEmpty {
      sensor.rings.wait(milliseconds: 2)
      drain()
      running.removeAll { $0.hasEnded() }
    }
    sensor.detach()
    drain(all: true)
    for command in commands { close(command.pidfd) }

    // dd reads and writes a byte each time; the shell's own calls that return 1 do not matter here.
    #expect(perJob[0] == 0)
    #expect(perJob[1] >= perCommand && perJob[1] < perCommand + 50)
    #expect(perJob[2] >= perCommand && perJob[2] < perCommand + 50)
    let counters = try sensor.counters()
    let row = counters.types[Int(MT_CLOSE.rawValue)]
    #expect(row.seen == row.sent)
    #expect(row.sent == sensor.rings.received)
    #expect(row.lost == 0)
    #expect(counters.types.count == Int(MT_TYPE_COUNT.rawValue))
    #expect(counters.mapFull == Array(repeating: 0, count: Int(MT_MAP_COUNT.rawValue)))
    #expect(sensor.rings.sequenceGaps == 0)
    #expect(sensor.rings.malformed == 0)
    #expect(sensor.rings.late == 0)
    #expect(disorder == 0)
    #expect(sensor.rings.statistics.allSatisfy { $0.available == 0 })
    #expect(sensor.rings.statistics.contains { $0.highWater > 0 })
  }

  @Test("losses show in the kernel's count and in the numbering alike")
  func losses() throws {
    let sensor = try openSensor(bulkBytes: 64 << 10)
    let command = try StoppedCommand("exec dd if=/dev/zero of=/dev/null bs=1 count=20000 2>&-")
    defer { close(command.pidfd) }
    try sensor.addToJob(pidfd: command.pidfd, pid: command.pid, job: 1)
    command.proceed()
    while !command.hasEnded() { usleep(1000) }
    sensor.detach()
    let count = sensor.rings.drainAll { _ in }
    let row = try sensor.counters().types[Int(MT_CLOSE.rawValue)]
    #expect(row.lost > 30_000)
    #expect(row.sent == UInt64(count))
    // What was lost after the last record that got through leaves no trace in the numbering.
    #expect(sensor.rings.sequenceGaps <= row.lost)
  }

  @Test("a process of a job has a tag and an entry that agree, and leave the start time to the kernel side")
  func addToJob() throws {
    let sensor = try openSensor()
    let command = try StoppedCommand("true")
    defer { close(command.pidfd) }
    let before = mt_boottime_ns()
    try sensor.addToJob(pidfd: command.pidfd, pid: command.pid, job: 7)
    var tgid = UInt32(command.pid)
    var process = mt_process()
    #expect(try bpf_map_lookup_elem(sensor.objects.map("processes"), &tgid, &process) == 0)
    var pidfd = command.pidfd
    var tag = mt_tag()
    #expect(try bpf_map_lookup_elem(sensor.objects.map("tags"), &pidfd, &tag) == 0)
    #expect(process.job == 7 && tag.job == 7)
    #expect(tag.tgid == tgid)
    #expect(process.leader_start == 0 && tag.leader_start == 0)
    #expect(process.image == tag.image)
    #expect((before...mt_boottime_ns()).contains(tag.image))
    command.proceed()
    while !command.hasEnded() { usleep(1000) }
  }

  @Test("a job needs a number, a process, and a descriptor of one")
  func wrongJobs() throws {
    let sensor = try openSensor()
    for (job, pid) in [(UInt16(0), Int32(1)), (UInt16(MT_MAX_JOBS), 1), (1, 0), (1, -1)] {
      #expect(throws: SensorError.self) { try sensor.addToJob(pidfd: 0, pid: pid, job: job) }
    }
    let noPidfd = try #require(throws: SensorError.self) { try sensor.addToJob(pidfd: -1, pid: 1, job: 1) }
    #expect(noPidfd.code == .mapFailed)
    #expect(noPidfd.errno == EBADF)
  }

  @Test("tracepoints are told apart by their arguments")
  func signatures() throws {
    let types = try KernelTypes()
    #expect(types.objection(to: "btf_trace_sched_process_fork", wanting: "ppp") == nil, "data, parent, child")
    #expect(types.objection(to: "btf_trace_sched_process_exec", wanting: "ppip") == nil, "data, task, pid, binary")
    #expect(types.objection(to: "btf_trace_sys_exit", wanting: "ppp") != nil, "data, registers, result")
    #expect(types.objection(to: "btf_trace_sys_exit", wanting: nil) == nil)
    #expect(types.objection(to: "btf_trace_martlet", wanting: nil) != nil)
  }

  @Test("an object that is none, and one without the maps, are errors")
  func wrongObjects() throws {
    let garbage = try #require(throws: SensorError.self) {
      _ = try Sensor(objects: [("garbage", Array("no ELF".utf8))], options: SensorOptions())
    }
    #expect(garbage.code == .programRejected)
    #expect(!garbage.detail.isEmpty)
    let nothing = try #require(throws: SensorError.self) { _ = try Sensor(objects: [], options: SensorOptions()) }
    #expect(nothing.code == .mapFailed)
  }

  @Test("the same object twice shares its maps")
  func sharedMaps() throws {
    let objects = try LoadedObjects([("first", FixtureObject.bytes), ("second", FixtureObject.bytes)])
    let ring = try BulkRings(cpus: [0], byteCount: 4096)
    let settings = ObjectSettings(config: mt_config(), entries: ["inflight": 8], innerRing: ring.descriptors[0])
    var selection = HookSelection(table: [], programs: objects.contents)
    for program in ["absent", "refused"] {
      try selection.overcome(.program(program, reason: "", SensorError(.programRejected, program)))
    }
    try objects.load(selection, settings)
    #expect(objects.maps.count == 10)
    #expect(Set(objects.maps.values).count == 10)
  }

  @Test("what the kernel refuses leads to the next tier, whatever it refuses it for")
  func tiers() throws {
    let table = [
      HookFunction("process", "fork", .required, ["absent"], ["refused"], ["sched_process_fork"]),
      HookFunction("file", "write", .required, ["sys_exit", "on_close"]),
      HookFunction("network", "connect", .optional, ["refused", "connect4"]),
    ]
    let sensor = try Sensor(
      objects: [("writes", FixtureObject.bytes)], options: SensorOptions(), table: table, notes: TrialNotes())
    let fork = try #require(sensor.choices.first)
    #expect(fork.hooks.map(\.program) == ["sched_process_fork"])
    #expect(fork.passedOver.map { String($0.reason.prefix { $0 != ":" }) } == ["absent", "refused"])
    #expect(sensor.missingHooks.map(\.family) == ["network"])
    #expect(!sensor.hooks.map(\.program).contains("connect4"), "it has no part in anything else")
    #expect(sensor.provenPrograms == ["sched_process_fork", "sys_exit"])
  }

  @Test("of each program it is noted how far it came, what the verifier made of it, and why it is not used")
  func programTrials() throws {
    let table = [
      HookFunction("process", "fork", .required, ["absent"], ["refused"], ["sched_process_fork"]),
      HookFunction("file", "write", .required, ["sys_exit", "on_close"], ["connect4"]),
    ]
    let notes = TrialNotes()
    let sensor = try Sensor(
      objects: [("writes", FixtureObject.bytes)], options: SensorOptions(), table: table, notes: notes)
    let trials = Dictionary(notes.programs.map { ($0.hook.program, $0) }, uniquingKeysWith: { first, _ in first })
    #expect(notes.programs.count == 6)
    let fork = try #require(trials["sched_process_fork"])
    #expect(fork.isLoaded && fork.isAttached == true && fork.fires == true && fork.reason.isEmpty)
    let tail = try #require(trials["on_close"])
    #expect(tail.isLoaded && tail.isAttached == nil && tail.fires == nil)
    let refused = try #require(trials["refused"])
    #expect(!refused.isLoaded && refused.isAttached == false && refused.reason.hasPrefix("R"))
    #expect(refused.log.contains("processed "), "the verifier's own last words: \(refused.log)")
    #expect(trials["absent"]?.reason.contains("does not have it") == true)
    let other = try #require(trials["connect4"])
    #expect(!other.isLoaded && other.reason == "not needed: another way was taken")

    // Kernels that do not tell the number say it in the log; it is the same.
    let objects = try LoadedObjects([("writes", FixtureObject.bytes)])
    let ring = try BulkRings(cpus: [0], byteCount: 4096)
    var selection = HookSelection(table: table, programs: objects.contents)
    for program in ["absent", "refused"] {
      try selection.overcome(.program(program, reason: "", SensorError(.programRejected, program)))
    }
    let counts = try objects.counts(
      selection, ObjectSettings(config: mt_config(), entries: ["inflight": 8], innerRing: ring.descriptors[0]))
    #expect(counts.count == 3)
    for (name, count) in counts { #expect(trials[name]?.verifiedInstructions == count, "\(name)") }
    withExtendedLifetime(sensor) {}
  }

  @Test("without a tier that works for what is required there is no sensor, and the last reason is told")
  func noTier() throws {
    let table = [HookFunction("process", "fork", .required, ["absent"], ["refused"])]
    let error = try #require(throws: SensorError.self) {
      _ = try Sensor(objects: [("writes", FixtureObject.bytes)], options: SensorOptions(), table: table)
    }
    #expect(error.code == .programRejected)
    #expect(error.context.contains("refused"))
    #expect(!error.detail.isEmpty)
  }
}
