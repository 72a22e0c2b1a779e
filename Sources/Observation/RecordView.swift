public import KernelABI

/// Why bytes are not a record. Offsets are in bytes from the start of the record.
public enum RecordError: Error, Equatable, Sendable {
  /// Fewer bytes than a header has.
  case shorterThanHeader(bytes: Int)
  /// The header's length is not the number of bytes at hand.
  case lengthMismatch(field: UInt32, bytes: Int)
  /// The length is not a multiple of 8.
  case unalignedLength(UInt32)
  /// The length is above `MT_RECORD_MAX`.
  case tooLong(UInt32)
  /// A type that this version does not know: written by a newer sensor, or damage.
  case unknownType(UInt16)
  /// A ring class that records of this type never travel by.
  case wrongClass(UInt8, type: RecordType)
  /// A job slot at or above `MT_MAX_JOBS`.
  case jobOutOfRange(UInt16)
  /// The record ends inside the fixed body of its type.
  case bodyCut(RecordType)
  /// The string at `offset` reaches beyond the record, or has the id 0.
  case malformedString(offset: Int)
  /// The bytes that pad the string at `offset` are not zero.
  case dirtyPadding(offset: Int)
  /// Two strings with this id, of which there can be only one.
  case duplicateString(id: UInt16)
}

/// A record from the kernel, checked once and read in place.
///
/// Everything that an accessor relies on is checked by ``init(validating:)``, so accessors do not check, allocate or
/// trap. The view borrows the bytes: it must not outlive them, which on the hot path means the ring callback.
///
/// ```swift
/// do throws(RecordError) {
///   let record = try RecordView(validating: bytes)
///   if record.type == .exec, let argv = record.string(.argv) { fold(record.exec, argv) }
/// } catch {
///   malformed += 1
/// }
/// ```
///
/// The layout is that of `martlet_abi.h`: a 40-byte header, a body fixed by type, then strings, each of them
/// {u16 id, u16 length}, its bytes, and zeros up to a multiple of 8.
@frozen public struct RecordView {
  @usableFromInline let base: UnsafeRawPointer
  @usableFromInline let end: Int
  public let type: RecordType

  /// Checks `bytes` as one whole record.
  ///
  /// Strings with ids that are not known are skipped, but must be well-formed; of ids from 64 on, repeats are not
  /// looked for.
  @inlinable public init(validating bytes: UnsafeRawBufferPointer) throws(RecordError) {
    guard let base = bytes.baseAddress, bytes.count >= Self.headerSize else {
      throw .shorterThanHeader(bytes: bytes.count)
    }
    let length = base.loadUnaligned(as: UInt32.self)
    guard Int(length) == bytes.count else { throw .lengthMismatch(field: length, bytes: bytes.count) }
    guard length & 7 == 0 else { throw .unalignedLength(length) }
    guard length <= UInt32(MT_RECORD_MAX) else { throw .tooLong(length) }
    let number = base.loadUnaligned(fromByteOffset: 4, as: UInt16.self)
    guard let type = RecordType(rawValue: number) else { throw .unknownType(number) }
    let ringClass = base.loadUnaligned(fromByteOffset: 6, as: UInt8.self)
    guard ringClass == (type.isCritical ? 0 : 1) else { throw .wrongClass(ringClass, type: type) }
    let job = base.loadUnaligned(fromByteOffset: 14, as: UInt16.self)
    guard job < UInt16(MT_MAX_JOBS) else { throw .jobOutOfRange(job) }

    let end = bytes.count
    var offset = Self.headerSize &+ type.bodySize
    guard offset <= end else { throw .bodyCut(type) }
    var seen: UInt64 = 0
    // Both offset and end are multiples of 8, so a string's head and padding are inside whenever offset is.
    while offset < end {
      let id = base.loadUnaligned(fromByteOffset: offset, as: UInt16.self)
      let tail = offset &+ 4 &+ Int(base.loadUnaligned(fromByteOffset: offset &+ 2, as: UInt16.self))
      guard id != 0, tail <= end else { throw .malformedString(offset: offset) }
      if id < 64 {
        let bit = 1 &<< UInt64(id)
        guard seen & bit == 0 || id == RecordString.variable.rawValue else { throw .duplicateString(id: id) }
        seen |= bit
      }
      let next = (tail &+ 7) & ~7
      if next != tail {
        let last = UInt64(littleEndian: base.loadUnaligned(fromByteOffset: next &- 8, as: UInt64.self))
        guard last &>> UInt64(64 &- (next &- tail) &* 8) == 0 else { throw .dirtyPadding(offset: offset) }
      }
      offset = next
    }
    self.base = base
    self.end = end
    self.type = type
  }

  @inlinable static var headerSize: Int { MemoryLayout<mt_header>.size }

