internal import KernelABI
internal import Observation

/// Calls that act on names: what they were told, resolved, and what becomes of the names that the fold knows.
extension Fold {
  /// One such call, from a system call's record or from io_uring.
  struct PathOperation {
    var type: RecordType
    var time: UInt64
    var process: UInt32
    var image: UInt32
    var argument: UInt64
    var flags: UInt32
    /// By descriptor; 0 if the call had a path only.
    var file: UInt32 = 0
    /// Given to io_uring, its result is not known.
    var isUnconfirmed = false
  }

  private enum CallFlag {
    /// RENAME_EXCHANGE.
    static let exchange: UInt32 = 2
    /// AT_SYMLINK_NOFOLLOW.
    static let noFollow: UInt32 = 0x100
    /// AT_SYMLINK_FOLLOW of linkat.
    static let follow: UInt32 = 0x400
  }

  mutating func applyPathOperation(_ record: RecordView, _ process: UInt32, _ image: UInt32) {
    let body = record.pathOp
    var operation = PathOperation(
      type: record.type, time: record.time, process: process, image: image, argument: body.argument,
      flags: body.call_flags)
    operation.isUnconfirmed = record.flags.contains(.uring)
    if record.flags.contains(.truncated) { applied.pathIsTruncated = true }
    let first: Target
    if body.file.ino != 0 {
      // By descriptor: the kernel knows the file, and its directory if it has one.
      operation.file = findOrAddFile(body.file, isNew: false)
      first = describedTarget(record, body, process)
      if operation.file != 0 {
        files[operation.file].pointee.mode = UInt16(truncatingIfNeeded: body.file.mode)
        if body.file.nlink != 0 && first.directory > Fixed.unknown && files[operation.file].pointee.name == 0 {
          nameFile(operation.file, first.directory, first.name, flags: 0)
        }
      }
      setIdentity(body.file)
    } else {
      first = givenTarget(record, body.dir, .dir, .path, process)
    }
    perform(operation, first, record, body.dir2)
  }

  /// The path of a call by descriptor.
  private mutating func describedTarget(_ record: RecordView, _ body: mt_path_op, _ process: UInt32) -> Target {
    if body.dir != 0, let name = record.string(.name) {
      return Target(directory: directory(body.dir, record, .dir, process), name: name)
    }
    let path = record.string(.path) ?? Bytes(start: nil, count: 0)
    let target = canonicalTarget(of: path, process)
    return target.directory != 0 ? target : Target(directory: Fixed.nowhere, name: path)
  }

  mutating func givenTarget(
    _ record: RecordView, _ identifier: UInt64, _ string: RecordString, _ path: RecordString, _ process: UInt32
  ) -> Target {
    let base = directory(identifier, record, string, process)
    guard let raw = record.string(path) else { return Target(directory: Fixed.unknown, isResolved: false) }
    return resolve(raw, relativeTo: base, process)
  }

  mutating func perform(_ operation: PathOperation, _ given: Target, _ record: RecordView, _ second: UInt64) {
    var operation = operation
    var first = given
    var target: Target?
    switch operation.type {
    case .rename:
      let other = givenTarget(record, second, .dir2, .path2, operation.process)
      performRename(operation, first, other)
      target = other
    case .link:
      let other = givenTarget(record, second, .dir2, .path2, operation.process)
      if operation.file == 0 { operation.file = fileByDescriptorPath(record.string(.path), operation.process) }
      if operation.file != 0 {
        if let known = liveLocation(of: operation.file) { first = known }
      } else if operation.flags & CallFlag.follow != 0 {
        first = follow(first, operation.process)
      }
      performLink(operation, first, other)
      target = other
    case .unlink, .rmdir: performRemoval(operation, first)
    case .mkdir: performMkdir(operation, first)
    case .symlink, .mknod: performCreation(operation, first)
    default:
      if operation.file == 0 && operation.flags & CallFlag.noFollow == 0 { first = follow(first, operation.process) }
      performOnFile(operation, first)
    }
    finish(operation, first, target, record)
  }

  /// Tells the log and keeps the change.
  private mutating func finish(
    _ operation: PathOperation, _ first: Target, _ second: Target?, _ record: RecordView
  ) {
    applied.pathIsResolved = first.isResolved && (second?.isResolved ?? true)
    show(first.directory, first.name)
    if let second { showSecond(second.directory, second.name) }
    let text = operation.type == .symlink ? record.string(.path2) : nil
    if let text {
      applied.name2 = text
      if masking.changes(text, hash: hash(0, text)) { applied.name2 = masking.secondPath(text, isCut: false) }
    }
    guard changes.count < options.limits.changes, hasRoomForFiles() else {
      notKept.changes &+= 1
      return
    }
    var change = ChangeEntry(at: operation.time, argument: operation.argument, path: pathText(first))
    change.process = operation.process
    change.type = operation.type.rawValue
    if let second {
      change.target = pathText(second)
      change.flags |= ChangeEntry.hasTarget
    } else if let text {
      change.target = PathText(name: arena.append(text).offset, nameLength: UInt16(truncatingIfNeeded: text.count))
      change.flags |= ChangeEntry.hasTarget
    }
    if !applied.pathIsResolved { change.flags |= ChangeEntry.isUnresolved }
    if operation.isUnconfirmed { change.flags |= ChangeEntry.isUnconfirmed }
    if applied.pathIsTruncated { change.flags |= ChangeEntry.isTruncated }
    changes.append(change)
  }

