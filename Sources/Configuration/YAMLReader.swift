internal import CYAML

/// Reads YAML 1.1 by libyaml into a ``Node``, and takes nothing that reads as one thing and means another: no
/// anchors or aliases, no tags, no key twice, no second document.
///
/// Total: any bytes give a node or an error, in time and memory proportional to the file, which may have
/// ``maximumBytes``.
public enum YAMLReader {
  public static let maximumBytes = 1 << 20
  static let maximumDepth = 32

  /// - Parameters:
  ///   - file: what errors call it
  /// - Returns: an empty map for a file without content.
  public static func read(_ bytes: [UInt8], file: String) throws(ConfigurationError) -> Node {
    let start = Place(line: 1, column: 1)
    func fail(_ problem: ConfigurationError.Problem) -> ConfigurationError {
      ConfigurationError(file: file, problems: [problem])
    }
    guard bytes.count <= maximumBytes else {
      throw fail(.init("is larger than 1 MiB", at: start))
    }
    guard var parser = Parser() else { throw fail(.init("out of memory", at: start)) }
    do {
      return try bytes.withUnsafeBufferPointer { bytes throws(ConfigurationError.Problem) in
        try parser.document(bytes)
      }
    } catch {
      throw fail(error)
    }
  }
}

extension ConfigurationError.Problem: Error {}

/// libyaml's parser. Its state lies on the heap: it has pointers to itself.
private struct Parser: ~Copyable {
  typealias Problem = ConfigurationError.Problem

  private let state: UnsafeMutablePointer<yaml_parser_t>
  private var event = yaml_event_t()

  init?() {
    state = .allocate(capacity: 1)
    guard yaml_parser_initialize(state) == 1 else {
      state.deallocate()
      return nil
    }
  }

  deinit {
    var event = event
    yaml_event_delete(&event)
    yaml_parser_delete(state)
    state.deallocate()
  }

  mutating func document(_ bytes: UnsafeBufferPointer<UInt8>) throws(Problem) -> Node {
    yaml_parser_set_input_string(state, bytes.baseAddress, bytes.count)
    yaml_parser_set_encoding(state, YAML_UTF8_ENCODING)
    try next()  // The stream's start.
    try next()
    if event.type == YAML_STREAM_END_EVENT { return Node(.map([]), at: Place(line: 1, column: 1)) }
    try next()
    let node = try value(depth: 0)
    try next()  // The document's end.
    try next()
    guard event.type == YAML_STREAM_END_EVENT else {
      throw Problem("a second document begins here; a file holds one", at: place)
    }
    // A file with nothing but comments, or `---`.
    if case .scalar("", isPlain: true) = node.content { return Node(.map([]), at: node.place) }
    return node
  }

  private var place: Place { Self.place(event.start_mark) }

  private static func place(_ mark: yaml_mark_t) -> Place {
    Place(line: Int(clamping: mark.line) + 1, column: Int(clamping: mark.column) + 1)
  }

  private mutating func next() throws(Problem) {
    yaml_event_delete(&event)
    guard yaml_parser_parse(state, &event) == 1 else {
      let error = state.pointee
      let problem = error.problem.map { String(cString: $0) } ?? "is not YAML"
      if error.error == YAML_READER_ERROR {
        throw Problem("cannot be read: \(problem)", at: position(ofByte: Int(clamping: error.problem_offset)))
      }
      let context = error.context.map { " (\(String(cString: $0)))" } ?? ""
      throw Problem(problem + context, at: Self.place(error.problem_mark))
    }
  }

  /// libyaml tells of bytes that are no text only where they are, not in which line.
  private func position(ofByte offset: Int) -> Place {
    let input = state.pointee.input.string
    guard let start = input.start, let end = input.end else { return Place(line: 1, column: 1) }
    let before = UnsafeBufferPointer(start: start, count: min(max(0, offset), end - start))
    let line = before.count { $0 == UInt8(ascii: "\n") } + 1
    let rest = before.lastIndex(of: UInt8(ascii: "\n")).map { before[($0 + 1)...] } ?? before[...]
    // Bytes that go on a character are none of their own.
    return Place(line: line, column: rest.count { $0 & 0xc0 != 0x80 } + 1)
  }

  /// The value that begins with the current event.
  private mutating func value(depth: Int) throws(Problem) -> Node {
    let start = place
    guard depth < YAMLReader.maximumDepth else { throw Problem("is nested too deeply", at: start) }
    switch event.type {
    case YAML_SCALAR_EVENT:
      return try scalar(at: start)
    case YAML_SEQUENCE_START_EVENT:
      try refuseProperties(anchor: event.data.sequence_start.anchor, tag: event.data.sequence_start.tag, at: start)
      var items: [Node] = []
      try next()
      while event.type != YAML_SEQUENCE_END_EVENT {
        items.append(try value(depth: depth + 1))
        try next()
      }
      return Node(.list(items), at: start)
    case YAML_MAPPING_START_EVENT:
      try refuseProperties(anchor: event.data.mapping_start.anchor, tag: event.data.mapping_start.tag, at: start)
      return Node(.map(try entries(depth: depth)), at: start)
    case YAML_ALIAS_EVENT:
      throw Problem("an alias (*) stands for something elsewhere; write it out", at: start)
    default:
      throw Problem("a value is missing", at: start)
    }
  }

  private mutating func entries(depth: Int) throws(Problem) -> [Node.Entry] {
    var entries: [Node.Entry] = []
    var lines: [String: Int] = [:]
    try next()
    while event.type != YAML_MAPPING_END_EVENT {
      let keyPlace = place
      guard event.type == YAML_SCALAR_EVENT, case .scalar(let key, _) = try scalar(at: keyPlace).content else {
        throw Problem("a key has to be a word", at: keyPlace)
      }
      if let line = lines.updateValue(keyPlace.line, forKey: key) {
        throw Problem("\(quoted(key)) is there already, in line \(line)", at: keyPlace)
      }
      try next()
      entries.append(.init(key: key, place: keyPlace, value: try value(depth: depth + 1)))
      try next()
    }
    return entries
  }

  private func scalar(at place: Place) throws(Problem) -> Node {
    let scalar = event.data.scalar
    try refuseProperties(anchor: scalar.anchor, tag: scalar.tag, at: place)
    let text = String(decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
    return Node(.scalar(text, isPlain: scalar.style == YAML_PLAIN_SCALAR_STYLE), at: place)
  }

  private func refuseProperties(
    anchor: UnsafeMutablePointer<yaml_char_t>?, tag: UnsafeMutablePointer<yaml_char_t>?, at place: Place
  ) throws(Problem) {
    if anchor != nil { throw Problem("an anchor (&) names something for use elsewhere; write it out there", at: place) }
    if tag != nil { throw Problem("a tag (!) would change what the value is; leave it out", at: place) }
  }
}
