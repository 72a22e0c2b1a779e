internal import Glibc
internal import KernelABI
internal import Observation
internal import Policy

/// Which rules the kernel side is to find for a path, by what it looks up on its way along one.
struct PathTable {
  struct Place: Hashable {
    var form: UInt32
    /// A whole path without a slash at its end, or a name.
    var text: String
  }

  private(set) var places: [Place: mt_path_masks] = [:]

  /// - Parameters:
  ///   - bits: of the rules that the pattern is in
  ///   - list: `mt_rule_list`
  ///   - directory: what it is relative to, if it is
  ///   - followsLinks: also where it leads by the symbolic links that there are
  mutating func add(
    _ pattern: PathPattern, _ bits: UInt64, list: mt_rule_list, in directory: String, followsLinks: Bool = true
  ) {
    guard pattern.form != .named else { return put(MT_PATH_NAMED, pattern.text, bits, list) }
    let form =
      switch pattern.form {
      case .file, .named: MT_PATH_FILE
      case .children: MT_PATH_CHILDREN
      case .below: MT_PATH_BELOW
      }
    for text in followsLinks ? Self.names(of: pattern, in: directory) : [Self.written(pattern, in: directory)] {
      put(form, text, bits, list)
      guard list == MT_RULES_WRITE else { continue }
      // Who renames a directory renames all that is below it.
      var above = pattern.form == .file ? Self.parent(of: text) : text
      while !above.isEmpty {
        put(MT_PATH_ABOVE, above, bits, list)
        above = Self.parent(of: above)
      }
    }
  }

  private mutating func put(_ form: mt_path_form, _ text: String, _ bits: UInt64, _ list: mt_rule_list) {
    withUnsafeMutableBytes(of: &places[Place(form: form.rawValue, text: text), default: mt_path_masks()].lists) {
      $0.withMemoryRebound(to: UInt64.self) { $0[Int(list.rawValue)] |= bits }
    }
  }

  /// A pattern's path as it is written, without slashes at its end.
  private static func written(_ pattern: PathPattern, in directory: String) -> String {
    trimmed(pattern.isRelative ? "\(directory)/\(pattern.text)" : pattern.text)
  }

  /// The paths that a pattern stands for, without slashes at their ends: as it is written, and, since the kernel knows
  /// no symbolic links in a path, where these lead.
  static func names(of pattern: PathPattern, in directory: String) -> Set<String> {
    let written = written(pattern, in: directory)
    var names: Set<String> = [written]
    if let whole = resolved(written) { names.insert(whole) }
    // What is not there yet, or a link itself.
    let parent = parent(of: written)
    if pattern.form == .file, let real = resolved(parent.isEmpty ? "/" : parent) {
      names.insert("\(real)/\(written.utf8.dropFirst(parent.utf8.count + 1).string)")
    }
    return names
  }

  private static func resolved(_ path: String) -> String? {
    FileContents.resolved(path.isEmpty ? "/" : path).map { trimmed(String(decoding: $0, as: UTF8.self)) }
  }

  private static func trimmed(_ path: String) -> String {
    var bytes = path.utf8[...]
    while bytes.last == UInt8(ascii: "/") { bytes.removeLast() }
    return bytes.string
  }

  /// The path in front of the last slash.
  static func parent(of path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "" }
    return path.utf8[..<slash].string
  }
}

extension Substring.UTF8View {
  fileprivate var string: String { String(Substring(self)) }
}
