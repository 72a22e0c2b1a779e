import CSystem
import Glibc

/// The signals sent to martlet, taken from their usual course so that they can be handed to the command.
public struct Signals {
  let descriptor: Int32

  /// Blocks them in this thread and in those that it starts later: to be made while there is one thread, after
  /// ``Inherited``.
  public init() throws(SystemError) {
    var descriptor: Int32 = -1
    let code = mt_signals_take(&descriptor)
    guard code == 0 else { throw SystemError("take over the signals", code: -code) }
    self.descriptor = descriptor
  }

  /// Takes what has come before the command runs: the signal by which somebody wants martlet to end, or nil.
  ///
  /// Such a signal must not be kept for the command: what the terminal sent before the command existed would not be
  /// handed on to it at all.
  public func endWanted(inherited: Inherited) throws(SystemError) -> Int32? {
    while let signal = try next() {
      guard [SIGINT, SIGTERM, SIGHUP, SIGQUIT].contains(signal.number) else { continue }
      if !mt_inherited_ignores(inherited.pointer, signal.number) { return signal.number }
    }
    return nil
  }

  func next() throws(SystemError) -> mt_signal? {
    var signal = mt_signal()
    let code = mt_signal_read(descriptor, &signal)
    guard code >= 0 else { throw SystemError("read a signal", code: -code) }
    return code == 0 ? nil : signal
  }
}

/// Follows the command until it ends: hands it martlet's signals, and stops and continues with it.
///
/// - A signal that a process sent to martlet alone goes to the command, as often as it comes. One that the
///   terminal sent went to the whole process group, the command included, and is not handed on. Nor is one that
///   the job itself sent: `kill 0` in a script has reached the command already.
/// - When the command is stopped (Ctrl-Z, or reading the terminal from the background) martlet stops too, so that
///   the shell takes the terminal back, but only where there is a terminal: elsewhere nobody would continue it.
public struct Supervisor {
  private let child: Child
  private let signals: Signals
  private let terminal: Terminal?
  private var wasInterrupted = false

  public init(child: Child, signals: Signals, terminal: Terminal?) {
    self.child = child
    self.signals = signals
    self.terminal = terminal
  }

  /// Returns when the command has ended, after reaping it.
  ///
  /// - Parameter text: the line for `status`, asked for when it is due.
  public mutating func waitForEnd(status: inout LiveStatus, text: () -> String) throws(SystemError) -> WaitStatus {
    while true {
      let ready = mt_poll(signals.descriptor, child.pidfd, status.interval)
      guard ready >= 0 else { throw SystemError("wait for the command", code: -ready) }
      if ready == 0 {
        status.show(text())
        continue
      }
      while let signal = try signals.next() { forward(signal) }
      if let ended = try reap(status: &status) { return ended }
    }
  }

  /// Ends martlet, after everything else is done, as Ctrl-C ended the command.
  ///
  /// A shell that runs a script ends it on Ctrl-C only if the program that it waits for died of the signal: one that
  /// exits with 130, which is what the shell reports either way, tells it that the interrupt was dealt with. Returns
  /// if it was not Ctrl-C.
  public func dieIfInterrupted(_ status: WaitStatus) {
    guard wasInterrupted, status.endSignal == SIGINT else { return }
    mt_obey(SIGINT)
  }

  private mutating func forward(_ signal: mt_signal) {
    guard signal.number != SIGCHLD, signal.sender != getpid() else { return }
    if signal.from_kernel, getpgid(child.pid) == getpgrp() {
      if signal.number == SIGINT { wasInterrupted = true }
      return
    }
    if signal.sender != 0, ProcessTree.isProcess(signal.sender, descendantOf: child.pid) { return }
    // It may have ended meanwhile, which the next look will tell.
    _ = mt_pidfd_signal(child.pidfd, signal.number)
  }

  private func reap(status: inout LiveStatus) throws(SystemError) -> WaitStatus? {
    while true {
      var raw: Int32 = 0
      let code = mt_wait(child.pid, &raw)
      guard code >= 0 else { throw SystemError("wait for the command", code: -code) }
      guard code > 0 else { return nil }
      let change = WaitStatus(raw: raw)
      guard let signal = change.stopSignal else { return change }
      stop(with: signal, status: &status)
    }
  }

  private func stop(with signal: Int32, status: inout LiveStatus) {
    guard terminal != nil, ProcessTree.isStopped(child.pid) else { return }
    status.hide()
    // The kernel drops SIGTSTP, unlike SIGSTOP, where no shell could continue us.
    mt_obey(signal == SIGSTOP ? SIGTSTP : signal)
  }
}

/// Answers from /proc/PID/stat.
enum ProcessTree {
  /// `pid` is `ancestor` or was started by it, directly or not; false if it is gone.
  static func isProcess(_ pid: Int32, descendantOf ancestor: Int32) -> Bool {
    var current = pid
    // The kernel's own chains are short; a bound, because pids can be reused while we walk.
    for _ in 0..<4096 {
      if current == ancestor { return true }
      guard current > 1, let parent = stat(of: current)?.parent else { return false }
      current = parent
    }
    return false
  }

  /// By a job-control signal, and not continued since.
  static func isStopped(_ pid: Int32) -> Bool { stat(of: pid)?.state == UInt8(ascii: "T") }

  private static func stat(of pid: Int32) -> (state: UInt8, parent: Int32)? {
    let descriptor = open("/proc/\(pid)/stat", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    let bytes = [UInt8](unsafeUninitializedCapacity: 512) { buffer, count in
      count = max(0, read(descriptor, buffer.baseAddress, buffer.count))
    }
    return parse(bytes)
  }

  /// `PID (COMM) STATE PARENT …`, where COMM can hold anything, closing brackets too.
  static func parse(_ bytes: [UInt8]) -> (state: UInt8, parent: Int32)? {
    guard let bracket = bytes.lastIndex(of: UInt8(ascii: ")")) else { return nil }
    let fields = bytes[bytes.index(after: bracket)...].split(separator: UInt8(ascii: " "), maxSplits: 2)
    guard fields.count >= 2, let state = fields[0].first,
      let parent = Int32(String(decoding: fields[1], as: UTF8.self))
    else { return nil }
    return (state, parent)
  }
}
