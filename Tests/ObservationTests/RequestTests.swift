import KernelABI
import Testing

@testable import Observation

@Suite struct HPACKTests {
  private static func bytes(_ hex: String) -> [UInt8] {
    let digits = hex.filter { !$0.isWhitespace }
    return stride(from: 0, to: digits.count, by: 2).compactMap { place in
      let start = digits.index(digits.startIndex, offsetBy: place)
      return UInt8(digits[start..<digits.index(start, offsetBy: 2)], radix: 16)
    }
  }

  private static func decode(_ decoder: inout HPACKDecoder, _ hex: String) -> HPACKDecoder.Fields? {
    bytes(hex).withUnsafeBytes { decoder.decode($0) }
  }

  private static func fields(_ method: String, _ authority: String, _ path: String) -> HPACKDecoder.Fields {
    HPACKDecoder.Fields(method: Array(method.utf8), authority: Array(authority.utf8), path: Array(path.utf8))
  }

  /// RFC 7541, C.2.
  @Test func singleFields() {
    var decoder = HPACKDecoder()
    #expect(
      Self.decode(&decoder, "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572")
        == HPACKDecoder.Fields())
    #expect(decoder.size == 55)
    decoder = HPACKDecoder()
    #expect(Self.decode(&decoder, "040c 2f73 616d 706c 652f 7061 7468") == Self.fields("", "", "/sample/path"))
    #expect(decoder.size == 0)
    #expect(
      Self.decode(&decoder, "1008 7061 7373 776f 7264 0673 6563 7265 74") == HPACKDecoder.Fields())
    #expect(Self.decode(&decoder, "82") == Self.fields("GET", "", ""))
    #expect(decoder.size == 0)
  }

  /// RFC 7541, C.3 and C.4: three requests of one connection, without and with Huffman's code.
  @Test(arguments: [
    [
      "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", "8286 84be 5808 6e6f 2d63 6163 6865",
      "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ],
    [
      "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", "8286 84be 5886 a8eb 1064 9cbf",
      "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ],
  ])
  func requests(_ blocks: [String]) {
    var decoder = HPACKDecoder()
    #expect(Self.decode(&decoder, blocks[0]) == Self.fields("GET", "www.example.com", "/"))
    #expect(decoder.size == 57)
    #expect(Self.decode(&decoder, blocks[1]) == Self.fields("GET", "www.example.com", "/"))
    #expect(decoder.size == 110)
    #expect(Self.decode(&decoder, blocks[2]) == Self.fields("GET", "www.example.com", "/index.html"))
    #expect(decoder.size == 164)
  }

  /// RFC 7541, C.6, whose table of 256 bytes has entries leave it; behind a change of the table's size.
  @Test func aTableThatIsFull() {
    var decoder = HPACKDecoder()
    let blocks = [
      """
      3fe1 01 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718
      63c7 8f0b 97c8 e9ae 82ae 43d3
      """, "4883 640e ffc1 c0bf",
      """
      88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf
      cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07
      """,
    ]
    for (block, size) in zip(blocks, [222, 222, 215]) {
      #expect(Self.decode(&decoder, block) == HPACKDecoder.Fields())
      #expect(decoder.size == size)
    }
  }

  @Test func whatIsNoBlock() {
    let wrong = [
      "80", "c0", "be", "7f 80 80 80 80 01", "3f e1 ff ff 07", "41 05 61", "41 81 00", "41 82 ff ff ff",
      "44 84 ff ff ff ff",
    ]
    for block in wrong {
      var decoder = HPACKDecoder()
      #expect(Self.decode(&decoder, block) == nil, "\(block)")
    }
  }

  /// Whatever it is given, it ends, and keeps no more than the table may hold.
  @Test func anyBytes() {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<3000 {
      var decoder = HPACKDecoder()
      for _ in 0..<4 {
        let block = (0..<Int.random(in: 0..<200, using: &generator)).map { _ in
          UInt8.random(in: 0...255, using: &generator)
        }
        _ = block.withUnsafeBytes { decoder.decode($0) }
        #expect(decoder.size <= HPACKDecoder.tableLimit)
      }
    }
  }
}

@Suite struct RequestTextTests {
  private static func read(_ head: String, isWhole: Bool = true) -> [String]? {
    Array(head.utf8).withUnsafeBytes { RequestText(head: $0, isWhole: isWhole) }.map { text in
      [text.method, text.host, text.path].map { String(decoding: $0, as: UTF8.self) } + (text.isCut ? ["cut"] : [])
    }
  }

  @Test func heads() {
    #expect(
      Self.read("GET /a/b?token=x HTTP/1.1\r\nAccept: */*\r\nhOsT:  Example.ORG:8443 \r\n\r\n")
        == ["GET", "example.org:8443", "/a/b"])
    #expect(Self.read("POST /x#y HTTP/1.0\n\nHost: body\n") == ["POST", "", "/x"])
    #expect(
      Self.read("GET http://user:secret@proxied.example/p?q HTTP/1.1\r\nHost: other\r\n\r\n")
        == ["GET", "proxied.example", "/p"])
    #expect(Self.read("GET http://proxied.example?q HTTP/1.1\r\n\r\n") == ["GET", "proxied.example", ""])
    #expect(Self.read("CONNECT a.example:443 HTTP/1.1\r\nHost: b\r\n\r\n") == ["CONNECT", "a.example:443", ""])
    #expect(Self.read("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n") == ["OPTIONS", "a", "*"])
    #expect(Self.read("GET /\u{1b}[31m HTTP/1.1\r\nHost: a\u{1b}b@c\r\n\r\n") == ["GET", "a?b?c", "/?[31m"])
  }

  @Test func whatIsNoRequest() {
    for text in [
      "", "GET", "GET /", "GET /a b HTTP/1.1\r\n", "PUT x\r\n", "MOVE it\r\n\r\n", "GET / SIP/2.0\r\n", "\r\n\r\n", " ",
    ] {
      #expect(Self.read(text) == nil, "\(text)")
    }
  }

  @Test func whatIsCut() {
    #expect(Self.read("GET /abc", isWhole: false) == ["GET", "", "/", "cut"])
    #expect(Self.read("GET /ab/c", isWhole: false) == ["GET", "", "/ab/", "cut"])
    // What comes behind is the query's, and so not known to be missing.
    #expect(Self.read("GET /abc?d", isWhole: false) == ["GET", "", "/abc"])
    let long = String(repeating: "x", count: RequestText.pathLimit)
    #expect(Self.read("GET /\(long) HTTP/1.1\r\n\r\n") == ["GET", "", "/", "cut"])
    #expect(Self.read("GET /\(long.dropLast()) HTTP/1.1\r\n\r\n") == ["GET", "", "/" + long.dropLast()])
  }
}

