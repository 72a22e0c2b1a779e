import CSystem
import Glibc
import LiveView
import Supervision

/// The terminal while a full-screen command has it. ``leave()`` gives it back as it was; signals that end or stop
/// the process go through it, too.
final class Screen {
  enum Event {
    case time
    case keys([UInt8])
    /// The size has changed, or the process was stopped and goes on.
    case redraw
    /// A signal wants the end, or the terminal is gone.
    case ended
  }

  private var before = termios()
  private var signals: Int32 = -1
  private let rendering: Canvas.Rendering
  private var isEntered = false
  /// By which the process has to die when the terminal is restored, so that the caller sees why it ended.
  private var endedBy: Int32?

  /// nil if standard output is no terminal that can be drawn on.
  init?() {
    let environment = Environment.current
    guard isatty(STDOUT_FILENO) == 1, let kind = environment["TERM"], !kind.isEmpty, kind != "dumb",
      tcgetattr(STDIN_FILENO, &before) == 0
    else { return nil }
    rendering = environment[bytes: "NO_COLOR"]?.isEmpty ?? true ? .colour : .monochrome
  }

  func enter() throws(SystemError) {
    let code = mt_signals_take(&signals)
    guard code == 0 else { throw SystemError("take over the signals", code: -code) }
    take()
  }

  /// The alternate screen, no cursor, keys without Enter and without echo; Ctrl-C and Ctrl-Z still make signals.
  private func take() {
    var modes = before
    modes.c_lflag &= ~tcflag_t(ICANON | ECHO)
    tcsetattr(STDIN_FILENO, TCSADRAIN, &modes)
    Message.write("\u{1b}[?1049h\u{1b}[?25l\u{1b}[2J", to: STDOUT_FILENO)
    isEntered = true
  }

  private func giveBack() {
    guard isEntered else { return }
    isEntered = false
    Message.write("\u{1b}[?25h\u{1b}[?1049l", to: STDOUT_FILENO)
    tcsetattr(STDIN_FILENO, TCSADRAIN, &before)
  }

  func leave() {
    giveBack()
    if let endedBy { mt_obey(endedBy) }
  }

  var size: (columns: Int, rows: Int) {
    var size = winsize()
    guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else { return (80, 24) }
    return (Int(size.ws_col), Int(size.ws_row))
  }

  func show(_ canvas: Canvas) {
    Message.write(canvas.frame(height: size.rows, rendering), to: STDOUT_FILENO)
  }

  func wait(milliseconds: Int32) -> Event {
    var polled = [
      pollfd(fd: signals, events: Int16(POLLIN), revents: 0),
      pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0),
    ]
    guard poll(&polled, 2, milliseconds) > 0 else { return .time }
    if polled[0].revents != 0 { return signalled() }
    var buffer = [UInt8](repeating: 0, count: 256)
    let count = read(STDIN_FILENO, &buffer, buffer.count)
    if count > 0 { return .keys(Array(buffer[..<count])) }
    return count < 0 && errno == EAGAIN ? .time : .ended
  }

  private func signalled() -> Event {
    var signal = mt_signal()
    var event = Event.time
    while mt_signal_read(signals, &signal) == 1 {
      switch signal.number {
      case SIGINT, SIGTERM, SIGHUP, SIGQUIT:
        endedBy = signal.number
        return .ended
      case SIGTSTP, SIGTTIN, SIGTTOU:
        giveBack()
        mt_obey(signal.number)
        take()
        event = .redraw
      case SIGWINCH, SIGCONT: event = .redraw
      default: break
      }
    }
    return event
  }
}
