internal import KernelABI
internal import Observation

/// From a path as a program gave it to the directory and name that it stood for.
extension Fold {
  /// Where a path leads. The name is empty for "/" alone.
  struct Target {
    var directory: UInt32 = 0
    var name = UnsafeRawBufferPointer(start: nil, count: 0)
    var isResolved = true
  }

  /// Of a whole path as the kernel's dentries have it; `directory` is 0 if it is none.
  mutating func canonicalTarget(of path: Bytes, _ process: UInt32) -> Target {
    guard path.count > 1, path[0] == UInt8(ascii: "/") else { return Target() }
    let (parent, name) = Self.split(path)
    guard !name.isEmpty else { return Target() }
    return Target(directory: internDirectory(parent, below: rootDirectory(process)), name: name)
  }

  /// As ``canonicalTarget(of:_:)``, of the program of an exec, whose path has this hash.
  mutating func programTarget(of path: Bytes, _ hashed: UInt64, _ process: UInt32) -> Target {
    let root = rootDirectory(process)
    if let known = programs.find(hashed, root: root, epoch: treeEpoch), known.nameOffset < path.count {
      return Target(directory: known.directory, name: Bytes(rebasing: path[known.nameOffset...]))
    }
    let target = canonicalTarget(of: path, process)
    // Not with slashes behind it, which no kernel's path has.
    if target.directory != 0, path[path.count - 1] != UInt8(ascii: "/") {
      programs.keep(
        ProgramPlace(
          hash: hashed, nameOffset: path.count - target.name.count, root: root, epoch: treeEpoch,
          directory: target.directory))
    }
    return target
  }

  /// What `raw` stood for. `base` is the directory that it is relative to, 0 if there is none; an absolute path
  /// has one where the task's root is not that of its mount namespace.
  mutating func resolve(_ given: Bytes, relativeTo base: UInt32, _ process: UInt32) -> Target {
    let flags = processes[process].pointee.flags
    var raw = given
    var isAbsolute = raw.count > 0 && raw[0] == UInt8(ascii: "/")
    if isAbsolute && options.pathsAreCanonical {
      let target = canonicalTarget(of: raw, process)
      if target.directory != 0 { return target }
    }
    if isAbsolute && base != 0 && base != Fixed.unknown {
      while let first = raw.first, first == UInt8(ascii: "/") { raw = Bytes(rebasing: raw.dropFirst()) }
      isAbsolute = false
      if raw.isEmpty { return target(ofDirectory: base, isResolved: true) }
    }
    if !isAbsolute && (base == 0 || base == Fixed.unknown) {
      applied.pathIsTruncated = true
      return Target(directory: base == 0 ? Fixed.nowhere : base, name: raw, isResolved: false)
    }
    let start = isAbsolute ? rootDirectory(process) : base
    let (parent, name) = Self.split(raw)
    if PathComponents.Component(bytes: name).isDots { return resolveDots(raw, start, process) }
    // In a changed root an absolute path begins elsewhere than the tree does.
    let isElsewhere = isAbsolute && flags & ProcessEntry.isChrooted != 0
    if !isElsewhere {
      let known = walk(start, parent)
      if known != 0 { return Target(directory: known, name: name) }
    }
    let (directory, isResolved) = resolveDirectory(start, parent, isAbsolute, process)
    return Target(directory: directory, name: name, isResolved: isResolved)
  }

  /// The path in front of the last slash and what is behind it; slashes at the end do not count.
  static func split(_ path: Bytes) -> (parent: Bytes, name: Bytes) {
    var end = path.count
    while end > 0 && path[end - 1] == UInt8(ascii: "/") { end -= 1 }
    var start = end
    while start > 0 && path[start - 1] != UInt8(ascii: "/") { start -= 1 }
    return (Bytes(rebasing: path[0..<start]), Bytes(rebasing: path[start..<end]))
  }

  /// Follows a path through known directories alone; 0 as soon as one is not known. Known directories are no
  /// symbolic links, so `..` is what is above.
  private func walk(_ start: UInt32, _ path: Bytes) -> UInt32 {
    var current = start
    var components = PathComponents(path)
    while let component = components.next() {
      if component.isDot { continue }
      if component.isDotDot {
        if current == Fixed.root || current == Fixed.otherRoot { continue }
        current = directories[current].pointee.parent
        if current == 0 { return 0 }
        continue
      }
      let name = findName(current, component.bytes)
      if name == 0 || names[name].pointee.flags & NameEntry.isDirectory == 0 { return 0 }
      current = names[name].pointee.target
    }
    return current
  }

  private mutating func resolveDirectory(
    _ start: UInt32, _ path: Bytes, _ isAbsolute: Bool, _ process: UInt32
  ) -> (directory: UInt32, isResolved: Bool) {
    let flags = processes[process].pointee.flags
    let isChrooted = flags & ProcessEntry.isChrooted != 0
    // Roots differ from process to process: what one was told is no answer for another.
    let scope = isChrooted && isAbsolute ? hash(UInt64(process), 1) : 0
    let key = hash(start, path) ^ scope
    let remembered = resolver.recall(key)
    if remembered != 0 { return (remembered, true) }
    let base = isAbsolute ? Bytes(start: nil, count: 0) : self.path(of: start)
    if mayAsk(path, isAbsolute, isChrooted),
      let canonical = resolver.canonical(base, path, root(of: process, isAbsolute), mustBeDirectory: true)
    {
      let directory = internDirectory(canonical, below: rootDirectory(process))
      if directory != 0 {
        resolver.remember(key, directory, isResolved: true)
        return (directory, true)
      }
    }
    let standIn = resolver.recallUnresolved(key)
    let text = Applied.join(base, Bytes(rebasing: path[0..<Self.lengthWithoutSlashes(path)]), applied.scratch)
    if standIn != 0 && equal(arena[directories[standIn].pointee.path], text) { return (standIn, false) }
    guard hasRoomForFiles() else {
      notKept.directories &+= 1
      return (Fixed.unknown, false)
    }
    let directory = addDetached(text)
    resolver.remember(key, directory, isResolved: false)
    return (directory, false)
  }

