internal import Jobs

extension Name {
  /// The part after the last slash, or all of it.
  var lastComponent: String {
    guard let slash = bytes.lastIndex(of: UInt8(ascii: "/")), slash + 1 < bytes.count else { return text }
    return String(decoding: bytes[(slash + 1)...], as: UTF8.self)
  }

  /// A path with a mark where its head was cut.
  var pathText: String { isTruncated ? "…" + text : text }

  /// Anything else with a mark where its tail was cut.
  var plainText: String { isTruncated ? text + "…" : text }
}

extension [FileSummary] {
  /// By the bytes of their paths. A summary is large: what is moved about are numbers.
  func sortedByPath() -> [FileSummary] {
    indices.sorted { self[$0].path.bytes.lexicographicallyPrecedes(self[$1].path.bytes) }.map { self[$0] }
  }
}

/// A command line as it could be typed: arguments that a shell would read differently are quoted.
enum CommandLine {
  static func text(_ arguments: some Sequence<Name>) -> String {
    arguments.lazy.map { quoted($0.plainText) }.joined(separator: " ")
  }

  static func quoted(_ argument: String) -> String {
    if argument.isEmpty { return "''" }
    let isPlain = argument.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), 0x80...:
        true
      default: "-_./:=,+@%".utf8.contains(byte)
      }
    }
    if isPlain { return argument }
    // By scalars: a quote with a combining mark behind it is one Character, and not equal to a quote.
    var result = "'"
    for scalar in argument.unicodeScalars {
      if scalar == "'" { result += "'\\''" } else { result.unicodeScalars.append(scalar) }
    }
    return result + "'"
  }
}
