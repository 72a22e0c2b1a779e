import Glibc
import Observation
import Testing

@testable import Export
@testable import KernelSensor

private func parse(_ text: String) -> HTTPRequest.Parsed { HTTPRequest.parse(Array(text.utf8)) }

@Suite("HTTP requests for metrics")
struct HTTPRequestTests {
  @Test(
    "what a scraper sends",
    arguments: [
      ("GET /metrics HTTP/1.1\r\nHost: localhost:9464\r\n\r\n", "/metrics", false),
      ("GET /metrics?x=y%20 HTTP/1.0\r\n\r\n", "/metrics", false),
      ("HEAD / HTTP/1.1\nhost:x\n\nrest", "/", true),
      (
        "\r\nGET http://127.0.0.1:9464/metrics HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nContent-Length: 0\r\n\r\n",
        "/metrics", false
      ),
      ("GET http://host HTTP/1.0\r\n\r\n", "/", false),
    ])
  func accepted(text: String, path: String, isHead: Bool) {
    #expect(parse(text) == .request(HTTPRequest(isHead: isHead, path: path)))
    // Whatever of it is there so far is no request.
    for count in 0..<text.utf8.count where !text.hasSuffix("rest") {
      #expect(HTTPRequest.parse(text.utf8.prefix(count)) == .incomplete)
    }
  }

