internal import CSystem
internal import Glibc
internal import KernelABI
public import Observation
public import Supervision
internal import Synchronization

/// What is left to be done when the kernel side has refused something, for any number of jobs.
///
/// - A connection that was refused by its first bytes is ended: its process would wait in vain, for as long as TCP
///   tries. That takes netlink's `SOCK_DESTROY` (`CONFIG_INET_DIAG_DESTROY`), and in another network namespace than
///   martlet's CAP_SYS_ADMIN.
/// - Who is to be killed for speaking to somebody is: no program that decides about connections can do that.
///
/// Nothing leaves the machine meanwhile. It is done by a thread of its own, which may have to enter other namespaces.
public final class Aftermath: @unchecked Sendable {
  private enum Deed {
    case end(mt_connection)
    case kill(UInt32, start: UInt64)
  }

  private struct Queue {
    var deeds: [Deed] = []
    var isEnding = false
  }

  /// Deeds that wait; beyond it the reader's thread waits, so that none is left out.
  private static let room = 4096

  private let queue = Mutex(Queue())
  private let doorbell: Doorbell
  private let onFailure: @Sendable (String) -> Void
  private var thread: RunningThread?

  /// - Parameter onFailure: told in words, once each, on the thread: what cannot be done here
  public init(onFailure: @escaping @Sendable (String) -> Void) throws(SystemError) {
    self.onFailure = onFailure
    doorbell = try Doorbell()
  }

  public func start() throws(SystemError) {
    thread = try startThread("the aftermath's", self) { $0.work() }
  }

  /// Does what waits, and ends.
  public func end() {
    guard let thread else { return }
    queue.withLock { $0.isEnding = true }
    doorbell.ring()
    thread.join()
    self.thread = nil
  }

  /// Looks at a `denial`.
  public func take(_ record: RecordView) {
    let body = record.denial
    guard body.section == PolicySectionKind.network.rawValue, record.denialEffect == .prevented else { return }
    if body.action == UInt8(MT_KILL.rawValue) { put(.kill(record.tgid, start: record.leaderStart)) }
    guard body.cookie != 0 else { return }
    var connection = mt_connection()
    connection.pid = record.tgid
    connection.start = record.leaderStart
    connection.family = body.family
    connection.local_port = body.local_port
    connection.remote_port = body.port
    connection.cookie = body.cookie
    connection.local = body.local
    let v4 = Int32(body.family) == AF_INET ? AddressText.ipv4(in: body.remote) : nil
    connection.remote = v4 ?? body.remote
    put(.end(connection))
  }

  private func put(_ deed: Deed) {
    while true {
      let isTaken = queue.withLock { queue in
        guard queue.deeds.count < Self.room else { return false }
        queue.deeds.append(deed)
        return true
      }
      doorbell.ring()
      if isTaken { return }
      usleep(1_000)
    }
  }

  // MARK: - The thread

  private func work() {
    mt_thread_describe("martlet-after", 0)
    var told: Set<Int32> = []
    while true {
      let (deeds, isEnding) = queue.withLock { queue in
        defer { queue.deeds.removeAll(keepingCapacity: true) }
        return (queue.deeds, queue.isEnding)
      }
      for deed in deeds {
        let code = Self.carryOut(deed)
        // Who is gone needs nothing more.
        guard code < 0, code != -ENOENT, code != -ESRCH, told.insert(code).inserted else { continue }
        onFailure(SystemError(Self.name(deed), code: -code).description)
      }
      if !deeds.isEmpty { continue }
      if isEnding { return }
      doorbell.wait(milliseconds: -1)
    }
  }

  private static func carryOut(_ deed: Deed) -> Int32 {
    switch deed {
    case .end(var connection): mt_connection_end(&connection)
    case .kill(let pid, let start): mt_process_kill(pid, start)
    }
  }

  private static func name(_ deed: Deed) -> String {
    switch deed {
    case .end: "end a connection that the policy refused, so that its process waits until it gives up"
    case .kill(let pid, _): "kill process \(pid) for whom it speaks to"
    }
  }
}
