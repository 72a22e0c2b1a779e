public import Configuration

/// The images of containers that a rule is for.
public struct ImagePattern: Sendable, Hashable {
  public enum Version: Sendable, Hashable {
    /// `NAME:*`: whatever the tag or digest.
    case any
    case tag(String)
    /// `sha256:` and 64 lower-case digits.
    case digest(String)
    /// `NAME/**`: all whose names begin so.
    case below
  }

  /// With its registry: `docker.io/library/alpine`.
  public var name: String
  public var version: Version

  static let forms =
    "'NAME:TAG', 'NAME@sha256:DIGEST', 'NAME:*' (whatever its tag) and 'REGISTRY/…/**' (all below)"

  /// A pattern as it is written in a policy. Names are filled up as Docker does: `alpine` is `docker.io/library/alpine`.
  public init(_ text: String) throws(FormError) {
    let refusal = FormError("\(FormError.shown(text)) is no pattern of images; there is \(Self.forms)")
    if text.hasSuffix("/**") {
      let prefix = String(text.dropLast(3))
      // No image: what stands in front of the first slash is a registry.
      guard let first = prefix.split(separator: "/", omittingEmptySubsequences: false).first,
        ImageReference.isRegistry(first), let name = ImageReference.name(prefix + "/x")
      else { throw refusal }
      (self.name, version) = (String(name.dropLast(2)), .below)
      return
    }
    if text.hasSuffix(":*") {
      guard let name = ImageReference.name(String(text.dropLast(2))) else { throw refusal }
      (self.name, version) = (name, .any)
      return
    }
    guard let parts = ImageReference.parts(text) else { throw refusal }
    if let digest = parts.digest {
      guard parts.tag == nil else {
        throw FormError(
          "\(FormError.shown(text)) has a tag and a digest: leave out the tag, the digest says which it is")
      }
      (name, version) = (parts.name, .digest(digest))
    } else if let tag = parts.tag {
      (name, version) = (parts.name, .tag(tag))
    } else {
      throw FormError(
        "\(FormError.shown(text)) says nothing of its version: write '\(text):latest', or '\(text):*' for all")
    }
  }

  /// As it is written in a policy.
  public var written: String {
    switch version {
    case .any: name + ":*"
    case .tag(let tag): "\(name):\(tag)"
    case .digest(let digest): "\(name)@\(digest)"
    case .below: name + "/**"
    }
  }

  public func matches(_ image: ImageReference) -> Bool {
    switch version {
    case .any: image.name == name
    // What has a digest is that, whatever tag stands beside it.
    case .tag(let tag): image.name == name && image.digest == nil && image.tag == tag
    case .digest(let digest): image.name == name && image.digest == digest
    case .below: PathPattern.isBelow(image.name, name)
    }
  }

  /// Whether all that `other` means is meant; of two that do not cover each other nothing is.
  func covers(_ other: ImagePattern) -> Bool {
    switch version {
    case .any: name == other.name && other.version != .below
    case .tag, .digest: self == other
    case .below: self == other || PathPattern.isBelow(other.name, name)
    }
  }
}

/// The image of a container, as it was asked for.
public struct ImageReference: Sendable, Hashable {
  /// With its registry.
  public var name: String
  /// `latest` where nothing was said.
  public var tag: String
  public var digest: String?

  /// nil: an id, which can be any image's, or nothing that Docker takes.
  public init?(_ text: String) {
    guard let parts = Self.parts(text) else { return nil }
    // What looks like an id may be one: which of the two it is, is the daemon's to know.
    guard parts.digest != nil || text.contains("/") || !Self.isIdentifier(text) else { return nil }
    name = parts.name
    tag = parts.tag ?? "latest"
    digest = parts.digest
  }

  private static func isIdentifier(_ text: String) -> Bool {
    text.utf8.dropFirst(text.hasPrefix("sha256:") ? 7 : 0).allSatisfy(isHexadecimal)
  }

  static func parts(_ text: String) -> (name: String, tag: String?, digest: String?)? {
    guard text.utf8.count <= PolicyLimits.image else { return nil }
    var rest = text[...]
    var digest: String?
    if let at = rest.firstIndex(of: "@") {
      let given = rest[rest.index(after: at)...]
      guard given.hasPrefix("sha256:"), given.utf8.count == 71, given.utf8.dropFirst(7).allSatisfy(isHexadecimal) else {
        return nil
      }
      digest = String(given)
      rest = rest[..<at]
    }
    var tag: String?
    let last = rest.lastIndex(of: "/").map { rest.index(after: $0) } ?? rest.startIndex
    if let colon = rest[last...].firstIndex(of: ":") {
      let given = rest[rest.index(after: colon)...]
      guard (1...128).contains(given.utf8.count), given.utf8.first.map(isWord) == true,
        given.utf8.allSatisfy({ isWord($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") })
      else { return nil }
      tag = String(given)
      rest = rest[..<colon]
    }
    return name(String(rest)).map { ($0, tag, digest) }
  }

  /// What is left out is filled in.
  static func name(_ text: String) -> String? {
    var components = text.split(separator: "/", omittingEmptySubsequences: false)
    guard let first = components.first else { return nil }
    var registry = "docker.io"
    if isRegistry(first), components.count > 1 {
      registry = first == "index.docker.io" ? registry : first.lowercased()
      components.removeFirst()
    }
    guard components.allSatisfy(isComponent), registry.utf8.allSatisfy({ isRegistryByte($0) }) else { return nil }
    if registry == "docker.io", components.count == 1 { components.insert("library", at: 0) }
    return ([registry[...]] + components).joined(separator: "/")
  }

  static func isRegistry(_ component: Substring) -> Bool {
    !component.isEmpty && (component.contains(".") || component.contains(":") || component == "localhost")
  }

  private static func isRegistryByte(_ byte: UInt8) -> Bool { isWord(byte) || ".:-[]".utf8.contains(byte) }

  private static func isComponent(_ component: Substring) -> Bool {
    func isEnd(_ byte: UInt8?) -> Bool { byte.map { isLower($0) } ?? false }
    return isEnd(component.utf8.first) && isEnd(component.utf8.last)
      && component.utf8.allSatisfy { isLower($0) || "._-".utf8.contains($0) }
  }

  private static func isLower(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte) }
  private static func isWord(_ byte: UInt8) -> Bool {
    isLower(byte) || (0x41...0x5a).contains(byte) || byte == UInt8(ascii: "_")
  }
  private static func isHexadecimal(_ byte: UInt8) -> Bool {
    (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte)
  }
}
