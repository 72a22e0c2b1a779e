internal import CZstd
internal import Glibc
internal import Observation

/// Reads `events.ndjson.zst` frame by frame, and checks the chain that holds the frames together.
///
/// Memory is bounded by the largest frame that the writer makes, whatever the file holds; a damaged file gives
/// findings, never a crash.
///
/// ```swift
/// var reader = try EventLogReader(fileDescriptor: file)
/// while let frame = try reader.nextFrame() {
///   frame.forEachLine { line in … }
/// }
/// reader.faults        // what did not hold
/// reader.summary.head  // to be compared with report.json's log.head
/// ```
public struct EventLogReader: ~Copyable {
  /// What is wrong with a log, and in which frame: counted from 0 as they stand in the file.
  public struct Fault: Sendable, Hashable, CustomStringConvertible {
    public enum Kind: Sendable, Hashable {
      /// The header names another digest than that of the frame before: one of the two was changed, or frames
      /// were removed, added or exchanged between them.
      case brokenChain
      /// The header's number is not that of the frame's place.
      case wrongNumber(UInt64)
      /// No header line, or one without number or digest.
      case badHeader
      /// Not a zstd frame, or one that cannot be decompressed. What follows it cannot be found.
      case damagedFrame
      /// Larger than any frame that martlet writes. What follows is not read.
      case oversizedFrame
      /// The file ends inside a frame: the writer was stopped, or the end was cut off.
      case truncated
    }

    public let frame: UInt64
    public let kind: Kind

    public var description: String {
      let what: String =
        switch kind {
        case .brokenChain: "does not continue the frame before it"
        case .wrongNumber(let number): "is numbered \(number)"
        case .badHeader: "has no valid header line"
        case .damagedFrame: "is damaged"
        case .oversizedFrame: "is larger than martlet makes them"
        case .truncated: "is not whole"
        }
      return "frame \(frame) \(what)"
    }
  }

  /// The text of one frame; lines do not cross frames.
  public struct Frame: Sendable {
    /// Its place in the file, from 0.
    public let number: UInt64
    /// All lines, the header first.
    public let text: [UInt8]
    fileprivate let bodyStart: Int

    /// The first line, without its line feed.
    public var header: ArraySlice<UInt8> { text[..<max(0, bodyStart - 1)] }

    /// Hands out the events, each without its line feed.
    public func forEachLine(_ body: (ArraySlice<UInt8>) -> Void) {
      var start = bodyStart
      while start < text.count {
        let end = text[start...].firstIndex(of: UInt8(ascii: "\n")) ?? text.count
        if end > start { body(text[start..<end]) }
        start = end + 1
      }
    }
  }

  /// At most this many faults are kept; a forged file may have one in every frame.
  private static let maximumFaults = 1000

  private var source: FrameSource
  private let decompressor: OpaquePointer
  private var previous = FrameDigest.zero
  private var isAtEnd = false

  /// What did not hold so far.
  public private(set) var faults: [Fault] = []
  /// What was read so far; `head` is the digest of the last whole frame, to be compared with what the report says.
  public private(set) var summary = LogSummary()

  /// - Parameter fileDescriptor: read from where it stands; it stays the caller's to close.
  public init(fileDescriptor: Int32) throws(EventLogError) {
    guard let decompressor = ZSTD_createDCtx() else { throw EventLogError(.outOfMemory, "create decompressor") }
    self.decompressor = decompressor
    source = FrameSource(fileDescriptor: fileDescriptor)
  }

  deinit { ZSTD_freeDCtx(decompressor) }

  /// The next frame, nil at the end or where the file cannot be followed any more.
  /// - Throws: only what the system or the libraries refuse; faults of the file are in ``faults``.
  public mutating func nextFrame() throws(EventLogError) -> Frame? {
    if isAtEnd { return nil }
    let number = summary.frames
    let found = try source.next()
    switch found {
    case .end: return end()
    case .truncated: return end(.truncated)
    case .damaged: return end(.damagedFrame)
    case .oversized: return end(.oversizedFrame)
    case .frame(let size):
      let compressed = source.bytes(size)
      let digest = FrameDigest(of: compressed)
      var kind = Fault.Kind.damagedFrame
      guard let text = decompress(compressed, &kind) else { return end(kind) }
      let frame = check(text, number)
      previous = digest
      summary.head = digest.hex
      summary.frames &+= 1
      summary.bytes &+= UInt64(size)
      source.consume(size)
      frame.forEachLine { _ in summary.lines &+= 1 }
      return frame
    }
  }

  /// Reads everything that is left, and hands out the events line by line.
  public mutating func readAll(_ body: (ArraySlice<UInt8>) -> Void = { _ in }) throws(EventLogError) {
    while let frame = try nextFrame() { frame.forEachLine(body) }
  }

  private mutating func end(_ kind: Fault.Kind? = nil) -> Frame? {
    isAtEnd = true
    if let kind { note(kind, summary.frames) }
    return nil
  }

