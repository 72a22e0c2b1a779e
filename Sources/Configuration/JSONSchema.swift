internal import Observation

/// What of JSON Schema (draft 2020-12) a ``Form`` needs, for editors and other programs.
public indirect enum JSONSchema: Sendable {
  case boolean
  case integer(ClosedRange<Int>)
  /// `atMost`: bytes of UTF-8, of which a schema can only say that there are no more characters.
  case text(pattern: String? = nil, atMost: Int? = nil)
  case words([String])
  case array(of: JSONSchema, atLeast: Int = 0, atMost: Int)
  case either(JSONSchema, JSONSchema)
  case object([(name: String, about: String, schema: JSONSchema, isRequired: Bool)])

  /// The schema of a file as a document.
  public func document(id: String, title: String) -> [UInt8] {
    var json = JSONOutput()
    json.object { json in
      json.member("$schema", "https://json-schema.org/draft/2020-12/schema")
      json.member("$id", id)
      json.member("title", title)
      write(to: &json)
    }
    json.endDocument()
    return json.bytes
  }

  private func write(to json: inout JSONOutput) {
    switch self {
    case .boolean:
      json.member("type", "boolean")
    case .integer(let range):
      json.member("type", "integer")
      json.member("minimum", range.lowerBound)
      json.member("maximum", range.upperBound)
    case .text(let pattern, let limit):
      json.member("type", "string")
      json.member("minLength", 1)
      if let limit { json.member("maxLength", limit) }
      if let pattern { json.member("pattern", pattern) }
    case .words(let words):
      json.array("enum") { json in
        for word in words { json.member(nil, word) }
      }
    case .array(let element, let least, let limit):
      json.member("type", "array")
      if least > 0 { json.member("minItems", least) }
      json.member("maxItems", limit)
      json.object("items") { element.write(to: &$0) }
    case .either(let one, let other):
      json.array("anyOf") { json in
        for schema in [one, other] { json.object { schema.write(to: &$0) } }
      }
    case .object(let fields):
      json.member("type", "object")
      json.member("additionalProperties", false)
      let required = fields.filter(\.isRequired)
      if !required.isEmpty {
        json.array("required") { json in
          for field in required { json.member(nil, field.name) }
        }
      }
      json.object("properties") { json in
        for field in fields {
          json.object(named: field.name) { json in
            json.member("description", field.about)
            field.schema.write(to: &json)
          }
        }
      }
    }
  }
}
