// SPDX-License-Identifier: Apache-2.0
import KernelABI
import Observation

/// What `Benchmarks/storms` does, as the sensor tells it in the LSM tier.
enum Storm: String, CaseIterable {
  /// A program that does nothing is started: fork, exec, exit.
  case spawn
  /// A file is opened that was not opened before.
  case distinct
  /// A TCP connection to oneself, both ends of it.
  case connect
}

/// A storm's records: nothing in them is random but what is so on a real machine, and that is the same in each run.
struct StormStream {
  private(set) var records = RecordSequence()
  private var random = SplitMix()
  private let root = StreamProcess(pid: 1000, start: 1_000_000_000)
  private static let sockets: [UInt64] = [
    2_830_068_672_672_723_715, 7_130_302_891_527_558_183, 4_301_928_374_650_192_837,
  ]
  private static let program = "/home/builder/project/.build/benchmarks/storm"

  init(_ storm: Storm, events: Int) {
    records.reserve(records: events * 4)
    exec(root, parent: 999, arguments: "\(Self.program)\0\(storm.rawValue)\0\(events)\0", isFirst: true)
    for number in 0..<events {
      switch storm {
      case .spawn: spawn(number)
      case .distinct: open(number)
      case .connect: connect(number)
      }
    }
  }

  private mutating func pass(_ least: Int, _ most: Int) { records.time += UInt64(least + random.draw(most - least)) }

  private mutating func exec(_ process: StreamProcess, parent: UInt32, arguments: String, isFirst: Bool) {
    var exec = mt_exec()
    exec.file = file(inode: 2047, device: 1)
    exec.file.generation = 2_384_102_387
    exec.size = 834_552
    exec.ctime = 1_795_968_687_565_596_364
    exec.mtime = 1_795_968_685_413_353_810
    exec.parent_tgid = parent
    exec.old_tid = process.pid
    exec.argc = UInt32(arguments.utf8.count(where: { $0 == 0 }))
    exec.argv_bytes = UInt64(arguments.utf8.count)
    exec.cgroup = 1
    exec.descriptors = 0x5eed_0f_de5c
    exec.exec_flags = isFirst ? MT_EXEC_DESCRIPTORS_FOLLOW.rawValue : 0
    records.append(
      .exec, of: process, exec,
      [(.exe, Self.program), (.cwd, "/root"), (.comm, "storm"), (.argv, arguments), (.filename, Self.program)])
    guard isFirst else { return }
    for descriptor in 0..<Int32(3) {
      var open = mt_open()
      open.file = file(inode: 4, device: 5)
      open.file.mode = 0o020_600
      open.fd = descriptor
      open.fmode = MT_FMODE_READ | MT_FMODE_WRITE
      open.how = UInt16(MT_OPEN_INHERITED.rawValue)
      records.append(.open, of: process, open, [(.path, "/dev/ttyS1")])
    }
  }

  private mutating func spawn(_ number: Int) {
    // Pids are reused, as on a real machine; what identifies a process is its start.
    pass(100_000, 110_000)
    let child = StreamProcess(pid: 1001 + UInt32(number % 31_000), start: records.time)
    var fork = mt_fork()
    fork.child_tgid = child.pid
    fork.real_parent_tgid = root.pid
    fork.child_start = child.start
    fork.child_ns_tgid = child.pid
    pass(2_000, 3_000)
    records.append(.fork, of: root, fork)
    pass(80_000, 90_000)
    exec(child, parent: root.pid, arguments: "\(Self.program)\0nothing\0", isFirst: false)
    var exit = mt_exit()
    // The kernel's accounts are of its ticks.
    exit.system_ns = random.draw(10) == 0 ? 4_000_000 : 0
    exit.read_bytes = 816
    exit.peak_rss = 606_208 + UInt64(random.draw(4)) * 4096
    pass(100_000, 110_000)
    records.append(.exit, of: child, exit)
  }

  private mutating func open(_ number: Int) {
    let directory = number / 200
    var open = mt_open()
    open.file = file(inode: UInt64(10 + directory + number), device: 24)
    open.dir = 0x9e37_79b9_7f4a_7c15 &* UInt64(directory + 1)
    open.size = 100
    open.fd = 3
    open.open_flags = 0o2_000_000
    open.fmode = MT_FMODE_READ
    pass(4_000, 5_000)
    var strings = [(RecordString.name, "f\(padded(number, to: 7))")]
    if number % 200 == 0 { strings.append((.dir, "/dev/shm/tree/d\(padded(directory, to: 5))")) }
    records.append(.open, of: root, open, strings)
  }

  private mutating func connect(_ number: Int) {
    var sock = mt_sock()
    // The kernel takes the memory of a socket that is gone for the next one: few ids come up again and again.
    sock.sock = Self.sockets[random.draw(Self.sockets.count)]
    sock.remote = (127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    sock.local = sock.remote
    sock.local_port = UInt16(32_768 + random.draw(28_000))
    sock.remote_port = UInt16(32_768 + random.draw(28_000))
    sock.family = 2
    sock.`protocol` = 6
    sock.type = 1
    pass(15_000, 17_000)
    records.append(.connect, of: root, sock, flags: .continued)
    pass(20_000, 24_000)
    sock.established = 1
    sock.duration = UInt64(35_000 + random.draw(3_000))
    sock.handshake = UInt64(16_000 + random.draw(1_000))
    records.append(.tcpClose, of: root, sock)
    (sock.local_port, sock.remote_port) = (sock.remote_port, sock.local_port)
    sock.sock = Self.sockets[random.draw(Self.sockets.count)]
    sock.inbound = 1
    sock.handshake = 0
    pass(4_000, 5_000)
    sock.duration = UInt64(15_000 + random.draw(2_000))
    records.append(.tcpClose, of: root, sock)
  }

  private func file(inode: UInt64, device: UInt32) -> mt_file {
    var file = mt_file()
    file.ino = inode
    file.dev = device
    file.mode = 0o100_644
    file.nlink = 1
    return file
  }

  private func padded(_ number: Int, to digits: Int) -> String {
    let text = String(number)
    return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
  }
}