@Suite struct RequestDecoderTests {
  private final class Writer {
    var decoder: RequestDecoder
    var told: [String] = []
    private var time: UInt64 = 1000

    init(_ limits: RequestDecoder.Limits = RequestDecoder.Limits()) { decoder = RequestDecoder(limits: limits) }

    func write(
      _ bytes: [UInt8], flags: mt_tls_flag..., stream: UInt64 = 7, write: UInt64 = 1, sock: UInt64 = 0,
      part: UInt32 = 0,
      place: mt_tls_place = mt_tls_place(), length: Int? = nil, wait: UInt64 = 1
    ) {
      var body = mt_tls_write()
      body.stream = stream
      body.write = write
      body.sock = sock
      body.part = part
      body.place = place
      body.library = 1
      body.bytes = UInt64(length ?? bytes.count)
      body.flags = UInt16(flags.reduce(0) { $0 | $1.rawValue })
      send(.tlsWrite, body, bytes, wait)
    }

    func sent(_ write: UInt64, by sock: UInt64) { send(.tlsSent, mt_tls_sent(write: write, sock: sock), nil, 1) }

    private func send(_ type: RecordType, _ body: some RecordBody, _ bytes: [UInt8]?, _ wait: UInt64) {
      time += wait
      var builder = RecordBuilder(type, time: time, tgid: 5)
      builder.setBody(body)
      if let bytes { builder.setString(.bytes, bytes) }
      builder.bytes.withUnsafeBytes { bytes in
        guard let record = try? RecordView(validating: bytes) else { return }
        decoder.take(record) { self.tell($0) }
      }
    }

    func finish() { decoder.finish { tell($0) } }

    private func tell(_ builder: RecordBuilder) {
      let bytes = builder.bytes
      #expect(!String(decoding: bytes, as: UTF8.self).contains("hunter2"))
      bytes.withUnsafeBytes { bytes in
        guard let record = try? RecordView(validating: bytes) else { return told.append("malformed") }
        if record.request.flags & UInt16(MT_REQUEST_HIDDEN.rawValue) != 0 { return told.append("hidden") }
        let texts = [RecordString.detail, .name, .path].map { name in
          record.string(name).map { String(decoding: $0, as: UTF8.self) } ?? "none"
        }
        told.append((texts + ["\(record.request.sock)"]).joined(separator: " "))
      }
    }
  }

  private static let head = Array("GET /a?hunter2 HTTP/1.1\r\nCookie: hunter2\r\nHost: h\r\n\r\n".utf8)

