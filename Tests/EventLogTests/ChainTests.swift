import Glibc
import Testing

@testable import EventLog

@Suite("The chain of frames")
struct ChainTests {
  @Test("a log that was not touched has no fault, and its head is the writer's")
  func untouched() throws {
    let log = try LogFixture.severalFrames()
    #expect(log.summary.frames >= 4)
    let reading = try LogFixture.read(log.bytes)
    #expect(reading.faults.isEmpty)
    #expect(reading.summary.head == log.summary.head)
    #expect(reading.summary.frames == log.summary.frames)
    #expect(reading.lines.count == 2000)
    #expect(reading.summary.lines == 2000)
    #expect(reading.summary.bytes == UInt64(log.bytes.count))
    #expect(reading.largestFrame <= EventLogWriter.maximumFrameBytes)
    #expect(reading.headers.first?["previous"]?.string == String(repeating: "0", count: 64))
    #expect(reading.headers.map { $0["frame"]?.number } == (0..<Int64(log.summary.frames)).map { $0 })
    #expect(reading.headers.first?["clock_offset_ns"]?.string == "1700000000000000000")
  }

  @Test("a flipped bit is found wherever it is")
  func flippedBit() throws {
    let log = try LogFixture.severalFrames()
    let step = max(1, log.bytes.count / 211)
    for position in stride(from: 0, to: log.bytes.count, by: step) {
      var bytes = log.bytes
      bytes[position] ^= 1 << UInt8(position % 8)
      let reading = try? LogFixture.read(bytes, parsing: false)
      let found = reading.map { !$0.faults.isEmpty || $0.summary.head != log.summary.head } ?? true
      #expect(found, "bit flipped in byte \(position)")
    }
  }

  @Test("a frame whose contents were exchanged for others is found at the frame behind it")
  func forgedFrame() throws {
    let log = try LogFixture.severalFrames()
    // A log of the same shape whose frame 1 is whole and well-formed, but another.
    let other = LogFixture()
    var writer = try other.writer()
    var starts = [0]
    for index in 0..<2000 {
      try other.append(Records.open("forged-\(index)", time: UInt64(index)), to: &writer)
      if Int(writer.summary.bytes) > starts[starts.count - 1] { starts.append(Int(writer.summary.bytes)) }
    }
    _ = try writer.finish()
    let forged = other.contents[..<starts[1]] + log.bytes[log.starts[1]...]
    let reading = try LogFixture.read(Array(forged))
    #expect(reading.faults == [.init(frame: 1, kind: .brokenChain)])
  }

  @Test("a frame that was taken out is found")
  func removedFrame() throws {
    let log = try LogFixture.severalFrames()
    let bytes = log.bytes[..<log.starts[1]] + log.bytes[log.starts[2]...]
    let reading = try LogFixture.read(Array(bytes))
    #expect(reading.faults.contains(.init(frame: 1, kind: .brokenChain)))
    #expect(reading.faults.contains(.init(frame: 1, kind: .wrongNumber(2))))
  }

  @Test("two frames that changed places are found")
  func swappedFrames() throws {
    let log = try LogFixture.severalFrames()
    let (a, b, c) = (log.starts[1], log.starts[2], log.starts[3])
    let bytes = log.bytes[..<a] + log.bytes[b..<c] + log.bytes[a..<b] + log.bytes[c...]
    let reading = try LogFixture.read(Array(bytes))
    #expect(reading.faults.contains(.init(frame: 1, kind: .brokenChain)))
    #expect(reading.faults.contains(.init(frame: 2, kind: .brokenChain)))
    #expect(reading.faults.contains(.init(frame: 3, kind: .brokenChain)))
  }

  @Test("frames cut off the end leave a chain that holds and a head that does not match")
  func missingTail() throws {
    let log = try LogFixture.severalFrames()
    let reading = try LogFixture.read(Array(log.bytes[..<log.starts[2]]))
    #expect(reading.faults.isEmpty)
    #expect(reading.summary.frames == 2)
    #expect(reading.summary.head != log.summary.head)
  }

  @Test("a file that ends inside a frame is read up to there, wherever that is")
  func truncated() throws {
    let log = try LogFixture.severalFrames()
    for end in [1, 3, 4, 5, 17, 100, log.starts[2] - log.starts[1] - 1] {
      let reading = try LogFixture.read(Array(log.bytes[..<(log.starts[1] + end)]))
      #expect(reading.faults == [.init(frame: 1, kind: .truncated)], "cut after \(end) bytes")
      #expect(reading.summary.frames == 1)
      #expect(reading.lines.count > 100)
    }
  }

  @Test("an empty file has nothing in it, and one of something else is damaged")
  func foreignFiles() throws {
    let empty = try LogFixture.read([])
    #expect(empty.faults.isEmpty)
    #expect(empty.summary == LogSummary())
    #expect(try LogFixture.read(Array("hello, log".utf8)).faults == [.init(frame: 0, kind: .damagedFrame)])
    let zeros = try LogFixture.read([UInt8](repeating: 0, count: 300_000))
    #expect(zeros.faults == [.init(frame: 0, kind: .damagedFrame)])
    // A skippable frame, which zstd would pass over in silence.
    let skippable = try LogFixture.read([0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0])
    #expect(skippable.faults == [.init(frame: 0, kind: .damagedFrame)])
  }

  @Test("a frame that claims more than martlet writes is not unpacked")
  func oversized() throws {
    let text = [UInt8](repeating: 0x20, count: 10 << 20)
    let compressor = try FrameCompressor(level: 1, largestInput: text.count)
    let bytes = try text.withUnsafeBytes { Array(try compressor.compress($0)) }
    #expect(try LogFixture.read(bytes).faults == [.init(frame: 0, kind: .oversizedFrame)])
  }

  @Test("random bytes behind a frame's magic number are a fault, never a crash")
  func randomFrames() throws {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<300 {
      let length = Int.random(in: 0..<400, using: &generator)
      let noise = (0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) }
      let reading = try? LogFixture.read([0x28, 0xb5, 0x2f, 0xfd] + noise)
      #expect(reading.map { !$0.faults.isEmpty } ?? true)
    }
  }

  @Test("the head is the SHA-256 of the last frame")
  func head() throws {
    let digest = Array("abc".utf8).withUnsafeBytes { FrameDigest(of: $0) }
    #expect(digest.hex == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    #expect(FrameDigest(hex: digest.hex.utf8) == digest)
    #expect(FrameDigest(hex: digest.hex.uppercased().utf8) == nil)
    let log = try LogFixture.severalFrames()
    let last = log.bytes[(log.starts.last ?? 0)...]
    let expected = Array(last).withUnsafeBytes { FrameDigest(of: $0) }
    #expect(log.summary.head == expected.hex)
  }
}
