internal import KernelABI
internal import Observation

/// Pipes and sockets are entries among the files, under devices that no file system has; their `detail` is the
/// entry at the other end.
extension Fold {
  private static let both = FileAccess.Mode.read.union(.write).rawValue

  private mutating func channel(_ device: UInt32, _ number: UInt64, flags: UInt16 = 0) -> UInt32 {
    if number == 0 { return 0 }
    let known = findFile(device, number, 0)
    if known != 0 {
      files[known].pointee.flags |= flags
      return known
    }
    guard files.count < options.limits.files, hasRoom() else {
      filesNotKept &+= 1
      return 0
    }
    var entry = FileEntry(inode: number, device: device)
    entry.flags = FileEntry.isChannel | FileEntry.isIdentified | flags
    entry.mode = UInt16(device == PseudoDevice.pipe ? FileType.fifo : FileType.socket)
    let index = files.append(entry)
    fileIndex.insert(hash(UInt64(device), number), index)
    return index
  }

  private mutating func join(_ a: UInt32, _ b: UInt32) {
    if a == 0 || b == 0 || a == b { return }
    files[a].pointee.detail = b
    files[b].pointee.detail = a
  }

  // MARK: - By inode

  private mutating func nameSocket(_ inode: UInt64, _ channel: UInt32) {
    if inode == 0 || channel == 0 { return }
    let known = socketEntry(inode)
    if known != 0 {
      socketInodes[known].pointee.file = channel
      return
    }
    guard hasRoom() else { return }
    socketInodeIndex.insert(hash(inode), socketInodes.append(SocketInode(inode: inode, file: channel)))
  }

  private func socketEntry(_ inode: UInt64) -> UInt32 {
    let all = socketInodes.all
    return socketInodeIndex.find(hash(inode)) { all[Int($0)].inode == inode }
  }

  // MARK: - Records

  mutating func openChannel(_ body: mt_open, _ image: UInt32, _ time: UInt64) {
    var mode = body.fmode & (MT_FMODE_READ | MT_FMODE_WRITE)
    switch UInt32(body.how) {
    case MT_OPEN_CALL.rawValue: break
    case MT_OPEN_INHERITED.rawValue: mode |= FileAccess.Mode.inherited.rawValue
    default: mode |= FileAccess.Mode.received.rawValue
    }
    let entry: UInt32
    if body.file.mode & FileType.mask == FileType.fifo {
      entry = channel(PseudoDevice.pipe, body.file.ino)
    } else {
      entry = channel(PseudoDevice.socket, body.sock)
      nameSocket(body.file.ino, entry)
      if body.peer != 0 { join(entry, channel(PseudoDevice.socket, body.peer)) }
    }
    applied.fileID = entry
    addAccess(entry, image, mode, time)
  }

  mutating func applyPair(_ record: RecordView, _ image: UInt32) {
    let body = record.pair
    if record.type == .pipe {
      let pipe = channel(PseudoDevice.pipe, body.a_ino)
      applied.fileID = pipe
      applied.inode = body.a_ino
      addAccess(pipe, image, Self.both, record.time)
      return
    }
    let first = channel(PseudoDevice.socket, body.a_sock, flags: FileEntry.isSocketPair)
    let second = channel(PseudoDevice.socket, body.b_sock, flags: FileEntry.isSocketPair)
    join(first, second)
    nameSocket(body.a_ino, first)
    nameSocket(body.b_ino, second)
    applied.fileID = first
    applied.inode = body.a_ino
    addAccess(first, image, Self.both, record.time)
    addAccess(second, image, Self.both, record.time)
  }

  /// The channel of a unix socket that connected or was accepted.
  mutating func unixChannel(_ body: mt_unix, _ image: UInt32, _ time: UInt64) {
    let own = channel(PseudoDevice.socket, body.sock, flags: FileEntry.isUnixSocket)
    nameSocket(body.ino, own)
    join(own, channel(PseudoDevice.socket, body.peer, flags: FileEntry.isUnixSocket))
    applied.fileID = own
    addAccess(own, image, Self.both, time)
  }

  // MARK: - Copies

  mutating func applyCopy(_ record: RecordView, _ image: UInt32) {
    let body = record.copy
    let from = copyEnd(body.from)
    let to = copyEnd(body.to)
    setIdentity(body.to)
    if to != 0 { showLocation(of: to) }
    if from != 0 { showSecondLocation(of: from) }
    if image == 0 { return }
    // Files may be copied from without an open that was told: by another process' descriptor, say.
    addAccess(from, image, FileAccess.Mode.read.rawValue, record.time)
    let all = copies.all
    let hashed = hash(UInt64(from) << 32 | UInt64(to), UInt64(body.kind) << 32 | UInt64(image))
    let known = copyIndex.find(hashed) {
      let entry = all[Int($0)]
      return entry.image == image && entry.from == from && entry.to == to && entry.kind == body.kind
    }
    if known != 0 {
      copies[known].pointee.bytes &+= body.bytes
      return
    }
    guard copies.count < options.limits.copies, hasRoom() else {
      notKept.copies &+= 1
      return
    }
    let entry = CopyEntry(
      at: record.time, bytes: body.bytes, image: image, from: from, to: to, kind: body.kind)
    copyIndex.insert(hashed, copies.append(entry))
  }

  private mutating func copyEnd(_ file: mt_file) -> UInt32 {
    switch file.mode & FileType.mask {
    case FileType.fifo:
      // One with a name is a file.
      let named = findFile(file)
      return named != 0 ? named : channel(PseudoDevice.pipe, file.ino)
    case FileType.socket:
      let known = socketEntry(file.ino)
      if known != 0 { return socketInodes[known].pointee.file }
      // A number of its own kind: inode numbers could be taken for ids.
      let entry = channel(PseudoDevice.socketInode, file.ino)
      nameSocket(file.ino, entry)
      return entry
    default: return findOrAddFile(file, isNew: false)
    }
  }

  private mutating func showSecondLocation(of file: UInt32) {
    let name = files[file].pointee.name
    if name != 0 { showSecond(names[name].pointee.directory, bytes(ofName: name)) }
  }
}
