/// What a job's process and a container daemon say to each other on one connection, as far as it tells which container is
/// the job's: the answers of the Docker Engine API (`POST /containers/create`, `POST /build`; Podman's is the same), and
/// what BuildKit says of the steps of a build, within such an answer or as gRPC.
///
/// Everything in it comes from others. Whatever it is, it is understood or passed over; at most ``bufferLimit`` bytes of it
/// are kept.
public struct DaemonConversation: Sendable {
  /// Something that the daemon told the job's process.
  public enum News: Sendable, Equatable {
    /// It has made the container with this id, of 64 digits.
    case created(String)
    /// A step of a build has the container whose id begins with these twelve digits. Steps that execute nothing have one, too.
    case runs(String)
    case step(Step)
  }

  /// A step of BuildKit's that executes something: a vertex.
  public struct Step: Sendable, Equatable {
    /// `sha256:…`, of what it does to what: two builds with the same one share it.
    public var digest: String
    /// Digests of the steps whose results it begins with.
    public var inputs: [String]
    /// Variables in it may have been replaced by their values.
    public var command: String
    /// Nanoseconds of CLOCK_REALTIME; nil: not yet, or not told.
    public var startedAt: UInt64?
    public var completedAt: UInt64?
    /// Its result was there already: nothing was executed.
    public var isCached = false

    public init(
      digest: String, inputs: [String], command: String, startedAt: UInt64? = nil, completedAt: UInt64? = nil
    ) {
      self.digest = digest
      self.inputs = inputs
      self.command = command
      self.startedAt = startedAt
      self.completedAt = completedAt
    }
  }

  /// What the last request was for.
  public enum Purpose: Sendable, Equatable {
    case create
    case build
    case other
  }

  public private(set) var purpose = Purpose.other
  /// Of the container that is to be created: as the request calls it, which is up to whoever asks.
  public private(set) var image: String?
  public private(set) var name: String?
  /// It is a build of which the daemon tells nothing but its result (`docker build --quiet`).
  public private(set) var isSilent = false
  /// Pieces of answers that could not be understood as they were not whole.
  public private(set) var cut = 0

  private var buffer: [UInt8] = []

  public static let bufferLimit = 256 << 10

  public init() {}

  // MARK: - Requests

  /// The head of a request, and as much of its body as there is.
  public mutating func take(request bytes: some Collection<UInt8>) {
    let bytes = Array(bytes)
    let (wanted, query) = Self.purpose(of: bytes)
    // The answer may be told after the next request.
    if purpose == .create, wanted == .other { return }
    purpose = wanted
    buffer = []
    isSilent = wanted == .build && Self.isTrue(Self.parameter("q", in: query))
    name = wanted == .create ? Self.parameter("name", in: query) : nil
    image = wanted == .create ? Self.text(behind: #""Image":""#, in: bytes[...]) : nil
  }

  /// The container that a request starts, as it calls it: an id, or a name; nil: it starts none.
  public static func started(by request: some Collection<UInt8>) -> String? {
    let words = Array(request).prefix { $0 != UInt8(ascii: "\r") }.split(separator: UInt8(ascii: " "), maxSplits: 2)
    guard words.count >= 2, words[0].elementsEqual("POST".utf8) else { return nil }
    let parts = words[1].prefix { $0 != UInt8(ascii: "?") }.split(separator: UInt8(ascii: "/"))
    guard parts.count >= 3, parts[parts.count - 1].elementsEqual("start".utf8),
      parts[parts.count - 3].elementsEqual("containers".utf8)
    else { return nil }
    return String(decoding: parts[parts.count - 2], as: UTF8.self)
  }

  private static func purpose(of request: [UInt8]) -> (Purpose, query: ArraySlice<UInt8>) {
    if request.starts(with: "PRI * HTTP/2".utf8) { return (.build, []) }
    let line = request.prefix { $0 != UInt8(ascii: "\r") && $0 != UInt8(ascii: "\n") }
    let words = line.split(separator: UInt8(ascii: " "), maxSplits: 2)
    guard words.count >= 2, words[0].elementsEqual("POST".utf8) else { return (.other, []) }
    let target = words[1].split(separator: UInt8(ascii: "?"), maxSplits: 1)
    let path = target.first ?? []
    let query = target.count > 1 ? target[1] : []
    if path.hasSuffix("/containers/create") { return (.create, query) }
    return (path.hasSuffix("/build") || path.hasSuffix("/grpc") ? .build : .other, query)
  }

  /// The value of a query's parameter, if it needs no decoding: names of containers have none of what would.
  private static func parameter(_ name: String, in query: ArraySlice<UInt8>) -> String? {
    for pair in query.split(separator: UInt8(ascii: "&")) where pair.starts(with: "\(name)=".utf8) {
      let value = pair.dropFirst(name.utf8.count + 1)
      let isPlain = value.allSatisfy {
        ContainerName.isLetterOrDigit($0 | 0x20)
          || [UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "-")].contains($0)
      }
      return isPlain && !value.isEmpty && value.count <= 128 ? String(decoding: value, as: UTF8.self) : nil
    }
    return nil
  }

