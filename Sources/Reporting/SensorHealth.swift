internal import Observation

/// How near the sensor came to its limits.
public struct SensorHealth: Sendable, Equatable {
  public struct Ring: Sendable, Equatable {
    /// nil: the critical ring, which all CPUs share.
    public var cpu: Int?
    public var capacity: UInt64
    /// Bytes that were not read at the end; the most that was found waiting.
    public var available: UInt64
    public var highWater: UInt64

    public init(cpu: Int?, capacity: UInt64, available: UInt64, highWater: UInt64) {
      self.cpu = cpu
      self.capacity = capacity
      self.available = available
      self.highWater = highWater
    }

    /// As `--ring-size` calls it.
    var kind: String { cpu == nil ? "critical" : "bulk" }
    var highWaterPercent: UInt64 { percent(highWater, of: capacity) }
  }

  public struct Map: Sendable, Equatable {
    public var name: String
    /// Entries; nil where memory is the limit, and where they are not counted.
    public var capacity: UInt64?
    public var used: UInt64?
    public var highWater: UInt64?

    public init(name: String, capacity: UInt64?, used: UInt64?, highWater: UInt64?) {
      self.name = name
      self.capacity = capacity
      self.used = used
      self.highWater = highWater
    }

    var highWaterPercent: UInt64? {
      guard let highWater, let capacity else { return nil }
      return percent(highWater, of: capacity)
    }
  }

  /// What became of the events of one CPU: of all types, or of one.
  public struct CPU: Sendable, Equatable {
    public var number: Int
    /// Of one type each; empty in these themselves.
    public var types: [(name: String, counts: CPU)] = []
    public var sent: UInt64
    public var deduplicated: UInt64
    public var lost: UInt64
    public var truncated: UInt64

    public init(number: Int, sent: UInt64, deduplicated: UInt64, lost: UInt64, truncated: UInt64) {
      self.number = number
      self.sent = sent
      self.deduplicated = deduplicated
      self.lost = lost
      self.truncated = truncated
    }

    public static func == (a: CPU, b: CPU) -> Bool {
      a.number == b.number && a.sent == b.sent && a.deduplicated == b.deduplicated && a.lost == b.lost
        && a.truncated == b.truncated && a.types.elementsEqual(b.types) { $0.name == $1.name && $0.counts == $1.counts }
    }

    fileprivate func write(to json: inout JSONOutput) {
      json.member("sent", sent)
      json.member("deduplicated", deduplicated)
      json.member("lost", lost)
      json.member("truncated", truncated)
    }
  }

  /// One kernel program, with what it calls.
  public struct Program: Sendable, Equatable {
    public var name: String
    public var runs: UInt64
    public var nanoseconds: UInt64

    public init(name: String, runs: UInt64, nanoseconds: UInt64) {
      self.name = name
      self.runs = runs
      self.nanoseconds = nanoseconds
    }
  }

  /// The critical ring, then those of the CPUs.
  public var rings: [Ring] = []
  public var maps: [Map] = []
  /// Those on which something happened.
  public var cpus: [CPU] = []
  /// Empty unless `--program-stats` asked for it.
  public var programs: [Program] = []

  public init() {}

  /// Where these begin, the next run of the kind could lose something.
  static let ringWarning: UInt64 = 50
  static let mapWarning: UInt64 = 80

  /// A sentence for each limit that came near, and the option that moves it.
  var warnings: [String] {
    var warnings: [String] = []
    let fullest = rings.filter { $0.cpu != nil }.max { $0.highWaterPercent < $1.highWaterPercent }
    for ring in rings.filter({ $0.cpu == nil }) + (fullest.map { [$0] } ?? [])
    where ring.highWaterPercent > Self.ringWarning {
      let what = ring.cpu.map { "The ring for files of CPU \($0)" } ?? "The ring for processes and network"
      var sentence = "\(what) was filled to \(ring.highWaterPercent) % of its \(Units.bytes(ring.capacity))"
      if ring.capacity < 1 << 30 {
        sentence += "; --ring-size \(ring.kind)=\(Self.option(ring.capacity * 2)) gives a run twice the room"
      }
      warnings.append(sentence + ".")
    }
    for map in maps {
      guard let percent = map.highWaterPercent, let capacity = map.capacity, percent > Self.mapWarning else { continue }
      warnings.append(
        "The kernel map \u{201C}\(map.name)\u{201D} was filled to \(percent) % of its \(Units.grouped(capacity)) entries; "
          + "--map-size \(map.name)=\(capacity * 2) gives a run twice the room.")
    }
    return warnings
  }

  /// A size as the option takes it: 16M.
  private static func option(_ bytes: UInt64) -> String {
    if bytes % (1 << 30) == 0 { return "\(bytes >> 30)G" }
    return bytes % (1 << 20) == 0 ? "\(bytes >> 20)M" : "\(bytes >> 10)K"
  }
}

