import Jobs
import Observation
import Testing

@testable import Reporting

@Suite("report.json")
struct JSONReportTests {
  @Test("begins with the fixed keys in their order")
  func leadingKeys() throws {
    let report = try StrictJSON.parse(JSONReport.write(Sample.input()))
    let fixed = [
      "schema", "verdict", "verdicts", "job", "sensor", "log", "counts", "processes", "network", "files", "findings",
      "artifacts",
    ]
    #expect(Array(report.keys.prefix(fixed.count)) == fixed)
    #expect(report["schema"]?.string == "martlet.report/v1")
    #expect(report["verdict"]?.string == "clean")
    #expect(Array(report["sensor"]?.keys.prefix(3) ?? []) == ["kernel", "hooks", "completeness"])
    #expect(Array(report["sensor"]?["hooks"]?.array?.first?.keys.prefix(3) ?? []) == ["family", "kind", "target"])
    let completeness = [
      "seen", "sent", "deduplicated", "aggregated", "lost", "truncated", "unreadable", "mapFull", "lateAttach",
    ]
    #expect(Array(report["sensor"]?["completeness"]?.keys.prefix(completeness.count) ?? []) == completeness)
    #expect(report["sensor"]?["completeness"]?["lost"]?.keys == ["critical", "bulk"])
    #expect(report["log"]?.keys == ["head", "frames", "lines", "bytes"])
    let process = [
      "id", "parent", "pid", "executable", "arguments", "workingDirectory", "startedAt", "endedAt", "exitCode",
    ]
    let first = try #require(report["processes"]?.array?.first)
    #expect(Array(first.keys.prefix(process.count)) == process)
    #expect(first["step"] == .null)
    #expect(first["container"] == .null)
    #expect(report["findings"] == .array([]))
    #expect(report["artifacts"] == .array([]))
  }

  @Test("has the numbers of the run")
  func numbers() throws {
    let report = try StrictJSON.parse(JSONReport.write(Sample.input()))
    #expect(report["job"]?["startedAt"]?.string == "2026-02-25T06:13:21.000Z")
    #expect(report["job"]?["durationNanoseconds"]?.number == 2_500_000_000)
    #expect(report["job"]?["exitCode"]?.number == 0)
    #expect(report["sensor"]?["completeness"]?["seen"]?.number == 110)
    #expect(report["sensor"]?["completeness"]?["deduplicated"]?.number == 40)
    #expect(report["counts"]?["processes"]?.number == 3)
    #expect(report["counts"]?["connections"]?.number == 2)
    #expect(report["counts"]?["filesWritten"]?.number == 3)
    let processes = try #require(report["processes"]?.array)
    #expect(processes[1]["exitCode"] == .null)
    #expect(processes[1]["signal"]?.string == "SIGSEGV")
    #expect(processes[1]["coreDumped"] == .bool(true))
    // A fork without an exec has its parent's program and no arguments.
    #expect(processes[2]["executable"]?.string == "/usr/bin/plain")
    #expect(processes[2]["arguments"] == .array([]))
    #expect(processes[2]["endedAt"] == .null)
  }

  @Test("has bytes read and written where they are known, else says why they are not")
  func bytes() throws {
    var input = Sample.input()
    let plain = try StrictJSON.parse(JSONReport.write(input))
    #expect(plain["sensor"]?["bytes"] == nil && plain["files"]?.array?.allSatisfy { $0["bytesRead"] == nil } == true)

    var access = FileAccess()
    access.image = 4
    access.process = 2
    access.bytes = ByteCounts(read: 1, written: 987_654_321)
    input.snapshot.bytes = ByteCounting()
    input.snapshot.files[0].bytes = access.bytes
    input.snapshot.files[0].accesses = [FileAccess(), access]
    let counted = try StrictJSON.parse(JSONReport.write(input))
    let file = try #require(counted["files"]?.array?.first)
    #expect(file["bytesRead"]?.number == 1 && file["bytesWritten"]?.number == 987_654_321)
    #expect(file["bytesByImage"]?.array?.count == 1)
    #expect(file["bytesByImage"]?.array?.first?["image"]?.number == 4)
    #expect(counted["files"]?.array?.last?["bytesRead"] == nil)
    #expect(counted["sensor"]?["bytes"]?["counted"] == .bool(true))
    #expect(String(decoding: HTMLReport.write(input), as: UTF8.self).contains("987,654,321"))
    #expect(String(decoding: MarkdownReport.write(input), as: UTF8.self).contains("987,654,321"))

    input.snapshot.forgetBytes(because: "nobody <counted> them")
    let missing = try StrictJSON.parse(JSONReport.write(input))
    #expect(missing["files"]?.array?.allSatisfy { $0["bytesRead"] == nil } == true)
    #expect(missing["sensor"]?["bytes"]?["reason"]?.string == "nobody <counted> them")
    #expect(String(decoding: HTMLReport.write(input), as: UTF8.self).contains("nobody &lt;counted&gt; them"))
  }

