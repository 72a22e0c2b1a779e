/// Where something stands in a file, both from 1. Columns count characters.
public struct Place: Sendable, Equatable, Comparable {
  public var line: Int
  public var column: Int

  public init(line: Int, column: Int) {
    self.line = line
    self.column = column
  }

  public static func < (a: Place, b: Place) -> Bool { (a.line, a.column) < (b.line, b.column) }
}

/// A value of a YAML document as it is written: what it means is up to a ``Form``.
public struct Node: Sendable, Equatable {
  public enum Content: Sendable, Equatable {
    /// `isPlain`: without quotes, so that it may mean a number or a truth value.
    case scalar(String, isPlain: Bool)
    case list([Node])
    case map([Entry])
  }

  /// A key and its value; a map has no key twice.
  public struct Entry: Sendable, Equatable {
    public var key: String
    public var place: Place
    public var value: Node

    public init(key: String, place: Place, value: Node) {
      self.key = key
      self.place = place
      self.value = value
    }
  }

  public var content: Content
  public var place: Place

  public init(_ content: Content, at place: Place) {
    self.content = content
    self.place = place
  }

  /// What it is, for a sentence that says that it should be something else.
  var kind: String {
    switch content {
    case .scalar(let text, let isPlain): isPlain && text.isEmpty ? "nothing" : quoted(text)
    case .list: "a list"
    case .map: "a map"
    }
  }
}
