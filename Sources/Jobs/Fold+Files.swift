internal import KernelABI
internal import Observation

extension Fold {
  /// Device numbers that no superblock has, for what is known by another number.
  enum PseudoDevice {
    /// No record can have one: these stand for entries of another kind.
    static let first: UInt32 = 0xffff_fffd
    static let pipe: UInt32 = 0xffff_fffe
    static let socket: UInt32 = 0xffff_ffff
    static let socketInode: UInt32 = 0xffff_fffd
  }

  enum FileType {
    static let mask: UInt32 = 0o170000
    static let socket: UInt32 = 0o140000
    static let link: UInt32 = 0o120000
    static let regular: UInt32 = 0o100000
    static let directory: UInt32 = 0o040000
    static let fifo: UInt32 = 0o010000
  }

  // MARK: - Identities

  @inline(__always)
  func findFile(_ device: UInt32, _ inode: UInt64, _ generation: UInt32) -> UInt32 {
    findFile(device, inode, generation, hash(UInt64(device), inode))
  }

  @inline(__always)
  private func findFile(_ device: UInt32, _ inode: UInt64, _ generation: UInt32, _ hashed: UInt64) -> UInt32 {
    let all = files.all
    return fileIndex.find(hashed) {
      let entry = all + Int($0)
      // A look at a path does not tell the generation: such an entry is taken for the one that comes along.
      return entry.pointee.inode == inode && entry.pointee.device == device
        && (entry.pointee.generation == generation
          || entry.pointee.flags & FileEntry.identityFromStat != 0 && entry.pointee.generation == 0)
    }
  }

  /// The file that a record tells of; 0 if it is not known.
  @inline(__always)
  func findFile(_ file: mt_file) -> UInt32 {
    file.dev >= PseudoDevice.first ? 0 : findFile(file.dev, file.ino, file.generation)
  }

  /// The entry of a file; 0 if the record has no identity or there is no room. `isNew`: it was created just now,
  /// so an entry with the same identity is of a file that is gone.
  mutating func findOrAddFile(_ file: mt_file, isNew: Bool) -> UInt32 {
    if file.ino == 0 && file.dev == 0 || file.dev >= PseudoDevice.first { return 0 }
    let hashed = hash(UInt64(file.dev), file.ino)
    let known = findFile(file.dev, file.ino, file.generation, hashed)
    if known != 0 {
      let entry = files[known]
      let isStale = isNew && entry.pointee.flags & FileEntry.identityFromStat == 0
      if !isStale {
        if entry.pointee.flags & FileEntry.identityFromStat != 0 {
          entry.pointee.generation = file.generation
          entry.pointee.flags &= ~FileEntry.identityFromStat
        }
        return known
      }
      forgetIdentity(known)
      if entry.pointee.flags & FileEntry.isDeleted == 0 { loseNames(known) }
    }
    return addFile(file, hashed, flags: 0)
  }

  mutating func addFile(_ file: mt_file, flags: UInt16) -> UInt32 {
    addFile(file, hash(UInt64(file.dev), file.ino), flags: flags)
  }

  private mutating func addFile(_ file: mt_file, _ hashed: UInt64, flags: UInt16) -> UInt32 {
    guard files.count < options.limits.files, hasRoomForFiles() else {
      filesNotKept &+= 1
      return 0
    }
    var entry = FileEntry(inode: file.ino, device: file.dev, generation: file.generation)
    entry.mode = UInt16(truncatingIfNeeded: file.mode)
    entry.flags = flags | FileEntry.isIdentified
    let index = files.append(entry)
    fileIndex.insert(hashed, index)
    return index
  }

  private mutating func forgetIdentity(_ file: UInt32) {
    let entry = files[file]
    guard entry.pointee.flags & FileEntry.isIdentified != 0 else { return }
    fileIndex.remove(hash(UInt64(entry.pointee.device), entry.pointee.inode), file)
    entry.pointee.flags &= ~FileEntry.isIdentified
  }

  private mutating func loseNames(_ file: UInt32) {
    var name = files[file].pointee.name
    while name != 0 {
      let next = names[name].pointee.next
      if names[name].pointee.flags & NameEntry.isLive != 0 { removeName(name) }
      name = next
    }
    files[file].pointee.flags |= FileEntry.isDeleted
  }

  mutating func setIdentity(_ file: mt_file) {
    applied.device = file.dev
    applied.inode = file.ino
    applied.generation = file.generation
  }

  mutating func setIdentity(ofEntry file: UInt32) {
    let entry = files[file]
    applied.fileID = file
    applied.device = entry.pointee.device
    applied.inode = entry.pointee.inode
    applied.generation = entry.pointee.generation
    applied.identityFromStat = entry.pointee.flags & FileEntry.identityFromStat != 0
  }

  // MARK: - Accesses

  /// How far back the access of an image is looked for; beyond it a second one does no harm.
  private static let accessesLookedAt = 64

  /// The latest access of an image to a file; 0 if there is none.
  func findAccess(_ file: UInt32, _ image: UInt32) -> UInt32 {
    var access = files[file].pointee.accesses
    var steps = 0
    while access != 0 && accesses[access].pointee.image != image {
      steps += 1
      access = steps < Self.accessesLookedAt ? accesses[access].pointee.next : 0
    }
    return access
  }

  /// Notes that an image had a file open in this mode from `time` on; returns the access, 0 if it is not kept.
  @inline(__always)
  @discardableResult
  mutating func addAccess(_ file: UInt32, _ image: UInt32, _ mode: UInt32, _ time: UInt64) -> UInt32 {
    if file == 0 || image == 0 { return 0 }
    if files[file].pointee.lastImage == image { return mergeAccess(files[file].pointee.accesses, mode, time) }
    guard hasRoomForFiles() else {
      // An earlier one of the image tells as much: a snapshot takes them together.
      let earlier = findAccess(file, image)
      if earlier != 0 { return mergeAccess(earlier, mode, time) }
      notKept.accesses &+= 1
      return 0
    }
    let entry = files[file]
    var access = AccessEntry(image: image, next: entry.pointee.accesses, first: short(time))
    access.flags = UInt16(truncatingIfNeeded: mode)
    let index = accesses.append(access)
    entry.pointee.accesses = index
    entry.pointee.lastImage = image
    if mode & FileAccess.Mode.read.rawValue != 0 { entry.pointee.flags |= FileEntry.wasRead }
    return index
  }

  private func mergeAccess(_ access: UInt32, _ mode: UInt32, _ time: UInt64) -> UInt32 {
    let entry = accesses[access]
    // How it began stays: whether it was inherited is told by the first.
    entry.pointee.flags |= UInt16(truncatingIfNeeded: mode & ~FileAccess.Mode.inherited.rawValue)
    if mode & FileAccess.Mode.write.rawValue != 0 {
      entry.pointee.last = ShortTime()
      entry.pointee.flags &= ~AccessEntry.isUpperBound
    }
    let start = short(time)
    if start.delta < entry.pointee.first.delta { entry.pointee.first = start }
    return access
  }
}
