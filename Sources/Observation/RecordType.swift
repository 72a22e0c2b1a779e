public import KernelABI

/// What a record is about. The numbers are those of `enum mt_type` and are never reused.
@frozen public enum RecordType: UInt16, CaseIterable, Sendable {
  case fork = 1
  case exec = 2
  case exit = 3
  case open = 4
  case close = 5
  case dup = 6
  case rename = 7
  case unlink = 8
  case rmdir = 9
  case link = 10
  case symlink = 11
  case mkdir = 12
  case mknod = 13
  case truncate = 14
  case chmod = 15
  case chown = 16
  case mmapShared = 17
  case copy = 18
  case pipe = 19
  case socketpair = 20
  case passFD = 21
  case connect = 22
  case bind = 24
  case listen = 25
  case udpSend = 27
  case tcpClose = 28
  case unixConnect = 29
  case unixAccept = 30
  case socket = 31
  case uring = 32
  case flowOpen = 33
  case security = 34
  case io = 35
  case claim = 36
  case step = 37
  case digest = 38
  case daemon = 39
  case cgroup = 40
  case denial = 41
  case answer = 42
  /// In plain text, with whatever a request holds: for nobody but ``RequestDecoder``.
  case tlsWrite = 43
  case tlsSent = 44
  case request = 45
  case serverName = 46

  /// The name in every output: snake case, stable.
  public var name: String {
    switch self {
    case .fork: "fork"
    case .exec: "exec"
    case .exit: "exit"
    case .open: "open"
    case .close: "close"
    case .dup: "dup"
    case .rename: "rename"
    case .unlink: "unlink"
    case .rmdir: "rmdir"
    case .link: "link"
    case .symlink: "symlink"
    case .mkdir: "mkdir"
    case .mknod: "mknod"
    case .truncate: "truncate"
    case .chmod: "chmod"
    case .chown: "chown"
    case .mmapShared: "mmap_shared"
    case .copy: "copy"
    case .pipe: "pipe"
    case .socketpair: "socketpair"
    case .passFD: "pass_fd"
    case .connect: "connect"
    case .bind: "bind"
    case .listen: "listen"
    case .udpSend: "udp_send"
    case .tcpClose: "tcp_close"
    case .unixConnect: "unix_connect"
    case .unixAccept: "unix_accept"
    case .socket: "socket"
    case .uring: "uring"
    case .flowOpen: "flow_open"
    case .security: "security"
    case .io: "io"
    case .claim: "claim"
    case .step: "step"
    case .digest: "digest"
    case .daemon: "daemon"
    case .cgroup: "cgroup"
    case .denial: "denial"
    case .answer: "answer"
    case .tlsWrite: "tls_write"
    case .tlsSent: "tls_sent"
    case .request: "request"
    case .serverName: "server_name"
    }
  }

  /// Whether records of this type travel by the critical ring, else by the ring of their CPU.
  @inlinable public var isCritical: Bool {
    switch self {
    case .fork, .exec, .exit, .connect, .bind, .listen, .udpSend, .tcpClose, .unixConnect, .unixAccept, .socket,
      .flowOpen, .security, .claim, .step, .digest, .daemon, .cgroup, .denial, .answer,
      .tlsWrite, .tlsSent, .request, .serverName:
      true
    case .open, .close, .dup, .rename, .unlink, .rmdir, .link, .symlink, .mkdir, .mknod, .truncate, .chmod,
      .chown, .mmapShared, .copy, .pipe, .socketpair, .passFD, .uring, .io:
      false
    }
  }

  /// Bytes of the fixed body that follows the header: always a multiple of 8.
  @inlinable public var bodySize: Int {
    switch self {
    case .fork: MemoryLayout<mt_fork>.size
    case .exec: MemoryLayout<mt_exec>.size
    case .exit: MemoryLayout<mt_exit>.size
    case .open, .passFD: MemoryLayout<mt_open>.size
    case .close: MemoryLayout<mt_close>.size
    case .dup: MemoryLayout<mt_dup>.size
    case .rename, .unlink, .rmdir, .link, .symlink, .mkdir, .mknod, .truncate, .chmod, .chown:
      MemoryLayout<mt_path_op>.size
    case .mmapShared: MemoryLayout<mt_mmap>.size
    case .copy: MemoryLayout<mt_copy>.size
    case .pipe, .socketpair: MemoryLayout<mt_pair>.size
    case .connect, .bind, .listen, .udpSend, .tcpClose, .socket, .flowOpen: MemoryLayout<mt_sock>.size
    case .unixConnect, .unixAccept: MemoryLayout<mt_unix>.size
    case .uring: MemoryLayout<mt_uring>.size
    case .security: MemoryLayout<mt_security>.size
    case .io: MemoryLayout<mt_io>.size
    case .claim: MemoryLayout<mt_claim>.size
    case .step: MemoryLayout<mt_step>.size
    case .digest: MemoryLayout<mt_digest>.size
    case .daemon: MemoryLayout<mt_daemon>.size
    case .cgroup: MemoryLayout<mt_cgroup_change>.size
    case .denial: MemoryLayout<mt_denial>.size
    case .answer: MemoryLayout<mt_answer>.size
    case .tlsWrite: MemoryLayout<mt_tls_write>.size
    case .tlsSent: MemoryLayout<mt_tls_sent>.size
    case .request: MemoryLayout<mt_request>.size
    case .serverName: MemoryLayout<mt_server_name>.size
    }
  }
}

/// Names a string of a record; the numbers are those of `enum mt_string`.
@frozen public enum RecordString: UInt16, CaseIterable, Sendable {
  /// Path of the image.
  case exe = 1
  /// As given to exec.
  case filename = 2
  case cwd = 3
  /// NUL-separated, raw: mask it before it is stored anywhere.
  case argv = 4
  case comm = 5
  /// Last component of an opened file.
  case name = 6
  /// Path of the body's `dir`, in the first record that uses it.
  case dir = 7
  case dir2 = 8
  /// As the program gave it, relative to `dir`; whole where `dir` is 0.
  case path = 9
  case path2 = 10
  /// Of `security`: a file system's type, or the name that a BPF object was given. Of `request`: the method.
  case detail = 11
  /// "NAME=value", raw: the only string that a record may have several of.
  case variable = 12
  /// Of `daemon` and `tlsWrite`: what is sent, raw.
  case bytes = 13
}

/// `enum mt_flag`.
@frozen public struct RecordFlags: OptionSet, Sendable, Hashable {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// A string was cut, or a path's head is missing.
  @inlinable public static var truncated: RecordFlags { RecordFlags(rawValue: 1) }
  /// Memory that the record should quote could not be read.
  @inlinable public static var unreadable: RecordFlags { RecordFlags(rawValue: 2) }
  /// A 32-bit system call.
  @inlinable public static var compat: RecordFlags { RecordFlags(rawValue: 4) }
  /// Done by io_uring, not by a system call.
  @inlinable public static var uring: RecordFlags { RecordFlags(rawValue: 8) }
  /// Of a `connect`: a `tcpClose` or `flowOpen` follows, and tells all of this again.
  @inlinable public static var continued: RecordFlags { RecordFlags(rawValue: 16) }
}