  /// As the daemon reads a flag: whatever is there and does not say no.
  private static func isTrue(_ value: String?) -> Bool {
    guard let value = value?.lowercased() else { return false }
    return !["0", "no", "false", "none"].contains(value)
  }

  /// The JSON string that comes behind `start`, if it has no escapes and at most 512 bytes.
  private static func text(behind start: String, in bytes: ArraySlice<UInt8>) -> String? {
    guard let range = bytes.range(of: start) else { return nil }
    let value = bytes[range.upperBound...].prefix(513).prefix { $0 != UInt8(ascii: "\"") }
    guard !value.isEmpty, value.count <= 512, value.endIndex < bytes.endIndex, !value.contains(UInt8(ascii: "\\")),
      value.allSatisfy({ $0 > 0x20 && $0 < 0x7f })
    else { return nil }
    return String(decoding: value, as: UTF8.self)
  }

  // MARK: - Answers

  /// The next piece of the answer.
  ///
  /// - Parameter isCut: it was longer
  public mutating func take(answer bytes: some Collection<UInt8>, isCut: Bool) -> [News] {
    guard purpose != .other else { return [] }
    buffer += bytes
    var news: [News] = []
    switch purpose {
    case .create:
      // Others that have an Id come with 200.
      if let start = buffer[...].range(of: " 201 "),
        let id = Self.text(behind: #""Id":""#, in: buffer[start.upperBound...]), id.utf8.count == 64,
        id.utf8.allSatisfy(ContainerName.isHexadecimal)
      {
        news.append(.created(id))
        purpose = .other
      }
    case .build:
      takeLines(into: &news)
      // As gRPC: what is said of steps is short, and in one frame.
      takeMessages(Array(bytes)[...], into: &news)
    case .other: break
    }
    if isCut {
      cut += 1
      buffer = []
    } else if purpose == .other || buffer.count > Self.bufferLimit {
      if purpose != .other { cut += 1 }
      buffer = []
    }
    return news
  }

  /// Lines of JSON, whole ones: the classic builder's, and those that hold BuildKit's messages.
  private mutating func takeLines(into news: inout [News]) {
    var start = buffer.startIndex
    while let end = buffer[start...].firstIndex(of: UInt8(ascii: "\n")) {
      let line = buffer[start..<end]
      start = end + 1
      if let range = line.range(of: #"{"stream":" ---\u003e Running in "#) {
        let id = line[range.upperBound...].prefix(12)
        if id.count == 12, id.allSatisfy(ContainerName.isHexadecimal) {
          news.append(.runs(String(decoding: id, as: UTF8.self)))
        }
      } else if line.range(of: #"{"id":"moby.buildkit.trace""#) != nil, let range = line.range(of: #""aux":""#) {
        let text = line[range.upperBound...].prefix { $0 != UInt8(ascii: "\"") }
        if let message = Base64Text.decode(Array(text)) { takeMessages(message[...], into: &news) }
      }
    }
    buffer.removeSubrange(..<start)
  }

  /// Vertices in a message of BuildKit's (moby.buildkit.v1.Vertex): digest 1, inputs 2, name 3, cached 4, started 5,
  /// completed 6. Those are found whose name says that something is executed.
  private mutating func takeMessages(_ bytes: ArraySlice<UInt8>, into news: inout [News]) {
    var rest = bytes
    while let range = rest.range(of: "] RUN ") {
      rest = bytes[range.upperBound...]
      // `[stage 2/5] RUN …` behind its tag and its length.
      guard let mark = bytes[..<range.lowerBound].suffix(200).lastIndex(of: UInt8(ascii: "[")),
        let (tag, length) = Self.length(before: mark, in: bytes), length <= bytes.endIndex - mark,
        mark + length >= range.upperBound, let digests = Self.digests(before: tag, in: bytes)
      else { continue }
      var step = Step(
        digest: digests[0], inputs: Array(digests.dropFirst()),
        command: String(decoding: bytes[range.upperBound..<(mark + length)], as: UTF8.self))
      var fields = Fields(bytes[(mark + length)...])
      while let field = fields.next(), field.number >= 4, field.number <= 6 {
        if field.number == 4 { step.isCached = field.value != 0 }
        if field.number == 5 { step.startedAt = Self.time(field.bytes) }
        if field.number == 6 { step.completedAt = Self.time(field.bytes) }
      }
      news.append(.step(step))
    }
  }

  /// Of the string that begins at `start`, if a length of one to three bytes and the tag of field 3 come before it; and
  /// where the tag is.
  private static func length(before start: Int, in bytes: ArraySlice<UInt8>) -> (tag: Int, length: Int)? {
    for count in 1...3 where start - count - 1 >= bytes.startIndex && bytes[start - count - 1] == 0x1a {
      let digits = bytes[(start - count)..<start]
      guard digits.dropLast().allSatisfy({ $0 >= 0x80 }), digits.last ?? 0x80 < 0x80 else { continue }
      return (start - count - 1, digits.reversed().reduce(0) { $0 << 7 | Int($1 & 0x7f) })
    }
    return nil
  }

  /// Of the vertex whose name's tag is at `tag`, its own and those of its inputs: all of one length.
  private static func digests(before tag: Int, in bytes: ArraySlice<UInt8>) -> [String]? {
    let length = 7 + 64
    var end = tag
    var digests: [String] = []
    while end - length - 2 >= bytes.startIndex, bytes[end - length - 1] == UInt8(length) {
      let digest = bytes[(end - length)..<end]
      guard digest.starts(with: "sha256:".utf8), digest.dropFirst(7).allSatisfy(ContainerName.isHexadecimal) else {
        return nil
      }
      digests.append(String(decoding: digest, as: UTF8.self))
      let isInput = bytes[end - length - 2] == 0x12
      guard isInput || bytes[end - length - 2] == 0x0a else { return nil }
      if !isInput { return digests.reversed() }
      end -= length + 2
    }
    return nil
  }

  /// A google.protobuf.Timestamp.
  private static func time(_ bytes: ArraySlice<UInt8>) -> UInt64? {
    var fields = Fields(bytes)
    var seconds: UInt64 = 0
    var nanoseconds: UInt64 = 0
    while let field = fields.next() {
      if field.number == 1 { seconds = field.value }
      if field.number == 2 { nanoseconds = field.value }
    }
    guard seconds < 1 << 34, nanoseconds < 1_000_000_000 else { return nil }
    return seconds * 1_000_000_000 + nanoseconds
  }

  /// The fields of a protobuf message, up to the first that is not whole or has another form than these need.
  private struct Fields {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

    mutating func next() -> (number: UInt64, value: UInt64, bytes: ArraySlice<UInt8>)? {
      guard let key = varint(), let value = varint() else { return nil }
      switch key & 7 {
      case 0: return (key >> 3, value, [])
      case 2:
        guard value <= UInt64(rest.count) else { return nil }
        let bytes = rest.prefix(Int(value))
        rest = rest.dropFirst(Int(value))
        return (key >> 3, value, bytes)
      default: return nil
      }
    }

    private mutating func varint() -> UInt64? {
      var value: UInt64 = 0
      for shift in stride(from: UInt64(0), to: 64, by: 7) {
        guard let byte = rest.popFirst() else { return nil }
        value |= UInt64(byte & 0x7f) << shift
        if byte < 0x80 { return value }
      }
      return nil
    }
  }
}

extension Collection<UInt8> where SubSequence == ArraySlice<UInt8>, Index == Int {
  fileprivate func hasSuffix(_ text: String) -> Bool { suffix(text.utf8.count).elementsEqual(text.utf8) }

  /// Where `text`, which is ASCII and not empty, is first.
  fileprivate func range(of text: String) -> Range<Int>? {
    let wanted = Array(text.utf8)
    guard let first = wanted.first else { return nil }
    var from = startIndex
    while let at = self[from...].firstIndex(of: first) {
      if endIndex - at < wanted.count { return nil }
      if self[at..<(at + wanted.count)].elementsEqual(wanted) { return at..<(at + wanted.count) }
      from = at + 1
    }
    return nil
  }
}