  /// The time of a record that has not been checked, for merging rings; nil where a header does not fit.
  @inlinable public static func time(of bytes: UnsafeRawBufferPointer) -> UInt64? {
    guard let base = bytes.baseAddress, bytes.count >= headerSize else { return nil }
    return base.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
  }

  /// The whole record, for storing it as it is.
  @inlinable public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: end) }
}

// MARK: - Header

extension RecordView {
  @inlinable public var header: mt_header { base.loadUnaligned(as: mt_header.self) }
  @inlinable public var isCritical: Bool { type.isCritical }
  @inlinable public var flags: RecordFlags { RecordFlags(rawValue: base.load(fromByteOffset: 7, as: UInt8.self)) }
  /// Per CPU and ring class, from 1; advanced for lost records too.
  @inlinable public var sequence: UInt32 { base.loadUnaligned(fromByteOffset: 8, as: UInt32.self) }
  @inlinable public var cpu: UInt16 { base.loadUnaligned(fromByteOffset: 12, as: UInt16.self) }
  /// Job slot, below `MT_MAX_JOBS`; 0 is no job.
  @inlinable public var job: UInt16 { base.loadUnaligned(fromByteOffset: 14, as: UInt16.self) }
  /// Nanoseconds of CLOCK_BOOTTIME.
  @inlinable public var time: UInt64 { base.loadUnaligned(fromByteOffset: 16, as: UInt64.self) }
  /// Process id in the initial pid namespace.
  @inlinable public var tgid: UInt32 { base.loadUnaligned(fromByteOffset: 24, as: UInt32.self) }
  @inlinable public var tid: UInt32 { base.loadUnaligned(fromByteOffset: 28, as: UInt32.self) }
  /// Start of the thread group's leader, nanoseconds of CLOCK_BOOTTIME: with ``tgid`` unique until reboot.
  @inlinable public var leaderStart: UInt64 { base.loadUnaligned(fromByteOffset: 32, as: UInt64.self) }
}

// MARK: - Bodies

/// The body's fields. Asking a record for the body of another type gives zeros: wrong, but never out of bounds.
extension RecordView {
  @inlinable @inline(__always)
  func load<Body: RecordBody & BitwiseCopyable>(_ body: Body.Type) -> Body {
    guard type.bodySize >= MemoryLayout<Body>.size else { return Body() }
    return base.loadUnaligned(fromByteOffset: Self.headerSize, as: Body.self)
  }

  @inlinable public var fork: mt_fork { type == .fork ? load(mt_fork.self) : mt_fork() }
  @inlinable public var exec: mt_exec { type == .exec ? load(mt_exec.self) : mt_exec() }
  @inlinable public var exit: mt_exit { type == .exit ? load(mt_exit.self) : mt_exit() }
  /// Of `open` and `passFD`.
  @inlinable @inline(__always)
  public var open: mt_open { type == .open || type == .passFD ? load(mt_open.self) : mt_open() }
  @inlinable @inline(__always)
  public var close: mt_close { type == .close ? load(mt_close.self) : mt_close() }
  @inlinable public var dup: mt_dup { type == .dup ? load(mt_dup.self) : mt_dup() }
  /// Of `rename` to `chown`.
  @inlinable public var pathOp: mt_path_op {
    type.rawValue >= RecordType.rename.rawValue && type.rawValue <= RecordType.chown.rawValue
      ? load(mt_path_op.self) : mt_path_op()
  }
  @inlinable public var mmap: mt_mmap { type == .mmapShared ? load(mt_mmap.self) : mt_mmap() }
  @inlinable public var copy: mt_copy { type == .copy ? load(mt_copy.self) : mt_copy() }
  /// Of `pipe` and `socketpair`.
  @inlinable public var pair: mt_pair { type == .pipe || type == .socketpair ? load(mt_pair.self) : mt_pair() }
  /// Of `connect` to `tcpClose`, `socket` and `flowOpen`.
  @inlinable public var sock: mt_sock {
    (type.rawValue >= RecordType.connect.rawValue && type.rawValue <= RecordType.tcpClose.rawValue)
      || type == .socket || type == .flowOpen ? load(mt_sock.self) : mt_sock()
  }
  /// Of a socket's record: the connection was accepted.
  @inlinable public var isInbound: Bool { sock.inbound != 0 }
  /// Of `unixConnect` and `unixAccept`.
  @inlinable public var unix: mt_unix {
    type == .unixConnect || type == .unixAccept ? load(mt_unix.self) : mt_unix()
  }
  @inlinable public var uring: mt_uring { type == .uring ? load(mt_uring.self) : mt_uring() }
  @inlinable public var io: mt_io { type == .io ? load(mt_io.self) : mt_io() }
  @inlinable public var security: mt_security { type == .security ? load(mt_security.self) : mt_security() }
  @inlinable public var claim: mt_claim { type == .claim ? load(mt_claim.self) : mt_claim() }
  @inlinable public var digest: mt_digest { type == .digest ? load(mt_digest.self) : mt_digest() }
  @inlinable public var daemon: mt_daemon { type == .daemon ? load(mt_daemon.self) : mt_daemon() }
  @inlinable public var cgroup: mt_cgroup_change { type == .cgroup ? load(mt_cgroup_change.self) : mt_cgroup_change() }
  @inlinable public var denial: mt_denial { type == .denial ? load(mt_denial.self) : mt_denial() }
  @inlinable public var answer: mt_answer { type == .answer ? load(mt_answer.self) : mt_answer() }
  @inlinable public var serverName: mt_server_name {
    type == .serverName ? load(mt_server_name.self) : mt_server_name()
  }
  @inlinable public var tlsWrite: mt_tls_write { type == .tlsWrite ? load(mt_tls_write.self) : mt_tls_write() }
  @inlinable public var tlsSent: mt_tls_sent { type == .tlsSent ? load(mt_tls_sent.self) : mt_tls_sent() }
  @inlinable public var request: mt_request { type == .request ? load(mt_request.self) : mt_request() }
  @inlinable public var step: mt_step { type == .step ? load(mt_step.self) : mt_step() }
}

