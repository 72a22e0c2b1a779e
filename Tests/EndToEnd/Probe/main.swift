import Glibc
import Supervision

// Starts a command as `martlet run` does and follows it, with no sensor and no report: the tests of launching, signals
// and terminals use it where there is neither root nor BPF. Not part of the product.
//
//     launch-probe [--live] [--user USER] COMMAND [ARGUMENT ...]

func say(_ text: String) {
  var text = "launch-probe: \(text)\n"
  text.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
}

do {
  let inherited = try Inherited()
  let signals = try Signals()
  var environment = Environment.current
  var words = ProcessArguments.bytes.dropFirst()
  var live: Bool?
  var option: String?
  if words.first == Array("--live".utf8) {
    live = true
    words = words.dropFirst()
  }
  if words.first == Array("--user".utf8) {
    option = words.dropFirst().first.map { String(decoding: $0, as: UTF8.self) }
    words = words.dropFirst(2)
  }
  let user = try TargetUser.choose(option: option, environment: environment)
  let terminal = Terminal()
  var status = LiveStatus(wanted: live, terminal: terminal, environment: environment)
  user?.apply(to: &environment)
  let child = try Child(
    Command(arguments: Array(words), environment: environment, user: user), inherited: inherited)
  do {
    try child.release()
  } catch {
    say(error.description)
    exit(error.exitStatus)
  }
  var supervisor = Supervisor(child: child, signals: signals, terminal: terminal)
  var looks = 0
  let end = try supervisor.waitForEnd(status: &status) {
    looks += 1
    return "martlet: look \(looks)"
  }
  status.hide()
  terminal?.restore(after: end, of: child.pid)
  supervisor.dieIfInterrupted(end)
  exit(end.exitStatus)
} catch {
  say("\(error)")
  exit(125)
}
