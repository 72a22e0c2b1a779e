import Glibc

/// A file for the textfile collector of node_exporter, always whole: each version is written under another name, then
/// renamed.
public final class MetricsFile: Sendable {
  private let directory: Int32
  private let name: String
  private let temporary: String

  /// Opens the directory now, so that nobody can lead a later version elsewhere.
  public init(path: String) throws(ExportError) {
    let slash = path.lastIndex(of: "/")
    let parent = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    name = slash.map { String(path[path.index(after: $0)...]) } ?? path
    // The collector takes names that end in .prom only.
    temporary = ".\(name).\(getpid()).tmp"
    guard !name.isEmpty, name != ".", name != ".." else {
      throw ExportError("write metrics to '\(path)'", errno: EISDIR)
    }
    directory = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { throw ExportError("open '\(parent)' for metrics", errno: errno) }
  }

  deinit { close(directory) }

  public func write(_ bytes: [UInt8]) throws(ExportError) {
    unlinkat(directory, temporary, 0)
    let file = openat(directory, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o644)
    guard file >= 0 else { throw ExportError("create '\(temporary)'", errno: errno) }
    var written = 0
    while written < bytes.count {
      let count = bytes.withUnsafeBytes { Glibc.write(file, $0.baseAddress.map { $0 + written }, $0.count - written) }
      if count < 0, errno == EINTR { continue }
      if count <= 0 {
        let error = errno
        close(file)
        unlinkat(directory, temporary, 0)
        throw ExportError("write '\(temporary)'", errno: error)
      }
      written += count
    }
    close(file)
    guard renameat(directory, temporary, directory, name) == 0 else {
      let error = errno
      unlinkat(directory, temporary, 0)
      throw ExportError("rename '\(temporary)' to '\(name)'", errno: error)
    }
  }
}
