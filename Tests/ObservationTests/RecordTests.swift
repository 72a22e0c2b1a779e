import KernelABI
import Testing

@testable import Observation

/// Bytes in memory of exactly their size, so that a sanitizer sees a read beyond them.
func withExactCopy<R>(_ bytes: [UInt8], _ body: (UnsafeRawBufferPointer) -> R) -> R {
  let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
  defer { copy.deallocate() }
  copy.copyBytes(from: bytes)
  return body(UnsafeRawBufferPointer(copy))
}

/// Reads everything that a valid record offers.
func touchEverything(_ record: RecordView) -> UInt64 {
  var sum = record.time &+ UInt64(record.tgid) &+ record.leaderStart &+ UInt64(record.sequence)
  sum &+= UInt64(record.header.length) &+ UInt64(record.cpu) &+ UInt64(record.job) &+ UInt64(record.flags.rawValue)
  sum &+= UInt64(record.fork.child_tgid) &+ record.exec.size &+ record.exit.peak_rss &+ record.open.size
  sum &+= record.close.size &+ record.dup.file.ino &+ record.pathOp.argument &+ record.mmap.length
  sum &+= record.copy.bytes &+ record.pair.a_ino &+ record.sock.sock &+ record.unix.ino &+ record.uring.argument
  sum &+= record.claim.key &+ UInt64(record.step.step)
  record.forEachVariable { name, value in sum &+= UInt64(name.count) &+ UInt64(value.count) }
  sum &+= record.security.argument &+ UInt64(record.securityKind?.rawValue ?? 0) &+ record.security.after.2
  for name in RecordString.allCases {
    for byte in record.string(name) ?? UnsafeRawBufferPointer(start: nil, count: 0) { sum &+= UInt64(byte) }
  }
  record.forEachString { id, bytes in sum &+= UInt64(id) &+ UInt64(bytes.count) }
  return sum
}

func error(of bytes: [UInt8]) -> RecordError? {
  withExactCopy(bytes) { bytes in
    do throws(RecordError) {
      _ = touchEverything(try RecordView(validating: bytes))
      return nil
    } catch {
      return error
    }
  }
}

func sample(_ type: RecordType = .exec) -> RecordBuilder {
  var builder = RecordBuilder(type, time: 77, tgid: 42, leaderStart: 7)
  builder.sequence = 9
  builder.cpu = 3
  builder.job = 5
  builder.setString(.exe, "/usr/bin/cc")
  builder.setArguments(["cc", "-c", "a.c"])
  builder.setString(.path, "x")
  return builder
}

@Suite struct RecordTypeTests {
  @Test func numbersAreThoseOfTheKernelSide() {
    // 23 and 26 are not used any more.
    let numbers = (1..<UInt16(MT_TYPE_COUNT.rawValue)).filter { $0 != 23 && $0 != 26 }
    #expect(RecordType.allCases.map(\.rawValue) == numbers)
    #expect(RecordType.mmapShared.rawValue == UInt16(MT_MMAP_SHARED.rawValue))
    #expect(RecordType.uring.rawValue == UInt16(MT_URING.rawValue))
    #expect(RecordType.flowOpen.rawValue == UInt16(MT_FLOW_OPEN.rawValue))
    #expect(RecordFlags.continued.rawValue == UInt8(MT_FLAG_CONTINUED.rawValue))
    #expect(RecordType.security.rawValue == UInt16(MT_SECURITY.rawValue))
    #expect(RecordType.io.rawValue == UInt16(MT_IO.rawValue))
    #expect(RecordType.claim.rawValue == UInt16(MT_CLAIM.rawValue))
    #expect(RecordType.step.rawValue == UInt16(MT_STEP.rawValue))
    #expect(RecordType.request.rawValue == UInt16(MT_REQUEST.rawValue))
    #expect(RecordString.detail.rawValue == UInt16(MT_STR_DETAIL.rawValue))
    #expect(RecordString.variable.rawValue == UInt16(MT_STR_VARIABLE.rawValue))
    #expect(RecordString.path2.rawValue == UInt16(MT_STR_PATH2.rawValue))
  }

  @Test func namesAreDistinctSnakeCase() {
    let names = RecordType.allCases.map(\.name)
    #expect(Set(names).count == names.count)
    #expect(names.allSatisfy { $0.utf8.allSatisfy { ($0 >= 0x61 && $0 <= 0x7A) || $0 == 0x5F } })
    #expect(RecordType.tcpClose.name == "tcp_close" && RecordType.passFD.name == "pass_fd")
  }

