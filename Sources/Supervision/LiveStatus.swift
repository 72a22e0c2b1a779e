import Glibc

/// A status that is kept up to date while the command runs.
///
/// The command's output and martlet's standard error are usually the same screen, where nobody but the command
/// knows what stands in which line: a line drawn there would cut prompts in two and be scrolled into the output.
/// So by itself the status goes where it can disturb nothing, the terminal's title, and only while the command
/// leaves lines to the kernel and this is an interactive session; the title is saved before and put back after.
/// Who knows that the command writes nothing can ask for a line.
public struct LiveStatus {
  public enum Place: Sendable { case nowhere, title, line }

  private let place: Place
  private let terminal: Terminal?
  private var descriptor: Int32 = -1
  private var isShown = false
  private var shown = ""

  /// - Parameter wanted: `--live`, `--no-live` or, with nil, what fits.
  public init(wanted: Bool?, terminal: Terminal?, environment: Environment) {
    self.terminal = terminal
    let place = Self.choose(
      wanted: wanted, isTerminal: isatty(STDERR_FILENO) == 1 && terminal != nil, environment: environment)
    if place != .nowhere {
      // A description of its own: O_NONBLOCK on the shared one would break the command, and a terminal that is
      // held by Ctrl-S must not hold martlet.
      descriptor = open("/proc/self/fd/2", O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)
    }
    self.place = descriptor >= 0 ? place : .nowhere
  }

  static func choose(wanted: Bool?, isTerminal: Bool, environment: Environment) -> Place {
    guard isTerminal, wanted != false else { return .nowhere }
    if wanted == true { return .line }
    // A CI's pseudo terminal is a log: escape sequences would stay in it.
    guard environment[bytes: "CI"]?.isEmpty ?? true, let kind = environment["TERM"] else { return .nowhere }
    let withTitle = [
      "xterm", "rxvt", "screen", "tmux", "alacritty", "foot", "vte", "wezterm", "konsole", "st-", "iterm",
    ]
    return withTitle.contains(where: kind.hasPrefix) ? .title : .nowhere
  }

  /// Milliseconds until the next ``show(_:)``; -1 if there is nothing to show.
  public var interval: Int32 {
    switch place {
    case .nowhere: -1
    case .title: 1000
    case .line: 250
    }
  }

  /// Shows one line of printable text.
  public mutating func show(_ text: String) {
    guard place != .nowhere, let terminal, terminal.isForeground, text != shown || place == .line else { return }
    switch place {
    case .nowhere: break
    case .title:
      guard terminal.isLineOriented else { return }
      // One write, so that the command's own cannot come between.
      write((isShown ? "" : "\u{1b}[22;2t") + "\u{1b}]2;\(text)\u{07}")
    case .line:
      // No escape sequence at all. The cursor stays at the start, where the command's next line will be written.
      let width = columns - 1
      write("\r" + text.prefix(width) + String(repeating: " ", count: max(0, width - text.count)) + "\r")
    }
    isShown = true
    shown = text
  }

  /// Leaves the terminal as it was: before stopping, and at the end.
  public mutating func hide() {
    guard isShown else { return }
    switch place {
    case .nowhere: break
    case .title: write("\u{1b}[23;2t")
    case .line: write("\r" + String(repeating: " ", count: columns - 1) + "\r")
    }
    isShown = false
    shown = ""
  }

  private var columns: Int {
    var size = winsize()
    guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 1 else { return 80 }
    return Int(size.ws_col)
  }

  private func write(_ text: String) {
    var text = text
    // What a held terminal does not take is not worth waiting for.
    text.withUTF8 { _ = Glibc.write(descriptor, $0.baseAddress, $0.count) }
  }
}
