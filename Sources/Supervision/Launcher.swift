import CSystem
import Glibc

/// What martlet was started with and the command must find again: signal mask and dispositions, resource limits,
/// open descriptors. To be made first of all, while there is one thread.
public struct Inherited {
  let pointer: OpaquePointer

  public init() throws(SystemError) {
    guard let pointer = mt_inherited_read() else { throw SystemError("note the inherited state", code: errno) }
    self.pointer = pointer
  }

  /// A socket of the internet, or a packet socket, that the command is to have.
  public struct Socket: Sendable {
    public var descriptor: Int32
    /// `AF_INET`, `AF_INET6` or `AF_PACKET`; `SOCK_*`.
    public var family: Int32
    public var type: Int32
    public var isListening: Bool
    /// 16 bytes, IPv4 as IPv6, and a port of 0, where it is connected to nobody.
    public var remote: [UInt8]
    public var remotePort: UInt16
  }

  /// nil: there are more descriptors than are kept, or no /proc that tells which.
  public var sockets: [Socket]? {
    let room = 1024
    var found: [Socket]?
    withUnsafeTemporaryAllocation(of: mt_socket.self, capacity: room) { out in
      guard let base = out.baseAddress else { return }
      let count = mt_inherited_sockets(pointer, base, room)
      guard count >= 0 else { return }
      found = out.prefix(count).map { one in
        Socket(
          descriptor: one.descriptor, family: one.family, type: one.type, isListening: one.is_listening != 0,
          remote: withUnsafeBytes(of: one.remote) { Array($0) }, remotePort: one.remote_port)
      }
    }
    return found
  }
}

/// A command: bytes that are handed to exec(2) untouched.
public struct Command {
  public var arguments: [[UInt8]]
  public var environment: Environment
  /// nil: as martlet itself.
  public var user: TargetUser?

  public init(arguments: [[UInt8]], environment: Environment, user: TargetUser?) {
    self.arguments = arguments
    self.environment = environment
    self.user = user
  }

  /// The paths that execvp(3) would try, in its order.
  var candidates: [[UInt8]] {
    guard let name = arguments.first, !name.isEmpty else { return [[]] }
    let slash = UInt8(ascii: "/")
    if name.contains(slash) { return [name] }
    let path = environment[bytes: "PATH"] ?? Array("/bin:/usr/bin".utf8)
    return path.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false).map { directory in
      // An empty element is the working directory.
      directory.isEmpty ? name : Array(directory) + [slash] + name
    }
  }
}

/// Why a command did not come to run.
public struct LaunchFailure: Error, Equatable, CustomStringConvertible {
  /// As env(1) and timeout(1) have it: 127 not found, 126 found but not to be executed, 125 martlet failed.
  public let exitStatus: Int32
  public let description: String
}

/// The job's first process.
///
/// It is made before it may run: between ``init(_:inherited:)`` and ``release()`` it waits, so that the sensor
/// can be told about it. It stays in martlet's process group: what a terminal, a CI runner or a script does to
/// the group reaches it as if martlet were not there. If martlet is killed the command runs on (there is no
/// parent-death signal): losing the observer must not break a build.
public final class Child {
  public var pid: Int32 { child.pid }
  public var pidfd: Int32 { child.pidfd }

  private var child = mt_child()
  private let command: Command
  private var isReleased = false
  // The child has a copy of its own from the moment of the fork.
  private let candidates: CStrings

  /// Forks; the child waits.
  public init(_ command: Command, inherited: Inherited) throws(SystemError) {
    self.command = command
    candidates = CStrings(command.candidates)
    let arguments = CStrings(command.arguments)
    let environment = CStrings(command.environment.entries)
    let script = CStrings([Array("/bin/sh".utf8), []] + command.arguments.dropFirst())
    let groups = command.user?.groups ?? []
    let code = groups.withUnsafeBufferPointer { groups in
      var plan = mt_launch_plan(
        inherited: inherited.pointer, candidates: candidates.pointer, arguments: arguments.pointer,
        environment: environment.pointer, script_arguments: script.pointer,
        changes_user: command.user != nil, uid: command.user?.uid ?? 0, gid: command.user?.gid ?? 0,
        groups: groups.baseAddress, group_count: groups.count)
      return mt_launch_start(&plan, &child)
    }
    withExtendedLifetime((arguments, environment, script)) {}
    guard code == 0 else { throw SystemError("start a process", code: -code) }
  }

  deinit {
    if !isReleased { mt_launch_abandon(&child) }
  }

  /// Lets the command run.
  ///
  /// - Throws: ``LaunchFailure`` when it could not; the process has ended and was reaped.
  public func release() throws(LaunchFailure) {
    isReleased = true
    var failure = mt_launch_failure()
    let code = mt_launch_release(&child, &failure)
    guard code == 0, failure.stage == 0 else {
      mt_launch_abandon(&child)
      throw explain(failure, readError: -code)
    }
  }

  private func explain(_ failure: mt_launch_failure, readError: Int32) -> LaunchFailure {
    let reason = SystemError.text(of: failure.error)
    switch mt_launch_stage(UInt32(bitPattern: failure.stage)) {
    case MT_LAUNCH_RUNS:
      return LaunchFailure(
        exitStatus: 125, description: SystemError("hear from the command", code: readError).description)
    case MT_LAUNCH_LIMITS:
      return LaunchFailure(exitStatus: 125, description: "cannot restore a resource limit for the command: \(reason)")
    case MT_LAUNCH_GROUPS, MT_LAUNCH_USER, MT_LAUNCH_CAPABILITIES:
      let uid = command.user?.uid ?? 0
      return LaunchFailure(
        exitStatus: 125,
        description: "cannot become user \(uid): \(reason); in a container, are CAP_SETUID and CAP_SETGID there?")
    default:
      let name = printable(command.arguments.first ?? [])
      guard failure.error == ENOENT || failure.error == ENOTDIR else {
        return LaunchFailure(exitStatus: 126, description: "cannot run '\(name)': \(reason)")
      }
      for index in 0..<candidates.count {
        if let path = candidates.pointer[index], access(path, F_OK) == 0 {
          return LaunchFailure(
            exitStatus: 127, description: "cannot run '\(name)': the interpreter that it names does not exist")
        }
      }
      let place = command.arguments.first?.contains(UInt8(ascii: "/")) == true ? "" : " in PATH"
      return LaunchFailure(exitStatus: 127, description: "cannot run '\(name)': no such command\(place)")
    }
  }
}
