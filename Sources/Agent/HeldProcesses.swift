internal import CSystem
internal import Glibc
internal import KernelABI
internal import Observation
internal import Policy

/// What the kernel side has stopped at its exec, in a container of which it was not known whose it is: it goes on when its
/// policy is in force, before its first instruction.
struct HeldProcesses {
  struct Held {
    var slot: UInt16
    var pid: UInt32
    /// CLOCK_BOOTTIME, as the kernel keeps it.
    var startedAt: UInt64
    var since: UInt64
    /// What it is about to run. The kernel side has not judged that: it was executed under nobody's policy.
    var program: HeldProgram
    /// When it was let go on, or ended, first; 0: it was not.
    fileprivate(set) var endedAt: UInt64 = 0
    fileprivate var signal = SIGCONT

    func isLate(_ now: UInt64) -> Bool { now &- since > HeldProcesses.patience }
    fileprivate func send() { HeldProcesses.send(signal, pid, startedAt: startedAt) }
  }

  /// How long a process waits at most. What nobody in a job asked for waits so long, too.
  static let patience: UInt64 = 2_000_000_000
  /// The record comes before the signal does, which may take until the next tick: it is taken back twice.
  private static let settled: UInt64 = 100_000_000

  private var held: [Held] = []

  var isEmpty: Bool { held.isEmpty }
  /// Those that were not let go on.
  var waiting: [Held] { held.filter { $0.endedAt == 0 } }

  mutating func note(_ record: RecordView) {
    held.append(
      Held(
        slot: record.job, pid: record.tgid, startedAt: record.leaderStart, since: record.time,
        program: HeldProgram(record)))
  }

  /// Lets one go on, or ends it before its first instruction.
  mutating func end(_ one: Held, isRefused: Bool, now: UInt64) {
    guard let index = held.firstIndex(where: { $0.pid == one.pid && $0.startedAt == one.startedAt }) else { return }
    held[index].signal = isRefused ? SIGKILL : SIGCONT
    held[index].endedAt = max(1, now)
    held[index].send()
  }

  /// To be called every few milliseconds.
  mutating func settle(now: UInt64) {
    held.removeAll { one in
      guard one.endedAt != 0, now &- one.endedAt > Self.settled else { return false }
      one.send()
      return true
    }
  }

  /// Nobody is left who would.
  mutating func releaseAll() {
    for one in held { one.send() }
    held = []
  }

  private static func send(_ signal: Int32, _ pid: UInt32, startedAt: UInt64) {
    let pidfd = mt_pidfd_open(pid_t(pid))
    guard pidfd >= 0 else { return }
    defer { close(pidfd) }
    guard ProcessScan.isThere(pid, startedAt: startedAt) else { return }
    _ = mt_pidfd_signal(pidfd, signal)
  }

  func contains(_ pid: UInt32) -> Bool { held.contains { $0.pid == pid } }

  /// Lets go on what an agent had stopped that was killed: what is stopped in a container.
  ///
  /// - Parameter isHeld: by this agent
  static func releaseLeftOver(_ log: AgentLog, but isHeld: (_ pid: UInt32) -> Bool = { _ in false }) {
    let leftOver = ProcessScan.pids().filter { pid in
      guard !isHeld(pid), let process = ProcessScan.stat(of: pid), process.isStopped,
        let cgroup = ProcessScan.cgroup(of: pid), ContainerName(cgroup: cgroup) != nil
      else { return false }
      send(SIGCONT, pid, startedAt: process.startedAt)
      return true
    }
    if leftOver.isEmpty { return }
    log.say(
      "stopped in containers, as by an agent that was killed; let go on: \(leftOver.map(String.init).joined(separator: ", "))"
    )
  }
}

/// The first program of a container, as its exec was told.
struct HeldProgram {
  /// It and, of a script, its interpreter.
  private(set) var files: [PolicyExecutable]
  let identity: mt_file

  init(_ record: RecordView) {
    func text(_ name: RecordString) -> String? { record.string(name).map { String(decoding: $0, as: UTF8.self) } }
    let flags = record.exec.exec_flags
    var image = PolicyExecutable(path: text(.exe) ?? "")
    image.isWithoutPlace = flags & (MT_EXEC_MEMFD.rawValue | MT_EXEC_DELETED.rawValue) != 0
    // Another name of the program itself is no harm: what is said of either counts.
    files = image.executed(as: text(.filename), in: text(.cwd) ?? "")
    identity = record.exec.file
  }

  /// Files that are longer have no hash here, which no rule matches.
  private static let limit = 256 << 20

  /// Finds out what the files hash to, as the process that waits has them.
  mutating func hash(as pid: UInt32) {
    for index in files.indices {
      let path = index == 0 ? "/proc/\(pid)/exe" : "/proc/\(pid)/root\(files[index].path)"
      let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
      guard descriptor >= 0 else { continue }
      defer { close(descriptor) }
      files[index].sha256 = SHA256.ofFile(descriptor, atMost: Self.limit)
    }
  }
}

extension RecordView {
  /// Whether it tells of a program that waits to be let go on.
  var isHeld: Bool { type == .exec && exec.exec_flags & MT_EXEC_HELD.rawValue != 0 }
}