  /// Where the parts of a path lie now: directories may move later, strings do not change.
  private mutating func pathText(_ target: Target) -> PathText {
    _ = path(of: target.directory)
    let directory = directories[target.directory].pointee.path
    let known = findName(target.directory, target.name)
    var text = PathText(directory: directory.offset)
    text.directoryLength = UInt16(truncatingIfNeeded: min(directory.length, 0xffff))
    text.nameLength = UInt16(truncatingIfNeeded: min(target.name.count, 0xffff))
    text.name = known != 0 ? names[known].pointee.offset : arena.append(target.name).offset
    return text
  }

  // MARK: - Rename

  private mutating func performRename(_ operation: PathOperation, _ from: Target, _ to: Target) {
    guard from.isResolved || to.isResolved else { return }
    let source = from.isResolved ? findName(from.directory, from.name) : 0
    let target = to.isResolved ? findName(to.directory, to.name) : 0
    if operation.flags & CallFlag.exchange != 0 {
      exchange(source, target)
      return
    }
    if source == 0 {
      if target != 0 { drop(target) }
      // What moved may have been a directory or a symbolic link.
      let (file, state) = fileByLooking(at: to, operation.process)
      if state.map({ $0.mode & FileType.mask }) != FileType.regular { resolver.forget() }
      learn(file, state, at: to)
      return
    }
    if names[source].pointee.flags & NameEntry.isDirectory != 0 {
      if target != 0 && target != source { drop(target) }
      resolver.forget()
      if source != target { moveDirectory(source, to: to.directory, to.name) }
      return
    }
    let file = names[source].pointee.target
    if target != 0 && target != source {
      let isDirectory = names[target].pointee.flags & NameEntry.isDirectory != 0
      // Two names of one file: rename(2) does nothing then.
      if !isDirectory && names[target].pointee.target == file { return setIdentity(ofEntry: file) }
      drop(target)
    }
    if target != source {
      let wasDeleted = files[file].pointee.flags & FileEntry.isDeleted
      removeName(source)
      files[file].pointee.flags = (files[file].pointee.flags & ~FileEntry.isDeleted) | wasDeleted
      nameFile(file, to.directory, to.name, flags: to.isResolved ? 0 : NameEntry.isUnresolved)
    }
    if UInt32(files[file].pointee.mode) & FileType.mask == FileType.link { resolver.forget() }
    setIdentity(ofEntry: file)
  }

  /// RENAME_EXCHANGE of two known names; of one known name only, it is not known any more.
  private mutating func exchange(_ a: UInt32, _ b: UInt32) {
    resolver.forget()
    guard a != 0, b != 0, a != b else {
      if a != 0 { removeName(a) }
      if b != 0 && b != a { removeName(b) }
      return
    }
    let first = names[a].pointee
    let second = names[b].pointee
    let firstName = bytes(ofName: a)
    let secondName = bytes(ofName: b)
    let areDirectories = (first.flags & NameEntry.isDirectory, second.flags & NameEntry.isDirectory)
    removeName(a)
    removeName(b)
    put(first.target, isDirectory: areDirectories.0 != 0, second.directory, secondName)
    put(second.target, isDirectory: areDirectories.1 != 0, first.directory, firstName)
  }

  private mutating func put(_ target: UInt32, isDirectory: Bool, _ directory: UInt32, _ name: Bytes) {
    if !isDirectory {
      nameFile(target, directory, name, flags: 0)
      return
    }
    let added = addName(directory, name, target: target, flags: NameEntry.isDirectory)
    if added == 0 { return }
    directories[target].pointee.parent = directory
    directories[target].pointee.name = added
    directoryEpoch &+= 1
  }

  /// A name goes, and with the last name the file.
  private mutating func drop(_ name: UInt32) {
    if names[name].pointee.flags & NameEntry.isDirectory != 0 { resolver.forget() }
    removeName(name)
  }