  @Test("has digests where they are known, else says why they are not")
  func digests() throws {
    var input = Sample.input()
    let plain = try StrictJSON.parse(JSONReport.write(input))
    #expect(plain["sensor"]?["hashes"] == nil && plain["files"]?.array?.allSatisfy { $0["digest"] == nil } == true)

    var known = FileDigest()
    known.sha256 = [UInt8](repeating: 0xab, count: 32)
    known.how = .kernel
    known.at = 2_000_000_000
    known.isAsClosed = true
    var absent = FileDigest()
    absent.absence = .changed
    input.snapshot.processes[0].images[0].digest = known
    input.snapshot.processes[1].images[0].digest = absent
    input.snapshot.files[0].digest = known
    input.snapshot.files[2].digest = absent
    var hashing = FileHashing()
    hashing.byKernel = 1
    hashing.absent = [.changed: 2]
    input.snapshot.hashing = hashing
    input.hashObjection = "hash_image: <no>"
    let parsed = try StrictJSON.parse(JSONReport.write(input))
    let images = try #require(parsed["processes"]?.array).compactMap { $0["executions"]?.array?.first }
    let digest = "sha256:" + String(repeating: "ab", count: 32)
    #expect(images[0]["digest"]?.string == digest && images[0]["digestBy"]?.string == "kernel")
    #expect(images[0]["digestAt"]?.string != nil && images[0]["digestAbsent"] == nil)
    #expect(images[1]["digest"] == .null && images[1]["digestAbsent"]?.string == "changed")
    #expect(images[1]["digestAt"] == .null)
    let files = try #require(parsed["files"]?.array)
    #expect(files[0]["digest"]?.string == digest && files[0]["digestIsAsClosed"] == .bool(true))
    #expect(files[1]["digest"] == nil && files[2]["digestAbsent"]?.string == "changed")
    let told = parsed["sensor"]?["hashes"]
    #expect(told?["byKernel"]?.number == 1 && told?["byUserSpace"]?.number == 0)
    #expect(told?["absent"]?["changed"]?.number == 2 && told?["notByKernel"]?.string == "hash_image: <no>")

    let html = String(decoding: HTMLReport.write(input), as: UTF8.self)
    #expect(html.contains(String(repeating: "ab", count: 32)) && html.contains("changed meanwhile"))
    let markdown = String(decoding: MarkdownReport.write(input), as: UTF8.self)
    #expect(markdown.contains("| SHA-256 |") && markdown.contains("abababababab"))

    // A race that was noticed is no gap in the evidence; what martlet itself left out is.
    #expect(Judgement(of: input).verdict == .clean)
    input.snapshot.hashing?.absent[.notHashed] = 1
    #expect(Judgement(of: input).verdict == .incomplete)
    #expect(Judgement(of: input).reasons[0].sentence == "For 1 file there was no time or place to be hashed.")
  }

