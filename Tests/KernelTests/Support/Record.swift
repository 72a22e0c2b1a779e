import KernelABI
import Observation

/// A record that the sensor delivered, copied, with what the fold made of it.
struct Record: Sendable {
  var type: RecordType
  var header: mt_header
  var bytes: [UInt8]
  /// Absolute, from the fold.
  var path: [UInt8]
  var path2: [UInt8]
  var pathIsResolved: Bool
  var pathIsTruncated: Bool
  /// Of an exec, from the fold.
  var executable: [UInt8]
  var filename: [UInt8]
  var workingDirectory: [UInt8]
  var arguments: [UInt8]
  /// From the fold: the process that it is done to is one of the job's.
  var targetIsInJob: Bool

  var pid: Int { Int(header.tgid) }
  var flags: RecordFlags { RecordFlags(rawValue: header.flags) }

  var fork: mt_fork { view(\.fork, mt_fork()) }
  var exec: mt_exec { view(\.exec, mt_exec()) }
  var exit: mt_exit { view(\.exit, mt_exit()) }
  var open: mt_open { view(\.open, mt_open()) }
  var close: mt_close { view(\.close, mt_close()) }
  var dup: mt_dup { view(\.dup, mt_dup()) }
  var pathOp: mt_path_op { view(\.pathOp, mt_path_op()) }
  var mmap: mt_mmap { view(\.mmap, mt_mmap()) }
  var copy: mt_copy { view(\.copy, mt_copy()) }
  var pair: mt_pair { view(\.pair, mt_pair()) }
  var sock: mt_sock { view(\.sock, mt_sock()) }
  var unix: mt_unix { view(\.unix, mt_unix()) }
  var uring: mt_uring { view(\.uring, mt_uring()) }
  var denial: mt_denial { view(\.denial, mt_denial()) }
  var tlsWrite: mt_tls_write { view(\.tlsWrite, mt_tls_write()) }
  var serverName: mt_server_name { view(\.serverName, mt_server_name()) }
  var answer: mt_answer { view(\.answer, mt_answer()) }
  var security: mt_security { view(\.security, mt_security()) }
  var digest: mt_digest { view(\.digest, mt_digest()) }
  var io: mt_io { view(\.io, mt_io()) }
  var securityKind: SecurityKind? { SecurityKind(rawValue: security.kind) }
  var securityFlags: SecurityFlags { SecurityFlags(rawValue: security.security_flags) }

  func view<Body>(_ body: (RecordView) -> Body, _ none: Body) -> Body {
    bytes.withUnsafeBytes { raw in (try? RecordView(validating: raw)).map(body) ?? none }
  }

  func string(_ name: RecordString) -> [UInt8]? {
    bytes.withUnsafeBytes { raw in
      (try? RecordView(validating: raw)).flatMap { view in view.string(name).map { [UInt8]($0) } }
    }
  }

  /// The identity of the one file that the record is about, nil if it is not about one.
  var file: mt_file? {
    switch type {
    case .exec: exec.file
    case .open, .passFD: open.file
    case .close: close.file
    case .dup: dup.file
    case .mmapShared: mmap.file
    case .security: security.file
    case .io: io.file
    case .digest: digest.file
    case .rename, .unlink, .rmdir, .link, .symlink, .mkdir, .mknod, .truncate, .chmod, .chown: pathOp.file
    default: nil
    }
  }
}

/// A file as the actor's own fstat shows it.
struct FileFact: Sendable, Equatable {
  var descriptor: Int32
  var device: UInt32
  var inode: UInt64
  var mode: UInt32
  var links: UInt32
  var size: UInt64

  func isIdentity(of file: mt_file?) -> Bool {
    guard let file else { return false }
    return file.ino == inode && file.dev == device && file.mode & formatBits == mode & formatBits
  }
}

/// The bits of i_mode that say what kind of file it is.
let formatBits: UInt32 = 0o170000