  private static func frame(_ kind: UInt8, _ flags: UInt8, _ stream: UInt8, _ payload: [UInt8]) -> [UInt8] {
    [0, UInt8(payload.count >> 8), UInt8(payload.count & 0xff), kind, flags, 0, 0, 0, stream] + payload
  }

  private static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + frame(4, 0, 0, [])
  /// GET, :path /a?hunter2, :authority h into the table; and an authorization that stays out of it.
  private static let first: [UInt8] =
    [0x82, 0x04, 10] + Array("/a?hunter2".utf8) + [0x41, 1] + Array("h".utf8) + [0x10, 1, 0x61, 7]
    + Array("hunter2".utf8)
  /// POST, the host from the table.
  private static let second: [UInt8] = [0x83, 0x04, 2] + Array("/b".utf8) + [0xbe]

  @Test func isJoinedNowLaterOrNever() {
    let writer = Writer()
    writer.write(Self.head, sock: 9)
    #expect(writer.told == ["GET h /a 9"])
    writer.write(Self.head, flags: MT_TLS_FOLLOWS, write: 2)
    writer.write(Self.head, flags: MT_TLS_FOLLOWS, write: 3)
    #expect(writer.told.count == 1)
    writer.sent(3, by: 10)
    writer.sent(3, by: 11)
    #expect(writer.told.count == 2 && writer.told.last == "GET h /a 10")
    // Nothing follows: it is told at once.
    writer.write(Self.head, write: 4)
    #expect(writer.told.last == "GET h /a 0")
    writer.finish()
    #expect(writer.told.count == 4 && writer.told.last == "GET h /a 0")
    writer.finish()
    #expect(writer.told.count == 4)
  }

  @Test func doesNotWaitForEver() {
    var limits = RequestDecoder.Limits()
    limits.patience = 100
    let writer = Writer(limits)
    writer.write(Self.head, flags: MT_TLS_FOLLOWS, write: 2)
    writer.write(Array("GET".utf8), wait: 200)
    #expect(writer.told == ["GET h /a 0"])
    limits = RequestDecoder.Limits()
    limits.waiting = 2
    let crowded = Writer(limits)
    for number in 1...5 { crowded.write(Self.head, flags: MT_TLS_FOLLOWS, write: UInt64(number)) }
    #expect(crowded.told.count == 3)
    crowded.sent(5, by: 4)
    #expect(crowded.told.last == "GET h /a 4")
  }

  @Test func anotherGoesOn() {
    // A request that waits to be sent, and a connection whose table is known.
    let before = Writer()
    before.write(Self.head, flags: MT_TLS_FOLLOWS, write: 2)
    before.write(Self.preface, flags: MT_TLS_FRAMES, MT_TLS_BEGINS, sock: 9, part: 1)
    before.write(Self.frame(1, 5, 1, Self.first), flags: MT_TLS_FRAMES, sock: 9, part: 2)
    #expect(before.told == ["GET h /a 9"])
    var limits = RequestDecoder.Limits()
    limits.waiting = 2
    let after = Writer(limits)
    after.write(Self.head, flags: MT_TLS_FOLLOWS, write: 3)
    after.decoder.takeOver(before.decoder)
    after.write(Self.frame(1, 5, 3, Self.second), flags: MT_TLS_FRAMES, sock: 9, part: 3)
    #expect(after.told == ["POST h /b 9"])
    after.sent(2, by: 10)
    #expect(after.told.last == "GET h /a 10")
    // All are counted: of three one is too many.
    after.decoder.takeOver(before.decoder)
    after.write(Self.head, flags: MT_TLS_FOLLOWS, write: 4)
    #expect(after.told.count == 3)
    after.finish()
    #expect(after.told.count == 5)
    let bytes = after.decoder.bytes
    #expect(bytes > 0)
    after.decoder.limit(bytes: 0)
    after.write(Self.preface, flags: MT_TLS_FRAMES, MT_TLS_BEGINS, stream: 8, part: 1)
    #expect(after.decoder.bytes <= bytes)
    after.write(Self.frame(1, 5, 5, Self.second), flags: MT_TLS_FRAMES, part: 4)
    #expect(after.told.last == "hidden")
  }

