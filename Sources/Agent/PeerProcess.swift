internal import CSystem
internal import Glibc
internal import Observation
internal import Recording
internal import Supervision

/// A process at the other end of the agent's socket, held by a descriptor of its own so that its number stays its own.
///
/// SO_PEERCRED tells who connected, which may have ended since and left the connection, and its number, to others. So whoever
/// has to be a certain process is asked to say something back: the kernel tells who sent that. If it is the process that the
/// number had led to before the question was asked, and if that lives, it is the one that connected. What it says about
/// itself does not count, nor is a kernel of 6.5 needed, which has SO_PEERPIDFD.
final class PeerProcess: Sendable {
  /// In our pid namespace.
  let pid: UInt32
  /// Effective, when it connected.
  let user: UInt32
  let group: UInt32
  let pidfd: Int32
  private let challenge = ControlToken.make()

  /// - Parameter socket: the connection, on which each message's sender is told from now on
  init(connectedBy peer: mt_peer, socket: Int32) throws(SystemError) {
    // Of a pid namespace that is not below ours.
    guard peer.pid > 0 else { throw SystemError("tell which process asks", code: ESRCH) }
    pidfd = mt_pidfd_open(peer.pid)
    guard pidfd >= 0 else { throw SystemError("tell which process asks", code: -pidfd) }
    pid = UInt32(peer.pid)
    user = peer.uid
    group = peer.gid
    let code = mt_local_tell_senders(socket)
    // `pidfd` is closed by deinit.
    guard code == 0 else { throw SystemError("tell who sends", code: -code) }
  }

  deinit { close(pidfd) }

  /// What it has to send back.
  var question: [UInt8] { ControlAnswer.line { $0.member("challenge", challenge.text) } }

  /// - Parameter sender: as the kernel tells it, of all of the bytes
  func hasAnswered(_ bytes: some BidirectionalCollection<UInt8>, sender: Int32) -> Bool {
    sender == Int32(pid) && bytes.last == UInt8(ascii: "\n") && challenge.matches(Array(bytes.dropLast()))
      && mt_pidfd_has_ended(pidfd) == 0
  }
}

/// Descriptors that belong to whoever has this, and are closed with it.
final class HeldDescriptors: Sendable {
  let numbers: [Int32]

  init(_ numbers: [Int32]) { self.numbers = numbers }

  deinit { for number in numbers { close(number) } }
}

extension mt_local_message {
  /// The descriptors that came with it, now somebody's.
  var held: HeldDescriptors { HeldDescriptors(taken) }

  /// The same, for the caller to close.
  var taken: [Int32] { withUnsafeBytes(of: descriptors) { Array($0.bindMemory(to: Int32.self).prefix(Int(count))) } }
}
