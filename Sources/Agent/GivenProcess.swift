internal import CSystem
internal import Glibc
internal import Observation
internal import Supervision

/// A process that a user gives to the agent to be watched: a child of the user's own that cannot become anything else.
///
/// A report tells its reader what was opened, executed and connected to, so nobody may have another's process watched. What is
/// said of it holds for the very process: it is read while a descriptor is held, and the process lives after that. Its parent
/// is held, too, so the number that /proc has for that is its own.
final class GivenProcess: Sendable {
  let pid: UInt32
  let pidfd: Int32

  /// - Parameter peer: who gives it
  /// - Throws: why it is not to be watched for who asks
  init(_ pid: UInt32, of peer: PeerProcess) throws(RunRefusal) {
    self.pid = pid
    pidfd = mt_pidfd_open(pid_t(pid))
    guard pidfd >= 0 else { throw RunRefusal("there is no process \(pid)") }
    let status = ProcessStatus(of: pid)
    guard mt_pidfd_has_ended(pidfd) == 0, mt_pidfd_has_ended(peer.pidfd) == 0 else {
      throw RunRefusal("the process \(pid) has ended")
    }
    guard status.parent == peer.pid else { throw RunRefusal("the process \(pid) is no child of who asks") }
    // Real, effective, saved, of the file system.
    guard status.users == Array(repeating: peer.user, count: 4), status.groups == Array(repeating: peer.group, count: 4)
    else { throw RunRefusal("the process \(pid) is not only of the user and the group that ask") }
    // What only root may see is not seen in the name of others: sudo in it would be root's.
    guard peer.user == 0 || status.gainsNothing && status.hasNoCapabilities else {
      throw RunRefusal("the process \(pid) could become more than the user that asks is (PR_SET_NO_NEW_PRIVS)")
    }
  }

  deinit { if pidfd >= 0 { close(pidfd) } }
}

struct RunRefusal: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// Of /proc/PID/status, what says whose a process is and what it can become. What cannot be read is nobody's.
struct ProcessStatus {
  private(set) var parent: UInt32?
  private(set) var users: [UInt32] = []
  private(set) var groups: [UInt32] = []
  private(set) var gainsNothing = false
  private(set) var hasNoCapabilities = false

  init(of pid: UInt32) { self.init(ProcessScan.file("/proc/\(pid)/status", limit: 1 << 16)) }

  init(_ text: [UInt8]) {
    var capabilities: [String: Bool] = [:]
    for line in text.split(separator: UInt8(ascii: "\n")) {
      guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { continue }
      let fields = line[(colon + 1)...].split { $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: " ") }
        .map { String(decoding: $0, as: UTF8.self) }
      switch String(decoding: line[..<colon], as: UTF8.self) {
      case "PPid": parent = fields.first.flatMap { UInt32($0) }
      case "Uid": users = fields.compactMap { UInt32($0) }
      case "Gid": groups = fields.compactMap { UInt32($0) }
      case "NoNewPrivs": gainsNothing = fields == ["1"]
      case "CapPrm": capabilities["permitted"] = fields.first.flatMap { UInt64($0, radix: 16) } == 0
      case "CapEff": capabilities["effective"] = fields.first.flatMap { UInt64($0, radix: 16) } == 0
      default: break
      }
    }
    hasNoCapabilities = capabilities == ["permitted": true, "effective": true]
  }
}

extension RunWishes {
  /// What this agent does for nobody is refused, and not missing in the report.
  func check(_ configuration: AgentConfiguration) throws(RunRefusal) {
    guard !hashes || configuration.hashes else { throw RunRefusal("the agent hashes nothing (--hashes)") }
    guard !requests || configuration.requests else {
      throw RunRefusal(
        "the agent that runs here tells no requests (--requests): its configuration has to say 'requests: true'")
    }
    let filter = configuration.filters.first { $0.rules.contains(RulesPolicy.run) }?.filter
    guard !requests || !(filter?.events.contains(.network) ?? false) else {
      throw RunRefusal("the agent's filter for 'run' leaves out the network, and requests with it (--requests)")
    }
  }
}

/// Somebody wants a process watched and its report handed over.
struct RunRequest: Sendable {
  var report: ReportRequest
  var peer: PeerProcess
  var process: GivenProcess
  /// nil: that of the configuration, whatever its directory is.
  var policy: RunPolicy?
}
