/// Metrics in Prometheus' text exposition format, version 0.0.4
/// (https://prometheus.io/docs/instrumenting/exposition_formats/): families in the order in which they are added,
/// each once, all samples of a family together.
public struct PrometheusText {
  /// What a scraper is told that this is.
  public static let contentType = "text/plain; version=0.0.4; charset=utf-8"

  public enum Kind: String, Sendable {
    case counter, gauge
  }

  public private(set) var bytes: [UInt8] = []
  private var name = ""

  public init() {}

  /// Begins a family; samples that follow belong to it.
  ///
  /// - Parameter name: `[a-zA-Z_:][a-zA-Z0-9_:]*`; with `_total` for a counter, and the unit before that.
  public mutating func family(_ name: String, _ kind: Kind, _ help: String) {
    self.name = name
    bytes += "# HELP \(name) \(Self.escaped(help, quotes: false))\n# TYPE \(name) \(kind.rawValue)\n".utf8
  }

  public mutating func sample(_ value: UInt64, _ labels: KeyValuePairs<String, String> = [:]) {
    line(labels, String(value))
  }

  public mutating func sample(_ value: Double, _ labels: KeyValuePairs<String, String> = [:]) {
    line(labels, value.isNaN ? "NaN" : value.isInfinite ? (value < 0 ? "-Inf" : "+Inf") : value.description)
  }

  private mutating func line(_ labels: KeyValuePairs<String, String>, _ value: String) {
    bytes += name.utf8
    if !labels.isEmpty {
      let list = labels.map { "\($0.key)=\"\(Self.escaped($0.value, quotes: true))\"" }
      bytes += "{\(list.joined(separator: ","))}".utf8
    }
    bytes += " \(value)\n".utf8
  }

  private static func escaped(_ text: String, quotes: Bool) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\"" where quotes: result += "\\\""
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