  @Test func bodiesKeepTheAlignment() {
    for type in RecordType.allCases { #expect(type.bodySize % 8 == 0 && type.bodySize > 0) }
  }

  @Test func ringClasses() {
    let critical = RecordType.allCases.filter(\.isCritical)
    #expect(
      critical == [
        .fork, .exec, .exit, .connect, .bind, .listen, .udpSend, .tcpClose, .unixConnect, .unixAccept, .socket,
        .flowOpen, .security, .claim, .step, .digest, .daemon, .cgroup, .denial, .answer, .tlsWrite, .tlsSent, .request,
        .serverName,
      ])
  }
}

@Suite struct RecordViewTests {
  @Test(arguments: RecordType.allCases) func readsWhatWasBuilt(_ type: RecordType) throws {
    try withExactCopy(sample(type).bytes) { bytes in
      Result {
        let record = try RecordView(validating: bytes)
        #expect(record.type == type && record.time == 77 && record.tgid == 42 && record.tid == 42)
        #expect(record.leaderStart == 7 && record.sequence == 9 && record.cpu == 3 && record.job == 5)
        #expect(record.header.leader_start == 7 && record.header.type == type.rawValue)
        #expect(record.string(.exe).map { String(decoding: $0, as: UTF8.self) } == "/usr/bin/cc")
        #expect(record.string(.argv).map { Array($0) } == Array("cc\0-c\0a.c\0".utf8))
        #expect(record.string(MT_STR_PATH).map { Array($0) } == [0x78])
        #expect(record.string(.path2) == nil)
        #expect(RecordView.time(of: bytes) == 77)
      }
    }.get()
  }

  @Test func bodiesComeBack() throws {
    var exec = mt_exec()
    exec.size = 1234
    exec.cgroup = 99
    var execBuilder = sample(.exec)
    execBuilder.setBody(exec)
    var sock = mt_sock()
    sock.remote_port = 443
    sock.inbound = 1
    var sockBuilder = sample(.flowOpen)
    sockBuilder.setBody(sock)
    try withExactCopy(execBuilder.bytes) { bytes in
      Result {
        let record = try RecordView(validating: bytes)
        #expect(record.exec.size == 1234 && record.exec.cgroup == 99)
        // A body of another type is zeros.
        #expect(record.sock.remote_port == 0 && record.open.fd == 0)
      }
    }.get()
    try withExactCopy(sockBuilder.bytes) { bytes in
      Result {
        let record = try RecordView(validating: bytes)
        #expect(record.sock.remote_port == 443 && record.isInbound)
      }
    }.get()
  }

  @Test(arguments: RecordType.allCases) func aRecordCutAnywhereIsAnError(_ type: RecordType) {
    let bytes = sample(type).bytes
    for count in 0..<bytes.count {
      #expect(error(of: Array(bytes[..<count])) != nil)
      // As if the sender had cut it: the length agrees.
      var agreed = Array(bytes[..<count])
      guard count >= 4 else { continue }
      withUnsafeBytes(of: UInt32(count)) { agreed.replaceSubrange(0..<4, with: $0) }
      let boundaries = [40 + type.bodySize, 40 + type.bodySize + 16, 40 + type.bodySize + 16 + 16]
      #expect((error(of: agreed) == nil) == boundaries.contains(count))
    }
  }

  @Test(arguments: [RecordType.exec, .open, .tcpClose, .copy]) func aRecordWithAnyByteChangedDoesNotCrash(
    _ type: RecordType
  ) {
    let bytes = sample(type).bytes
    var refused = 0
    for i in 0..<bytes.count {
      for value in [0, 1, 3, 0x7F, 0x80, 0xFF] as [UInt8] {
        var changed = bytes
        changed[i] = value
        if error(of: changed) != nil { refused += 1 }
      }
    }
    #expect(refused > 0)
  }

