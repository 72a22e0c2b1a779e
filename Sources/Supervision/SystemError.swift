import Glibc

/// A system call that failed, in words for a person.
public struct SystemError: Error, Equatable, CustomStringConvertible {
  /// What was tried, as the middle of a sentence: "open the output directory".
  public let attempt: String
  /// errno(3).
  public let code: Int32

  public init(_ attempt: String, code: Int32) {
    self.attempt = attempt
    self.code = code
  }

  public var description: String { "cannot \(attempt): \(Self.text(of: code))" }

  static func text(of code: Int32) -> String {
    guard let text = strerror(code) else { return "error \(code)" }
    return String(cString: text)
  }
}

/// Bytes for a terminal: what is not printable text comes out as `?`, so that a name cannot carry an escape sequence.
func printable(_ bytes: some Sequence<UInt8>) -> String {
  var text = ""
  for scalar in String(decoding: Array(bytes), as: UTF8.self).unicodeScalars {
    switch scalar.properties.generalCategory {
    case .control, .format, .surrogate, .lineSeparator, .paragraphSeparator, .unassigned, .privateUse:
      text.append("?")
    default: text.unicodeScalars.append(scalar)
    }
  }
  return text
}
