internal import CSystem
internal import Glibc
internal import KernelABI
internal import KernelSensor
internal import Observation
internal import Supervision

/// A process as /proc shows it.
struct FoundProcess {
  var pid: UInt32
  var parent: UInt32
  /// CLOCK_BOOTTIME, to the kernel's tick.
  var startedAt: UInt64
  var comm: String
  var executable: [UInt8] = []
  var user: UInt32 = 0
  /// In the v2 hierarchy, as its own root is that of ours; nil: not known.
  var cgroup: String?
  /// Of its environment, what the rules name and what may be stored.
  var variables: [(name: String, value: [UInt8])] = []

  func value(of name: String) -> [UInt8]? { variables.first { $0.name == name }?.value }

  /// Whether all that the rule names is so, as the kernel side asks it of a process that execs.
  func satisfies(_ rule: JobRule) -> Bool {
    if let comm = rule.comm, String(decoding: comm.utf8.prefix(Int(MT_COMM_MAX) - 1), as: UTF8.self) != self.comm {
      return false
    }
    if let user = rule.uid, user != self.user { return false }
    if let path = rule.path {
      let wanted = Array(path.utf8)
      if wanted.first == UInt8(ascii: "/") {
        if executable != wanted { return false }
      } else if !(executable.count > wanted.count && executable.suffix(wanted.count).elementsEqual(wanted)
        && executable[executable.count - wanted.count - 1] == UInt8(ascii: "/"))
      {
        return false
      }
    }
    if let prefix = rule.cgroupPrefix, !"\(cgroup ?? "")/".hasPrefix(prefix) { return false }
    if rule.comm == nil, rule.path == nil, rule.cgroup == nil, rule.markers.isEmpty { return false }
    return rule.markers.allSatisfy { value(of: $0) != nil }
  }

  /// A claim that tells the process' program, too.
  func record(slot: UInt16, start: UInt64, body: mt_claim, now: UInt64) -> RecordBuilder {
    var builder = RecordBuilder(.claim, time: now, tgid: pid, leaderStart: start)
    builder.job = slot
    builder.setBody(body)
    builder.setString(.comm, comm.utf8)
    builder.setString(.exe, executable)
    if let directory = ProcessScan.link("/proc/\(pid)/cwd") {
      builder.setString(.cwd, directory.suffix(Int(MT_PATH_MAX)))
    }
    let arguments = ProcessScan.file("/proc/\(pid)/cmdline", limit: Int(MT_ARGV_MAX) + 1)
    if arguments.count > MT_ARGV_MAX { builder.flags.insert(.truncated) }
    builder.setString(.argv, arguments.prefix(Int(MT_ARGV_MAX)))
    for (name, value) in variables where stored.contains(name) {
      builder.setString(.variable, Array("\(name)=".utf8) + value.prefix(Int(MT_VARIABLE_VALUE_MAX)))
    }
    return builder
  }

  /// Names of variables that may be stored.
  fileprivate(set) var stored: Set<String> = []
}

/// All processes of the machine at one moment, for those that were there before the sensor.
struct ProcessScan {
  private var processes: [UInt32: FoundProcess] = [:]
  /// Processes that may not be looked at: whose they are cannot be told.
  private(set) var unreadable = 0
  private let variables: Set<String>
  private let stored: Set<String>
  private let wantsCgroups: Bool

  init(_ configuration: AgentConfiguration) {
    stored = Set(configuration.storedVariables)
    wantsCgroups = configuration.rules.contains { $0.match.cgroup != nil }
    variables = stored.union(configuration.rules.flatMap { $0.match.markers + ($0.match.key.map { [$0] } ?? []) })
    for pid in Self.pids() {
      if let process = find(pid) {
        processes[pid] = process
      } else if access("/proc/\(pid)", F_OK) == 0, Self.isForbidden("/proc/\(pid)/exe") {
        unreadable += 1
      }
    }
  }

  func process(_ pid: UInt32) -> FoundProcess? { processes[pid] ?? find(pid) }

  /// Those that a rule holds for and that none of their ancestors is one of, the oldest first; and which rule.
  ///
  /// Rules without markers come first, as in the kernel.
  func first(_ rules: [JobRule]) -> [(process: FoundProcess, rule: Int)] {
    let order =
      rules.indices.filter { rules[$0].markers.isEmpty } + rules.indices.filter { !rules[$0].markers.isEmpty }
    let matched = processes.compactMapValues { process in order.first { process.satisfies(rules[$0]) } }
    return matched.filter { pid, _ in
      var next = processes[pid]?.parent ?? 0
      // Bounded: processes can have been reused between two looks.
      for _ in 0..<4096 {
        if next == 0 { return true }
        if matched[next] != nil { return false }
        next = processes[next]?.parent ?? 0
      }
      return true
    }.compactMap { pid, rule in processes[pid].map { ($0, rule) } }
      .sorted { ($0.process.startedAt, $0.process.pid) < ($1.process.startedAt, $1.process.pid) }
  }

