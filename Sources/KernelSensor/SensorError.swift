import Glibc

/// Why the sensor cannot watch, and what to do about it.
///
/// ``description`` is made for a person who runs martlet; ``code`` for a program that has to decide.
///
/// ```swift
/// do {
///   try Sensor.preflight()
/// } catch {
///   print(error.code.rawValue, error)
/// }
/// ```
public struct SensorError: Error, Sendable {
  /// The kind of failure.
  public enum Code: String, Sendable, CaseIterable {
    /// Capabilities are missing.
    case notRoot
    /// The kernel does not publish its own types.
    case noBTF
    /// A feature that martlet cannot do without does not exist in this kernel.
    case kernelTooOld
    /// The kernel refuses bpf(2) in spite of sufficient capabilities.
    case bpfRefused
    /// No cgroup v2 hierarchy is mounted.
    case cgroup2Missing
    /// The kernel refused a program; ``SensorError/detail`` holds the end of the verifier's log.
    case programRejected
    /// A map could not be made, read or written.
    case mapFailed
    /// A program is loaded but could not be attached.
    case attachFailed
    /// A tier of hooks was asked for by which nothing can be seen here.
    case tierUnavailable
    /// Memory for a map or a ring was refused.
    case memoryLimit
    /// A policy that the kernel side cannot hold.
    case policyRefused
    /// A system call failed that has nothing to do with BPF.
    case systemCallFailed
  }

  public let code: Code
  /// What was missing or failed, as a sentence without its full stop.
  public let context: String
  /// The kernel's errno, if it gave one.
  public let errno: Int32?
  /// What to do about it, as a sentence without its full stop; may be empty.
  public let advice: String
  /// The last lines of the verifier's or libbpf's log; empty where there is none.
  public let detail: String

  init(_ code: Code, _ context: String, errno: Int32? = nil, advice: String = "", detail: String = "") {
    self.code = code
    self.context = context
    self.errno = errno
    self.advice = advice
    self.detail = detail
  }
}

extension SensorError: CustomStringConvertible {
  /// One or two plain sentences: what is missing, and what to do.
  public var description: String {
    var text = context
    if let errno { text += ": \(errorText(errno))" }
    text += "."
    if !advice.isEmpty { text += " \(advice)." }
    return text
  }
}

extension SensorError {
  static func notRoot(missing: [Capability]) -> SensorError {
    let names = missing.map(\.name)
    return SensorError(
      .notRoot, "Loading the kernel programs takes \(names.joined(separator: ", ")), which this process lacks",
      advice: "Run martlet as root, or start its container with these capabilities")
  }

  /// - Parameters:
  ///   - reason: what stands in the way of the first program of the tier; nil if martlet has no program of it
  ///   - all: likewise of each
  static func noHooks(of tier: HookTier, reason: String?, all: [String]) -> SensorError {
    let name = tier.rawValue
    let context =
      reason.map { "Nothing can be seen by \(name) hooks here, which --hooks asks for: \($0)" }
      ?? "martlet sees nothing by \(name) hooks, which --hooks asks for: it has no programs of that kind"
    return SensorError(
      .tierUnavailable, context, advice: "Ask for another kind, or leave the choice to martlet",
      detail: all.joined(separator: "\n"))
  }

  static func mapFailed(_ name: String, _ doing: String, errno: Int32) -> SensorError {
    if errno == ENOMEM { return memoryLimit("The kernel map \(name)", errno: errno) }
    if errno == EPERM { return bpfRefused("The kernel refused to \(doing) the map \(name)", errno: errno) }
    return SensorError(.mapFailed, "Could not \(doing) the kernel map \(name)", errno: errno)
  }

  static func memoryLimit(_ what: String, errno: Int32) -> SensorError {
    SensorError(
      .memoryLimit, "\(what) does not fit into the memory that this process may use", errno: errno,
      advice: "Raise the memory limit of the container or service, or ask for smaller rings with --ring-size")
  }

  static func missing(map name: String) -> SensorError {
    SensorError(.mapFailed, "The kernel programs have no map named \(name): martlet was built from mismatched parts")
  }

  static func systemCall(_ what: String, errno: Int32) -> SensorError {
    SensorError(.systemCallFailed, what, errno: errno)
  }

  /// bpf(2) said no although the capabilities are there: says which of the usual reasons holds here.
  static func bpfRefused(_ context: String, errno: Int32, detail: String = "") -> SensorError {
    let hint = Confinement.ofThisProcess().explanation
    return SensorError(.bpfRefused, context, errno: errno, advice: hint, detail: detail)
  }
}