  @Test(
    "what is refused",
    arguments: [
      ("GET /metrics HTTP/1.1\r\n\r\n", 400), ("GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
      ("GET  /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET metrics HTTP/1.0\r\n\r\n", 400),
      ("GET / HTTP/1.0\r\nA: b\r c\r\n\r\n", 400), ("GET / HTTP/1.0\r\n folded\r\n\r\n", 400),
      ("GET / HTTP/1.0\r\nName : x\r\n\r\n", 400), ("GET / HTTP/2.0\r\n\r\n", 505), ("GET / HTTP/12\r\n\r\n", 400),
      ("GET /\r\n\r\n", 400), ("POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 405),
      ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
      ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", 413), ("\u{16}\u{3}\u{1}\u{2}\n\n", 400),
    ])
  func refused(text: String, status: Int) { #expect(parse(text) == .refused(status)) }

  @Test func tooLong() {
    #expect(HTTPRequest.parse([UInt8](repeating: 65, count: HTTPRequest.limit - 1)) == .incomplete)
    #expect(HTTPRequest.parse([UInt8](repeating: 65, count: HTTPRequest.limit)) == .refused(431))
    #expect(HTTPRequest.parse([UInt8](repeating: 10, count: HTTPRequest.limit + 5)) == .refused(431))
  }

  @Test func answers() throws {
    func answer(_ text: String) throws -> String {
      let bytes = HTTPResponse.answer(to: parse(text)) { Array("m 1\n".utf8) }
      return String(decoding: try #require(bytes), as: UTF8.self)
    }
    #expect(
      try answer("GET /metrics HTTP/1.0\r\n\r\n")
        == "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: 4\r\n"
        + "Connection: close\r\n\r\nm 1\n")
    #expect(try answer("HEAD /metrics HTTP/1.0\r\n\r\n").hasSuffix("Content-Length: 4\r\nConnection: close\r\n\r\n"))
    #expect(try answer("GET /x HTTP/1.0\r\n\r\n").hasPrefix("HTTP/1.1 404 Not Found\r\n"))
    #expect(try answer("PUT / HTTP/1.0\r\n\r\n").contains("\r\nAllow: GET, HEAD\r\n"))
  }
}

@Suite("Metrics")
struct MetricsTests {
  static let metrics: RunMetrics = {
    var open = SensorCounters.Row()
    open.seen = 10
    open.sent = 7
    open.deduplicated = 3
    var types = [SensorCounters.Row](repeating: SensorCounters.Row(), count: 33)
    types[4] = open
    var status = SensorStatus(
      counters: SensorCounters(types: types, mapFull: [0, 2]),
      rings: [
        .init(cpu: nil, statistics: .init(capacity: 4096, available: 1, highWater: 2)),
        .init(cpu: 3, statistics: .init(capacity: 8192, available: 3, highWater: 4)),
      ],
      maps: [
        .init(name: "tags", capacity: nil, used: nil, refused: 0),
        .init(name: "processes", capacity: 9, used: 8, refused: 2),
      ], received: 7)
    status.programs = [ProgramStatistics(id: 1, name: "sys_exit", type: "t", runs: 5, nanoseconds: 2_500_000_000)]
    return RunMetrics(version: "1", kernelRelease: "6.\"1\\\n", startedAt: 1.5, status: status)
  }()

  /// As the format's specification says, in so far as we use it.
  static func check(_ text: String) -> [String] {
    var faults: [String] = []
    var family = ""
    var families: Set<String> = []
    var seen: Set<String> = []
    if !text.hasSuffix("\n") { faults.append("no line feed at the end") }
    for line in text.split(separator: "\n") {
      if line.hasPrefix("# HELP ") { continue }
      if line.hasPrefix("# TYPE ") {
        let words = line.split(separator: " ")
        family = String(words[2])
        if !families.insert(family).inserted { faults.append("\(family) twice") }
        if words.count != 4 || !["counter", "gauge"].contains(words[3]) { faults.append("\(line)") }
        if (words[3] == "counter") != family.hasSuffix("_total") { faults.append("\(family) is no \(words[3])") }
        continue
      }
      guard
        line.wholeMatch(of: /([a-zA-Z_:][a-zA-Z0-9_:]*)(\{([a-z_]+="([^"\\\n]|\\["\\n])*",?)*\})? [0-9.e+-]+/) != nil,
        line.hasPrefix(family), seen.insert(String(line.prefix { $0 != " " })).inserted
      else {
        faults.append("bad line \(line)")
        continue
      }
    }
    return faults
  }

  @Test func format() {
    let text = String(decoding: Self.metrics.text(), as: UTF8.self)
    #expect(Self.check(text) == [])
    for line in [
      "martlet_info{version=\"1\",kernel=\"6.\\\"1\\\\\\n\"} 1", "martlet_run_start_time_seconds 1.5",
      "martlet_records_sent_total{type=\"open\",ring=\"bulk\"} 7",
      "martlet_events_deduplicated_total{type=\"open\",ring=\"bulk\"} 3",
      "martlet_records_lost_total{type=\"exec\",ring=\"critical\"} 0", "martlet_records_received_total 7",
      "martlet_ring_available_bytes{ring=\"critical\",cpu=\"\"} 1",
      "martlet_ring_high_water_bytes{ring=\"bulk\",cpu=\"3\"} 4", "martlet_map_refused_total{map=\"processes\"} 2",
      "martlet_map_entries{map=\"processes\"} 8", "martlet_map_capacity_entries{map=\"processes\"} 9",
      "martlet_program_runs_total{program=\"sys_exit\"} 5",
      "martlet_program_run_seconds_total{program=\"sys_exit\"} 2.5",
    ] {
      #expect(text.contains("\n" + line + "\n"), "\(line)")
    }
    #expect(!text.contains("end_time") && !text.contains("capacity_entries{map=\"tags\"}"))
  }

  @Test func addresses() {
    func address(_ text: String) -> String? { ListenAddress(text)?.description }
    #expect(address("9464") == "127.0.0.1:9464" && address(":9464") == "127.0.0.1:9464")
    #expect(address("localhost:0") == "127.0.0.1:0" && address("[::1]:1") == "[::1]:1")
    #expect(address("0.0.0.0:65535") == "0.0.0.0:65535")
    for bad in ["", ":", "x", "65536", "-1", "::1:80", "[::1]", "1.2.3.4:", "+5"] {
      #expect(address(bad) == nil, "\(bad)")
    }
  }

  @Test(
    "addresses as bind(2) takes them",
    arguments: [
      ("127.0.0.1:80", AF_INET, 0), ("0.0.0.0:9464", AF_INET, 0), ("[::]:1", AF_INET6, 0), ("[::1]:65535", AF_INET6, 0),
      ("[fe80::1%7]:1", AF_INET6, 7), ("[::1%lo]:1", AF_INET6, 1),
    ])
  func socketAddresses(text: String, family: Int32, zone: UInt32) throws {
    let address = try #require(ListenAddress(text))
    var bytes = try #require(address.socketAddress)
    #expect(Int32(bytes.ss_family) == family)
    let (found, scope) = withUnsafeBytes(of: &bytes) {
      (
        UInt16(bigEndian: $0.loadUnaligned(fromByteOffset: 2, as: UInt16.self)),
        family == AF_INET6 ? $0.load(as: sockaddr_in6.self).sin6_scope_id : 0
      )
    }
    #expect(found == address.port && scope == zone)
    if zone == 0 {
      var host = [CChar](repeating: 0, count: 64)
      let start = withUnsafeBytes(of: &bytes) {
        inet_ntop(family, $0.baseAddress?.advanced(by: family == AF_INET6 ? 8 : 4), &host, socklen_t(host.count))
      }
      #expect(start != nil && String(decoding: host.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self) == address.host)
    }
  }

  @Test(
    "what is no address in digits",
    arguments: [
      "ci.example:80", "127.1:80", "256.0.0.1:80", "[1.2.3.4]:0%", "[::1%nosuchcard0]:80", "[::1%]:80", "[::g]:1",
    ])
  func noSocketAddresses(text: String) {
    #expect(ListenAddress(text)?.socketAddress == nil)
  }

  @Test("the file is replaced as a whole, and leaves nothing else behind")
  func file() throws {
    var template = Array("/tmp/martlet-export-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { rmdir(directory) }
    let path = directory + "/m.prom"
    defer { unlink(path) }
    // A link in its place is replaced, not followed.
    try #require(symlink("/dev/full", path) == 0)
    let file = try MetricsFile(path: path)
    for text in ["a 1\n", "a 2\n"] { try file.write(Array(text.utf8)) }
    var status = stat()
    #expect(lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && status.st_size == 4)
    #expect(status.st_mode & 0o777 == 0o644)
    var names: [String] = []
    let entries = try #require(opendir(directory))
    defer { closedir(entries) }
    while let entry = readdir(entries) {
      names.append(withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
    }
    #expect(names.sorted() == [".", "..", "m.prom"])
    #expect(throws: ExportError.self) { try MetricsFile(path: directory + "/absent/m.prom") }
    #expect(throws: ExportError.self) { try MetricsFile(path: directory + "/") }
  }

  @Test("several clients at once, slow ones and rude ones among them, until it is told to end")
  func endpoint() throws {
    let exporter = try MetricsExporter(file: nil, listen: ListenAddress("0"))
    exporter.publish(Self.metrics)
    try exporter.start()
    let port = try #require(exporter.address).port
    func connectClient() -> Int32 {
      let client = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = port.bigEndian
      address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
      let result = withUnsafeBytes(of: &address) {
        connect(client, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count))
      }
      return result == 0 ? client : -1
    }
    func say(_ client: Int32, _ text: String) { _ = write(client, text, text.utf8.count) }
    func hear(_ client: Int32) -> String {
      var bytes: [UInt8] = []
      var buffer = [UInt8](repeating: 0, count: 65536)
      while true {
        let count = read(client, &buffer, buffer.count)
        if count <= 0 { break }
        bytes += buffer[..<count]
      }
      close(client)
      return String(decoding: bytes, as: UTF8.self)
    }
    let slow = connectClient()
    say(slow, "GET /met")
    close(connectClient())
    for _ in 0..<40 {
      let client = connectClient()
      say(client, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(hear(client).contains("\r\n\r\n# HELP martlet_info"))
    }
    say(slow, "rics HTTP/1.0\r\n\r\n")
    #expect(hear(slow).hasPrefix("HTTP/1.1 200 OK\r\n"))
    try exporter.finish(Self.metrics)
    #expect(connectClient() == -1)
    // The port is taken: the second says so.
    let first = try MetricsListener(try #require(ListenAddress("0")))
    #expect(throws: ExportError.self) { _ = try MetricsListener(first.address) }
  }
}