/// The structures that follow a header.
public protocol RecordBody {
  /// All zeros.
  init()
}
extension mt_fork: RecordBody {}
extension mt_exec: RecordBody {}
extension mt_exit: RecordBody {}
extension mt_open: RecordBody {}
extension mt_close: RecordBody {}
extension mt_dup: RecordBody {}
extension mt_path_op: RecordBody {}
extension mt_mmap: RecordBody {}
extension mt_copy: RecordBody {}
extension mt_pair: RecordBody {}
extension mt_sock: RecordBody {}
extension mt_unix: RecordBody {}
extension mt_uring: RecordBody {}
extension mt_io: RecordBody {}
extension mt_security: RecordBody {}
extension mt_claim: RecordBody {}
extension mt_step: RecordBody {}
extension mt_digest: RecordBody {}
extension mt_daemon: RecordBody {}
extension mt_cgroup_change: RecordBody {}
extension mt_denial: RecordBody {}
extension mt_answer: RecordBody {}
extension mt_tls_write: RecordBody {}
extension mt_tls_sent: RecordBody {}
extension mt_request: RecordBody {}
extension mt_server_name: RecordBody {}

// MARK: - Strings

extension RecordView {
  /// The bytes of a string, nil where the record has none of that name. An empty string is not nil.
  @inlinable @inline(__always)
  public func string(_ name: RecordString) -> UnsafeRawBufferPointer? {
    var offset = Self.headerSize &+ type.bodySize
    while offset < end {
      let head = UInt32(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
      let length = Int(head &>> 16)
      if UInt16(truncatingIfNeeded: head) == name.rawValue {
        return UnsafeRawBufferPointer(start: base + (offset &+ 4), count: length)
      }
      offset = (offset &+ length &+ 11) & ~7
    }
    return nil
  }

  /// As ``string(_:)-(RecordString)``, by the C name: `record.string(MT_STR_PATH)`.
  @inlinable public func string(_ name: mt_string) -> UnsafeRawBufferPointer? {
    guard let name = RecordString(rawValue: UInt16(truncatingIfNeeded: name.rawValue)) else { return nil }
    return string(name)
  }

  /// Calls `body` with the name and the value of each variable of a `claim` or a `step`, raw: mask the value before it
  /// is stored anywhere. What has no name, or no `=`, is left out.
  @inlinable public func forEachVariable(
    _ body: (_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Void
  ) {
    forEachString { id, bytes in
      guard id == RecordString.variable.rawValue, let equals = bytes.firstIndex(of: UInt8(ascii: "=")), equals > 0
      else { return }
      body(
        UnsafeRawBufferPointer(rebasing: bytes[..<equals]), UnsafeRawBufferPointer(rebasing: bytes[(equals + 1)...]))
    }
  }

  /// Calls `body` with each string, in the order of the record; ids that are not known are among them.
  @inlinable public func forEachString(_ body: (UInt16, UnsafeRawBufferPointer) -> Void) {
    var offset = Self.headerSize &+ type.bodySize
    while offset < end {
      let id = base.loadUnaligned(fromByteOffset: offset, as: UInt16.self)
      let length = Int(base.loadUnaligned(fromByteOffset: offset &+ 2, as: UInt16.self))
      body(id, UnsafeRawBufferPointer(start: base + (offset &+ 4), count: length))
      offset = (offset &+ length &+ 11) & ~7
    }
  }
}
