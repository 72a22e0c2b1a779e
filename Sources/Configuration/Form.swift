internal import Observation

/// How a value of some type is written in a configuration file: one thing reads it and describes it, so that a file
/// and its JSON schema cannot say different things.
///
/// ```swift
/// struct Limits { var jobs = 1023; var linger = Duration.seconds(2) }
///
/// let form = Form.record(
///   Limits(),
///   .field("jobs", "How many jobs at once.", .integer(1...1023), \.jobs),
///   .field("linger", "How long a job may have no process before it is over.", .duration(...), \.linger))
/// let limits = try form.read(bytes, file: "martlet-agent.yaml")
/// ```
public struct Form<Value: Sendable>: Sendable {
  /// Of the same in JSON.
  public let schema: JSONSchema
  /// nil if it added a problem.
  let take: @Sendable (Node, inout Problems) -> Value?

  init(_ schema: JSONSchema, _ take: @escaping @Sendable (Node, inout Problems) -> Value?) {
    self.schema = schema
    self.take = take
  }

  /// Reads a file, all of it or nothing.
  public func read(_ bytes: [UInt8], file: String) throws(ConfigurationError) -> Value {
    try read(YAMLReader.read(bytes, file: file), file: file)
  }

  func read(_ node: Node, file: String) throws(ConfigurationError) -> Value {
    var problems = Problems()
    if let value = take(node, &problems), problems.all.isEmpty { return value }
    throw ConfigurationError(file: file, problems: problems.all.sorted { $0.place < $1.place })
  }
}

extension Form {
  /// The same form for another type, and what is wrong with a value that has none.
  public func map<Other: Sendable>(_ transform: @escaping @Sendable (Value) throws(FormError) -> Other) -> Form<Other> {
    mapWithPlace { value, _ throws(FormError) in try transform(value) }
  }

  /// Likewise of what remembers where it was written.
  public func mapWithPlace<Other: Sendable>(
    _ transform: @escaping @Sendable (Value, Place) throws(FormError) -> Other
  ) -> Form<Other> {
    Form<Other>(schema) { [take] node, problems in
      guard let value = take(node, &problems) else { return nil }
      do throws(FormError) {
        return try transform(value, node.place)
      } catch {
        problems.add(error.message, at: error.place ?? node.place)
        return nil
      }
    }
  }

  /// The same form, whose schema has a pattern: what `map` asks for is not in it.
  public func matching(_ pattern: String) -> Form where Value == String {
    guard case .text(_, let limit) = schema else { return self }
    return Form(.text(pattern: pattern, atMost: limit), take)
  }

  /// A word, number or text in the one form, anything else in the other.
  public static func scalar(_ scalar: Form, or other: Form) -> Form {
    Form(.either(scalar.schema, other.schema)) { node, problems in
      if case .scalar(let text, let isPlain) = node.content, !(isPlain && text.isEmpty) {
        return scalar.take(node, &problems)
      }
      return other.take(node, &problems)
    }
  }

  /// A list of such values, or one of them by itself.
  public static func oneOrMore<Element: Sendable>(of form: Form<Element>, atMost limit: Int) -> Form
  where Value == [Element] {
    scalar(form.map { [$0] }, or: list(of: form, atLeast: 1, atMost: limit))
  }

  /// A list of such values.
  public static func list<Element: Sendable>(
    of form: Form<Element>, atLeast least: Int = 0, atMost limit: Int
  ) -> Form<[Element]> where Value == [Element] {
    Form(.array(of: form.schema, atLeast: least, atMost: limit)) { node, problems in
      guard case .list(let nodes) = node.content else {
        problems.add("has to be a list, not \(node.kind)", at: node.place)
        return nil
      }
      guard nodes.count <= limit else {
        problems.add("has \(nodes.count) elements; at most \(limit) are allowed", at: node.place)
        return nil
      }
      guard nodes.count >= least else {
        problems.add("has \(nodes.count) elements; at least \(least) has to be there", at: node.place)
        return nil
      }
      let values = nodes.compactMap { form.take($0, &problems) }
      return values.count == nodes.count ? values : nil
    }
  }

  /// A map with these keys and no others; what is left out stays as it is in `initial`.
  public static func record(_ initial: Value, _ fields: Field<Value>...) -> Form { record(initial, fields) }

  public static func record(_ initial: Value, _ fields: [Field<Value>]) -> Form {
    let schema = JSONSchema.object(fields.map { ($0.name, $0.about, $0.schema, $0.isRequired) })
    return Form(schema) { node, problems in
      guard case .map(let entries) = node.content else {
        problems.add("has to be a map with \(names(fields.map(\.name))), not \(node.kind)", at: node.place)
        return nil
      }
      var value = initial
      var isWhole = true
      for entry in entries {
        if let field = fields.first(where: { $0.name == entry.key }) {
          isWhole = field.take(entry.value, &value, &problems) && isWhole
        } else {
          problems.add(unknown("key", entry.key, among: fields.map(\.name)), at: entry.place)
          isWhole = false
        }
      }
      for field in fields where field.isRequired && !entries.contains(where: { $0.key == field.name }) {
        problems.add("\(field.name) is missing: \(field.about)", at: node.place)
        isWhole = false
      }
      return isWhole ? value : nil
    }
  }
}

/// Why a value cannot be what it is written as.
public struct FormError: Error, Sendable {
  /// Safe for a terminal.
  public let message: String
  /// nil: that of the value.
  public let place: Place?

  public init(_ message: String, at place: Place? = nil) {
    self.message = message
    self.place = place
  }

  /// Somebody's text as a part of a message.
  public static func shown(_ text: String) -> String { quoted(text) }
}

/// One key of a ``Form/record(_:_:)``.
public struct Field<Root: Sendable>: Sendable {
  let name: String
  /// A sentence for who reads the schema.
  let about: String
  let schema: JSONSchema
  let isRequired: Bool
  /// Returns whether it went well.
  let take: @Sendable (Node, inout Root, inout Problems) -> Bool

  /// - Parameter required: the record is worth nothing without it
  public static func field<Value>(
    _ name: String, _ about: String, _ form: Form<Value>, required: Bool = false,
    _ path: any WritableKeyPath<Root, Value> & Sendable
  ) -> Field {
    Field(name: name, about: about, schema: form.schema, isRequired: required) { node, root, problems in
      guard let value = form.take(node, &problems) else { return false }
      root[keyPath: path] = value
      return true
    }
  }

  /// A field whose absence means something of its own.
  public static func field<Value>(
    _ name: String, _ about: String, _ form: Form<Value>, _ path: any WritableKeyPath<Root, Value?> & Sendable
  ) -> Field {
    field(name, about, form.map { .some($0) }, path)
  }
}
