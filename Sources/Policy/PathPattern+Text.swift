public import Configuration

extension PathPattern {
  static let forms =
    "'/DIR/NAME' (that one), '/DIR/*' (what is in it), '/DIR/**' (all below it) and 'NAME' or '**/NAME' (what is called so)"

  /// A pattern as it is written in a policy.
  ///
  /// Of a form that the kernel side cannot tell apart, or with characters that other tools' patterns give a meaning,
  /// it is none: a rule must not match something else than it seems to.
  public init(_ text: String) throws(FormError) {
    let slash = UInt8(ascii: "/")
    // Bytes: a slash or an asterisk with an accent is still one to the kernel, and none to Character.
    let written = Array(text.utf8)
    guard written.count <= PolicyLimits.path else {
      throw FormError("the pattern is longer than \(PolicyLimits.path) bytes")
    }
    guard !written.contains(0) else { throw FormError("the pattern holds a zero byte") }
    let hasStars = written.starts(with: "**/".utf8)
    if hasStars || !written.contains(slash) {
      let name = written.dropFirst(hasStars ? 3 : 0)
      try Self.check(component: name, of: text)
      self.init(.named, String(decoding: name, as: UTF8.self))
      return
    }
    let isRelative = written.first != slash
    var rest = written.dropFirst(isRelative ? written.starts(with: "./".utf8) ? 2 : 0 : 1)
    var form = Form.file
    for (stars, meant) in [("**", Form.below), ("*", .children)] where form == .file {
      let isAll = rest.elementsEqual(stars.utf8)
      if isAll || (rest.count > stars.utf8.count + 1 && rest.ends(with: "/" + stars)) {
        form = meant
        rest = rest.dropLast(stars.utf8.count + (isAll ? 0 : 1))
      }
    }
    if form == .file || !rest.isEmpty {
      for component in rest.split(separator: slash, omittingEmptySubsequences: false) {
        try Self.check(component: component, of: text)
      }
    }
    self.init(form, (isRelative ? "" : "/") + String(decoding: rest, as: UTF8.self), isRelative: isRelative)
  }

  private static func check(component: ArraySlice<UInt8>, of text: String) throws(FormError) {
    if component.contains(where: "*?[]{}/".utf8.contains) {
      throw FormError("\(FormError.shown(text)) is no pattern that can be enforced; there is \(forms)")
    }
    guard !component.isEmpty, !component.elementsEqual(".".utf8), !component.elementsEqual("..".utf8) else {
      throw FormError("\(FormError.shown(text)) has to be written without '.', '..', '//' and a '/' at its end")
    }
    guard component.count <= PolicyLimits.component else {
      throw FormError("a name in the pattern is longer than \(PolicyLimits.component) bytes")
    }
  }

  /// As it is written in a policy.
  public var written: String {
    let directory = text == "/" ? "" : text.isEmpty ? "." : text
    return switch form {
    // A file in the job's directory must not read as a name for files anywhere.
    case .file: isRelative && !text.utf8.contains(UInt8(ascii: "/")) ? "./" + text : text
    case .children: directory + "/*"
    case .below: directory + "/**"
    case .named: text
    }
  }

  /// The same from / on; `directory` is where the job starts.
  public func resolved(in directory: String) -> PathPattern {
    guard isRelative else { return self }
    let base = directory == "/" ? "" : directory
    return PathPattern(form, text.isEmpty ? directory : base + "/" + text)
  }

  /// Whether a whole path from / on is meant; never by a relative pattern, which has to be resolved first.
  public func matches(_ path: String) -> Bool {
    if form == .named { return Self.name(of: path).elementsEqual(text.utf8) }
    guard !isRelative else { return false }
    switch form {
    case .file, .named: return path.utf8.elementsEqual(text.utf8)
    case .children: return Self.parent(of: path).map { $0.elementsEqual(text.utf8) } ?? false
    case .below: return Self.isBelow(path, text)
    }
  }

  /// Behind the last slash.
  static func name(of path: String) -> Substring.UTF8View {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return path[...].utf8 }
    return path[path.index(after: slash)...].utf8
  }

  /// In front of the last slash, `/` for what is in it; nil for / itself. Of a relative path without a slash: empty.
  static func parent(of path: String) -> Substring.UTF8View? {
    guard path != "/" else { return nil }
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else {
      return path[path.startIndex..<path.startIndex].utf8
    }
    return (slash == path.startIndex ? path[...slash] : path[..<slash]).utf8
  }

  static func isBelow(_ path: String, _ directory: String) -> Bool {
    if directory.isEmpty { return !path.isEmpty }
    let prefix = directory == "/" ? directory : directory + "/"
    return path.utf8.count > prefix.utf8.count && path.utf8.starts(with: prefix.utf8)
  }
}

extension Policy {
  /// The same without relative patterns; `directory` is where the job starts.
  public func resolved(in directory: String) -> Policy {
    var policy = self
    policy.forEachHead { head in
      head.scope.executables = head.scope.executables.map { $0.resolved(in: directory) }
      head.scope.ancestors = head.scope.ancestors.map { $0.resolved(in: directory) }
    }
    func resolve(_ rules: inout [ExecRule]) {
      for index in rules.indices { rules[index].path = rules[index].path?.resolved(in: directory) }
    }
    func resolve(_ rules: inout [FileRule]) {
      for index in rules.indices { rules[index].path = rules[index].path.resolved(in: directory) }
    }
    if var exec = policy.exec {
      resolve(&exec.deny)
      resolve(&exec.allow)
      policy.exec = exec
    }
    if var files = policy.files {
      resolve(&files.deny)
      resolve(&files.allow)
      policy.files = files
    }
    return policy
  }
}

extension ArraySlice<UInt8> {
  fileprivate func ends(with text: String) -> Bool { suffix(text.utf8.count).elementsEqual(text.utf8) }
}