  @Test func framesOfOneConnection() {
    let writer = Writer()
    writer.write(Self.preface, flags: MT_TLS_FRAMES, MT_TLS_BEGINS, sock: 9, part: 1)
    #expect(writer.told.isEmpty)
    writer.write(Self.frame(1, 5, 1, Self.first), flags: MT_TLS_FRAMES, sock: 9, part: 2)
    // Padded, with a priority, and data around.
    let padded = [3] + [0, 0, 0, 0, 1] + Self.second + [0, 0, 0]
    writer.write(
      Self.frame(0, 0, 1, [1, 2, 3]) + Self.frame(1, 0x2d, 3, padded) + Self.frame(0, 1, 3, [4]), flags: MT_TLS_FRAMES,
      sock: 9, part: 3)
    #expect(writer.told == ["GET h /a 9", "POST h /b 9"])
    // Trailers ask for nothing.
    writer.write(Self.frame(1, 5, 3, [0x10, 1, 0x62, 1, 0x63]), flags: MT_TLS_FRAMES, sock: 9, part: 4)
    #expect(writer.told.count == 2)
    // The same connection's id again: a new one, with a table of its own.
    writer.write(
      Self.preface + Self.frame(1, 5, 1, Self.second), flags: MT_TLS_FRAMES, MT_TLS_BEGINS, sock: 9, part: 1)
    #expect(writer.told.last == "hidden")
  }

  /// A block in two frames, these in writes that are cut at each place there is.
  @Test func framesInPieces() {
    let whole = Self.frame(1, 1, 1, Array(Self.first[..<5])) + Self.frame(9, 4, 1, Array(Self.first[5...]))
    for cut in 1..<whole.count {
      let writer = Writer()
      writer.write(Self.preface, flags: MT_TLS_FRAMES, MT_TLS_BEGINS, sock: 9, part: 1)
      var place = mt_tls_place()
      var part: UInt32 = 2
      for piece in [Array(whole[..<cut]), Array(whole[cut...])] {
        let before = place
        // The kernel side tells nothing of a write in which no frame with headers has begun.
        if Self.follow(&place, piece) {
          writer.write(piece, flags: MT_TLS_FRAMES, sock: 9, part: part, place: before)
          part += 1
        }
      }
      #expect(writer.told == ["GET h /a 9"], "cut at \(cut)")
    }
  }

  /// As families/requests.h does. Returns whether the write is told.
  private static func follow(_ place: inout mt_tls_place, _ bytes: [UInt8]) -> Bool {
    var opens = false
    for byte in bytes {
      if place.left > 0 {
        if place.opens != 0 { opens = true }
        place.left -= 1
        continue
      }
      place.opens = 0
      place.head |= UInt32(byte) << (8 * UInt32(place.have))
      place.have += 1
      guard place.have == 4 else { continue }
      let head = place.head
      place = mt_tls_place()
      place.left = (head & 0xff) << 16 | head & 0xff00 | head >> 16 & 0xff
      place.left += 5
      place.opens = head >> 24 == 1 || head >> 24 == 9 ? 1 : 0
      if place.opens != 0 { opens = true }
    }
    return opens
  }

  @Test func whatIsMissingHidesTheRest() {
    let writer = Writer()
    writer.write(Self.frame(1, 5, 1, Self.first), flags: MT_TLS_HIDDEN)
    #expect(writer.told == ["hidden"])
    writer.write(Self.preface, flags: MT_TLS_FRAMES, MT_TLS_BEGINS, part: 1)
    writer.write(Self.frame(1, 5, 3, Self.second), flags: MT_TLS_FRAMES, part: 3)
    writer.write(Self.frame(1, 5, 5, Self.first), flags: MT_TLS_FRAMES, part: 4)
    #expect(writer.told == ["hidden", "hidden", "hidden"])
    // Of a long write the end is not sent along: data may be in it, no frame.
    let long = Writer()
    long.write(Self.preface, flags: MT_TLS_FRAMES, MT_TLS_BEGINS, part: 1)
    let data: [UInt8] = [0, 1, 0, 0, 0, 0, 0, 0, 1]
    long.write(
      Self.frame(1, 4, 1, Self.first) + data, flags: MT_TLS_FRAMES, part: 2, length: Self.first.count + 18 + 256)
    #expect(long.told == ["GET h /a 0"])
    long.write(
      Self.frame(1, 4, 1, Self.second) + data, flags: MT_TLS_FRAMES, part: 3, length: Self.second.count + 18 + 257)
    #expect(long.told == ["GET h /a 0", "POST h /b 0", "hidden"])
  }

  @Test func memoryHasALimit() {
    var limits = RequestDecoder.Limits()
    limits.connections = 3
    let writer = Writer(limits)
    for stream in 1...4 {
      writer.write(
        Self.preface, flags: MT_TLS_FRAMES, MT_TLS_BEGINS, stream: UInt64(stream), part: 1)
    }
    for stream in 1...4 {
      writer.write(Self.frame(1, 5, 1, Self.first), flags: MT_TLS_FRAMES, stream: UInt64(stream), part: 2)
    }
    // One had to go, and says so; it does not take the place of another.
    #expect(writer.told.count { $0 == "hidden" } == 1 && writer.told.count == 4)
  }
}