  private mutating func note(_ kind: Fault.Kind, _ frame: UInt64) {
    if faults.count < Self.maximumFaults { faults.append(Fault(frame: frame, kind: kind)) }
  }

  private func decompress(_ compressed: UnsafeRawBufferPointer, _ kind: inout Fault.Kind) -> [UInt8]? {
    // The frame's own header says how large it is; what it says is not believed beyond the limit, and the
    // output cannot grow over what was allocated.
    let limit = EventLogWriter.maximumFrameBytes
    let claimed = ZSTD_getFrameContentSize(compressed.baseAddress, compressed.count)
    // The two largest values are ZSTD_CONTENTSIZE_UNKNOWN and _ERROR, macros that Swift does not import.
    if claimed > UInt64(limit), claimed < UInt64.max - 1 {
      kind = .oversizedFrame
      return nil
    }
    var size = 0
    let text = [UInt8](unsafeUninitializedCapacity: limit) { output, filled in
      size = ZSTD_decompressDCtx(
        decompressor, output.baseAddress, limit, compressed.baseAddress, compressed.count)
      filled = ZSTD_isError(size) == 0 ? min(size, limit) : 0
    }
    return ZSTD_isError(size) == 0 ? text : nil
  }

  private mutating func check(_ text: [UInt8], _ number: UInt64) -> Frame {
    let end = text.firstIndex(of: UInt8(ascii: "\n")) ?? text.count
    guard let header = FrameHeader(text[..<end]) else {
      note(.badHeader, number)
      return Frame(number: number, text: text, bodyStart: 0)
    }
    if header.number != number { note(.wrongNumber(header.number), number) }
    if header.previous != previous { note(.brokenChain, number) }
    return Frame(number: number, text: text, bodyStart: min(end + 1, text.count))
  }
}

/// `{"frame":N,"previous":"64 digits"…}`, in exactly the form that the writer gives it.
struct FrameHeader {
  let number: UInt64
  let previous: FrameDigest

  init?(_ line: ArraySlice<UInt8>) {
    let start = Array("{\"frame\":".utf8)
    let middle = Array(",\"previous\":\"".utf8)
    guard line.starts(with: start) else { return nil }
    var rest = line.dropFirst(start.count)
    let digits = rest.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    guard let number = UInt64(String(decoding: digits, as: UTF8.self)) else { return nil }
    rest = rest.dropFirst(digits.count)
    guard rest.starts(with: middle) else { return nil }
    rest = rest.dropFirst(middle.count)
    guard let previous = FrameDigest(hex: rest.prefix(64)) else { return nil }
    rest = rest.dropFirst(64)
    guard rest.first == UInt8(ascii: "\""), rest.last == UInt8(ascii: "}") else { return nil }
    self.number = number
    self.previous = previous
  }
}

/// Finds frames in a stream with a buffer that never grows beyond one frame.
struct FrameSource: ~Copyable {
  enum Found {
    case frame(size: Int)
    case end
    case truncated
    case damaged
    case oversized
  }

  /// No frame of at most 64 KiB of text is larger, even if nothing in it could be compressed.
  private static let capacity = 2 * EventLogWriter.maximumFrameBytes

  private let fileDescriptor: Int32
  private let buffer: UnsafeMutableRawBufferPointer
  private var start = 0
  private var end = 0
  private var isDry = false

  init(fileDescriptor: Int32) {
    self.fileDescriptor = fileDescriptor
    buffer = .allocate(byteCount: Self.capacity, alignment: 16)
  }

  deinit { buffer.deallocate() }

  /// The next bytes, of a frame that `next` has found.
  func bytes(_ count: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: buffer[start..<(start + count)])
  }

  mutating func consume(_ count: Int) { start += count }

  mutating func next() throws(EventLogError) -> Found {
    while true {
      let available = end - start
      if available >= 4, !startsFrame { return .damaged }
      if available > 0 {
        let size = ZSTD_findFrameCompressedSize(buffer.baseAddress.map { $0 + start }, available)
        if ZSTD_isError(size) == 0, size <= available { return .frame(size: size) }
        // With less of it at hand an error may just mean that the frame goes on.
        if available == Self.capacity { return .oversized }
      }
      if isDry {
        return available == 0 ? .end : .truncated
      }
      try fill()
    }
  }

  /// zstd's magic number, RFC 8878. Skippable frames and those of older formats are none of ours.
  private var startsFrame: Bool {
    end - start >= 4 && buffer.loadUnaligned(fromByteOffset: start, as: UInt32.self).littleEndian == 0xFD2F_B528
  }

  private mutating func fill() throws(EventLogError) {
    guard let base = buffer.baseAddress else { throw EventLogError(.outOfMemory, "read event log") }
    if start > 0 {
      base.copyMemory(from: base + start, byteCount: end - start)
      end -= start
      start = 0
    }
    while true {
      let count = read(fileDescriptor, base + end, Self.capacity - end)
      if count > 0 {
        end += count
        return
      }
      if count == 0 {
        isDry = true
        return
      }
      if errno != EINTR { throw EventLogError(.inputOutput, "read event log", errno: errno) }
    }
  }
}
