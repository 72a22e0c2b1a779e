internal import KernelABI
internal import Observation

/// Directories are a tree of names, so that moving one is one change however much lies below it. Every directory
/// in the tree is canonical: no symbolic link, no `..`, as the kernel's own dentries have it.
extension Fold {
  /// Directories with fixed numbers.
  enum Fixed {
    /// "/" of martlet's mount namespace.
    static let root: UInt32 = 1
    /// "/" of any other mount namespace: kept apart, since the same path is another file there.
    static let otherRoot: UInt32 = 2
    /// What has no directory: pipes, memory files.
    static let nowhere: UInt32 = 3
    /// Where the record that defines a directory was lost.
    static let unknown: UInt32 = 4
  }

  mutating func makeFixedDirectories() {
    for path in ["/", "/", "", "?"] as [StaticString] {
      let bytes = Bytes(start: path.utf8Start, count: path.utf8CodeUnitCount)
      directories.append(DirectoryEntry(path: arena.append(bytes), epoch: directoryEpoch))
    }
  }

  func rootDirectory(_ process: UInt32) -> UInt32 {
    processes[process].pointee.flags & ProcessEntry.isInOtherNamespace != 0 ? Fixed.otherRoot : Fixed.root
  }

  // MARK: - Paths

  /// The path of a directory; valid as long as the fold.
  @inline(__always)
  mutating func path(of directory: UInt32) -> Bytes {
    let entry = directories[directory]
    if entry.pointee.epoch == directoryEpoch || entry.pointee.name == 0 { return arena[entry.pointee.path] }
    return rebuildPath(directory)
  }

  @inline(never)
  private mutating func rebuildPath(_ directory: UInt32) -> Bytes {
    // From the end towards the start, in the scratch that a join would use later.
    let end = applied.scratch + Applied.scratchSize
    let limit = Applied.scratchSize / 4
    var length = 0
    var current = directory
    while directories[current].pointee.name != 0 && length < limit {
      let name = bytes(ofName: directories[current].pointee.name)
      length += name.count + 1
      (end - length).storeBytes(of: UInt8(ascii: "/"), as: UInt8.self)
      if let base = name.baseAddress { (end - length + 1).copyMemory(from: base, byteCount: name.count) }
      current = directories[current].pointee.parent
    }
    // The roots end in the slash that is already there; other beginnings are whole paths.
    let isRoot = current == Fixed.root || current == Fixed.otherRoot
    let head = isRoot ? Bytes(start: nil, count: 0) : arena[directories[current].pointee.path]
    let tail = Bytes(start: end - length, count: length)
    let entry = directories[directory]
    entry.pointee.epoch = directoryEpoch
    let old = arena[entry.pointee.path]
    if head.isEmpty && equal(old, tail) { return old }
    let path = arena.append(head, tail)
    // Out of the arena's range: keep the old path rather than none.
    if !path.isEmpty { directories[directory].pointee.path = path }
    return arena[directories[directory].pointee.path]
  }

  // MARK: - Finding and adding

  /// The directory that a record's `dir` stands for; defines it if the record carries its path. 0 in a record
  /// means that there is none.
  @inline(__always)
  mutating func directory(_ identifier: UInt64, _ record: RecordView, _ string: RecordString, _ process: UInt32)
    -> UInt32
  {
    if identifier == 0 { return 0 }
    // Files of one directory come in runs.
    if identifiers[lastIdentifier].pointee.identifier != identifier {
      let all = identifiers.all
      lastIdentifier = identifierIndex.find(hash(identifier)) { all[Int($0)].identifier == identifier }
    }
    let known = lastIdentifier
    if known != 0 {
      let entry = identifiers[known].pointee
      if entry.isTruncated { applied.pathIsTruncated = true }
      // The path comes again after the kernel has forgotten that it had told it: rarely.
      if let path = record.string(string) { return redefineDirectory(known, path, process) }
      return entry.directory
    }
    return defineDirectory(identifier, record, string, process)
  }

  @inline(never)
  private mutating func defineDirectory(
    _ identifier: UInt64, _ record: RecordView, _ string: RecordString, _ process: UInt32
  ) -> UInt32 {
    guard let path = record.string(string) else {
      unknownDirectories &+= 1
      applied.pathIsTruncated = true
      return Fixed.unknown
    }
    guard hasRoomForFiles() else {
      notKept.directories &+= 1
      applied.pathIsTruncated = true
      return Fixed.unknown
    }
    let (directory, isTruncated) = placeDirectory(path, process)
    let entry = DirectoryIdentifier(identifier: identifier, directory: directory, isTruncated: isTruncated)
    identifierIndex.insert(hash(identifier), identifiers.append(entry))
    if isTruncated { applied.pathIsTruncated = true }
    return directory
  }

