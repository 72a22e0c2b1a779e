internal import Glibc
public import Jobs
public import Observation

/// What the writer cannot learn from records.
public struct EventLogOptions: Sendable {
  /// Unique for the run.
  public var jobIdentifier = ""
  /// martlet's version.
  public var version = ""
  /// Nanoseconds to add to CLOCK_BOOTTIME to get CLOCK_REALTIME.
  public var clockOffset: Int64 = 0

  public init() {}
}

/// What writing frames takes besides their text: some hundred kilobytes, which all logs that one thread writes can share.
/// Their frames do not depend on each other, nor on the order in which they are compressed.
public final class FrameWorkshop {
  fileprivate let compressor: FrameCompressor
  /// A line that did not fit into its frame, on its way to the next.
  fileprivate var line = ByteBuffer(capacity: 1024)

  /// Room for the line that goes beyond the frame, so that no ordinary one makes a buffer grow.
  fileprivate static let bufferBytes = EventLogWriter.maximumFrameBytes * 3

  /// - Parameter level: as zstd counts them; see ``EventLogWriter`` for what the default was chosen by.
  public init(level: Int32 = -5) throws(EventLogError) {
    compressor = try FrameCompressor(level: level, largestInput: EventLogWriter.maximumFrameBytes)
  }
}

@available(*, unavailable)
extension FrameWorkshop: Sendable {}

/// What a log has come to.
public struct LogSummary: Sendable, Equatable {
  /// SHA-256 of the last compressed frame, in hex; zeros while there is none.
  public var head: String = FrameDigest.zero.hex
  public var frames: UInt64 = 0
  /// Events in whole frames, the header lines not counted.
  public var lines: UInt64 = 0
  /// Size of the file.
  public var bytes: UInt64 = 0
  /// Lines whose strings had to be cut to fit a frame.
  public var cutLines: UInt64 = 0

  public init() {}
}

/// Writes `events.ndjson.zst`: a line of JSON for each event, in zstd frames that are chained by their digests.
///
/// A frame holds at most ``maximumFrameBytes`` of text and about a second of time. Its first line is a header with
/// the SHA-256 of the compressed frame before, so that ``LogSummary/head`` vouches for all of them. After a crash
/// everything up to the last whole frame can be read.
///
/// The level was chosen by instructions on the lines of `Benchmarks/instructions`' storms (zstd 1.5.4, counted by
/// callgrind), where SHA-256 costs 28 a byte of the file on a CPU without instructions for it and 2 on others. An open's
/// line costs 1,139 and leaves 18.1 bytes at -5, 1,131 and 16.0 at -4, 1,185 and 15.4 at -3, 1,540 and 15.4 at -1, 1,611
/// and 9.8 at 1. Frames twice as large would save 4 %: they are what a reader waits for and what a crash costs, and whoever
/// reads the format counts on 64 KiB.
///
/// An error ends the log: it is thrown again by every call that follows, and `summary` tells of what was written
/// whole; if the file allows it, the part of a frame behind that is cut off again.
///
/// ```swift
/// var log = try EventLogWriter(fileDescriptor: file, options: options)
/// try log.append(record, state.applied)   // for each record
/// try log.flushIfDue(now: bootTime)       // every few milliseconds
/// let summary = try log.finish()
/// ```
public struct EventLogWriter: ~Copyable {
  /// Bytes of text in one frame, the header line included.
  public static let maximumFrameBytes = 64 * 1024
  private static let maximumFrameNanoseconds: UInt64 = 1_000_000_000

  private let fileDescriptor: Int32
  private let options: EventLogOptions
  private var serializer: EventSerializer
  private let workshop: FrameWorkshop
  /// The frame that is being filled.
  private var frame: ByteBuffer
  private var headerBytes = 0
  private var linesInFrame: UInt64 = 0
  /// When a flush first found lines in the frame; 0: not yet.
  private var frameSince: UInt64 = 0
  private var previous = FrameDigest.zero
  private var failure: EventLogError?

  /// What is in the file now.
  public private(set) var summary = LogSummary()

  /// Writes nothing yet.
  /// - Parameters:
  ///   - fileDescriptor: open for writing at its end; it stays the caller's to close.
  ///   - workshop: shared with other writers of the same thread; nil: one of its own, at once as large as it will get.
  public init(
    fileDescriptor: Int32, options: EventLogOptions, workshop: FrameWorkshop? = nil
  ) throws(EventLogError) {
    if let workshop { self.workshop = workshop } else { self.workshop = try FrameWorkshop() }
    self.fileDescriptor = fileDescriptor
    self.options = options
    serializer = EventSerializer(clockOffset: options.clockOffset)
    frame = ByteBuffer(capacity: workshop == nil ? FrameWorkshop.bufferBytes : 1024)
    writeHeader()
  }

