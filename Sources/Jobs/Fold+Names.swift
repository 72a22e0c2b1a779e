internal import Observation

/// Names of files and directories, found by directory and bytes.
extension Fold {
  @inline(__always)
  func bytes(ofName name: UInt32) -> Bytes {
    let entry = names[name]
    return arena.bytes(entry.pointee.offset, Int(entry.pointee.length))
  }

  func findName(_ directory: UInt32, _ bytes: Bytes) -> UInt32 { findName(directory, bytes, hash(directory, bytes)) }

  @inline(__always)
  private func findName(_ directory: UInt32, _ bytes: Bytes, _ hashed: UInt64) -> UInt32 {
    let all = names.all
    return nameIndex.find(hashed) {
      let entry = all + Int($0)
      return entry.pointee.directory == directory && Int(entry.pointee.length) == bytes.count
        && equal(arena.bytes(entry.pointee.offset, bytes.count), bytes)
    }
  }

  /// Adds a name that is not in the table; 0 if there is no room.
  mutating func addName(_ directory: UInt32, _ bytes: Bytes, target: UInt32, flags: UInt8) -> UInt32 {
    addName(directory, bytes, hash(directory, bytes), target: target, flags: flags)
  }

  private mutating func addName(
    _ directory: UInt32, _ bytes: Bytes, _ hashed: UInt64, target: UInt32, flags: UInt8
  ) -> UInt32 {
    guard hasRoomForFiles() else {
      notKept.names &+= 1
      return 0
    }
    let name = storeName(directory, bytes, target: target, flags: flags | NameEntry.isLive)
    nameIndex.insert(hashed, name)
    return name
  }

  private mutating func storeName(_ directory: UInt32, _ bytes: Bytes, target: UInt32, flags: UInt8) -> UInt32 {
    let text = arena.append(bytes)
    var entry = NameEntry(directory: directory, offset: text.offset, target: target)
    entry.length = UInt16(truncatingIfNeeded: min(text.length, 0xffff))
    entry.flags = flags
    if masking.changes(bytes) { entry.flags |= NameEntry.hasSecret }
    return names.append(entry)
  }

  /// A name to call a deleted file by.
  mutating func storeDeadName(_ directory: UInt32, _ bytes: Bytes, _ file: UInt32) -> UInt32 {
    storeName(directory, bytes, target: file, flags: 0)
  }

  /// Takes a name out of the table. A file keeps its last one, to be called by.
  mutating func removeName(_ name: UInt32) {
    let entry = names[name]
    nameIndex.remove(hash(entry.pointee.directory, bytes(ofName: name)), name)
    entry.pointee.flags &= ~NameEntry.isLive
    if entry.pointee.flags & NameEntry.isDirectory != 0 {
      treeEpoch &+= 1
      return
    }
    let file = files[entry.pointee.target]
    guard entry.pointee.target != 0 else { return }
    if file.pointee.name == name && entry.pointee.next == 0 {
      file.pointee.flags |= FileEntry.isDeleted
      file.pointee.nameHash = 0
      return
    }
    if file.pointee.name == name {
      setFirstName(entry.pointee.target, entry.pointee.next)
      return
    }
    var current = file.pointee.name
    while current != 0 && names[current].pointee.next != name { current = names[current].pointee.next }
    if current != 0 { names[current].pointee.next = entry.pointee.next }
  }

  /// Lets a file be known by this name too, and by no other file; on the hot path it already is.
  /// Returns the name, 0 if it is not kept.
  @inline(__always)
  @discardableResult
  mutating func nameFile(_ file: UInt32, _ directory: UInt32, _ bytes: Bytes, flags: UInt8) -> UInt32 {
    let entry = files[file]
    let hashed = hash(directory, bytes)
    if entry.pointee.nameHash == nameHash(hashed) { return entry.pointee.name }
    return rename(file, directory, bytes, hashed, flags)
  }

  /// Never 0, which stands for no live name.
  @inline(__always)
  private func nameHash(_ hashed: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: hashed >> 32) | 1 }

  /// Makes a name, or none, the first of a file's.
  mutating func setFirstName(_ file: UInt32, _ name: UInt32) {
    setFirstName(file, name, hash(names[name].pointee.directory, bytes(ofName: name)))
  }

  private mutating func setFirstName(_ file: UInt32, _ name: UInt32, _ hashed: UInt64) {
    let entry = files[file]
    entry.pointee.name = name
    let flags = names[name].pointee.flags
    entry.pointee.nameHash = flags & NameEntry.isLive != 0 ? nameHash(hashed) : 0
    entry.pointee.flags &= ~FileEntry.nameHasSecret
    if flags & NameEntry.hasSecret != 0 { entry.pointee.flags |= FileEntry.nameHasSecret }
  }

  @inline(never)
  private mutating func rename(
    _ file: UInt32, _ directory: UInt32, _ bytes: Bytes, _ hashed: UInt64, _ flags: UInt8
  ) -> UInt32 {
    if directory == Fixed.nowhere || directory == Fixed.unknown {
      // Not a name that anyone could look up: only something to call the file by.
      guard files[file].pointee.name == 0, hasRoomForFiles() else { return 0 }
      let name = storeName(directory, bytes, target: file, flags: flags | NameEntry.isLive)
      setFirstName(file, name, hashed)
      return name
    }
    let known = findName(directory, bytes, hashed)
    if known != 0 {
      if names[known].pointee.flags & NameEntry.isDirectory == 0 && names[known].pointee.target == file { return known }
      // Whatever had this name lost it without a record of it: deleted outside of the job, say.
      removeName(known)
    }
    let name = addName(directory, bytes, hashed, target: file, flags: flags)
    if name != 0 { attach(name, hashed, to: file) }
    return name
  }

  /// Makes a live name the first of a file's; one kept only to call the file by goes.
  private mutating func attach(_ name: UInt32, _ hashed: UInt64, to file: UInt32) {
    let entry = files[file]
    let first = entry.pointee.name
    let isUsable = first != 0 && names[first].pointee.flags & NameEntry.isLive != 0 && isFindable(first)
    names[name].pointee.next = isUsable ? first : 0
    entry.pointee.flags &= ~FileEntry.isDeleted
    setFirstName(file, name, hashed)
  }

  private func isFindable(_ name: UInt32) -> Bool {
    let directory = names[name].pointee.directory
    return directory != Fixed.nowhere && directory != Fixed.unknown
  }

  /// The directory and name of a file's first name; both empty if it has none.
  mutating func location(of file: UInt32) -> (directory: Bytes, name: Bytes) {
    let name = files[file].pointee.name
    if name == 0 { return (Bytes(start: nil, count: 0), Bytes(start: nil, count: 0)) }
    return (path(of: names[name].pointee.directory), bytes(ofName: name))
  }
}
