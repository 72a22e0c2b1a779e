internal import KernelABI
internal import Observation

extension Fold {
  mutating func applyOpen(_ record: RecordView, _ process: UInt32, _ image: UInt32) {
    let body = record.open
    let how = UInt32(body.how)
    if how == MT_OPEN_CALL.rawValue { opens &+= 1 }
    noteOpen(record, body, process, image)
    if how == MT_OPEN_INHERITED.rawValue { addToSet(body, applied.fileID, image) }
  }

  @inline(__always)
  private mutating func noteOpen(_ record: RecordView, _ body: mt_open, _ process: UInt32, _ image: UInt32) {
    setIdentity(body.file)
    if body.dir != 0 {
      let directory = self.directory(body.dir, record, .dir, process)
      openFile(record, body, process, image, directory, record.string(.name) ?? Bytes(start: nil, count: 0))
      return
    }
    let name = record.string(.path) ?? Bytes(start: nil, count: 0)
    let type = body.file.mode & FileType.mask
    if type == FileType.fifo || type == FileType.socket {
      openChannel(body, image, record.time)
      show(Fixed.nowhere, name)
      return
    }
    let target = canonicalTarget(of: name, process)
    if target.directory != 0 {
      openFile(record, body, process, image, target.directory, target.name)
    } else if type == FileType.regular {
      openFile(record, body, process, image, Fixed.nowhere, name)
    } else {
      // Event counters and the like: one inode for all of them.
      show(Fixed.nowhere, name)
    }
  }

  @inline(__always)
  private mutating func openFile(
    _ record: RecordView, _ body: mt_open, _ process: UInt32, _ image: UInt32, _ directory: UInt32, _ name: Bytes
  ) {
    let isTruncated = record.flags.contains(.truncated)
    if isTruncated { applied.pathIsTruncated = true }
    let type = body.file.mode & FileType.mask
    // Directories are places, not contents.
    if type == FileType.directory {
      show(directory, name)
      return
    }
    let isCall = UInt32(body.how) == MT_OPEN_CALL.rawValue
    // The bit stays with the open file, so only the call itself has made the file.
    let isCreation = isCall && body.fmode & MT_FMODE_CREATED != 0
    let file = findOrAddFile(body.file, isNew: isCreation)
    guard file != 0 else {
      show(directory, name)
      return
    }
    applied.fileID = file
    files[file].pointee.mode = UInt16(truncatingIfNeeded: body.file.mode)
    var known: UInt32 = 0
    if body.deleted == 0 && body.file.nlink != 0 {
      known = nameFile(file, directory, name, flags: isTruncated ? NameEntry.isTruncated : 0)
    } else if files[file].pointee.name == 0 {
      nameDeleted(file, directory, name)
    }
    if known != 0 && known == files[file].pointee.name {
      show(directory, name, hasSecret: files[file].pointee.flags & FileEntry.nameHasSecret != 0)
    } else {
      show(directory, name)
    }
    noteOpen(body, file, process, image, isCreation, record.time)
  }

  @inline(__always)
  private mutating func noteOpen(
    _ body: mt_open, _ file: UInt32, _ process: UInt32, _ image: UInt32, _ isCreation: Bool, _ time: UInt64
  ) {
    var mode = body.fmode & (MT_FMODE_READ | MT_FMODE_WRITE)
    var flags: UInt16 = mode & MT_FMODE_READ != 0 ? FileEntry.wasRead : 0
    switch UInt32(body.how) {
    case MT_OPEN_CALL.rawValue:
      if isCreation {
        mode |= FileAccess.Mode.created.rawValue
        flags |= FileEntry.wasCreated
      }
      if body.open_flags & Self.truncateFlag != 0 && mode & MT_FMODE_WRITE != 0 {
        mode |= FileAccess.Mode.truncated.rawValue
      }
    case MT_OPEN_INHERITED.rawValue: mode |= FileAccess.Mode.inherited.rawValue
    default: mode |= FileAccess.Mode.received.rawValue
    }
    hold(file, mode, flags, body.fd, process, image, time)
  }

  /// An image holds a file from its start on; `mode` has FMODE_READ and FMODE_WRITE.
  mutating func noteInherited(
    _ file: UInt32, _ mode: UInt32, _ descriptor: Int32, _ process: UInt32, _ image: UInt32, _ time: UInt64
  ) {
    hold(
      file, mode | FileAccess.Mode.inherited.rawValue, mode & MT_FMODE_READ != 0 ? FileEntry.wasRead : 0, descriptor,
      process, image, time)
  }

  @inline(__always)
  private mutating func hold(
    _ file: UInt32, _ mode: UInt32, _ flags: UInt16, _ descriptor: Int32, _ process: UInt32, _ image: UInt32,
    _ time: UInt64
  ) {
    var flags = flags
    let access = addAccess(file, image, mode, time)
    if mode & MT_FMODE_WRITE != 0 {
      flags |= FileEntry.wasWritten
      if UInt32(files[file].pointee.mode) & FileType.mask == FileType.regular && process != 0 {
        openWriter(file, access, process, descriptor, mode, time)
      }
    }
    files[file].pointee.flags |= flags
  }

  /// O_TRUNC on x86-64, whose numbers records have.
  private static let truncateFlag: UInt32 = 0o1000

  /// Gives a file without a name one to call it by, which nobody can look up.
  private mutating func nameDeleted(_ file: UInt32, _ directory: UInt32, _ name: Bytes) {
    files[file].pointee.flags |= FileEntry.isDeleted
    guard hasRoomForFiles() else { return }
    setFirstName(file, storeDeadName(directory, name, file))
  }

  // MARK: - What the log shows

  /// Sets the path of the record at hand, masked if need be.
  mutating func show(_ directory: UInt32, _ name: Bytes) {
    show(directory, name, hasSecret: masking.changes(name, hash: hash(0, name)))
  }

  @inline(__always)
  mutating func show(_ directory: UInt32, _ name: Bytes, hasSecret: Bool) {
    applied.directory = path(of: directory)
    applied.name = name
    if directory == Fixed.unknown { applied.pathIsTruncated = true }
    if hasSecret || directories[directory].pointee.hasSecret {
      applied.name = masking.path(applied.path, isCut: applied.pathIsTruncated)
      applied.directory = Bytes(start: nil, count: 0)
    }
  }

  /// As ``show(_:_:)``, for the second path.
  mutating func showSecond(_ directory: UInt32, _ name: Bytes) {
    applied.directory2 = path(of: directory)
    applied.name2 = name
    if masking.changes(name, hash: hash(0, name)) || directories[directory].pointee.hasSecret {
      applied.name2 = masking.secondPath(applied.path2, isCut: applied.pathIsTruncated)
      applied.directory2 = Bytes(start: nil, count: 0)
    }
  }

  /// The path of a record that tells a file by its identity alone.
  mutating func showLocation(of file: UInt32) {
    applied.fileID = file
    let name = files[file].pointee.name
    if name == 0 { return }
    let entry = names[name].pointee
    show(entry.directory, bytes(ofName: name), hasSecret: entry.flags & NameEntry.hasSecret != 0)
  }
}