  @Test("says that equal connections were taken together, and is complete")
  func mergedFlows() throws {
    var input = Sample.input()
    let plain = try StrictJSON.parse(JSONReport.write(input))
    #expect(plain["sensor"]?["fold"]?["flowsMerged"] == nil)
    #expect(plain["network"]?.array?.allSatisfy { $0["lastAt"] == nil } == true)
    input.snapshot.flowsMerged = 737_856
    input.snapshot.flows[0].repeats = 737_856
    input.snapshot.flows[0].lastAt = input.snapshot.flows[0].startedAt + 1_000_000_000
    let report = try StrictJSON.parse(JSONReport.write(input))
    #expect(report["verdict"]?.string == "clean")
    #expect(report["sensor"]?["fold"]?["flowsMerged"]?.number == 737_856)
    #expect(report["network"]?.array?[0]["repeats"]?.number == 737_856)
    #expect(report["network"]?.array?[0]["lastAt"]?.string != report["network"]?.array?[0]["startedAt"]?.string)
    for text in [MarkdownReport.write(input).text, HTMLReport.write(input).text] {
      #expect(text.contains("737,856 are told together with equal ones"))
    }
  }

  @Test("gives the bytes of names that are not UTF-8")
  func base64() throws {
    var input = Sample.input()
    input.command = [name("a"), Name(bytes: Hostile.bytes)]
    let report = try StrictJSON.parse(JSONReport.write(input))
    let file = try #require(report["files"]?.array?.last)
    #expect(file["path"]?.string == "/work/a\u{FFFD}\u{FFFD}(\u{1B}[2J")
    #expect(file["pathBase64"]?.string == "L3dvcmsvYf/DKBtbMko=")
    #expect(file["pathTruncated"] == .bool(true))
    #expect(report["job"]?["commandBase64"] == .array([.null, .string("Yf/DKBtbMko=")]))
  }
}

@Suite("Reports of any size")
struct SizeTests {
  static let texts = ["plain", String(repeating: "\u{202E}", count: 300), String(repeating: "<&`|@\n", count: 60)]

  @Test("the Markdown fits a step summary, and the page stays small", arguments: texts)
  func caps(text: String) {
    let input = Sample.large(named: text)
    let markdown = MarkdownReport.write(input)
    #expect(markdown.count < MarkdownReport.maximumBytes)
    #expect(markdown.text.contains("more"))
    let html = HTMLReport.write(input)
    #expect(html.count < 5_000_000)
    #expect(html.text.contains("see report.json"))
    let summary = TerminalSummary.write(input, reportDirectory: "martlet-report", colour: true).text
    #expect(summary.split(separator: "\n").count <= 25)
  }

  @Test("an empty run has reports too")
  func empty() throws {
    let input = ReportInput()
    #expect(try StrictJSON.parse(JSONReport.write(input))["log"] == .null)
    #expect(MarkdownReport.write(input).text.contains("martlet: clean"))
    #expect(HTMLReport.write(input).text.contains("No process was seen"))
    #expect(TerminalSummary.write(input, reportDirectory: nil, colour: false).text.contains("not known"))
  }

  @Test("a chain of 100,000 processes and a circle of parents are no problem")
  func deepAndCircular() {
    var input = Sample.input()
    input.snapshot.processes = (1...100_000).map { Sample.process($0, parent: $0 - 1, "p") }
    let tree = ProcessTree(input.snapshot.processes)
    #expect(tree.roots == [0])
    #expect(tree.descendants[0] == 99_999)
    #expect(HTMLReport.write(input).count < 5_000_000)
    #expect(MarkdownReport.write(input).count < MarkdownReport.maximumBytes)

    input.snapshot.processes = [
      Sample.process(1, parent: 2, "a"), Sample.process(2, parent: 1, "b"), Sample.process(3, parent: 3, "c"),
      Sample.process(4, parent: 99, "d"), Sample.process(4, parent: 1, "same id"),
    ]
    let circle = ProcessTree(input.snapshot.processes)
    var seen: [Int] = []
    var next = circle.roots
    while let index = next.popLast() {
      seen.append(index)
      next += circle.children[index]
    }
    #expect(seen.sorted() == [0, 1, 2, 3, 4])
    #expect(!HTMLReport.write(input).isEmpty)
  }
}

@Suite("report.html")
struct HTMLReportTests {
  @Test("the policy allows the style sheet by its hash, and nothing else")
  func policy() {
    let css = HTMLStyle.css.withUTF8Buffer { Array($0) }
    #expect(HTMLStyle.hash.description == "sha256-" + Base64.encode(SHA256.digest(css)))
    let page = HTMLReport.write(Sample.input()).text
    #expect(page.contains("default-src 'none'; style-src '\(HTMLStyle.hash)'; base-uri 'none'"))
    for forbidden in ["<script", " style=", " src=", "http://", "https://", "<link", "@import", "url("] {
      #expect(!page.contains(forbidden), "\(forbidden)")
    }
  }

