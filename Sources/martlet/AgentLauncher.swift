import CSystem
import Glibc
import Supervision

/// Starts the agent as a process of the background, and waits until it says that it is ready.
struct AgentLauncher {
  /// Where its standard error goes; nil: where this process' does.
  var log: String?

  /// - Returns: an exit status.
  func start() throws -> Int32 {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { throw SystemError("make a pipe", code: errno) }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    let output = try openLog()
    defer { close(output) }

    let arguments = ProcessArguments.bytes + [Array("--report-descriptor".utf8), Array("\(ends[1])".utf8)]
    let environment = Environment.current
    // The last is where it tells systemd who has replaced it.
    let kept = ["PATH", "LANG", "NOTIFY_SOCKET"].compactMap { name in
      environment[bytes: name].map { Array("\(name)=".utf8) + $0 }
    }
    let code = CStringArrays.with(arguments, kept) { arguments, environment in
      "/proc/self/exe".withCString { executable in
        var plan = mt_daemon_plan(
          executable: executable, arguments: arguments, environment: environment, output: output, report: ends[1])
        return mt_daemon_start(&plan)
      }
    }
    close(ends[1])
    defer { close(ends[0]) }
    guard code == 0 else { throw SystemError("start a process", code: -code) }
    return finish(AgentReport.read(from: ends[0]))
  }

  private func openLog() throws(SystemError) -> Int32 {
    guard let log else {
      let copy = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)
      guard copy >= 0 else { throw SystemError("copy the standard error", code: errno) }
      return copy
    }
    if let slash = log.utf8.lastIndex(of: UInt8(ascii: "/")), slash > log.startIndex {
      mkdir(String(log[..<slash]), 0o755)
    }
    let output = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o640)
    guard output >= 0 else { throw SystemError("open \(log)", code: errno) }
    return output
  }

  private func finish(_ message: AgentReport.Message?) -> Int32 {
    switch message {
    case .ready(let token):
      if !token.isEmpty { Message.write(token + "\n", to: STDOUT_FILENO) }
      return 0
    case .failed(let reason):
      Message.say("\(reason) The agent was not started.")
      return 125
    case nil:
      Message.say("the agent ended before it was ready; \(log ?? "its log") may say why")
      return 125
    }
  }
}

/// What the background process says to who started it: a word, then text up to the end of the pipe.
final class AgentReport {
  enum Message {
    case ready(String)
    case failed(String)
  }

  private var descriptor: Int32

  init(descriptor: Int32) {
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    self.descriptor = descriptor
  }

  deinit { finish() }

  func ready(_ token: String) { write("ready \(token)") }
  func failed(_ reason: String) { write("failed \(reason)") }

  private func write(_ text: String) {
    guard descriptor >= 0 else { return }
    martlet.Message.write(text, to: descriptor)
    finish()
  }

  private func finish() {
    if descriptor >= 0 { close(descriptor) }
    descriptor = -1
  }

  static func read(from descriptor: Int32) -> Message? {
    var bytes: [UInt8] = []
    while bytes.count < 1 << 16 {
      let chunk = [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
        repeat { count = Glibc.read(descriptor, buffer.baseAddress, buffer.count) } while count < 0 && errno == EINTR
        count = max(0, count)
      }
      if chunk.isEmpty { break }
      bytes += chunk
    }
    let text = String(decoding: bytes, as: UTF8.self)
    if text.hasPrefix("ready ") { return .ready(String(text.dropFirst(6))) }
    if text.hasPrefix("failed ") { return .failed(String(text.dropFirst(7))) }
    return nil
  }
}

/// The token in a file that its owner alone can read.
enum TokenFile {
  /// What a command was given: the token, a file of it, or MARTLET_AGENT_TOKEN; nil: none of them.
  static func given(_ token: String?, file: String?) throws(SystemError) -> String? {
    if let token { return token }
    if let file { return try read(file) }
    guard let token = Environment.current["MARTLET_AGENT_TOKEN"], !token.isEmpty else { return nil }
    return token
  }

  static func write(_ token: String, to path: String) throws(SystemError) {
    // Never into a file that is there: it could be open elsewhere, or a link.
    unlink(path)
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw SystemError("write \(path)", code: errno) }
    defer { close(descriptor) }
    Message.write(token + "\n", to: descriptor)
  }

  static func read(_ path: String) throws(SystemError) -> String {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw SystemError("read \(path)", code: errno) }
    defer { close(descriptor) }
    let bytes = [UInt8](unsafeUninitializedCapacity: 256) { buffer, count in
      count = max(0, Glibc.read(descriptor, buffer.baseAddress, buffer.count))
    }
    return String(decoding: bytes.prefix { $0 > 0x20 }, as: UTF8.self)
  }
}
