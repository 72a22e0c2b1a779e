internal import Jobs
internal import Observation

/// Requests in words: the same in every form of the report for people.
enum RequestText {
  /// `GET registry.npmjs.org/left-pad ×3`.
  static func text(_ request: RequestSummary) -> String {
    let times = request.count > 1 ? " ×\(Units.grouped(request.count))" : ""
    return "\(request.method) \(request.host.plainText)\(request.path.plainText)\(times)"
  }

  /// What there is besides what is listed.
  static func rest(_ requests: FlowRequests, listed: Int) -> String? {
    let more = requests.unlisted &+ requests.distinct.dropFirst(listed).reduce(0) { $0 &+ $1.count }
    return more == 0 ? nil : "and \(Units.count(more, "more request", "more requests"))"
  }

  /// What was not read, and why: a sentence each.
  static func gaps(_ input: ReportInput) -> [String] {
    guard let counting = input.snapshot.requests else { return [] }
    var gaps: [String] = []
    if counting.hidden > 0 {
      gaps.append(
        "\(Units.count(counting.hidden, "write", "writes")) with requests could not be read: the beginning of the "
          + "HTTP/2 connection was not seen.")
    }
    let without = counting.withoutConnection.count
    if without > 0 {
      gaps.append(
        "Of \(Units.count(without, "request", "requests")) it is not known by which connection: "
          + counting.withoutConnection.distinct.prefix(20).map(text).joined(separator: ", ")
          + (rest(counting.withoutConnection, listed: 20).map { ", \($0)" } ?? "") + ".")
    }
    if counting.cut > 0 {
      gaps.append("\(Units.count(counting.cut, "request", "requests")) had a longer path than is kept.")
    }
    guard let files = input.requestFiles else {
      if input.unseen.contains(where: { $0.reason == .died }) {
        gaps.append("Which programs and libraries were read is not known: the agent died with it.")
      }
      return gaps
    }
    for file in files.files {
      if let objection = file.objection {
        gaps.append("Requests by \(file.path) are not read: \(objection).")
      } else if let used = file.usedSince, let read = file.readSince, used < read {
        gaps.append(
          "Requests by \(file.path) are read from \(Units.duration(read - used)) after its first use in the job on.")
      }
    }
    if files.opensAreLeftOut {
      gaps.append(
        "A filter leaves out that files are opened: of libraries only the system's are known, and not which of them was "
          + "used.")
    }
    if files.gone > 0 {
      gaps.append(
        "Of \(Units.count(files.gone, "file", "files")) it is not known whether they do TLS: they were gone, or too many at "
          + "once.")
    }
    if files.beyond > 0 {
      gaps.append("\(Units.count(files.beyond, "more file", "more files")) with TLS are not read.")
    }
    return gaps
  }
}