  @inline(never)
  private mutating func redefineDirectory(_ known: UInt32, _ path: Bytes, _ process: UInt32) -> UInt32 {
    let old = identifiers[known].pointee.directory
    if equal(self.path(of: old), path) { return old }
    guard hasRoomForFiles() else {
      notKept.directories &+= 1
      return old
    }
    let (directory, isTruncated) = placeDirectory(path, process)
    identifiers[known].pointee.directory = directory
    identifiers[known].pointee.isTruncated = isTruncated
    return directory
  }

  private mutating func placeDirectory(_ path: Bytes, _ process: UInt32) -> (directory: UInt32, isTruncated: Bool) {
    // The head is missing if it does not begin with a slash; a cut path is no place in the tree.
    let isTruncated = path.isEmpty || path[0] != UInt8(ascii: "/") || path.count >= Int(MT_PATH_MAX)
    let directory = isTruncated ? 0 : internDirectory(path, below: rootDirectory(process))
    return (directory == 0 ? addDetached(path) : directory, isTruncated)
  }

  /// A directory that has a path but no place in the tree.
  mutating func addDetached(_ path: Bytes) -> UInt32 {
    var entry = DirectoryEntry(path: arena.append(path), epoch: directoryEpoch)
    entry.hasSecret = masking.changes(path, isCut: path.isEmpty || path[0] != UInt8(ascii: "/"))
    return directories.append(entry)
  }

  /// The directory with a canonical absolute path, added with all above it if it is not known; 0 if the path
  /// cannot be canonical or there is no room.
  mutating func internDirectory(_ path: Bytes, below root: UInt32) -> UInt32 {
    var current = root
    var components = PathComponents(path)
    while let component = components.next() {
      if component.isDots { return 0 }
      let known = findName(current, component.bytes)
      if known != 0 && names[known].pointee.flags & NameEntry.isDirectory != 0 {
        current = names[known].pointee.target
        continue
      }
      if known != 0 { removeName(known) }
      let added = addDirectory(current, component.bytes)
      if added == 0 { return 0 }
      current = added
    }
    return current
  }

  /// A directory below another, under a name that is not in the table.
  mutating func addDirectory(_ parent: UInt32, _ bytes: Bytes) -> UInt32 {
    let name = addName(parent, bytes, target: 0, flags: NameEntry.isDirectory)
    if name == 0 {
      notKept.directories &+= 1
      return 0
    }
    let hasSecret =
      directories[parent].pointee.hasSecret || names[name].pointee.flags & NameEntry.hasSecret != 0
    let directory = directories.append(DirectoryEntry(parent: parent, name: name, hasSecret: hasSecret))
    names[name].pointee.target = directory
    return directory
  }

  /// Puts a directory under another name; its contents go with it.
  mutating func moveDirectory(_ name: UInt32, to parent: UInt32, _ bytes: Bytes) {
    let directory = names[name].pointee.target
    // Not below itself: no kernel does that, but a gap in the records can make it look so.
    var above = parent
    var steps = 0
    while above != 0 && steps < 8192 {
      if above == directory { return }
      above = directories[above].pointee.parent
      steps += 1
    }
    let flags = names[name].pointee.flags & (NameEntry.isDirectory | NameEntry.hasSecret)
    removeName(name)
    let moved = addName(parent, bytes, target: directory, flags: flags)
    if moved == 0 { return }
    directories[directory].pointee.parent = parent
    directories[directory].pointee.name = moved
    directories[directory].pointee.hasSecret =
      directories[directory].pointee.hasSecret || names[moved].pointee.flags & NameEntry.hasSecret != 0
    directoryEpoch &+= 1
  }
}

/// Walks the components of a path without looking at empty ones.
struct PathComponents {
  struct Component {
    var bytes: UnsafeRawBufferPointer
    var isDot: Bool { bytes.count == 1 && bytes[0] == UInt8(ascii: ".") }
    var isDotDot: Bool { bytes.count == 2 && bytes[0] == UInt8(ascii: ".") && bytes[1] == UInt8(ascii: ".") }
    var isDots: Bool { isDot || isDotDot }
  }

  private let path: UnsafeRawBufferPointer
  private var offset = 0

  init(_ path: UnsafeRawBufferPointer) { self.path = path }

  mutating func next() -> Component? {
    while offset < path.count && path[offset] == UInt8(ascii: "/") { offset &+= 1 }
    if offset >= path.count { return nil }
    let start = offset
    while offset < path.count && path[offset] != UInt8(ascii: "/") { offset &+= 1 }
    return Component(bytes: UnsafeRawBufferPointer(rebasing: path[start..<offset]))
  }
}
