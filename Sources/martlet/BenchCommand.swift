import ArgumentParser
import Glibc
import KernelSensor
import Observation

/// `martlet bench`: what the ways into and out of the kernel cost on this machine.
struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench",
    abstract: "Measures what kernel hooks and rings cost on this machine.",
    discussion: "Each takes less than half a minute and needs root. Nothing else should run meanwhile.",
    subcommands: [HooksCommand.self, TransportCommand.self])

  struct HooksCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "hooks",
      abstract: "What an empty program costs at each kind of hook.",
      discussion: """
        rename: the task writes another name to /proc/thread-self/comm. random: it reads eight bytes of /dev/urandom. \
        Nanoseconds of one operation, the fastest of eighty rounds, and how many more than without a program.
        """)

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
      try bench(json: json, HookBench.run) { rows in
        var table = TextTable(["", "hook", "ns", "added", ""])
        for row in rows {
          table.append([
            row.operation, row.hook, row.nanoseconds.map { decimal($0, 1) } ?? "-",
            row.hook == "none" ? "" : row.added.map { decimal($0, 1) } ?? "-", row.reason ?? "",
          ])
        }
        return table.text
      } asJSON: { rows, json in
        json.lines("hooks", rows) { json, row in
          json.member("operation", row.operation)
          json.member("hook", row.hook)
          json.member("nanoseconds", orNull: row.nanoseconds)
          json.member("addedNanoseconds", orNull: row.added)
          if let reason = row.reason { json.member("reason", reason) }
        }
      }
    }
  }

  struct TransportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "transport",
      abstract: "What it costs to hand a record to user space, and how long it takes.",
      discussion: """
        Records of 64 bytes. First as fast as one and as several CPUs can make them, while a reader takes them. Then \
        at a thousand a second: what an event costs the process in which it happens, and the time from there to the \
        reader.
        """)

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
      try bench(json: json, TransportBench.run) { result in
        var table = TextTable(["as fast as it goes", "CPUs", "ns/event", "million/s", "lost"])
        for row in result.throughput {
          table.append([
            row.mode, "\(row.producers)", decimal(row.nanosecondsPerEvent, 1),
            decimal(row.receivedPerSecond / 1e6, 2), decimal(row.lost * 100, 1) + " %",
          ])
        }
        var paced = TextTable(["a thousand a second", "ns/event", "p50 µs", "p99 µs"])
        for row in result.latency {
          paced.append([
            row.mode, decimal(row.nanosecondsPerEvent, 0), decimal(row.median / 1000, 1), decimal(row.p99 / 1000, 1),
          ])
        }
        return table.text + "\n" + paced.text
      } asJSON: { result, json in
        json.lines("throughput", result.throughput) { json, row in
          json.member("mode", row.mode)
          json.member("producers", row.producers)
          json.member("nanosecondsPerEvent", row.nanosecondsPerEvent)
          json.member("receivedPerSecond", row.receivedPerSecond)
          json.member("lost", row.lost)
        }
        json.newLine()
        json.lines("latency", result.latency) { json, row in
          json.member("mode", row.mode)
          json.member("nanosecondsPerEvent", row.nanosecondsPerEvent)
          json.member("medianNanoseconds", row.median)
          json.member("p99Nanoseconds", row.p99)
        }
      }
    }
  }
}

/// Measures and prints, with the kernel and the machine that the figures are of.
private func bench<Result>(
  json asksForJSON: Bool, _ measure: ((String) -> Void) throws(SensorError) -> Result,
  asText: (Result) -> String, asJSON: (Result, inout JSONOutput) -> Void
) throws {
  let shows = isatty(STDERR_FILENO) == 1
  let result: Result
  do throws(SensorError) {
    result = try measure { step in if shows { Message.write("\r\u{1b}[K\(step)", to: STDERR_FILENO) } }
  } catch {
    Message.say("\(error)" + (error.detail.isEmpty ? "" : "\n\(error.detail)"))
    throw ExitCode.martletFailed
  }
  if shows { Message.write("\r\u{1b}[K", to: STDERR_FILENO) }
  let cpus = sysconf(Int32(_SC_NPROCESSORS_ONLN))
  guard asksForJSON else {
    let machine = "Linux \(KernelName().release), \(cpus) CPUs, \(processorName)\n"
    return Message.write(machine + asText(result), to: STDOUT_FILENO)
  }
  var json = JSONOutput()
  json.object { json in
    json.member("schema", "martlet.bench/v1")
    json.member("kernel", KernelName().release)
    json.member("cpus", cpus)
    json.member("processor", processorName)
    json.newLine()
    asJSON(result, &json)
    json.lastLine()
  }
  json.endDocument()
  json.bytes.withUnsafeBytes { _ = Message.write($0, to: STDOUT_FILENO) }
}

/// As the kernel calls it.
private var processorName: String {
  guard let file = fopen("/proc/cpuinfo", "re") else { return "unknown processor" }
  defer { fclose(file) }
  var line = [CChar](repeating: 0, count: 512)
  while fgets(&line, Int32(line.count), file) != nil {
    let text = String(decoding: line.prefix { $0 != 0 && $0 != 10 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    guard text.hasPrefix("model name"), let colon = text.firstIndex(of: ":") else { continue }
    return String(text[text.index(after: colon)...].drop { $0 == " " })
  }
  return "unknown processor"
}

/// With so many digits behind the point.
private func decimal(_ value: Double, _ places: Int) -> String {
  guard value.isFinite, abs(value) < 1e15 else { return "-" }
  let scale = [1, 10, 100][min(places, 2)]
  let scaled = Int((abs(value) * Double(scale)).rounded())
  let digits = String(scaled % scale)
  let fraction = places == 0 ? "" : "." + String(repeating: "0", count: places - digits.utf8.count) + digits
  return (value < 0 && scaled > 0 ? "-" : "") + String(scaled / scale) + fraction
}

/// Columns that are as wide as what they hold: numbers to the right, words to the left.
private struct TextTable {
  private var rows: [[String]]

  init(_ head: [String]) { rows = [head] }

  mutating func append(_ row: [String]) { rows.append(row) }

  var text: String {
    let columns = rows[0].indices
    let widths = columns.map { column in rows.map { $0[column].count }.max() ?? 0 }
    let areNumbers = columns.map { column in
      rows.dropFirst().allSatisfy { row in row[column].first.map { "0123456789-".contains($0) } ?? true }
    }
    return rows.map { row in
      var line = columns.map { column in
        let padding = String(repeating: " ", count: widths[column] - row[column].count)
        return areNumbers[column] ? padding + row[column] : row[column] + padding
      }.joined(separator: "  ")
      while line.last == " " { line.removeLast() }
      return line + "\n"
    }.joined()
  }
}