  /// Still the process that was found.
  static func isThere(_ process: FoundProcess) -> Bool { stat(of: process.pid)?.startedAt == process.startedAt }

  // MARK: - /proc

  private func find(_ pid: UInt32) -> FoundProcess? {
    guard let found = Self.stat(of: pid), let executable = Self.link("/proc/\(pid)/exe") else { return nil }
    var process = FoundProcess(pid: pid, parent: found.parent, startedAt: found.startedAt, comm: found.comm)
    process.executable = Array(executable)
    process.user = Self.user(of: pid)
    process.cgroup = wantsCgroups ? Self.cgroup(of: pid).map { String(decoding: $0, as: UTF8.self) } : nil
    process.stored = stored
    for entry in Self.file("/proc/\(pid)/environ", limit: 4 << 20).split(separator: 0) {
      guard let equals = entry.firstIndex(of: UInt8(ascii: "=")) else { continue }
      let name = String(decoding: entry[..<equals], as: UTF8.self)
      if variables.contains(name) { process.variables.append((name, Array(entry[(equals + 1)...]))) }
    }
    return process
  }

  /// Of a process in its line `0::/path`.
  static func cgroup(of pid: UInt32) -> [UInt8]? {
    file("/proc/\(pid)/cgroup", limit: 1 << 16).split(separator: UInt8(ascii: "\n"))
      .first { $0.starts(with: "0::/".utf8) }.map { Array($0.dropFirst(3)) }
  }

  static func pids() -> [UInt32] { DirectoryNames.of("/proc").compactMap { UInt32($0) } }

  /// `PID (COMM) STATE PARENT …`, where COMM can hold anything; the start is field 22, in ticks since boot.
  static func stat(of pid: UInt32) -> (comm: String, isStopped: Bool, parent: UInt32, startedAt: UInt64)? {
    let bytes = file("/proc/\(pid)/stat", limit: 4096)
    guard let open = bytes.firstIndex(of: UInt8(ascii: "(")), let close = bytes.lastIndex(of: UInt8(ascii: ")")),
      open < close
    else { return nil }
    let fields = bytes[(close + 1)...].split(separator: UInt8(ascii: " "))
    func number(_ index: Int) -> UInt64? {
      fields.indices.contains(index) ? UInt64(String(decoding: fields[index], as: UTF8.self)) : nil
    }
    guard let parent = number(1), let ticks = number(19) else { return nil }
    let perSecond = UInt64(max(1, sysconf(Int32(_SC_CLK_TCK))))
    let (whole, rest) = ticks.quotientAndRemainder(dividingBy: perSecond)
    let started = whole &* 1_000_000_000 &+ rest &* 1_000_000_000 / perSecond
    return (
      String(decoding: bytes[(open + 1)..<close], as: UTF8.self), fields[0].elementsEqual("T".utf8),
      UInt32(clamping: parent), started
    )
  }

  /// The effective one, of `Uid: real effective saved file-system`.
  static func user(of pid: UInt32) -> UInt32 {
    for line in file("/proc/\(pid)/status", limit: 8192).split(separator: UInt8(ascii: "\n"))
    where line.starts(with: "Uid:".utf8) {
      let fields = line.split { $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: " ") }
      if fields.count > 2, let user = UInt32(String(decoding: fields[2], as: UTF8.self)) { return user }
    }
    return UInt32.max
  }

  /// Finds variables in the environment of a process; none, if it has ended by now.
  ///
  /// - Parameter startedAt: CLOCK_BOOTTIME, as the kernel keeps it
  static func variables(of pid: UInt32, startedAt: UInt64) -> @Sendable (String) -> [UInt8]? {
    let environment = file("/proc/\(pid)/environ", limit: 256 << 10)
    guard isThere(pid, startedAt: startedAt) else { return { _ in nil } }
    return { name in environment.split(separator: 0).lazy.compactMap { Variable.value(of: name, in: $0) }.first }
  }

  /// Whether that number is this very process'.
  ///
  /// - Parameter startedAt: CLOCK_BOOTTIME, as the kernel keeps it
  static func isThere(_ pid: UInt32, startedAt: UInt64) -> Bool {
    // The kernel tells it in ticks.
    guard let found = stat(of: pid)?.startedAt else { return false }
    return found <= startedAt && startedAt &- found < 20_000_000
  }

  static func file(_ path: String, limit: Int) -> [UInt8] { FileContents.read(path: path, atMost: limit) }

  private static func isForbidden(_ link: String) -> Bool {
    self.link(link) == nil && [EACCES, EPERM].contains(errno)
  }

  static func link(_ path: String) -> [UInt8]? { FileContents.link(path) }
}

/// `NAME=value`, as environments have it.
enum Variable {
  /// nil: it is another one's entry.
  static func value(of name: String, in entry: some Collection<UInt8>) -> [UInt8]? {
    let start = Array("\(name)=".utf8)
    return entry.starts(with: start) ? Array(entry.dropFirst(start.count)) : nil
  }
}
