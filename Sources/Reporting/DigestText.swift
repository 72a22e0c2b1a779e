internal import Jobs
internal import Observation

/// Digests as people read them.
enum DigestText {
  /// The first twelve digits, or why there are none.
  static func short(_ digest: FileDigest) -> String {
    digest.text.map { String($0.dropFirst("sha256:".count).prefix(12)) } ?? reason(digest)
  }

  static func markdown(_ digest: FileDigest) -> String {
    let text = short(digest)
    return digest.sha256 == nil ? MarkdownText.escape(text, limit: 40) : MarkdownText.code(text, limit: 12)
  }

  static func reason(_ digest: FileDigest) -> String {
    switch digest.absence ?? .notHashed {
    case .changed: "changed meanwhile"
    case .gone: "gone"
    case .unreadable: "not readable"
    case .foreign: "file system not martlet's to wait for"
    case .tooLarge: "too large"
    case .notHashed, .otherAlgorithm: "not hashed"
    case .recent: "too new to be sure"
    case .open: "still being written"
    }
  }
}
