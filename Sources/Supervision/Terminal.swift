import Glibc

/// The controlling terminal, whose foreground process group and modes a command may change and not put back.
public final class Terminal {
  private let descriptor: Int32
  private let wasForeground: Bool
  private var modes = termios()
  private let modesAreKnown: Bool

  /// nil if there is none, as under most CI runners: then nobody could continue what stopped.
  public init?() {
    descriptor = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    wasForeground = tcgetpgrp(descriptor) == getpgrp()
    modesAreKnown = tcgetattr(descriptor, &modes) == 0
  }

  deinit { close(descriptor) }

  /// martlet's process group, and so the command's unless it made its own, has the terminal.
  public var isForeground: Bool { tcgetpgrp(descriptor) == getpgrp() }

  /// Lines are edited by the kernel and echoed. A full-screen program, an editor or a password prompt says otherwise.
  public var isLineOriented: Bool {
    var now = termios()
    guard tcgetattr(descriptor, &now) == 0 else { return false }
    return now.c_lflag & tcflag_t(ICANON) != 0 && now.c_lflag & tcflag_t(ECHO) != 0
  }

  /// Takes back what a command that was killed could not put back itself.
  ///
  /// The foreground only from the command's own process group or from one that is empty, never from a shell that
  /// has put martlet into the background; the modes only after a signal, since `stty` is a command too.
  public func restore(after status: WaitStatus, of child: Int32) {
    guard wasForeground else { return }
    let group = tcgetpgrp(descriptor)
    if group > 0, group != getpgrp(), group == child || (kill(-group, 0) != 0 && errno == ESRCH) {
      // SIGTTOU is blocked, so that this works from the background.
      tcsetpgrp(descriptor, getpgrp())
    }
    if modesAreKnown, status.endSignal != nil, isForeground { tcsetattr(descriptor, TCSADRAIN, &modes) }
  }
}
