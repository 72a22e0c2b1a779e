import Jobs
import Observation
import Reporting

func name(_ text: String) -> Name { Name(bytes: Array(text.utf8)) }

/// Names that try to get out of where they are put.
enum Hostile {
  static let names = [
    "</script><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "a\nb\r\n| injected | row |\n\n# heading",
    "`code` ``more`` ```\n```",
    "[link](https://evil.example) ![image](https://evil.example/x.png)",
    "@everyone #123 :tada: https://evil.example www.evil.example user@evil.example",
    "**bold** _emphasis_ ~~struck~~ <b>html</b>",
    "a|b\\|c\\\\|d",
    "\u{1B}[31mred\u{1B}[0m\u{1B}]0;title\u{7}\u{9B}2J",
    "exe.\u{202E}gpj\u{202C}.sh\u{200B}\u{FEFF}\u{2066}",
    "<!-- comment --> &lt; &#60; ]]>",
    "\u{0}\u{7F}\u{85}\u{2028}\u{2029}\u{A0}\u{3164}\u{E0041}",
    "--> </details></summary></table>",
    "$(touch x) 'quoted' \"double\" \\",
    "{{ template }} ${var} %s %n",
  ]
  static let bytes: [UInt8] = [0x61, 0xff, 0xc3, 0x28, 0x1b, 0x5b, 0x32, 0x4a]
}

enum Sample {
  /// A small run in which everything has a value, with `text` wherever a job can put text.
  static func input(named text: String = "plain") -> ReportInput {
    var input = ReportInput()
    input.jobIdentifier = text
    input.command = [name("make"), name(text)]
    input.workingDirectory = name("/work/" + text)
    input.kernelRelease = "6.18.1"
    input.version = "0.1.0"
    input.startedAt = 1_000_000_000
    input.endedAt = 3_500_000_000
    input.clock = WallClock(offset: 1_772_000_000_000_000_000)
    input.waitStatus = 0
    input.log = .init(head: String(repeating: "ab", count: 32), frames: 2, lines: 100, bytes: 5000)
    input.hooks = [.init(family: "process", kind: "tp_btf", target: "sched_process_exec", program: "on_exec")]
    input.completeness = completeness()
    input.health = health(named: text)
    input.snapshot = snapshot(named: text)
    return input
  }

  /// One ring and one map over their warning, one of each below it.
  static func health(named text: String) -> SensorHealth {
    var health = SensorHealth()
    health.rings = [
      .init(cpu: nil, capacity: 8 << 20, available: 0, highWater: 4 << 20),
      .init(cpu: 0, capacity: 64 << 10, available: 100, highWater: 33 << 10),
      .init(cpu: 1, capacity: 64 << 10, available: 0, highWater: 60 << 10),
    ]
    health.maps = [
      .init(name: "processes", capacity: 1000, used: 10, highWater: 810),
      .init(name: "writers", capacity: 1000, used: 10, highWater: 800),
      .init(name: text, capacity: nil, used: nil, highWater: nil),
    ]
    health.cpus = [.init(number: 1, sent: 70, deduplicated: 40, lost: 0, truncated: 0)]
    health.programs = [.init(name: text, runs: 10, nanoseconds: 1234)]
    return health
  }

  static func completeness() -> Completeness {
    var completeness = Completeness()
    var exec = Completeness.Counts()
    exec.seen = 10
    exec.sent = 10
    var open = Completeness.Counts()
    open.seen = 100
    open.sent = 60
    open.deduplicated = 40
    open.failed = 7
    completeness.types = [("exec", true, exec), ("open", false, open)]
    completeness.mapFull = [("processes", 0), ("writers", 0)]
    completeness.received = 70
    return completeness
  }