  /// What was found under a name by looking.
  private mutating func learn(_ file: UInt32, _ state: mt_file?, at target: Target) {
    guard let state else { return }
    setIdentity(state)
    applied.identityFromStat = true
    if state.mode & FileType.mask == FileType.directory {
      if findName(target.directory, target.name) == 0 { _ = addDirectory(target.directory, target.name) }
    } else if file != 0 {
      files[file].pointee.mode = UInt16(truncatingIfNeeded: state.mode)
      nameFile(file, target.directory, target.name, flags: 0)
      setIdentity(ofEntry: file)
    }
  }

  // MARK: - Others

  private mutating func performLink(_ operation: PathOperation, _ existing: Target, _ new: Target) {
    guard new.isResolved else { return }
    let stale = findName(new.directory, new.name)
    var file = operation.file
    if file == 0 && existing.isResolved {
      let known = findName(existing.directory, existing.name)
      if known != 0 && names[known].pointee.flags & NameEntry.isDirectory == 0 { file = names[known].pointee.target }
    }
    if stale != 0 && (file == 0 || names[stale].pointee.target != file) { drop(stale) }
    if file != 0 {
      nameFile(file, new.directory, new.name, flags: 0)
      setIdentity(ofEntry: file)
      return
    }
    let (found, state) = fileByLooking(at: new, operation.process)
    learn(found, state, at: new)
    if found != 0 && existing.isResolved { nameFile(found, existing.directory, existing.name, flags: 0) }
  }

  private mutating func performRemoval(_ operation: PathOperation, _ target: Target) {
    guard target.isResolved else { return }
    let name = findName(target.directory, target.name)
    if name == 0 {
      // Possibly a symbolic link that paths led through.
      resolver.forget()
      return
    }
    if names[name].pointee.flags & NameEntry.isDirectory == 0 {
      let file = names[name].pointee.target
      if UInt32(files[file].pointee.mode) & FileType.mask == FileType.link { resolver.forget() }
      setIdentity(ofEntry: file)
    }
    drop(name)
  }

  private mutating func performMkdir(_ operation: PathOperation, _ target: Target) {
    guard target.isResolved, !target.name.isEmpty else { return }
    let known = findName(target.directory, target.name)
    // Known as a directory: the removal of the old one was not seen, or others made it first.
    if known != 0 && names[known].pointee.flags & NameEntry.isDirectory != 0 { return }
    if operation.isUnconfirmed {
      guard let state = look(at: target, operation.process), state.mode & FileType.mask == FileType.directory else {
        return
      }
    }
    if known != 0 { removeName(known) }
    _ = addDirectory(target.directory, target.name)
  }

  /// A symbolic link or a node is made: nothing else can have that name.
  private mutating func performCreation(_ operation: PathOperation, _ target: Target) {
    guard target.isResolved else { return }
    let stale = findName(target.directory, target.name)
    if stale != 0 { drop(stale) }
    guard let state = look(at: target, operation.process) else { return }
    setIdentity(state)
    applied.identityFromStat = true
    if operation.type == .mknod && state.mode & FileType.mask != FileType.directory {
      let (file, state) = fileByLooking(at: target, operation.process)
      if file != 0 { files[file].pointee.flags |= FileEntry.wasCreated }
      learn(file, state, at: target)
    }
  }

  /// truncate, chmod, chown.
  private mutating func performOnFile(_ operation: PathOperation, _ target: Target) {
    var file = operation.file
    if file == 0 && target.isResolved {
      let name = findName(target.directory, target.name)
      if name != 0 {
        if names[name].pointee.flags & NameEntry.isDirectory != 0 { return }
        file = names[name].pointee.target
      } else if operation.type == .truncate {
        let (found, state) = fileByLooking(at: target, operation.process)
        learn(found, state, at: target)
        file = found
      }
    }
    guard file != 0 else { return }
    setIdentity(ofEntry: file)
    if operation.type == .truncate {
      noteTruncation(file, operation.image, operation.time, isByPath: operation.file == 0)
    } else if operation.type == .chmod {
      let mode = files[file].pointee.mode
      files[file].pointee.mode = (mode & 0o170000) | UInt16(truncatingIfNeeded: operation.argument & 0o7777)
    }
  }

  // MARK: - Helpers

  private mutating func liveLocation(of file: UInt32) -> Target? {
    let name = files[file].pointee.name
    if name == 0 { return nil }
    return Target(directory: names[name].pointee.directory, name: bytes(ofName: name))
  }

  /// "/proc/self/fd/N", which is how an unnamed file gets a name.
  private func fileByDescriptorPath(_ path: Bytes?, _ process: UInt32) -> UInt32 {
    guard let path, Self.hasPrefix(path, "/proc/self/fd/") else { return 0 }
    var number: Int32 = 0
    let digits = path[14...]
    guard !digits.isEmpty, digits.count < 8 else { return 0 }
    for digit in digits {
      guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { return 0 }
      number = number * 10 + Int32(digit - UInt8(ascii: "0"))
    }
    return heldFile(process, number)
  }
}