  private static func lengthWithoutSlashes(_ path: Bytes) -> Int {
    var length = path.count
    while length > 1 && path[length - 1] == UInt8(ascii: "/") { length -= 1 }
    return length
  }

  /// A path that ends in `.` or `..` stands for a directory, which has a name elsewhere.
  private mutating func resolveDots(_ raw: Bytes, _ start: UInt32, _ process: UInt32) -> Target {
    var directory = walk(start, raw)
    var isResolved = directory != 0
    if directory == 0 {
      let isAbsolute = raw[0] == UInt8(ascii: "/")
      (directory, isResolved) = resolveDirectory(start, raw, isAbsolute, process)
    }
    return target(ofDirectory: directory, isResolved: isResolved)
  }

  func target(ofDirectory directory: UInt32, isResolved: Bool) -> Target {
    let entry = directories[directory].pointee
    if entry.name == 0 { return Target(directory: directory, isResolved: isResolved) }
    return Target(directory: entry.parent, name: bytes(ofName: entry.name), isResolved: isResolved)
  }

  /// Follows the last component too, as calls that act on files and not on names do.
  mutating func follow(_ target: Target, _ process: UInt32) -> Target {
    guard target.isResolved, !target.name.isEmpty, !options.pathsAreCanonical else { return target }
    let name = findName(target.directory, target.name)
    if name != 0 {
      let entry = names[name].pointee
      if entry.flags & NameEntry.isDirectory != 0 { return target }
      if UInt32(files[entry.target].pointee.mode) & FileType.mask != FileType.link { return target }
    }
    let directory = self.path(of: target.directory)
    // The tree has paths below the mount namespace's root: those of a chroot begin above it.
    guard processes[process].pointee.flags & ProcessEntry.isChrooted == 0,
      let canonical = resolver.canonical(directory, target.name, root(of: process, true), mustBeDirectory: false)
    else {
      return Target(directory: target.directory, name: target.name, isResolved: false)
    }
    let (parent, last) = Self.split(canonical)
    if last.isEmpty { return Target(directory: rootDirectory(process)) }
    let interned = internDirectory(parent, below: rootDirectory(process))
    if interned == 0 { return Target(directory: target.directory, name: target.name, isResolved: false) }
    return Target(directory: interned, name: last)
  }

  /// Whether the file system can be asked in the process' stead.
  private func mayAsk(_ path: Bytes, _ isAbsolute: Bool, _ isChrooted: Bool) -> Bool {
    // Links on the way would be followed in martlet's root, not in the process'.
    if !isAbsolute && isChrooted { return false }
    // These stand for whoever asks.
    return !(Self.hasPrefix(path, "/proc/self") || Self.hasPrefix(path, "/proc/thread-self"))
  }

  static func hasPrefix(_ bytes: Bytes, _ prefix: StaticString) -> Bool {
    let count = prefix.utf8CodeUnitCount
    return bytes.count >= count
      && equal(Bytes(rebasing: bytes[0..<count]), Bytes(start: prefix.utf8Start, count: count))
  }

  private func root(of process: UInt32, _ isAbsolute: Bool) -> PathResolver.Root {
    let entry = processes[process].pointee
    let isOwn = entry.flags & (ProcessEntry.isInOtherNamespace | ProcessEntry.isChrooted) == 0
    return isOwn ? .own : .process(pid: entry.tgid, start: entry.leaderStart)
  }

  // MARK: - Looking

  /// What is to be found under a name now, as a record would describe it, but without the generation; nil if the
  /// path is not resolved or nothing is there any more.
  mutating func look(at target: Target, _ process: UInt32) -> mt_file? {
    guard target.isResolved, !target.name.isEmpty else { return nil }
    if target.directory == Fixed.nowhere || target.directory == Fixed.unknown { return nil }
    let entry = processes[process].pointee
    let isOther = entry.flags & ProcessEntry.isInOtherNamespace != 0
    // A chroot inside another namespace hides what the path is relative to.
    if isOther && entry.flags & ProcessEntry.isChrooted != 0 { return nil }
    let directory = self.path(of: target.directory)
    let root: PathResolver.Root = isOther ? .process(pid: entry.tgid, start: entry.leaderStart) : .own
    return resolver.look(directory, target.name, root)
  }

  /// The entry of what is under a name now; 0 if it is no file or cannot be told.
  mutating func fileByLooking(at target: Target, _ process: UInt32) -> (file: UInt32, state: mt_file?) {
    guard let state = look(at: target, process) else { return (0, nil) }
    let type = state.mode & FileType.mask
    if type == FileType.directory { return (0, state) }
    let all = files.all
    let known = fileIndex.find(hash(UInt64(state.dev), state.ino)) {
      all[Int($0)].inode == state.ino && all[Int($0)].device == state.dev
        && all[Int($0)].flags & FileEntry.isDeleted == 0
    }
    if known != 0 { return (known, state) }
    return (addFile(state, flags: FileEntry.identityFromStat), state)
  }
}
