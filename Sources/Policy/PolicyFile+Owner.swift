internal import Configuration
internal import Glibc
internal import Observation

/// Why a policy is not taken, in words.
public struct PolicyRefusal: Error, Sendable, Equatable, CustomStringConvertible {
  public let description: String

  public init(_ description: String) { self.description = description }
}

extension Policy {
  /// What root lays down for all jobs of the machine: a job's own policy can narrow it only.
  public static let nodePath = nodeDirectory + "/policy.yaml"
  /// Where what root says about martlet lies.
  public static let nodeDirectory = "/etc/martlet"

  /// The machine's policy; nil: it has none.
  public static func ofNode() throws(PolicyRefusal) -> Policy? {
    if access(nodePath, F_OK) != 0, [ENOENT, ENOTDIR].contains(errno) { return nil }
    return try readOwned(nodePath)
  }

  /// Reads a file that nobody but root may write: whoever could would be protected from by it.
  public static func readOwned(_ path: String) throws(PolicyRefusal) -> Policy {
    var entry = stat()
    guard stat(path, &entry) == 0 else {
      throw PolicyRefusal("\(VisibleText.terminal(path)) cannot be looked at: \(String(cString: strerror(errno)))")
    }
    guard entry.st_uid == 0, entry.st_mode & 0o022 == 0 else {
      let shown = VisibleText.terminal(path)
      throw PolicyRefusal(
        "\(shown) can be written by others than root, so that it protects nothing: chown root \(shown) && chmod go-w \(shown)"
      )
    }
    do {
      return try read(path)
    } catch {
      throw PolicyRefusal(error.description)
    }
  }

  /// Whether it says anything about paths that are relative to the directory that a job starts in.
  public var isRelative: Bool {
    let scopes = heads.flatMap { $0.scope.executables + $0.scope.ancestors }
    let exec = ((exec?.deny ?? []) + (exec?.allow ?? [])).compactMap(\.path)
    let files = ((files?.deny ?? []) + (files?.allow ?? [])).map(\.path)
    let protected = self.files?.protect ?? []
    return protected.contains(.sources) || protected.contains(.pipelines)
      || (scopes + exec + files).contains { $0.isRelative && $0.form != .named }
  }
}
