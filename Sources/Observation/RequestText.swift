/// What a request asks for: of everything that it says, all that is kept.
struct RequestText: Equatable, Sendable {
  var method: [UInt8]
  /// In lower case, with a port where it has one; empty: it does not say.
  var host: [UInt8]
  /// Without its query.
  var path: [UInt8]
  /// The path is longer: it ends with the last `/` that there was room for.
  var isCut = false

  static let methodLimit = 32
  static let hostLimit = 261  // a name of 253 bytes, a colon and a port; brackets and an address are shorter
  static let pathLimit = 1024

  init(
    method: some Collection<UInt8>, host: some Collection<UInt8>, target: some Collection<UInt8>, isCut: Bool = false
  ) {
    self.method = method.prefix(Self.methodLimit).map { Self.isToken($0) ? $0 : UInt8(ascii: "?") }
    self.host = host.prefix(Self.hostLimit).map { Self.hostByte($0) }
    let whole = target.prefix { $0 != UInt8(ascii: "?") && $0 != UInt8(ascii: "#") }
    path = whole.prefix(Self.pathLimit).map { $0 > 0x20 && $0 != 0x7f ? $0 : UInt8(ascii: "?") }
    self.isCut = whole.count > Self.pathLimit || isCut && whole.count == target.count
    // Half a component may be half a secret, which nobody recognises.
    if self.isCut { path.removeSubrange((path.lastIndex(of: UInt8(ascii: "/")).map { $0 + 1 } ?? 0)...) }
  }

  private static func isToken(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "-"),
      UInt8(ascii: "_"):
      true
    default: false
    }
  }

  private static func hostByte(_ byte: UInt8) -> UInt8 {
    switch byte {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): byte | 0x20
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
      UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: ":"), UInt8(ascii: "["), UInt8(ascii: "]"):
      byte
    default: UInt8(ascii: "?")
    }
  }
}

extension RequestText {
  /// Reads the head of an HTTP/1 request: RFC 9112, 3. Total.
  ///
  /// - Parameter isWhole: nothing follows the bytes
  /// - Returns: nil if it is none
  init?(head: UnsafeRawBufferPointer, isWhole: Bool) {
    let newline = head.firstIndex(of: UInt8(ascii: "\n"))
    let line = Self.trimmed(head[..<(newline ?? head.count)])
    let parts = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
    guard parts.count >= 2, !parts[0].isEmpty, parts[0].allSatisfy(Self.isToken) else { return nil }
    if newline != nil {
      guard parts.count == 3, Self.starts(parts[2], with: "HTTP/1.") else { return nil }
    } else if isWhole || parts.count > 3 {
      return nil
    }
    // Up to where the bytes end, if they end within it.
    let isCut = newline == nil && parts.count == 2
    var host = newline.map { Self.host(head[($0 + 1)...]) } ?? head[..<0]
    var target = parts[1]
    if parts[0].elementsEqual("CONNECT".utf8) {
      host = target
      target = target[..<target.startIndex]
    } else if target.first != UInt8(ascii: "/"), let scheme = Self.range(of: "://", in: target) {
      // As it is asked of proxies: a whole URL, which may have a password in it.
      let rest = target[scheme...]
      let end = rest.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } ?? rest.endIndex
      host = rest[..<end]
      if let at = host.lastIndex(of: UInt8(ascii: "@")) { host = host[(at + 1)...] }
      target = rest[end...]
    }
    self.init(method: parts[0], host: host, target: target, isCut: isCut)
  }

  private typealias Text = Slice<UnsafeRawBufferPointer>

  /// The value of the header `Host`; empty: there is none before the end of the bytes, or of the head.
  private static func host(_ rest: Text) -> Text {
    var rest = rest
    while let newline = rest.firstIndex(of: UInt8(ascii: "\n")) {
      let line = trimmed(rest[..<newline])
      if line.isEmpty { break }
      if line.count >= 5, line[line.startIndex + 4] == UInt8(ascii: ":"),
        zip(line.prefix(4), "host".utf8).allSatisfy({ $0 | 0x20 == $1 })
      {
        return trimmed(line.dropFirst(5))
      }
      rest = rest[(newline + 1)...]
    }
    return rest[..<rest.startIndex]
  }

  private static func trimmed(_ text: Text) -> Text {
    let isSpace = { (byte: UInt8) in byte == 0x20 || byte == 0x09 || byte == 0x0d }
    let start = text.firstIndex { !isSpace($0) } ?? text.endIndex
    let last = text[start...].lastIndex { !isSpace($0) } ?? start
    return start == text.endIndex ? text[start...] : text[start...last]
  }

  private static func starts(_ text: Text, with prefix: StaticString) -> Bool {
    prefix.withUTF8Buffer { text.starts(with: $0) }
  }

  /// Where what follows the separator begins.
  private static func range(of separator: String, in text: Text) -> Int? {
    let wanted = Array(separator.utf8)
    guard text.count >= wanted.count else { return nil }
    for start in text.startIndex...(text.endIndex - wanted.count)
    where text[start..<start + wanted.count].elementsEqual(wanted) {
      return start + wanted.count
    }
    return nil
  }
}
