internal import CSystem
internal import Glibc
internal import KernelABI
internal import Observation

/// What the kernel side has stopped at its exec, in a container of which it was not known whose it is: it goes on when its
/// policy is in force, before its first instruction.
struct HeldProcesses {
  private struct Held {
    var slot: UInt16
    var pid: UInt32
    /// CLOCK_BOOTTIME, as the kernel keeps it.
    var startedAt: UInt64
    var since: UInt64
    /// When it was let go on first; 0: it was not.
    var continuedAt: UInt64 = 0

    func isLate(_ now: UInt64) -> Bool { continuedAt == 0 && now &- since > HeldProcesses.patience }
    func resume() { HeldProcesses.resume(pid, startedAt: startedAt) }
  }

  /// How long a process waits at most. What nobody in a job asked for waits so long, too.
  static let patience: UInt64 = 2_000_000_000
  /// The record comes before the signal does, which may take until the next tick: it is taken back twice.
  private static let settled: UInt64 = 100_000_000

  private var held: [Held] = []

  var isEmpty: Bool { held.isEmpty }

  mutating func note(_ record: RecordView) {
    held.append(Held(slot: record.job, pid: record.tgid, startedAt: record.leaderStart, since: record.time))
  }

  /// Slots in which something has waited in vain.
  func late(now: UInt64) -> Set<UInt16> { Set(held.lazy.filter { $0.isLate(now) }.map(\.slot)) }

  /// Lets those go on for which nothing is waited for any more.
  ///
  /// - Parameter isSettled: whether it is known under which policy that slot is
  mutating func release(now: UInt64, _ isSettled: (UInt16) -> Bool) {
    for index in held.indices
    where held[index].isLate(now) || held[index].continuedAt == 0 && isSettled(held[index].slot) {
      held[index].resume()
      held[index].continuedAt = max(1, now)
    }
    held.removeAll { one in
      guard one.continuedAt != 0, now &- one.continuedAt > Self.settled else { return false }
      one.resume()
      return true
    }
  }

  /// Nobody is left who would.
  mutating func releaseAll() {
    for one in held { one.resume() }
    held = []
  }

  private static func resume(_ pid: UInt32, startedAt: UInt64) {
    let pidfd = mt_pidfd_open(pid_t(pid))
    guard pidfd >= 0 else { return }
    defer { close(pidfd) }
    guard ProcessScan.isThere(pid, startedAt: startedAt) else { return }
    _ = mt_pidfd_signal(pidfd, SIGCONT)
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
      resume(pid, startedAt: process.startedAt)
      return true
    }
    if leftOver.isEmpty { return }
    log.say(
      "stopped in containers, as by an agent that was killed; let go on: \(leftOver.map(String.init).joined(separator: ", "))"
    )
  }
}

extension RecordView {
  /// Whether it tells of a program that waits to be let go on.
  var isHeld: Bool { type == .exec && exec.exec_flags & MT_EXEC_HELD.rawValue != 0 }
}
