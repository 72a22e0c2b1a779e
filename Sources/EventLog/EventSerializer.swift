internal import Jobs
internal import KernelABI
internal import Observation

/// Turns a record into one line of JSON; docs/event-log.md lists the fields.
///
/// Nothing is allocated for a line once the buffer has room for the longest, and what is the same in line after line - the millisecond, the acting process -
/// is kept as text. Names come from the fold alone, which has masked them: the record's own strings never get here.
///
/// Members stand in the order of how seldom they change from one line to the next, but for the time, which stands before
/// the actor: zstd spends its time on the places where a line differs from those before, and differences that stand
/// together are one place. With the time at the end a process' three lines cost it an eighth more.
struct EventSerializer: ~Copyable {
  /// Nanoseconds from CLOCK_BOOTTIME to CLOCK_REALTIME.
  private let clockOffset: Int64
  private var millisecond: Int64 = .min
  private var millisecondText = ByteBuffer(capacity: 64)
  private var actor: (process: UInt32, pid: UInt32, step: UInt32, container: UInt32) = (.max, .max, 0, 0)
  private var actorText = ByteBuffer(capacity: 96)
  var localAddress = KeptAddress()
  var remoteAddress = KeptAddress()
  private var opening: Opening?
  private var openingText = ByteBuffer(capacity: 256)
  var executables = KeptTexts(none: ExecutableKey())
  var calls = KeptTexts(none: CallKey())
  /// Bytes of one string, and of all arguments together, that a line may have.
  private(set) var limit = Limit.none

  struct Limit {
    var string: Int
    var arguments: Int

    static var none: Limit { Limit(string: .max, arguments: .max) }
    /// A line within these fits a frame, whatever its bytes are: a byte takes at most six in the text and 4/3 in base64.
    static var tight: Limit { Limit(string: 768, arguments: 4096) }
  }

  init(clockOffset: Int64) {
    self.clockOffset = clockOffset
  }

  /// Appends the record's line, the line feed included.
  mutating func write(_ record: RecordView, _ applied: borrowing Applied, limit: Limit, to out: inout ByteBuffer) {
    self.limit = limit
    let type = record.type
    var line = Line(in: &out, room: Self.room(type, applied))
    writePrefix(type, record, to: &line)
    writeTime(record.time, to: &line)
    if type == .open {
      writeOpening(record, applied, to: &line)
    } else {
      writeTask(record, applied, to: &line)
    }
    switch type {
    case .open: writeOpen(record, applied, to: &line)
    case .passFD:
      writeAccess(record, to: &line)
      writeOpen(record, applied, to: &line)
    case .close: writeClose(record, applied, to: &line)
    case .io: writeIO(record, applied, to: &line)
    case .digest: writeDigest(record, applied, to: &line)
    case .dup: writeDup(record, applied, to: &line)
    case .rename, .unlink, .rmdir, .link, .symlink, .mkdir, .mknod, .truncate, .chmod, .chown:
      writePathOperation(record, applied, to: &line)
    case .mmapShared: writeMapping(record, applied, to: &line)
    case .copy: writeCopy(record, to: &line)
    case .pipe, .socketpair: writePair(record, to: &line)
    case .uring: writeURing(record, applied, to: &line)
    case .security: writeSecurity(record, applied, to: &line)
    case .fork: writeFork(record, to: &line)
    case .exec: writeExec(record, applied, to: &line)
    case .exit: writeExit(record, to: &line)
    case .claim: writeClaim(record, applied, to: &line)
    case .step: writeVariables(applied, to: &line)
    // The agent's own: they say where containers belong, and are in no job's log. What TLS is given is in plain text, and
    // is in none whatever happens.
    case .daemon, .cgroup, .tlsWrite, .tlsSent: break
    case .denial: writeDenial(record, applied, to: &line)
    case .answer: writeAnswer(record, to: &line)
    case .request: writeRequest(record, applied, to: &line)
    case .serverName: writeServerName(record, applied, to: &line)
    case .connect, .bind, .listen, .udpSend, .tcpClose, .socket, .flowOpen, .unixConnect, .unixAccept:
      if type == .unixConnect || type == .unixAccept {
        writeUnix(record, applied, to: &line)
      } else {
        writeSocket(record, to: &line)
      }
    }
    writeFlags(record.flags, applied, to: &line)
    line.append("}\n")
    line.finish(in: &out)
  }