  static func snapshot(named text: String) -> JobSnapshot {
    var snapshot = JobSnapshot()
    snapshot.processes = [process(1, parent: 0, text), process(2, parent: 1, text), process(3, parent: 2, text)]
    snapshot.processes[1].waitStatus = 139
    snapshot.processes[2].endedAt = nil
    snapshot.processes[2].waitStatus = nil
    snapshot.processes[2].images = []
    snapshot.processes[2].outlivedCommand = true
    snapshot.files = [file("/work/" + text, writer: 1), file("/tmp/" + text, writer: 2)]
    snapshot.files[1].isDeleted = true
    snapshot.files.append(file("/work/", writer: 1))
    snapshot.files[2].path = Name(bytes: Array("/work/".utf8) + Hostile.bytes, isTruncated: true)
    var flow = FlowSummary()
    flow.process = 2
    flow.remoteAddress = "2001:db8::1"
    flow.remotePort = 443
    flow.state = .closed
    flow.sentBytes = 1000
    flow.receivedBytes = 2_000_000
    var unix = FlowSummary()
    unix.kind = .unix
    unix.process = 1
    unix.remoteAddress = "/run/" + text
    var failed = FlowSummary()
    failed.process = 3
    failed.remoteAddress = "192.0.2.1"
    failed.remotePort = 80
    failed.state = .failed
    failed.error = 111
    snapshot.flows = [flow, unix, failed]
    var change = PathChange()
    change.kind = .rename
    change.process = 1
    change.at = 2_000_000_000
    change.path = name("/work/" + text)
    change.target = name("/work/new-" + text)
    snapshot.changes = [change]
    snapshot.filesRead = 12
    return snapshot
  }

  static func process(_ id: UInt32, parent: UInt32, _ text: String) -> ProcessSummary {
    var process = ProcessSummary()
    process.id = id
    process.parent = parent
    process.pid = 4000 + id
    process.startedAt = 1_000_000_000 + UInt64(id) * 1_000_000
    process.endedAt = 3_000_000_000
    process.waitStatus = 0
    var image = ImageSummary()
    image.at = process.startedAt
    image.executable = name("/usr/bin/" + text)
    image.filename = name("./" + text)
    image.arguments = [name(text), name(text), name("")]
    image.workingDirectory = name("/work/" + text)
    process.images = [image]
    return process
  }

  static func file(_ path: String, writer: UInt32) -> FileSummary {
    var file = FileSummary()
    file.path = name(path)
    file.wasCreated = true
    file.wasWritten = true
    file.writers = [writer]
    file.size = 1234
    return file
  }

  /// A job of a size that no report can show in full: 5,000 processes, 20,000 files, with names that grow when escaped.
  static func large(named text: String) -> ReportInput {
    var input = input(named: text)
    input.snapshot.processes = (1...5000).map {
      process($0, parent: $0 == 1 ? 0 : $0 / 7 + 1 == $0 ? 1 : $0 / 7 + 1, text)
    }
    input.snapshot.files = (1...20_000).map { file("/work/\(text)/\($0)", writer: $0 % 5000) }
    input.snapshot.flows = (1...3000).map { index in
      var flow = FlowSummary()
      flow.kind = index % 2 == 0 ? .tcp : .unix
      flow.process = UInt32(index)
      flow.remoteAddress = index % 2 == 0 ? "192.0.2.\(index % 256)" : "/run/" + text
      flow.remotePort = UInt16(index)
      return flow
    }
    input.snapshot.changes = (1...5000).map { index in
      var change = PathChange()
      change.process = UInt32(index)
      change.path = name("/work/\(text)/\(index)")
      change.target = name(text)
      return change
    }
    input.command = [[UInt8]](repeating: Array(text.utf8), count: 2000).map { Name(bytes: $0) }
    input.completeness.missingHooks = (0..<500).map { ("family \($0)", text) }
    input.hooks = (0..<2000).map { .init(family: "f", kind: "k", target: "\($0)" + text, program: text) }
    return input
  }
}

extension [UInt8] {
  var text: String { String(decoding: self, as: UTF8.self) }
}