extension Record: CustomStringConvertible {
  /// One line, for the reader of a failed test.
  var description: String {
    var text = "\(type.name) pid \(header.tgid)"
    if header.tid != header.tgid { text += "/\(header.tid)" }
    if header.flags != 0 { text += " flags \(header.flags)" }
    if let file {
      text += " inode \(file.ino) device \(file.dev) mode \(String(file.mode, radix: 8)) links \(file.nlink)"
    }
    switch type {
    case .fork: text += " child \(fork.child_tgid) parent \(fork.real_parent_tgid)"
    case .exit: text += " status \(exit.status)"
    case .exec: text += " argc \(exec.argc) flags \(exec.exec_flags) \(show(executable))"
    case .open, .passFD:
      text += " fd \(open.fd) flags 0\(String(open.open_flags, radix: 8)) fmode \(String(open.fmode, radix: 16))"
      text += " how \(open.how) deleted \(open.deleted)"
    case .close: text += " fd \(close.fd) why \(close.why) state \(close.has_state) size \(close.size)"
    case .dup: text += " fd \(dup.old_fd) -> \(dup.new_fd)"
    case .copy: text += " kind \(copy.kind) \(copy.from.ino) fd \(copy.from_fd) -> \(copy.to.ino) fd \(copy.to_fd)"
    case .pipe, .socketpair: text += " \(pair.a_ino) fd \(pair.a_fd), \(pair.b_ino) fd \(pair.b_fd)"
    case .connect, .bind, .listen, .udpSend, .tcpClose, .socket, .flowOpen:
      text += " family \(sock.family) type \(sock.type) protocol \(sock.protocol) \(localText) -> \(remoteText)"
      text += " error \(sock.error) established \(sock.established) inbound \(sock.inbound)"
      text += " sent \(sock.sent) received \(sock.received) duration \(sock.duration) handshake \(sock.handshake)"
    case .unixConnect, .unixAccept: text += " fd \(unix.fd) socket \(unix.sock) peer \(unix.peer)"
    case .digest: text += " of \(digest.of) how \(digest.how) why \(digest.why) algorithm \(digest.algorithm)"
    case .io: text += " read \(io.read) written \(io.written) why \(io.why)"
    case .uring: text += " opcode \(uring.opcode) flags 0\(String(uring.open_flags, radix: 8))"
    case .security:
      text += " \(securityKind?.name ?? "unknown") flags \(security.security_flags) target \(security.target_tgid)"
      text += " error \(security.error) argument \(String(security.argument, radix: 16))"
      text += " before \(security.before) after \(security.after)"
    default: text += " fd \(pathOp.fd) flags \(pathOp.call_flags) argument \(pathOp.argument)"
    }
    if !path.isEmpty { text += " \(show(path))" }
    if !path2.isEmpty { text += " => \(show(path2))" }
    return text
  }

  private func show(_ bytes: [UInt8]) -> String {
    let text = String(decoding: bytes, as: UTF8.self).debugDescription
    return text.count > 200 ? "…" + text.suffix(200) : text
  }
}

// MARK: - Addresses

extension Record {
  /// A v4-mapped address counts as the IPv4 address that it stands for.
  static func text(_ address: [UInt8], family: UInt16) -> String {
    let mapped: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]
    var bytes = address
    if family == 10 {
      if !bytes.starts(with: mapped) {
        return bytes == [UInt8](repeating: 0, count: 15) + [1] ? "::1" : bytes.map { String($0, radix: 16) }.joined()
      }
      bytes = [UInt8](bytes[12...])
    }
    return bytes.prefix(4).map { String($0) }.joined(separator: ".")
  }

  var localAddress: String { Self.text(withUnsafeBytes(of: sock.local) { [UInt8]($0) }, family: sock.family) }
  var remoteAddress: String { Self.text(withUnsafeBytes(of: sock.remote) { [UInt8]($0) }, family: sock.family) }
  var localText: String { "\(localAddress):\(sock.local_port)" }
  var remoteText: String { "\(remoteAddress):\(sock.remote_port)" }
}