  /// What a line can take beside its strings: the longest, an exec's, has 500 bytes of names and 16 numbers.
  private static let fixedRoom = 2048

  /// What the line can take at most: of a string each byte six, and 4/3 more where its bytes are added in base64.
  @inline(__always)
  static func room(_ type: RecordType, _ applied: borrowing Applied) -> Int {
    var strings = applied.directory.count &+ applied.name.count
    if type != .open && type != .close { strings &+= applied.directory2.count &+ applied.name2.count }
    if type == .security || type == .request || type == .serverName { strings &+= applied.detail.count }
    if type == .claim || type == .step { strings &+= applied.variables.count }
    if type == .exec || type == .claim {
      strings &+= applied.executable.count &+ applied.filename.count
      strings &+= applied.workingDirectory.count &+ applied.arguments.count
    }
    return fixedRoom &+ strings &* 8
  }

  // MARK: - What every line has

  /// Who did it.
  private mutating func writeTask(_ record: RecordView, _ applied: borrowing Applied, to out: inout Line) {
    writeActor(applied, record.tgid, to: &out)
    if record.tid != record.tgid {
      out.append(",\"tid\":")
      out.append(number: record.tid)
    }
  }

  /// What an open's line says between its time and its file; the same in most that follow each other.
  private struct Opening: Equatable {
    var process: UInt32
    var pid: UInt32
    var tid: UInt32
    var step: UInt32
    var container: UInt32
    var flags: UInt32
    var descriptor: Int32
  }

  @inline(__always)
  private mutating func writeOpening(_ record: RecordView, _ applied: borrowing Applied, to out: inout Line) {
    let body = record.open
    let this = Opening(
      process: applied.processID, pid: record.tgid, tid: record.tid, step: applied.step,
      container: applied.container, flags: body.open_flags, descriptor: body.fd)
    if opening != this {
      opening = this
      openingText.removeAll()
      var text = Line(in: &openingText, room: Self.fixedRoom)
      writeTask(record, applied, to: &text)
      writeAccess(record, to: &text)
      text.finish(in: &openingText)
    }
    out.append(openingText.bytes)
  }

