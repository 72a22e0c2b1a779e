/// What runs touched of files that a policy would protect, as few rules that except it.
///
/// Paths in the job's directory are relative to it, as the next job may have another. Of git's own files each directory is
/// one exception, as what they are called differs from run to run; of other sources each file, or if these are many the
/// directory in the job's own. Directories whose names begin with a dot are never taken as one: CI systems' pipelines and
/// settings of tools lie there.
struct FileExceptions {
  struct Rule {
    var access: FileRule.Access
    var path: PathPattern
    var comment: String
  }

  /// Rules of one set for writing, and for reading: of 63 there may be in all.
  static let limit = 16

  let set: FilesSection.Protected
  /// The first path, and whose.
  private(set) var first: (path: String, run: ObservedRun)?
  private var touched: [FileRule.Access: Set<Path>] = [:]

  /// In the job's directory without a slash in front.
  private struct Path: Hashable, Comparable {
    var text: String
    var isRelative: Bool

    static func < (a: Path, b: Path) -> Bool { (a.isRelative ? 1 : 0, a.text) < (b.isRelative ? 1 : 0, b.text) }

    /// The first `count` components, where there are more.
    func directory(_ count: Int) -> String? {
      let parts = text.split(separator: "/", maxSplits: count, omittingEmptySubsequences: false)
      return isRelative && parts.count > count ? parts.prefix(count).joined(separator: "/") : nil
    }
  }

  init(_ set: FilesSection.Protected) { self.set = set }

  mutating func add(_ event: (access: FileRule.Access, path: String), _ run: ObservedRun) {
    if first == nil { first = (event.path, run) }
    // The home of a credential is where it is, wherever the job starts.
    var path = Path(text: event.path, isRelative: false)
    if set != .credentials, PathPattern.isBelow(event.path, run.directory) {
      let prefix = run.directory == "/" ? 1 : run.directory.utf8.count + 1
      path = Path(text: String(decoding: event.path.utf8.dropFirst(prefix), as: UTF8.self), isRelative: true)
    }
    touched[event.access, default: []].insert(path)
  }

  /// nil: no rules can say it, or too many would have to.
  func rules() -> [Rule]? {
    var all: [Rule] = []
    for (access, verb) in [(FileRule.Access.write, "changed"), (.read, "read")] {
      let paths = touched[access] ?? []
      var folded = Self.fold(paths) { $0.directory(1) == ".git" ? $0.directory(2) : nil }
      if folded.count > Self.limit {
        folded = Self.fold(paths) { path in
          guard let top = path.directory(1) else { return nil }
          return top == ".git" ? path.directory(2) : top.hasPrefix(".") ? nil : top
        }
      }
      guard folded.count <= Self.limit else { return nil }
      for (path, count) in folded.sorted(by: { $0.key < $1.key }) {
        guard let pattern = Self.pattern(path, isDirectory: count > 0) else { return nil }
        let comment =
          count > 0
          ? "Wider than what was seen: of \(set.rawValue) \(count) file\(count == 1 ? " was" : "s were") \(verb) there."
          : "Of \(set.rawValue) it was \(verb)."
        all.append(Rule(access: access, path: pattern, comment: comment))
      }
    }
    return all
  }

  /// How many paths became one, 0: it is a path.
  private static func fold(_ paths: Set<Path>, _ directory: (Path) -> String?) -> [Path: Int] {
    paths.reduce(into: [:]) { folded, path in
      if let directory = directory(path) {
        folded[Path(text: directory + "/", isRelative: true), default: 0] += 1
      } else {
        folded[path] = 0
      }
    }
  }

  /// nil: there is none that can be enforced.
  private static func pattern(_ path: Path, isDirectory: Bool) -> PathPattern? {
    let text = (path.isRelative ? "./" : "") + path.text + (isDirectory ? "**" : "")
    return try? PathPattern(text)
  }
}