  @Test func eachErrorIsTold() {
    func changed(_ change: (inout [UInt8]) -> Void) -> RecordError? {
      var bytes = sample(.exec).bytes
      change(&bytes)
      return error(of: bytes)
    }
    let strings = 40 + RecordType.exec.bodySize
    #expect(error(of: []) == .shorterThanHeader(bytes: 0))
    #expect(changed { $0.append(contentsOf: [0, 0, 0, 0, 0, 0, 0, 0]) } != nil)
    #expect(changed { $0[4] = 23 } == .unknownType(23))
    #expect(changed { $0[4] = 0 } == .unknownType(0))
    #expect(changed { $0[6] = 1 } == .wrongClass(1, type: .exec))
    #expect(changed { $0[15] = 4 } == .jobOutOfRange(1029))
    #expect(changed { $0[strings] = 0 } == .malformedString(offset: strings))
    #expect(changed { $0[strings + 3] = 0xFF } == .malformedString(offset: strings))
    #expect(changed { $0[strings + 15] = 1 } == .dirtyPadding(offset: strings))
    #expect(changed { $0[strings] = UInt8(RecordString.argv.rawValue) } == .duplicateString(id: 4))
    #expect(changed { $0[$0.count - 1] = 1 } != nil)
    var odd = sample(.exec).bytes + [0]
    odd[0] += 1
    #expect(error(of: odd) == .unalignedLength(UInt32(odd.count)))
  }

  @Test func aTooLongRecordIsRefused() {
    let count = Int(MT_RECORD_MAX) + 8
    var bytes = sample(.exec).bytes
    bytes.append(contentsOf: repeatElement(0, count: count - bytes.count))
    withUnsafeBytes(of: UInt32(count)) { bytes.replaceSubrange(0..<4, with: $0) }
    #expect(error(of: bytes) == .tooLong(UInt32(count)))
  }

  @Test func unknownStringsAreSkipped() throws {
    var builder = RecordBuilder(.unlink)
    builder.setString(id: 63, "new".utf8)
    builder.setString(id: 9000, "newer".utf8)
    builder.setString(.path, "/tmp/x")
    builder.setString(.path2, "")
    try withExactCopy(builder.bytes) { bytes in
      Result {
        let record = try RecordView(validating: bytes)
        #expect(record.string(.path).map { String(decoding: $0, as: UTF8.self) } == "/tmp/x")
        #expect(record.string(.path2)?.count == 0)
        var ids: [UInt16] = []
        record.forEachString { id, _ in ids.append(id) }
        #expect(ids == [63, 9000, 9, 10])
      }
    }.get()
  }
}

@Suite struct VariableTests {
  @Test func namesAndValuesInOrder() throws {
    var builder = RecordBuilder(.claim)
    var claim = mt_claim()
    claim.rule = 3
    claim.is_new = 1
    builder.setBody(claim)
    builder.setString(.comm, "Runner.Worker")
    for variable in ["CI_JOB_ID=17", "EMPTY=", "A=b=c", "=x", "NONE", "CI_JOB_ID=18"] {
      builder.setString(.variable, variable)
    }
    try withExactCopy(builder.bytes) { bytes in
      Result {
        let record = try RecordView(validating: bytes)
        #expect(record.claim.rule == 3 && record.claim.is_new == 1 && record.step.step == 0)
        var found: [String] = []
        record.forEachVariable { name, value in
          found.append(String(decoding: name, as: UTF8.self) + " " + String(decoding: value, as: UTF8.self))
        }
        #expect(found == ["CI_JOB_ID 17", "EMPTY ", "A b=c", "CI_JOB_ID 18"])
      }
    }.get()
  }

  @Test func otherStringsStayUnique() {
    var builder = RecordBuilder(.step)
    builder.setString(id: 13, "a".utf8)
    builder.setString(id: 14, "a".utf8)
    var bytes = builder.bytes
    bytes[bytes.count - 8] = 13
    #expect(error(of: bytes) == .duplicateString(id: 13))
  }
}

@Suite struct RecordBuilderTests {
  @Test func cutsWhatDoesNotFit() throws {
    var builder = RecordBuilder(.exec)
    builder.setString(.argv, repeatElement(UInt8(ascii: "a"), count: 100_000))
    builder.setString(.exe, "/bin/x")
    let bytes = builder.bytes
    #expect(bytes.count <= Int(MT_RECORD_MAX) && error(of: bytes) == nil)
    #expect(builder.flags.contains(.truncated))
  }

  @Test func streamsAreWalked() {
    var stream: [UInt8] = []
    for type in RecordType.allCases { sample(type).append(to: &stream) }
    stream.append(contentsOf: [1, 2, 3])
    var types: [RecordType] = []
    let left = withExactCopy(stream) { stream in
      RecordStream.forEach(in: stream) { bytes in
        if let record = try? RecordView(validating: bytes) { types.append(record.type) }
      }
    }
    #expect(types == RecordType.allCases && left == 3)
  }
}
