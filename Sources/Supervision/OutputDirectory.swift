import CSystem
import Glibc

/// The directory that a run leaves behind, made safe against the job that it watches.
///
/// The job may own the place where the report goes: it can plant links there, and rename what it finds. So the
/// parent directory is opened before the command starts and held; the report grows in a fresh hidden directory
/// that only martlet's user can enter; files are only ever created new, beneath held descriptors, one name at a
/// time and never through a link; and the directory gets its real name by a rename when everything is written.
/// Whatever the job does to names meanwhile, nothing outside is written to and nothing foreign is removed: at
/// worst the report ends under another name, which ``publish()`` tells.
public final class OutputDirectory {
  /// Everything that a report directory can hold. A directory that holds anything else is not replaced.
  public static let knownFiles: Set<String> = [
    "report.html", "report.md", "report.json", "events.ndjson.zst", "policy.suggested.yaml",
    "provenance.intoto.json", "trace.intoto.json", "sbom.cdx.json", "sbom.spdx.json", "supply-chain.json",
    "findings.sarif",
  ]

  /// Where a report ended up.
  public struct Published: Equatable {
    /// As the user would name it: relative if the option was.
    public var path: String
    /// Why that is not the name that was asked for; nil if it is.
    public var note: String?
  }

  let parent: Int32
  let parentPath: String
  let name: String
  let owner: (uid: UInt32, gid: UInt32)?
  var directory: Int32
  var identity: FileKey
  /// What the directory is called until then, beside the report's own name.
  public internal(set) var temporaryName: String
  var files: [(name: String, descriptor: Int32)] = []

  /// Opens the parent and makes the hidden directory in it.
  ///
  /// - Parameters:
  ///   - path: what to call the report in the end; its parent must exist.
  ///   - owner: to whom the finished report is given; nil keeps it.
  public init(path: String, owner: (uid: UInt32, gid: UInt32)?) throws(OutputError) {
    (parentPath, name) = try Self.split(path)
    let opened = mt_output_open_parent(parentPath)
    guard opened >= 0 else {
      throw OutputError("--output \(Self.shown(path)): cannot open \(Self.shown(parentPath))", code: -opened)
    }
    parent = opened
    self.owner = owner
    do {
      (temporaryName, directory, identity) = try Self.makeTemporary(in: parent)
    } catch {
      close(opened)
      throw error
    }
  }

  /// Goes on with a hidden directory that somebody before us left; nil if there is none. What is in it is what
  /// ``reopen(_:)`` finds, and no more: anything else in it keeps it from being published under its name.
  ///
  /// - Parameters:
  ///   - path: what to call the report in the end.
  ///   - temporaryName: what the directory is called beside that.
  public init?(path: String, continuing temporaryName: String) throws(OutputError) {
    (parentPath, name) = try Self.split(path)
    let opened = mt_output_open_parent(parentPath)
    guard opened >= 0 else { throw OutputError("cannot open \(Self.shown(parentPath))", code: -opened) }
    let found = mt_output_open_directory(opened, temporaryName)
    guard found >= 0, let status = Self.status(of: found), status.user == geteuid() else {
      if found >= 0 { close(found) }
      close(opened)
      return nil
    }
    parent = opened
    owner = nil
    directory = found
    identity = FileKey(status)
    self.temporaryName = temporaryName
  }

  /// Opens a file of a directory that is continued, for reading and writing from its beginning.
  ///
  /// - Parameter name: one of ``knownFiles``.
  /// - Returns: a descriptor that stays this object's.
  public func reopen(_ name: String) throws(OutputError) -> Int32 {
    guard Self.knownFiles.contains(name) else { throw OutputError("cannot open \(name)", code: EINVAL) }
    // Reports that were begun are written anew.
    for other in Self.knownFiles where other != name { unlinkat(directory, other, 0) }
    let descriptor = mt_output_open_file(directory, name)
    guard descriptor >= 0 else { throw OutputError("cannot open \(name)", code: -descriptor) }
    files.append((name, descriptor))
    return descriptor
  }

  deinit {
    for file in files { close(file.descriptor) }
    close(directory)
    close(parent)
  }

  /// Creates a file of the report for writing, 0600, held open until the end.
  ///
  /// - Parameter name: one of ``knownFiles``.
  /// - Returns: a descriptor that stays this object's.
  public func create(_ name: String) throws(OutputError) -> Int32 {
    guard Self.knownFiles.contains(name) else { throw OutputError("cannot create \(name)", code: EINVAL) }
    // Only a job that runs as we do gets that far: `git clean` as root will do.
    for _ in 0..<8 {
      let descriptor = mt_output_create_file(directory, name)
      if descriptor >= 0 {
        files.append((name, descriptor))
        return descriptor
      }
      guard descriptor == -ENOENT || descriptor == -EEXIST else {
        throw OutputError("cannot create \(name)", code: -descriptor)
      }
      try moveToFreshDirectory()
    }
    throw OutputError("cannot create \(name): something there removes it at once", code: 0)
  }

  /// Another descriptor, the caller's, of a file that was created here or reopened.
  public func duplicated(_ name: String) throws(OutputError) -> Int32 {
    guard let file = files.first(where: { $0.name == name }) else {
      throw OutputError("there is no \(name)", code: ENOENT)
    }
    let descriptor = fcntl(file.descriptor, F_DUPFD_CLOEXEC, 0)
    guard descriptor >= 0 else { throw OutputError("cannot hold \(name)", code: errno) }
    return descriptor
  }

