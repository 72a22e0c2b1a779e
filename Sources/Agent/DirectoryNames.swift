internal import Glibc

/// What there is in a directory; nothing, if it cannot be looked into.
enum DirectoryNames {
  static func of(_ path: String) -> [String] {
    let directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { return [] }
    defer { close(directory) }
    return of(directory)
  }

  /// - Parameter directory: stays the caller's
  static func of(_ directory: Int32) -> [String] {
    // Of its own, as the place of the last look is kept with what is open.
    let own = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard own >= 0, let stream = fdopendir(own) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      names.append(withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
    }
    return names
  }
}
