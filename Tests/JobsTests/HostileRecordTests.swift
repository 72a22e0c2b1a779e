import KernelABI
import Observation
import Testing

@testable import Jobs

/// Records are made of what an attacker chooses: whatever they say, the fold must go on and stay consistent.
@Suite struct HostileRecordTests {
  private static let texts = [
    "", "/", "//", ".", "..", "/..", "a", "b", "a/b", "a/../b", "../a", "/a", "/a/b", "/a/b/../c/", "a/",
    "/proc/self/fd/3",
    "/proc/self/fd/99999999999", "\0abstract", "memfd:x", "pipe:[7]", "a\0b", "(unreachable)/x",
    String(repeating: "x", count: 255), "/" + String(repeating: "y/", count: 2047),
    String(repeating: "../", count: 1000),
  ]

  /// Small numbers meet each other, large ones go to the limits.
  private static func number(_ random: inout SeededGenerator) -> UInt64 {
    switch random.next() % 8 {
    case 0: .max
    case 1: random.next()
    case 2: 0
    default: random.next() % 6
    }
  }

  private static func fill<Body: RecordBody>(_ body: Body, _ random: inout SeededGenerator) -> Body {
    var body = body
    withUnsafeMutableBytes(of: &body) { bytes in
      var offset = 0
      while offset + 4 <= bytes.count {
        bytes.storeBytes(of: UInt32(truncatingIfNeeded: number(&random)), toByteOffset: offset, as: UInt32.self)
        offset += 4
      }
    }
    return body
  }

  private static func file(_ random: inout SeededGenerator) -> mt_file {
    let modes: [UInt32] = [0o100644, 0o100644, 0o100644, 0o040755, 0o010600, 0o140777, 0o120777, 0o020666, 0]
    return mt_file(
      ino: random.next() % 8, dev: UInt32(random.next() % 2), generation: UInt32(random.next() % 3),
      mode: modes[Int(random.next() % UInt64(modes.count))], nlink: UInt32(random.next() % 3))
  }

  private static func record(_ random: inout SeededGenerator, _ time: UInt64) -> RecordBuilder {
    let type = RecordType.allCases[Int(random.next() % UInt64(RecordType.allCases.count))]
    var builder = RecordBuilder(
      type, time: random.next() % 50 == 0 ? number(&random) : time, tgid: UInt32(random.next() % 6),
      leaderStart: random.next() % 3)
    builder.flags = RecordFlags(rawValue: random.next() % 10 == 0 ? UInt8(truncatingIfNeeded: random.next()) : 0)
    switch type {
    case .fork:
      var body = mt_fork()
      body.child_tgid = UInt32(random.next() % 6)
      body.child_start = random.next() % 3
      body.shares_files = UInt32(random.next() % 2)
      builder.setBody(body)
    case .exec: builder.setBody(fill(mt_exec(), &random))
    case .exit: builder.setBody(fill(mt_exit(), &random))
    case .open, .passFD:
      var body = fill(mt_open(), &random)
      body.file = file(&random)
      body.dir = random.next() % 6
      body.fd = Int32(truncatingIfNeeded: random.next() % 5 == 0 ? number(&random) : random.next() % 5)
      builder.setBody(body)
    case .close:
      var body = fill(mt_close(), &random)
      body.file = file(&random)
      body.fd = Int32(random.next() % 5)
      builder.setBody(body)
    case .dup:
      builder.setBody(mt_dup(file: file(&random), old_fd: Int32(random.next() % 5), new_fd: Int32(random.next() % 5)))
    case .security:
      var body = fill(mt_security(), &random)
      body.file = file(&random)
      body.kind = UInt16(random.next() % 26)
      body.target_tgid = UInt32(random.next() % 6)
      body.target_start = random.next() % 3
      body.dir = random.next() % 6
      body.dir2 = random.next() % 6
      builder.setBody(body)
    case .mmapShared: builder.setBody(mt_mmap(file: file(&random), length: 1, prot: 3, map_flags: 1))
    case .copy:
      var body = fill(mt_copy(), &random)
      body.from = file(&random)
      body.to = file(&random)
      builder.setBody(body)
    case .pipe, .socketpair: builder.setBody(fill(mt_pair(), &random))
    case .unixConnect, .unixAccept: builder.setBody(fill(mt_unix(), &random))
    case .connect, .bind, .listen, .udpSend, .tcpClose, .socket, .flowOpen:
      builder.setBody(fill(mt_sock(), &random))
    case .uring:
      var body = fill(mt_uring(), &random)
      body.opcode = UInt32(random.next() % 42)
      builder.setBody(body)
    case .claim: builder.setBody(fill(mt_claim(), &random))
    case .step: builder.setBody(fill(mt_step(), &random))
    default:
      var body = fill(mt_path_op(), &random)
      body.file = random.next() % 3 == 0 ? file(&random) : mt_file()
      body.dir = random.next() % 6
      body.dir2 = random.next() % 6
      builder.setBody(body)
    }
    for name in RecordString.allCases where random.next() % 2 == 0 {
      builder.setString(name, texts[Int(random.next() % UInt64(texts.count))])
    }
    return builder
  }

  @Test(arguments: [UInt64(1), 2, 3, 4])
  func anyRecordsCanBeFolded(seed: UInt64) {
    var random = SeededGenerator(state: seed &* 0x9E37_79B9_7F4A_7C15)
    let job = Job {
      $0.rootProcess = 1
      $0.resolvesPaths = seed == 3
      $0.listsFilesRead = true
      // With a limit that is met and one that is not.
      if seed % 2 == 0 { $0.limits.files = 30 }
      if seed % 2 == 1 { $0.limits.flows = 30 }
      if seed == 4 { $0.limits.bytes = 1 << 20 }
    }
    var time: UInt64 = 1 << 40
    for number in 0..<8_000 {
      time += 1000
      job.apply(Self.record(&random, time))
      if number % 2000 == 1999 { check(job.snapshot()) }
    }
    job.state.commandEnded(at: time)
    check(job.snapshot())
  }

  /// What must hold however wild the records were.
  private func check(_ snapshot: JobSnapshot) {
    let processes = Set(snapshot.processes.map(\.id))
    let images = Set(snapshot.imageLinks.map(\.id))
    #expect(snapshot.processes.allSatisfy { $0.parent == 0 || processes.contains($0.parent) })
    #expect(snapshot.imageLinks.allSatisfy { processes.contains($0.process) })
    for file in snapshot.files {
      #expect(Set(file.accesses.map(\.image)).count == file.accesses.count)
      #expect(file.accesses.allSatisfy { images.contains($0.image) && processes.contains($0.process) })
      #expect(file.readerCount >= UInt32(file.readers.count))
      #expect(file.versions.isEmpty || file.wasWritten)
      #expect(file.lastClosedAt != nil || !file.lastCloseIsUpperBound)
    }
    #expect(snapshot.flows.allSatisfy { $0.image == 0 || images.contains($0.image) })
    let channels = Set(snapshot.edges.channels.map(\.id))
    #expect(channels.count == snapshot.edges.channels.count)
    #expect(snapshot.edges.channels.allSatisfy { $0.peer == 0 || channels.contains($0.peer) })
  }
}