  /// Creates a file with the beginning of another's contents.
  ///
  /// - Parameters:
  ///   - source: open for reading; where it stands does not matter and stays so
  ///   - bytes: at most; there is no more in the new one
  public func copy(_ source: Int32, upTo bytes: UInt64, to name: String) throws(OutputError) {
    try Self.copy(source, upTo: bytes, to: create(name), name: name)
  }

  /// Of the directory as it grows; stays this object's.
  public var descriptor: Int32 { directory }

  /// What the report is to be called, as ``publish()`` tells it unless something else is there.
  public var path: String { shownPath(of: name) }

  /// Creates a file with these contents.
  public func write(_ contents: [UInt8], to name: String) throws(OutputError) {
    let descriptor = try create(name)
    try Self.write(contents, to: descriptor, name: name)
  }

  /// Removes what was written, when no command ran.
  public func discard() {
    for file in files { unlinkat(directory, file.name, 0) }
    // The name may be somebody else's by now; then it is not empty, or no loss.
    if refersToUs(temporaryName) { unlinkat(parent, temporaryName, AT_REMOVEDIR) }
  }

  static func write(_ contents: [UInt8], to descriptor: Int32, name: String) throws(OutputError) {
    let code = WholeWrite.write(contents, to: descriptor)
    guard code == 0 else { throw OutputError("cannot write \(name)", code: code) }
  }

  /// Splits off the last component, which must be a name of its own.
  static func split(_ path: String) throws(OutputError) -> (parent: String, name: String) {
    var trimmed = Substring(path)
    while trimmed.utf8.count > 1, trimmed.utf8.last == UInt8(ascii: "/") { trimmed = trimmed.dropLast() }
    let parent: Substring
    let name: Substring
    if let slash = trimmed.utf8.lastIndex(of: UInt8(ascii: "/")) {
      parent = slash == trimmed.startIndex ? "/" : trimmed[..<slash]
      name = trimmed[trimmed.utf8.index(after: slash)...]
    } else {
      parent = "."
      name = trimmed
    }
    guard !name.isEmpty, name != ".", name != "..", !name.utf8.contains(0), name.utf8.count <= 240 else {
      throw OutputError("--output \(shown(path)): the report needs a directory name of its own", code: 0)
    }
    return (String(parent), String(name))
  }

  static func makeTemporary(in parent: Int32) throws(OutputError) -> (String, Int32, FileKey) {
    for _ in 0..<64 {
      var random: UInt64 = 0
      guard mt_output_random(&random, 8) else { throw OutputError("cannot get random bytes", code: errno) }
      let alphabet = Array("abcdefghijklmnopqrstuvwxyz234567".utf8)
      let suffix = (0..<8).map { alphabet[Int(random >> UInt64($0 * 5) & 31)] }
      let name = ".martlet-" + String(decoding: suffix, as: UTF8.self)
      if mkdirat(parent, name, 0o700) != 0 {
        if errno == EEXIST { continue }
        throw OutputError("cannot make a directory for the report", code: errno)
      }
      let descriptor = mt_output_open_directory(parent, name)
      // Gone or replaced already: somebody is quick. The next name is as good.
      guard descriptor >= 0 else { continue }
      guard let status = Self.status(of: descriptor), status.user == geteuid(), Self.names(in: descriptor) == [],
        fchmod(descriptor, 0o700) == 0
      else {
        close(descriptor)
        continue
      }
      return (name, descriptor, FileKey(status))
    }
    throw OutputError("cannot make a directory for the report: something there removes it at once", code: 0)
  }

  static func status(of descriptor: Int32, name: String? = nil) -> mt_output_status? {
    var status = mt_output_status()
    return mt_output_status(descriptor, name, &status) == 0 ? status : nil
  }

  /// The names in a directory, sorted; nil if it cannot be read or there are far more than a report has.
  static func names(in descriptor: Int32) -> [String]? {
    var names: [String] = []
    let code = withUnsafeMutablePointer(to: &names) { names in
      mt_output_list(
        descriptor,
        { name, context in
          guard let name, let names = context?.assumingMemoryBound(to: [String].self) else { return false }
          names.pointee.append(String(cString: name))
          return names.pointee.count <= OutputDirectory.knownFiles.count
        }, names)
    }
    return code == 0 ? names.sorted() : nil
  }

  func refersToUs(_ name: String) -> Bool {
    Self.status(of: parent, name: name).map(FileKey.init) == identity
  }

  static func shown(_ path: String) -> String { printable(path.utf8) }
}

/// Which file it is, whatever its name.
struct FileKey: Equatable {
  var device: UInt64
  var inode: UInt64

  init(_ status: mt_output_status) {
    device = status.device
    inode = status.inode
  }
}

/// Why the report could not be kept.
public struct OutputError: Error, Equatable, CustomStringConvertible {
  public let description: String
  /// errno, or 0.
  public let code: Int32

  init(_ attempt: String, code: Int32) {
    self.code = code
    description = code == 0 ? attempt : "\(attempt): \(SystemError.text(of: code))"
  }
}

/// Writing all of something, however many calls it takes.
public enum WholeWrite {
  /// - Returns: 0, or errno.
  public static func write(_ bytes: [UInt8], to descriptor: Int32) -> Int32 {
    var offset = 0
    while offset < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.write(descriptor, $0.baseAddress.map { $0 + offset }, bytes.count - offset)
      }
      if count < 0 {
        if errno == EINTR { continue }
        return errno
      }
      offset += count
    }
    return 0
  }
}
