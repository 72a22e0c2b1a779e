import Glibc

/// What may keep even root from using bpf(2), as far as a process can see it from inside.
struct Confinement: Equatable {
  /// "none", "integrity" or "confidentiality"; nil if the kernel has no lockdown.
  var lockdown: String?
  /// Whether a seccomp filter applies.
  var isFiltered = false
  /// Whether the process is root only in a user namespace of its own.
  var isInUserNamespace = false

  /// - Parameters:
  ///   - lockdown: `/sys/kernel/security/lockdown`, as in `none [integrity] confidentiality`
  ///   - status: `/proc/self/status`
  ///   - userMap: `/proc/self/uid_map`
  init(lockdown: String?, status: String?, userMap: String?) {
    if let lockdown, let open = lockdown.firstIndex(of: "["), let close = lockdown[open...].firstIndex(of: "]") {
      self.lockdown = String(lockdown[lockdown.index(after: open)..<close])
    }
    isFiltered = status.flatMap { statusField("Seccomp", in: $0) } == "2"
    if let userMap {
      // The initial namespace maps all 2^32 - 1 ids to themselves.
      isInUserNamespace = userMap.split(whereSeparator: \.isWhitespace) != ["0", "0", "4294967295"]
    }
  }

  static func ofThisProcess() -> Confinement {
    Confinement(
      lockdown: readText("/sys/kernel/security/lockdown"), status: readText("/proc/self/status"),
      userMap: readText("/proc/self/uid_map"))
  }

  /// What to do, without a full stop.
  var explanation: String {
    if isInUserNamespace {
      return "This process is root only inside a user namespace (an unprivileged container): "
        + "run martlet on the host or in a privileged container"
    }
    if lockdown == "confidentiality" {
      return "Kernel lockdown is in confidentiality mode, which forbids reading kernel memory: "
        + "boot with lockdown=integrity or less"
    }
    if isFiltered {
      return "A seccomp filter applies to this process, as in a default container: "
        + "allow bpf(2) in its profile, or run the container with --privileged"
    }
    return "No lockdown, seccomp filter or user namespace is in force here, so a security module or the kernel's "
      + "configuration refuses it: see the kernel log"
  }
}

/// A capability by its number in capability.h.
struct Capability: Equatable {
  var number: Int
  var name: String

  static let netAdmin = Capability(number: 12, name: "CAP_NET_ADMIN")
  static let sysAdmin = Capability(number: 21, name: "CAP_SYS_ADMIN")
  static let sysResource = Capability(number: 24, name: "CAP_SYS_RESOURCE")
  static let perfmon = Capability(number: 38, name: "CAP_PERFMON")
  static let bpf = Capability(number: 39, name: "CAP_BPF")

  /// What a process with the effective set of `status` still needs: nothing with CAP_SYS_ADMIN, else the
  /// three parts that were split off it. CAP_NET_ADMIN is for the programs on cgroups.
  static func missing(status: String) -> [Capability] {
    Capability.sysAdmin.isEffective(status: status)
      ? [] : [.bpf, .perfmon, .netAdmin].filter { !$0.isEffective(status: status) }
  }

  /// - Parameter status: `/proc/self/status`
  func isEffective(status: String) -> Bool {
    let effective = statusField("CapEff", in: status).flatMap { UInt64($0, radix: 16) } ?? 0
    return effective >> UInt64(number) & 1 == 1
  }
}

/// The value of a `Name:\tvalue` line, as in `/proc/self/status`.
func statusField(_ name: String, in status: String) -> String? {
  for line in status.split(separator: "\n") {
    guard let colon = line.firstIndex(of: ":"), line[..<colon] == name else { continue }
    return line[line.index(after: colon)...].filter { !$0.isWhitespace }
  }
  return nil
}
