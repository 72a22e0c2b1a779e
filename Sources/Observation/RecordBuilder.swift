public import KernelABI

/// Builds records as the kernel side does: for what user space finds out by itself, for tests, for seeds of the fuzzers and
/// for streams that benchmarks replay. What it builds is valid whatever it is given.
///
/// ```swift
/// var builder = RecordBuilder(.exec, time: 1_000, tgid: 42)
/// builder.setBody(mt_exec())
/// builder.setString(.exe, "/usr/bin/true")
/// let bytes = builder.bytes
/// ```
public struct RecordBuilder: Sendable {
  public let type: RecordType
  public var time: UInt64
  public var tgid: UInt32
  public var tid: UInt32
  public var leaderStart: UInt64
  public var sequence: UInt32 = 1
  public var cpu: UInt16 = 0
  /// Taken modulo `MT_MAX_JOBS`.
  public var job: UInt16 = 1
  public var flags: RecordFlags = []
  private var body: [UInt8]
  private var strings: [(id: UInt16, bytes: [UInt8])] = []

  public init(_ type: RecordType, time: UInt64 = 1, tgid: UInt32 = 1, leaderStart: UInt64 = 1) {
    self.type = type
    self.time = time
    self.tgid = tgid
    self.tid = tgid
    self.leaderStart = leaderStart
    body = [UInt8](repeating: 0, count: type.bodySize)
  }

  /// Begins with what a record holds, to tell more.
  public init(_ record: RecordView) {
    let header = record.header
    self.init(record.type, time: header.time, tgid: header.tgid, leaderStart: header.leader_start)
    tid = header.tid
    sequence = header.sequence
    cpu = header.cpu
    job = header.job
    flags = record.flags
    body = Array(record.bytes.dropFirst(MemoryLayout<mt_header>.size).prefix(record.type.bodySize))
    record.forEachString { id, bytes in strings.append((id, Array(bytes))) }
  }

  /// Sets the body; of a structure that does not belong to the type, as many bytes as fit.
  public mutating func setBody(_ value: some RecordBody) {
    withUnsafeBytes(of: value) { source in
      let count = min(source.count, body.count)
      for i in 0..<count { body[i] = source[i] }
    }
  }

  /// Changes the body that was set before; of a structure that does not belong to the type nothing.
  mutating func updateBody<Body: RecordBody & BitwiseCopyable>(_ type: Body.Type, _ change: (inout Body) -> Void) {
    guard body.count == MemoryLayout<Body>.size else { return }
    var value = body.withUnsafeBytes { $0.loadUnaligned(as: Body.self) }
    change(&value)
    setBody(value)
  }

  /// Sets a string, in the order of the calls. Cut, with the flag set, where the record would grow too long.
  public mutating func setString(_ name: RecordString, _ bytes: some Sequence<UInt8>) {
    setString(id: name.rawValue, bytes)
  }

  public mutating func setString(_ name: RecordString, _ text: String) {
    setString(id: name.rawValue, text.utf8)
  }

  /// Joins and ends the arguments with NULs as the kernel keeps them.
  public mutating func setArguments(_ arguments: [String]) {
    setString(id: RecordString.argv.rawValue, arguments.flatMap { Array($0.utf8) + [0] })
  }

  /// As ``setString(_:_:)-(_,Sequence<UInt8>)``, by number: also for ids that no reader knows. 0 is ignored.
  /// Again with the same name it replaces the string, but for variables, of which there can be several.
  public mutating func setString(id: UInt16, _ bytes: some Sequence<UInt8>) {
    guard id != 0 else { return }
    if id != RecordString.variable.rawValue { strings.removeAll { $0.id == id } }
    let used = MemoryLayout<mt_header>.size + body.count + strings.reduce(0) { $0 + Self.padded($1.bytes.count) }
    let room = Int(MT_RECORD_MAX) - used - 4
    guard room >= 0 else {
      flags.insert(.truncated)
      return
    }
    var kept = Array(bytes)
    if kept.count > room {
      kept.removeSubrange(room...)
      flags.insert(.truncated)
    }
    strings.append((id, kept))
  }

  private static func padded(_ length: Int) -> Int { (length + 4 + 7) & ~7 }

  /// The record.
  public var bytes: [UInt8] {
    var out: [UInt8] = []
    append(to: &out)
    return out
  }

  /// Calls with the record as a reader sees it.
  public func withRecord(_ body: (RecordView) -> Void) {
    bytes.withUnsafeBytes { bytes in
      // What is built here is always one.
      if let record = try? RecordView(validating: bytes) { body(record) }
    }
  }

  /// Appends the record: a stream is one record after the other.
  public func append(to out: inout [UInt8]) {
    var header = mt_header()
    let length =
      MemoryLayout<mt_header>.size + body.count + strings.reduce(0) { $0 + Self.padded($1.bytes.count) }
    header.length = UInt32(length)
    header.type = type.rawValue
    header.ring_class = type.isCritical ? 0 : 1
    header.flags = flags.rawValue
    header.sequence = sequence
    header.cpu = cpu
    header.job = job % UInt16(MT_MAX_JOBS)
    header.time = time
    header.tgid = tgid
    header.tid = tid
    header.leader_start = leaderStart
    withUnsafeBytes(of: header) { out.append(contentsOf: $0) }
    out.append(contentsOf: body)
    for string in strings {
      withUnsafeBytes(of: string.id) { out.append(contentsOf: $0) }
      withUnsafeBytes(of: UInt16(string.bytes.count)) { out.append(contentsOf: $0) }
      out.append(contentsOf: string.bytes)
      out.append(contentsOf: repeatElement(0, count: Self.padded(string.bytes.count) - 4 - string.bytes.count))
    }
  }
}

/// A stream of records, one after the other, as ``RecordBuilder/append(to:)`` makes it: for tests and benchmarks.
public enum RecordStream {
  /// Hands each record to `body`, unchecked; returns the bytes that remain when a length leads out of the stream.
  @inlinable public static func forEach(
    in stream: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> Void
  ) -> Int {
    var offset = 0
    while stream.count &- offset >= MemoryLayout<mt_header>.size {
      let length = Int(stream.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
      guard length >= MemoryLayout<mt_header>.size, length <= stream.count &- offset else { break }
      body(UnsafeRawBufferPointer(rebasing: stream[offset..<(offset &+ length)]))
      offset &+= length
    }
    return stream.count &- offset
  }
}