private func percent(_ part: UInt64, of whole: UInt64) -> UInt64 {
  whole == 0 ? 0 : UInt64((Double(part) / Double(whole) * 100).rounded())
}

extension SensorHealth {
  func write(to json: inout JSONOutput) {
    json.array("rings") { json in
      for ring in rings {
        json.object { json in
          json.member("ring", ring.kind)
          json.member("cpu", orNull: ring.cpu)
          json.member("bytes", ring.capacity)
          json.member("availableBytes", ring.available)
          json.member("highWaterBytes", ring.highWater)
        }
      }
    }
    json.array("maps") { json in
      for map in maps {
        json.object { json in
          json.member("map", map.name)
          json.member("capacity", orNull: map.capacity)
          json.member("entries", orNull: map.used)
          json.member("highWaterEntries", orNull: map.highWater)
        }
      }
    }
    json.array("cpus") { json in
      for cpu in cpus {
        json.object { json in
          json.member("cpu", cpu.number)
          cpu.write(to: &json)
          json.array("types") { json in
            for type in cpu.types {
              json.object { json in
                json.member("type", type.name)
                type.counts.write(to: &json)
              }
            }
          }
        }
      }
    }
    if !programs.isEmpty {
      json.array("programs") { json in
        for program in programs {
          json.object { json in
            json.member("program", program.name)
            json.member("runs", program.runs)
            json.member("nanoseconds", program.nanoseconds)
          }
        }
      }
    }
    json.array("warnings") { json in for warning in warnings { json.member(nil, warning) } }
  }

  /// Below the table of events.
  func write(to html: inout HTMLOutput) {
    if rings.isEmpty { return }
    for warning in warnings {
      html.markup("<p class=\"hint bad\">")
      html.text(warning, limit: 400)
      html.markup("</p>\n")
    }
    html.markup("<details class=\"fold\"><summary>Rings and maps</summary>\n<div class=\"scroll\"><table>\n<thead><tr>")
    html.markup("<th>Ring or map</th><th class=\"num\">Size</th><th class=\"num\">At the end</th>")
    html.markup("<th class=\"num\">At most</th><th class=\"num\">Full</th></tr></thead>\n<tbody>\n")
    for ring in rings.prefix(300) {
      row(
        ring.cpu.map { "bulk, CPU \($0)" } ?? "critical",
        [
          Units.bytes(ring.capacity), Units.bytes(ring.available), Units.bytes(ring.highWater),
          "\(ring.highWaterPercent) %",
        ],
        to: &html)
    }
    // A map whose entries nobody counts has nothing to say here.
    for map in maps where map.used != nil {
      row(
        map.name,
        [
          map.capacity.map { Units.grouped($0) } ?? "no limit", map.used.map { Units.grouped($0) } ?? "",
          map.highWater.map { Units.grouped($0) } ?? "", map.highWaterPercent.map { "\($0) %" } ?? "",
        ], to: &html)
    }
    html.markup("</tbody></table></div></details>\n")
    if programs.isEmpty { return }
    html.markup("<details class=\"fold\"><summary>Run time of the programs</summary>\n<div class=\"scroll\"><table>\n")
    html.markup("<thead><tr><th>Program</th><th class=\"num\">Runs</th><th class=\"num\">Time</th>")
    html.markup("<th class=\"num\">ns a run</th></tr></thead>\n<tbody>\n")
    for program in programs.sorted(by: { $0.nanoseconds > $1.nanoseconds }).prefix(300) where program.runs > 0 {
      row(
        program.name,
        [
          Units.grouped(program.runs), Units.duration(program.nanoseconds),
          Units.grouped(program.nanoseconds / program.runs),
        ], to: &html)
    }
    html.markup("</tbody></table></div></details>\n")
  }

  private func row(_ name: String, _ numbers: [String], to html: inout HTMLOutput) {
    html.markup("<tr>")
    html.cell { $0.code(name, limit: 80) }
    for number in numbers {
      html.markup("<td class=\"num\">")
      html.text(number, limit: 40)
      html.markup("</td>")
    }
    html.markup("</tr>\n")
  }

  /// For the Markdown's sensor section.
  var markdown: String {
    if rings.isEmpty { return "" }
    var text = warnings.map { "- \(MarkdownText.escape($0, limit: 300))\n" }.joined()
    if !text.isEmpty { text += "\n" }
    let rings =
      rings.filter { $0.cpu == nil } + rings.filter { $0.cpu != nil }.sorted { $0.highWater > $1.highWater }.prefix(1)
    let list =
      rings.map { "\($0.kind) \($0.highWaterPercent) % of \(Units.bytes($0.capacity))" }
      + maps.compactMap { map in map.highWaterPercent.map { "\(map.name) \($0) %" } }
    return text + "Fullest at any time: \(list.joined(separator: ", ")).\n\n"
  }
}