  /// The class, the activity and its name: one literal, each copied where its length is known.
  private func writePrefix(_ type: RecordType, _ record: RecordView, to out: inout Line) {
    switch type {
    case .fork: out.append(#"{"class_uid":1007,"activity_id":1,"activity_name":"fork""#)
    case .exec: out.append(#"{"class_uid":1007,"activity_id":1,"activity_name":"exec""#)
    case .exit: out.append(#"{"class_uid":1007,"activity_id":2,"activity_name":"exit""#)
    case .open:
      if record.open.fmode & MT_FMODE_CREATED != 0 {
        out.append(#"{"class_uid":1001,"activity_id":1,"activity_name":"open""#)
      } else {
        out.append(#"{"class_uid":1001,"activity_id":14,"activity_name":"open""#)
      }
    case .close: out.append(#"{"class_uid":1001,"activity_id":3,"activity_name":"close""#)
    case .dup: out.append(#"{"class_uid":1001,"activity_id":99,"activity_name":"dup""#)
    case .rename: out.append(#"{"class_uid":1001,"activity_id":5,"activity_name":"rename""#)
    case .unlink: out.append(#"{"class_uid":1001,"activity_id":4,"activity_name":"unlink""#)
    case .rmdir: out.append(#"{"class_uid":1001,"activity_id":4,"activity_name":"rmdir""#)
    case .link: out.append(#"{"class_uid":1001,"activity_id":1,"activity_name":"link""#)
    case .symlink: out.append(#"{"class_uid":1001,"activity_id":1,"activity_name":"symlink""#)
    case .mkdir: out.append(#"{"class_uid":1001,"activity_id":1,"activity_name":"mkdir""#)
    case .mknod: out.append(#"{"class_uid":1001,"activity_id":1,"activity_name":"mknod""#)
    case .truncate: out.append(#"{"class_uid":1001,"activity_id":3,"activity_name":"truncate""#)
    case .chmod: out.append(#"{"class_uid":1001,"activity_id":7,"activity_name":"chmod""#)
    case .chown: out.append(#"{"class_uid":1001,"activity_id":7,"activity_name":"chown""#)
    case .mmapShared: out.append(#"{"class_uid":1001,"activity_id":3,"activity_name":"mmap_shared""#)
    case .copy: out.append(#"{"class_uid":1001,"activity_id":3,"activity_name":"copy""#)
    case .pipe: out.append(#"{"class_uid":1001,"activity_id":99,"activity_name":"pipe""#)
    case .socketpair: out.append(#"{"class_uid":1001,"activity_id":99,"activity_name":"socketpair""#)
    case .passFD: out.append(#"{"class_uid":1001,"activity_id":14,"activity_name":"pass_fd""#)
    case .connect: out.append(#"{"class_uid":4001,"activity_id":1,"activity_name":"connect""#)
    case .bind: out.append(#"{"class_uid":4001,"activity_id":99,"activity_name":"bind""#)
    case .listen: out.append(#"{"class_uid":4001,"activity_id":7,"activity_name":"listen""#)
    case .udpSend: out.append(#"{"class_uid":4001,"activity_id":6,"activity_name":"udp_send""#)
    case .tcpClose:
      if record.sock.established == 0 {
        out.append(#"{"class_uid":4001,"activity_id":4,"activity_name":"tcp_close""#)
      } else {
        out.append(#"{"class_uid":4001,"activity_id":2,"activity_name":"tcp_close""#)
      }
    case .unixConnect: out.append(#"{"class_uid":4001,"activity_id":1,"activity_name":"unix_connect""#)
    case .unixAccept: out.append(#"{"class_uid":4001,"activity_id":1,"activity_name":"unix_accept""#)
    case .socket: out.append(#"{"class_uid":4001,"activity_id":99,"activity_name":"socket""#)
    case .flowOpen: out.append(#"{"class_uid":4001,"activity_id":1,"activity_name":"flow_open""#)
    case .uring: out.append(#"{"class_uid":1001,"activity_id":99,"activity_name":"uring""#)
    case .security: out.append(Self.prefix(record.securityKind))
    case .claim: out.append(#"{"class_uid":1007,"activity_id":99,"activity_name":"claim""#)
    case .step: out.append(#"{"class_uid":1007,"activity_id":99,"activity_name":"step""#)
    case .io: out.append(#"{"class_uid":1001,"activity_id":99,"activity_name":"io""#)
    case .digest: out.append(#"{"class_uid":1001,"activity_id":99,"activity_name":"digest""#)
    case .daemon: out.append(#"{"class_uid":4001,"activity_id":99,"activity_name":"daemon""#)
    case .cgroup: out.append(#"{"class_uid":1007,"activity_id":99,"activity_name":"cgroup""#)
    case .denial: out.append(#"{"class_uid":2004,"activity_id":1,"activity_name":"denial""#)
    case .answer: out.append(#"{"class_uid":4003,"activity_id":2,"activity_name":"answer""#)
    case .tlsWrite: out.append(#"{"class_uid":4001,"activity_id":99,"activity_name":"tls_write""#)
    case .tlsSent: out.append(#"{"class_uid":4001,"activity_id":99,"activity_name":"tls_sent""#)
    case .request: out.append(#"{"class_uid":4002,"activity_id":99,"activity_name":"request""#)
    case .serverName: out.append(#"{"class_uid":4001,"activity_id":6,"activity_name":"server_name""#)
    }
  }

  /// `time` in milliseconds since the epoch, as OCSF has it, and in `ns` what is left below one.
  @inline(__always)
  private mutating func writeTime(_ bootTime: UInt64, to out: inout Line) {
    // A sum beyond 64 bits can only come from a record that is wrong; it shows as a time that is.
    let now = Int64(truncatingIfNeeded: bootTime) &+ clockOffset
    let wall = now < 0 ? 0 : now
    let current = wall / 1_000_000
    if current != millisecond {
      millisecond = current
      millisecondText.removeAll()
      millisecondText.append(",\"time\":")
      millisecondText.append(number: current)
      millisecondText.append(",\"ns\":")
    }
    out.append(millisecondText.bytes)
    out.append(number: wall &- current &* 1_000_000)
  }

  private mutating func writeActor(_ applied: borrowing Applied, _ pid: UInt32, to out: inout Line) {
    let this = (applied.processID, pid, applied.step, applied.container)
    if actor == this {
      out.append(actorText.bytes)
      return
    }
    let start = out.end
    out.append(",\"actor\":{\"process\":{\"uid\":\"")
    out.append(number: applied.processID)
    out.append("\",\"pid\":")
    out.append(number: pid)
    out.append("}}")
    if applied.step != 0 {
      out.append(",\"step\":")
      out.append(number: applied.step)
    }
    if applied.container != 0 {
      out.append(",\"container\":")
      out.append(number: applied.container)
    }
    actor = this
    actorText.removeAll()
    actorText.append(UnsafeRawBufferPointer(start: start, count: out.end - start))
  }

  @inline(__always)
  private func writeFlags(_ flags: RecordFlags, _ applied: borrowing Applied, to out: inout Line) {
    if flags.isEmpty, applied.pathIsResolved, !applied.pathIsTruncated, !applied.identityFromStat { return }
    let isTruncated = applied.pathIsTruncated
    if isTruncated || flags.contains(.truncated) { out.append(",\"truncated\":true") }
    if flags.contains(.unreadable) { out.append(",\"unreadable\":true") }
    if flags.contains(.compat) { out.append(",\"compat\":true") }
    if flags.contains(.uring) { out.append(",\"io_uring\":true") }
    if !applied.pathIsResolved { out.append(",\"unresolved\":true") }
    if applied.identityFromStat { out.append(",\"uid_by_path\":true") }
  }

  // MARK: - Strings

  /// A value in quotes and, if it is not UTF-8, a second member with base64 of all its bytes. `key` and
  /// `base64Key` are `"path":` and `,"pathBase64":`.
  func writeString(
    _ key: StaticString, base64 base64Key: StaticString, _ bytes: UnsafeRawBufferPointer, to out: inout Line
  ) {
    let cut = bytes.count > limit.string
    let bytes = cut ? UnsafeRawBufferPointer(rebasing: bytes[..<limit.string]) : bytes
    out.append(key)
    if writeContent(bytes, to: &out) {
      out.append(base64Key)
      writeBase64(bytes, to: &out)
    }
    if cut { out.append(",\"cut\":true") }
  }

  /// A text in quotes; true if something in it was replaced.
  private func writeContent(_ bytes: UnsafeRawBufferPointer, to out: inout Line) -> Bool {
    out.append(UInt8(ascii: "\""))
    let replaced = out.append(content: bytes)
    out.append(UInt8(ascii: "\""))
    return replaced
  }

  func writeBase64(_ bytes: UnsafeRawBufferPointer, to out: inout Line) {
    out.append(UInt8(ascii: "\""))
    out.append(base64: bytes)
    out.append(UInt8(ascii: "\""))
  }

  /// `"path":"…"` of a directory and a name in it, without putting them together first. `second`: of the second path.
  @inline(__always)
  func writePath(_ applied: borrowing Applied, second: Bool = false, to out: inout Line) {
    let directory = second ? applied.directory2 : applied.directory
    let name = second ? applied.name2 : applied.name
    if directory.count &+ name.count >= limit.string {
      let path = second ? applied.path2 : applied.path
      return writeString("\"path\":", base64: ",\"pathBase64\":", path, to: &out)
    }
    out.append("\"path\":\"")
    var replaced = out.append(content: directory)
    if !directory.isEmpty, !name.isEmpty, directory.count > 1 || directory[0] != UInt8(ascii: "/") {
      out.append(UInt8(ascii: "/"))
    }
    if out.append(content: name) { replaced = true }
    out.append(UInt8(ascii: "\""))
    if replaced {
      out.append(",\"pathBase64\":")
      writeBase64(second ? applied.path2 : applied.path, to: &out)
    }
  }

  /// An array of NUL-separated strings; a NUL at the end belongs to the last one. `key`, `base64Key` and `cutMember`
  /// are `"args":[`, `,"argsBase64":` and `,"argsCut":true`.
  func writeList(
    _ key: StaticString, base64 base64Key: StaticString, cut cutMember: StaticString, _ bytes: UnsafeRawBufferPointer,
    to out: inout Line
  ) {
    let cut = bytes.count > limit.arguments
    var count = cut ? limit.arguments : bytes.count
    if count > 0 && bytes[count &- 1] == 0 { count &-= 1 }
    let whole = UnsafeRawBufferPointer(rebasing: bytes[..<count])
    out.append(key)
    var replaced = false
    var start = 0
    while !bytes.isEmpty {
      let end = whole.firstZero(from: start)
      if writeContent(UnsafeRawBufferPointer(rebasing: whole[start..<end]), to: &out) { replaced = true }
      if end == count { break }
      out.append(UInt8(ascii: ","))
      start = end &+ 1
    }
    out.append(UInt8(ascii: "]"))
    if replaced {
      out.append(base64Key)
      writeBase64(whole, to: &out)
    }
    if cut { out.append(cutMember) }
  }
}