  @Test("SHA-256 of the test itself")
  func digest() {
    #expect(Base64.encode(SHA256.digest(Array("abc".utf8))) == "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=")
  }

  @Test("every element that is opened is closed, in order")
  func wellFormed() {
    let page = HTMLReport.write(Sample.input()).text
    let void: Set = ["meta", "br", "!DOCTYPE"]
    var stack: [String] = []
    var rest = page[...]
    while let open = rest.firstIndex(of: "<") {
      rest = rest[rest.index(after: open)...]
      guard let close = rest.firstIndex(of: ">") else { break }
      let tag = rest[..<close]
      rest = rest[close...]
      let name = String(tag.drop { $0 == "/" }.prefix { $0 != " " && $0 != "/" })
      if void.contains(name) || tag.hasSuffix("/") { continue }
      if tag.hasPrefix("/") { #expect(stack.popLast() == name) } else { stack.append(name) }
    }
    #expect(stack.isEmpty)
  }
}

/// FIPS 180-4, for a test that must not depend on the code that it tests beside.
enum SHA256 {
  static func digest(_ message: [UInt8]) -> [UInt8] {
    let primes: [UInt32] = (2..<312).filter { n in !(2..<n).contains { n % $0 == 0 } }
    func root(_ prime: UInt32, cube: Bool) -> UInt32 {
      // The first 32 bits of the fraction of a root, found bit by bit in integers.
      var low: UInt64 = 0
      var high: UInt64 = 1 << 37
      while low + 1 < high {
        let middle = (low + high) / 2
        if power(middle, cube ? 3 : 2, isAtMost: prime, shift: cube ? 96 : 64) { low = middle } else { high = middle }
      }
      return UInt32(truncatingIfNeeded: low)
    }
    func power(_ base: UInt64, _ exponent: Int, isAtMost prime: UInt32, shift: Int) -> Bool {
      let square = base.multipliedFullWidth(by: base)
      if exponent == 2 { return square.high < UInt64(prime) }
      // base is below 2^37, its square below 2^74, its cube below 2^111: high part times base stays in 128 bits.
      let cube = UInt128(square.high) << 64 | UInt128(square.low)
      return (cube * UInt128(base)) >> 96 < UInt128(prime) && shift == 96
    }
    var state = primes.prefix(8).map { root($0, cube: false) }
    let constants = primes.prefix(64).map { root($0, cube: true) }
    var padded = message + [0x80]
    while padded.count % 64 != 56 { padded.append(0) }
    for shift in stride(from: 56, through: 0, by: -8) {
      padded.append(UInt8(truncatingIfNeeded: UInt64(message.count * 8) >> UInt64(shift)))
    }
    func rotate(_ value: UInt32, _ count: UInt32) -> UInt32 { value >> count | value << (32 - count) }
    for start in stride(from: 0, to: padded.count, by: 64) {
      var words = (0..<16).map { index in
        padded[(start + index * 4)..<(start + index * 4 + 4)].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
      }
      for index in 16..<64 {
        let (a, b) = (words[index - 15], words[index - 2])
        let s0 = rotate(a, 7) ^ rotate(a, 18) ^ a >> 3
        let s1 = rotate(b, 17) ^ rotate(b, 19) ^ b >> 10
        words.append(words[index - 16] &+ s0 &+ words[index - 7] &+ s1)
      }
      var v = state
      for index in 0..<64 {
        let s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25)
        let choice = (v[4] & v[5]) ^ (~v[4] & v[6])
        let first = v[7] &+ s1 &+ choice &+ constants[index] &+ words[index]
        let s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22)
        let majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2])
        v = [first &+ s0 &+ majority, v[0], v[1], v[2], v[3] &+ first, v[4], v[5], v[6]]
      }
      state = zip(state, v).map { $0 &+ $1 }
    }
    return state.flatMap { word in [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: word >> $0) } }
  }
}
