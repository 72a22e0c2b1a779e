internal import Observation

/// What is wrong with a file, all of it that was found.
public struct ConfigurationError: Error, Sendable, Equatable, CustomStringConvertible {
  public struct Problem: Sendable, Equatable {
    public var place: Place
    /// What is wrong and, where that can be told, what would be right. Safe for a terminal.
    public var message: String

    public init(_ message: String, at place: Place) {
      self.message = message
      self.place = place
    }
  }

  /// As the caller calls it.
  public var file: String
  /// At least one, in the order of the file.
  public var problems: [Problem]

  public init(file: String, problems: [Problem]) {
    self.file = file
    self.problems = problems
  }

  /// `file:line:column: message`, a line each.
  public var description: String {
    problems.map { "\(VisibleText.terminal(file)):\($0.place.line):\($0.place.column): \($0.message)" }
      .joined(separator: "\n")
  }
}

/// Collects what is wrong, up to a number that a person still reads.
struct Problems {
  private(set) var all: [ConfigurationError.Problem] = []
  static let limit = 20

  mutating func add(_ message: String, at place: Place) {
    guard all.count < Self.limit else { return }
    all.append(.init(message, at: place))
  }
}

/// Somebody's text within a sentence of ours.
func quoted(_ text: String) -> String { "'\(VisibleText.terminal(text, limit: 60))'" }
