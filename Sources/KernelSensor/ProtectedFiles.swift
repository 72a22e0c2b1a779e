internal import Glibc
internal import Policy

/// What the names in a policy's `protect` stand for.
enum ProtectedFiles {
  /// Of a policy, with all that is tracked by git: entries of maps are taken for each, and for what lies there.
  static let limit = 30_000
  /// Bytes of a git index that are read.
  private static let indexLimit = 64 << 20

  /// - Parameter directory: where the job starts
  static func patterns(
    of set: FilesSection.Protected, in directory: PolicyDirectory
  ) throws(SensorError) -> [(PathPattern, isRead: Bool)] {
    switch set {
    case .sources: try sources(in: directory).map { ($0, false) }
    case .pipelines: FilesSection.Protected.pipelineFiles.map { ($0, false) }
    case .credentials:
      homes().flatMap { home in FilesSection.Protected.credentialFiles.map { ($0.resolved(in: home), true) } }
    }
  }

  /// What git tracks in the directory, and its own.
  private static func sources(in directory: PolicyDirectory) throws(SensorError) -> [PathPattern] {
    var patterns = [PathPattern(.below, ".git", isRelative: true), PathPattern(.file, ".git", isRelative: true)]
    guard case .here(let directory) = directory else { return patterns }
    let index = "\(directory)/.git/index"
    guard access(index, F_OK) == 0 else { return patterns }
    guard let bytes = read(index),
      let paths = GitIndex.paths(bytes, limit: limit + 1) ?? GitIndex.paths(bytes, hashSize: 32, limit: limit + 1)
    else {
      throw SensorError(
        .systemCallFailed, "\(index) cannot be read as a git index, so the policy cannot protect sources")
    }
    guard paths.count <= limit else { throw .policyTooLarge("files that git tracks", limit) }
    patterns += paths.map { PathPattern(.file, $0, isRelative: true) }
    return patterns
  }

  /// Home directories of the machine's users that there are.
  private static func homes() -> [String] {
    var homes: Set<String> = ["/root"]
    for line in (readText("/etc/passwd") ?? "").split(separator: "\n") {
      let fields = line.split(separator: ":", omittingEmptySubsequences: false)
      // Not those of services: all that is below / or /usr would be a secret.
      guard fields.count >= 7, fields[5].utf8.filter({ $0 == UInt8(ascii: "/") }).count >= 2 else { continue }
      var status = stat()
      if stat(String(fields[5]), &status) == 0, status.st_mode & S_IFMT == S_IFDIR { homes.insert(String(fields[5])) }
    }
    return homes.sorted()
  }

  private static func read(_ path: String) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_size <= indexLimit else {
      return nil
    }
    var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
    var filled = 0
    while filled < bytes.count {
      let count = bytes.withUnsafeMutableBytes {
        Glibc.read(descriptor, $0.baseAddress.map { $0 + filled }, $0.count - filled)
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return nil }
      filled += count
    }
    return bytes
  }
}
