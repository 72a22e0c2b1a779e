internal import Observation

extension ObservedRun {
  /// How many values a report.json may have, and how many bytes.
  private static let valueLimit = 1 << 25
  public static let byteLimit = 1 << 30

  /// - Parameter bytes: of report.json
  public init(_ bytes: [UInt8], name: String) throws(Failure) {
    guard let report = JSONValue(parsing: bytes, values: Self.valueLimit), let job = report["job"],
      report["schema"]?.text?.hasPrefix("martlet.report/v1") == true
    else { throw Failure(description: "\(VisibleText.terminal(name)) is no report.json that this version can read") }
    func rows(_ name: StaticString) -> [JSONValue] { report[name]?.array ?? [] }
    let places = ReportedPlaces(job)
    var builder = Builder(
      name: name, directory: job["workingDirectory"]?.text ?? "/",
      // A report without any is not whole.
      verdicts: report["verdicts"]?.array?.compactMap(\.text) ?? ["incomplete"],
      processes: rows("processes").map { row in
        var process = Process(json: row)
        process.step = places.step(of: row)
        process.container = places.container(of: row)
        return process
      }, isFiltered: report["filters"] != nil)
    // In front of the connections.
    for row in rows("names") { builder.add(AskedName(json: row)) }
    builder.add(rows("network").map(Flow.init(json:)))
    for row in rows("files") { builder.add(File(json: row)) }
    for row in rows("changes") { builder.add(Change(json: row)) }
    for row in rows("security") { if let action = Action(json: row) { builder.add(action) } }
    self = builder.run
  }
}

/// The steps and containers of a report's job, by their numbers. Of a command that no agent's rule made a job nothing is known.
private struct ReportedPlaces {
  private var steps: [UInt64: Whereabouts<String>] = [:]
  private var containers: [UInt64: Whereabouts<ImageReference>] = [:]
  private let isKnown: Bool

  init(_ job: JSONValue) {
    isKnown = job["rule"]?.text.map { $0 != "run" } ?? false
    for row in job["steps"]?.array ?? [] {
      steps[row["number"]?.unsigned ?? 0] = row["name"]?.text.map { .inside($0) }
    }
    for row in job["containers"]?.array ?? [] {
      // For what nobody asked a daemon for no rule is, whatever it is made of.
      let isJobs = ["cgroup", "pod"].contains(row["foundBy"]?.text)
      containers[row["number"]?.unsigned ?? 0] =
        isJobs ? .nowhere : row["image"]?.text.flatMap(ImageReference.init).map { .inside($0) }
    }
  }

  func step(of row: JSONValue) -> Whereabouts<String> { find("step", row, steps) }
  func container(of row: JSONValue) -> Whereabouts<ImageReference> { find("container", row, containers) }

  private func find<Place>(
    _ name: StaticString, _ row: JSONValue, _ places: [UInt64: Whereabouts<Place>]
  ) -> Whereabouts<Place> {
    guard isKnown else { return .unknown }
    guard let number = row[name]?.unsigned else { return .nowhere }
    return places[number] ?? .unknown
  }
}

extension ObservedRun.Process {
  fileprivate init(json row: JSONValue) {
    self.init(
      id: row["id"]?.unsigned ?? 0, parent: row["parent"]?.unsigned ?? 0, startedAt: row["startedAt"]?.text ?? "",
      executable: row["executable"]?.text ?? "",
      images: row["executions"]?.array?.map(ObservedRun.Image.init(json:)) ?? [])
  }
}

extension ObservedRun.Image {
  fileprivate init(json row: JSONValue) {
    self.init(
      id: row["id"]?.unsigned ?? 0, at: row["at"]?.text ?? "", executable: row["executable"]?.text ?? "",
      filename: row["filename"]?.text, workingDirectory: row["workingDirectory"]?.text ?? "/")
    isWithoutPlace = row["isMemoryFile"]?.bool == true || row["isDeleted"]?.bool == true
    sha256 = row["digest"]?.text.flatMap(Self.sha256)
  }

  private static func sha256(_ text: String) -> [UInt8]? {
    guard text.hasPrefix("sha256:"), text.utf8.count == 71 else { return nil }
    let digits = text.utf8.dropFirst(7).compactMap { Character(Unicode.Scalar($0)).hexDigitValue }
    guard digits.count == 64 else { return nil }
    return stride(from: 0, to: 64, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
  }
}

extension ObservedRun.Flow {
  fileprivate init(json row: JSONValue) {
    self.init(
      kind: row["kind"]?.text ?? "", process: row["process"]?.unsigned ?? 0, image: row["image"]?.unsigned,
      remoteAddress: row["remoteAddress"]?.text ?? "")
    func port(_ name: StaticString) -> UInt16 { row[name]?.unsigned.flatMap { UInt16(exactly: $0) } ?? 0 }
    isInbound = row["direction"]?.text == "inbound"
    localAddress = row["localAddress"]?.text ?? ""
    localPort = port("localPort")
    remotePort = port("remotePort")
    protocolNumber = row["protocol"]?.unsigned
    host = row["host"]?.text
    serverName = row["serverName"]?["name"]?.text
    serverNamePort = row["serverName"]?["port"]?.unsigned.flatMap { UInt16(exactly: $0) } ?? 0
    count = 1 &+ (row["repeats"]?.unsigned ?? 0)
  }
}

extension ObservedRun.AskedName {
  fileprivate init(json row: JSONValue) {
    self.init(name: row["name"]?.text ?? "", addresses: row["addresses"]?.array?.compactMap(\.text) ?? [])
  }
}

extension ObservedRun.File {
  fileprivate init(json row: JSONValue) {
    func processes(_ name: StaticString) -> [UInt64] { row[name]?.array?.map { $0.unsigned ?? 0 } ?? [] }
    self.init(
      paths: ([row["path"]] + (row["otherPaths"]?.array ?? [])).compactMap { $0?.text },
      isCreated: row["created"]?.bool == true, writers: processes("writers"), readers: processes("readers"))
  }
}

extension ObservedRun.Change {
  fileprivate init(json row: JSONValue) {
    self.init(
      kind: row["kind"]?.text ?? "", process: row["process"]?.unsigned ?? 0, path: row["path"]?.text,
      target: row["target"]?.text)
  }
}

extension ObservedRun.Action {
  /// nil: of a kind that this version does not know.
  fileprivate init?(json row: JSONValue) {
    guard let text = row["kind"]?.text, let kind = SecurityKind.allCases.first(where: { $0.name == text }) else {
      return nil
    }
    self.init(
      kind: kind, process: row["process"]?.unsigned ?? 0, image: row["image"]?.unsigned,
      target: row["target"]?["process"]?.unsigned, count: row["count"]?.unsigned ?? 1)
  }
}
