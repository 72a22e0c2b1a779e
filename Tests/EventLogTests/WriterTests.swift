import Glibc
import Observation
import Testing

@testable import EventLog

@Suite("Writing the event log")
struct WriterTests {
  @Test("a log without events has one frame with a header")
  func empty() throws {
    let fixture = LogFixture()
    let summary = try fixture.writer().finish()
    #expect(summary.frames == 1)
    #expect(summary.lines == 0)
    let reading = try LogFixture.read(fixture.contents)
    #expect(reading.faults.isEmpty)
    #expect(reading.headers.first?["schema"]?.string == "martlet.events/v1")
    #expect(reading.headers.first?["metadata"]?["uid"]?.string == "test")
  }

  @Test("the first frame is written at once, the others after a second and not before")
  func flush() throws {
    let fixture = LogFixture()
    var log = try fixture.writer()
    try log.flushIfDue(now: 5)
    #expect(log.summary.frames == 0)
    try fixture.append(Records.open("a"), to: &log)
    try log.flushIfDue(now: 6)
    #expect(log.summary.frames == 1)
    try fixture.append(Records.open("b"), to: &log)
    try log.flushIfDue(now: 1_000_000_000)
    try log.flushIfDue(now: 1_999_999_999)
    #expect(log.summary.frames == 1)
    try log.flushIfDue(now: 2_000_000_000)
    #expect(log.summary.frames == 2)
    try log.flushIfDue(now: 9_000_000_000)
    #expect(log.summary.frames == 2)
    _ = try log.finish()
  }

  @Test("what is written now is the whole log so far, and the beginning of what it becomes")
  func soFar() throws {
    let fixture = LogFixture()
    var log = try fixture.writer()
    try log.flushNow()
    #expect(log.summary.frames == 1 && log.summary.lines == 0)
    try fixture.append(Records.open("a"), to: &log)
    try log.flushNow()
    try log.flushNow()
    let summary = log.summary
    #expect(summary.frames == 2 && summary.lines == 1)
    let soFar = fixture.contents
    let reading = try LogFixture.read(soFar)
    #expect(reading.faults.isEmpty && reading.summary.head == summary.head)
    try fixture.append(Records.open("b"), to: &log)
    #expect(try log.finish().lines == 2)
    #expect(fixture.contents.starts(with: soFar))
  }

  @Test("without an end the log can be read up to its last whole frame")
  func crash() throws {
    let fixture = LogFixture()
    var log = try fixture.writer()
    for index in 0..<1000 { try fixture.append(Records.open("file-\(index)"), to: &log) }
    let summary = log.summary
    #expect(summary.frames > 0)
    // The writer goes without `finish`.
    _ = consume log
    let reading = try LogFixture.read(fixture.contents)
    #expect(reading.faults.isEmpty)
    #expect(reading.summary.lines == summary.lines)
    #expect(reading.summary.head == summary.head)
  }

  @Test("the longest of lines fits a frame, cut and marked", arguments: [UInt8(1), 0xff, 0x22, 0x41])
  func longLines(byte: UInt8) throws {
    let argument = [UInt8](repeating: byte, count: 16_383)
    let executable = [UInt8](repeating: byte, count: 4096)
    let many = [[UInt8]](repeating: [], count: 16_384)
    let fixture = LogFixture()
    var log = try fixture.writer()
    try fixture.append(Records.open("before"), to: &log)
    try fixture.append(Records.exec([argument], executable: executable), to: &log)
    try fixture.append(Records.open("between"), to: &log)
    try fixture.append(Records.exec(many, executable: executable), to: &log)
    try fixture.append(Records.open("after"), to: &log)
    let summary = try log.finish()
    let reading = try LogFixture.read(fixture.contents)
    #expect(reading.faults.isEmpty)
    #expect(reading.lines.map { $0["activity_name"]?.string } == ["open", "exec", "open", "exec", "open"])
    #expect(reading.largestFrame <= EventLogWriter.maximumFrameBytes)
    #expect(summary.lines == 5)
    if byte == 1 {
      #expect(summary.cutLines >= 1)
      #expect(reading.lines[1]["process"]?["argsCut"] == .bool(true))
      #expect(reading.lines[1]["process"]?["args"]?.array?.first?.string?.unicodeScalars.count == 4096)
    }
    if byte == 0x41 {
      #expect(reading.lines[1]["process"]?["args"]?.array?.first?.string?.utf8.count == 16_383)
    }
  }

  @Test("a full device is told from other errors, and stays one")
  func noSpace() throws {
    let full = Glibc.open("/dev/full", O_WRONLY)
    try #require(full >= 0)
    defer { close(full) }
    let fixture = LogFixture()
    var log = try EventLogWriter(fileDescriptor: full, options: LogFixture.options)
    try fixture.append(Records.open("a"), to: &log)
    var caught: EventLogError?
    do throws(EventLogError) {
      try log.flushIfDue(now: 1)
    } catch {
      caught = error
    }
    #expect(caught?.code == .noSpace)
    #expect(caught?.errno == ENOSPC)
    #expect(log.summary.frames == 0)
    var again: EventLogError?
    do throws(EventLogError) {
      _ = try log.finish()
    } catch {
      again = error
    }
    #expect(again == caught)
  }

  @Test("an error of the descriptor is typed")
  func badDescriptor() throws {
    let log = try EventLogWriter(fileDescriptor: -1, options: LogFixture.options)
    var caught: EventLogError?
    do throws(EventLogError) {
      _ = try log.finish()
    } catch {
      caught = error
    }
    #expect(caught?.code == .inputOutput)
    #expect(caught?.errno == EBADF)
  }

  @Test("a write that stops half-way ends the log with an error")
  func shortWrite() throws {
    // A pipe takes part of a write and then would block: the short write is followed by an error.
    var ends: [Int32] = [0, 0]
    try #require(pipe(&ends) == 0)
    defer {
      close(ends[0])
      close(ends[1])
    }
    try #require(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0)
    let fixture = LogFixture()
    var log = try EventLogWriter(fileDescriptor: ends[1], options: LogFixture.options)
    var caught: EventLogError?
    do {
      for index in 0..<100_000 {
        try fixture.append(Records.open("\(index &* 2_654_435_761)", time: UInt64(index)), to: &log)
      }
    } catch {
      caught = error as? EventLogError
    }
    #expect(caught?.code == .inputOutput)
    #expect(caught?.errno == EAGAIN)
    #expect(log.summary.lines < 100_000)
  }

  @Test("random records of every type give lines that can be read")
  func randomRecords() throws {
    var generator = SystemRandomNumberGenerator()
    let fixture = LogFixture()
    var log = try fixture.writer()
    var count: UInt64 = 0
    for _ in 0..<2000 {
      let type = RecordType.allCases.randomElement(using: &generator) ?? .open
      var builder = RecordBuilder(
        type, time: .random(in: 0...(.max), using: &generator), tgid: .random(in: 1...20, using: &generator),
        leaderStart: 3)
      for string in RecordString.allCases where Bool.random(using: &generator) {
        let length = Int.random(in: 0...60, using: &generator)
        builder.setString(string, (0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) })
      }
      try fixture.append(builder, to: &log)
      count += 1
    }
    let summary = try log.finish()
    let reading = try LogFixture.read(fixture.contents)
    #expect(summary.lines == count)
    #expect(reading.lines.count == Int(count))
    #expect(reading.faults.isEmpty)
  }
}