  // MARK: - Lines

  /// Adds a record's line, unless a record that follows has all of it.
  public mutating func append(_ record: RecordView, _ applied: borrowing Applied) throws(EventLogError) {
    if let failure { throw failure }
    if record.flags.contains(.continued) { return }
    let start = frame.count
    serializer.write(record, applied, limit: .none, to: &frame)
    if frame.count > Self.maximumFrameBytes {
      try spill(lineAt: start, record, applied)
    }
    linesInFrame &+= 1
  }

  /// Writes the frame without its last line, which then begins the next one.
  private mutating func spill(
    lineAt start: Int, _ record: RecordView, _ applied: borrowing Applied
  ) throws(EventLogError) {
    if linesInFrame > 0 {
      workshop.line.removeAll()
      workshop.line.append(UnsafeRawBufferPointer(rebasing: frame.bytes[start...]))
      frame.truncate(to: start)
      try flush()
      frame.append(workshop.line.bytes)
    }
    if frame.count > Self.maximumFrameBytes {
      frame.truncate(to: headerBytes)
      serializer.write(record, applied, limit: .tight, to: &frame)
      summary.cutLines &+= 1
    }
  }

  // MARK: - Frames

  /// Writes the frame if its first line has waited for a second, and the first frame at once: it says whose log it is.
  /// - Parameter now: nanoseconds of any clock that does not go back, the same one at every call.
  public mutating func flushIfDue(now: UInt64) throws(EventLogError) {
    if let failure { throw failure }
    if linesInFrame == 0 { return }
    if summary.frames == 0 {
      try flush()
    } else if frameSince == 0 {
      frameSince = max(1, now)
    } else if now > frameSince, now - frameSince >= Self.maximumFrameNanoseconds {
      try flush()
    }
  }

  /// Writes the frame that has begun, if it has lines: ``summary`` vouches for all that was appended by now.
  public mutating func flushNow() throws(EventLogError) {
    if let failure { throw failure }
    if linesInFrame > 0 || summary.frames == 0 { try flush() }
  }

  /// Writes what is left and gives the final summary. A log without events has one frame with nothing but a header.
  public consuming func finish() throws(EventLogError) -> LogSummary {
    try flushNow()
    return summary
  }

  private mutating func flush() throws(EventLogError) {
    do {
      let compressed = try workshop.compressor.compress(frame.bytes)
      let digest = FrameDigest(of: compressed)
      try write(compressed)
      previous = digest
      summary.head = digest.hex
      summary.frames &+= 1
      summary.lines &+= linesInFrame
      summary.bytes &+= UInt64(compressed.count)
    } catch {
      failure = error
      throw error
    }
    linesInFrame = 0
    frameSince = 0
    writeHeader()
  }

  /// Begins a frame. The first one says what the lines mean.
  private mutating func writeHeader() {
    frame.removeAll()
    frame.append("{\"frame\":")
    frame.append(decimal: summary.frames)
    frame.append(",\"previous\":\"")
    previous.bytes.withUnsafeBytes { frame.append(hexOf: $0) }
    if summary.frames == 0 {
      frame.append("\",\"schema\":\"martlet.events/v1\",\"metadata\":{\"version\":\"1.5.0\",\"uid\":")
      JSONText.appendString(bounded(options.jobIdentifier), to: &frame)
      frame.append(",\"product\":{\"name\":\"martlet\",\"version\":")
      JSONText.appendString(bounded(options.version), to: &frame)
      frame.append("}},\"clock_offset_ns\":\"")
      frame.append(decimal: options.clockOffset)
    }
    frame.append("\"}\n")
    headerBytes = frame.count
  }

  /// A name that leaves room for lines.
  private func bounded(_ text: String) -> String { String(text.unicodeScalars.prefix(128)) }

  // MARK: - The file

  private func write(_ bytes: UnsafeRawBufferPointer) throws(EventLogError) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let written = Glibc.write(fileDescriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
      if written > 0 {
        rest = rest.dropFirst(written)
        continue
      }
      let cause = written == 0 ? EIO : errno
      if cause == EINTR { continue }
      // Best effort: a reader takes a part of a frame for the end of the log anyway.
      if rest.count < bytes.count { ftruncate(fileDescriptor, off_t(clamping: summary.bytes)) }
      let isFull = cause == ENOSPC || cause == EDQUOT
      throw EventLogError(isFull ? .noSpace : .inputOutput, "write event log", errno: cause)
    }
  }
}
