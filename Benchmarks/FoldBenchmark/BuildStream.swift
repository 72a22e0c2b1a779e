// SPDX-License-Identifier: Apache-2.0
import KernelABI
import Observation

/// A stream of records in the proportions of a real package build: `dpkg-buildpackage` of GNU hello has 4,052 execs
/// in about 4,900 processes, 52,000 opens of 1,700 distinct system files and of its own, 2,400 files written, and
/// 70,000 events in all.
///
/// The same for the same number of records: what is random comes from a generator with a fixed start.
struct BuildStream {
  private(set) var records = RecordSequence()
  private(set) var processes = 0

  private var random = SplitMix()
  private var announced: Set<UInt64> = []
  private let root = Process(pid: 1000, start: 1_000_000_000)
  private var shell: Process
  private var nextInode: UInt64 = 1_000_000

  private typealias Process = StreamProcess

  private static let systemFiles = 1700
  private static let systemDirectories = 120
  private static let programs = [
    "/usr/bin/dash", "/usr/bin/x86_64-linux-gnu-gcc-12", "/usr/lib/gcc/x86_64-linux-gnu/12/cc1",
    "/usr/bin/x86_64-linux-gnu-as", "/usr/bin/x86_64-linux-gnu-ld.bfd", "/usr/bin/sed", "/usr/bin/grep",
    "/usr/bin/rm", "/usr/bin/cat", "/usr/bin/make", "/usr/bin/perl", "/usr/bin/expr", "/usr/bin/mawk",
  ]

  /// `count` records or a few more: the last process is let to end.
  init(records count: Int) {
    shell = root
    records.reserve(records: count)
    process(root, parent: nil)
    while records.count < count {
      processes += 1
      // Pids are reused, as on a real machine; what identifies a process is its start.
      let child = Process(pid: 1001 + UInt32(processes % 4_000_000), start: records.time)
      process(child, parent: draw(4) == 0 ? root : shell)
      if draw(8) == 0 { shell = child }
    }
  }

  private mutating func draw(_ limit: Int) -> Int { random.draw(limit) }

  private mutating func append(
    _ type: RecordType, of process: Process, _ body: some RecordBody, _ strings: [(RecordString, String)] = []
  ) {
    records.time += 1 + UInt64(draw(20_000))
    records.append(type, of: process, body, strings)
  }

  private mutating func process(_ process: Process, parent: Process?) {
    if let parent {
      var fork = mt_fork()
      fork.child_tgid = process.pid
      fork.real_parent_tgid = parent.pid
      fork.child_start = process.start
      fork.child_ns_tgid = process.pid
      append(.fork, of: parent, fork)
    }
    if parent == nil || draw(100) < 83 { exec(process, parent: parent?.pid ?? 1) }
    for _ in 0..<(6 + draw(7)) { readSystemFile(process) }
    if draw(2) == 0 { writeFile(process) }
    if draw(10) < 3 {
      var pair = mt_pair()
      nextInode += 1
      pair.a_ino = nextInode
      pair.b_ino = nextInode
      pair.a_fd = 3
      pair.b_fd = 4
      append(.pipe, of: process, pair)
    }
    if draw(1000) == 0 { connect(process) }
    // The job's first process stays.
    guard parent != nil else { return }
    var exit = mt_exit()
    exit.user_ns = 800_000
    exit.system_ns = 600_000
    exit.read_bytes = 65_536
    exit.written_bytes = 4_096
    exit.peak_rss = 4 << 20
    exit.failed_opens = 7
    append(.exit, of: process, exit)
  }

  private mutating func exec(_ process: Process, parent: UInt32) {
    let number = draw(Self.programs.count)
    let program = Self.programs[number]
    let name = program.split(separator: "/").last.map(String.init) ?? program
    var arguments = name
    for argument in 0..<(3 + draw(12)) {
      arguments += argument % 3 == 2 ? "\0-DHAVE_CONFIG_H=\(argument)" : "\0-I../lib/include\(argument)"
    }
    arguments += "\0src/object\(draw(2000)).c\0"
    var exec = mt_exec()
    exec.file = file(inode: 50_000 + UInt64(number), mode: 0o100_755)
    exec.size = 125_688
    exec.ctime = 1_700_000_000_000_000_000
    exec.mtime = exec.ctime
    exec.parent_tgid = parent
    exec.old_tid = process.pid
    exec.argc = UInt32(arguments.utf8.count(where: { $0 == 0 }))
    exec.argv_bytes = UInt64(arguments.utf8.count)
    append(
      .exec, of: process, exec,
      [
        (.exe, program), (.filename, program), (.cwd, "/build/hello-2.10/src"), (.argv, arguments),
        (.comm, String(name.prefix(15))),
      ])
  }

  private func file(inode: UInt64, mode: UInt32) -> mt_file {
    var file = mt_file()
    file.ino = inode
    file.dev = 8 << 20 | 1
    file.generation = 1
    file.mode = mode
    file.nlink = 1
    return file
  }

  /// The directory's path travels in the first record that names the directory.
  private mutating func strings(_ name: String, in directory: UInt64, path: String) -> [(RecordString, String)] {
    announced.insert(directory).inserted ? [(.name, name), (.dir, path)] : [(.name, name)]
  }

  private mutating func readSystemFile(_ process: Process) {
    // The least of two draws: some files, as the C library, are opened by nearly every process.
    let number = min(draw(Self.systemFiles), draw(Self.systemFiles))
    let directory = number % Self.systemDirectories
    var open = mt_open()
    open.file = file(inode: 100_000 + UInt64(number), mode: 0o100_644)
    open.dir = UInt64(directory + 1)
    open.size = 20_000
    open.fd = 3
    open.fmode = UInt32(MT_FMODE_READ)
    let place = strings(
      "library\(number).so.6", in: open.dir, path: "/usr/lib/x86_64-linux-gnu/package\(directory)")
    append(.open, of: process, open, place)
  }

  private mutating func writeFile(_ process: Process) {
    nextInode += 1
    let number = nextInode
    let directory = 200 + number % 40
    var open = mt_open()
    open.file = file(inode: number, mode: 0o100_644)
    open.dir = directory
    open.fd = 4
    open.open_flags = 0o1101
    open.fmode = UInt32(MT_FMODE_WRITE) | UInt32(MT_FMODE_CREATED)
    append(
      .open, of: process, open, strings("object\(number).o", in: directory, path: "/build/hello-2.10/part\(directory)"))
    var close = mt_close()
    close.file = open.file
    close.size = 4_096
    close.ctime = 1_700_000_000_000_000_000
    close.mtime = close.ctime
    close.fd = 4
    close.has_state = 1
    append(.close, of: process, close)
    guard draw(5) < 2 else { return }
    var change = mt_path_op()
    change.dir = directory
    change.dir2 = directory
    change.fd = -1
    if draw(4) == 0 {
      append(.rename, of: process, change, [(.path, "object\(number).o"), (.path2, "renamed\(number).o")])
    } else {
      append(.unlink, of: process, change, [(.path, "object\(number).o")])
    }
  }

  private mutating func connect(_ process: Process) {
    var sock = mt_sock()
    nextInode += 1
    sock.sock = nextInode
    sock.remote = (127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    sock.remote_port = 443
    sock.family = 2
    sock.`protocol` = 6
    sock.type = 1
    append(.connect, of: process, sock)
    sock.sent = 500
    sock.received = 20_000
    sock.duration = 1_000_000
    sock.established = 1
    append(.tcpClose, of: process, sock)
  }
}
