public import Configuration

extension HostPattern {
  /// A pattern as it is written in a policy: `NAME`, `*.NAME` or `**.NAME`, in any case.
  public init(_ text: String) throws(FormError) {
    let wildcard: Wildcard = text.hasPrefix("**.") ? .anyLabels : text.hasPrefix("*.") ? .oneLabel : .none
    let name = text.lowercased().dropFirst(wildcard == .none ? 0 : wildcard == .oneLabel ? 2 : 3)
    if let objection = Self.objection(to: name) { throw FormError("\(FormError.shown(text)) \(objection)") }
    self.init(wildcard, String(name))
    if wildcard != .none, PublicSuffix.contains(self.name) {
      throw FormError("anybody can have a name below '\(self.name)'; name the hosts, or a part of them")
    }
    if wildcard == .anyLabels, PublicSuffix.isAboveOne(self.name) {
      throw FormError(
        "there are names below '\(self.name)' under which anybody can have one; name the hosts, or use '*.'")
    }
  }

  /// A name as it is asked for and found in reports: nil where it is none that a pattern could name.
  static func canonical(name: String) -> String? {
    let lower = name.lowercased()
    let text = lower.hasSuffix(".") ? lower.dropLast() : lower[...]
    return objection(to: text) == nil ? String(text) : nil
  }

  /// Why it is no name of a host (RFC 1123, with the underscores that are found in practice), as the end of a sentence.
  private static func objection(to name: Substring) -> String? {
    guard name.utf8.allSatisfy({ $0 < 0x80 }) else {
      return "is not ASCII; write the name as it is asked for, with 'xn--'"
    }
    if name.contains("*") { return "may have '*.' or '**.' in front of a name, and no other '*'" }
    guard name.utf8.count <= 253 else { return "is longer than 253 bytes" }
    if name.isEmpty || name.contains(":") || name.contains("/") || IPAddress(name) != nil {
      return name.isEmpty
        ? "is empty"
        : IPAddress(name) != nil ? "is an address; write 'address:'" : "is no name of a host: no scheme, port or path"
    }
    for label in name.split(separator: ".", omittingEmptySubsequences: false) {
      guard (1...63).contains(label.utf8.count), label.first != "-", label.last != "-",
        label.utf8.allSatisfy({
          (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_")
        })
      else { return "is no name of a host: labels of letters, digits and '-', with single dots between" }
    }
    return nil
  }

  /// As it is written in a policy.
  public var written: String {
    switch wildcard {
    case .none: name
    case .oneLabel: "*." + name
    case .anyLabels: "**." + name
    }
  }

  /// Whether it means this name; `name` in lower case and without a dot at its end.
  public func matches(_ name: String) -> Bool {
    if wildcard == .none { return name == self.name }
    guard name.utf8.count > self.name.utf8.count + 1, name.hasSuffix("." + self.name) else { return false }
    return wildcard == .anyLabels || !name.utf8.dropLast(self.name.utf8.count + 1).contains(UInt8(ascii: "."))
  }
}
