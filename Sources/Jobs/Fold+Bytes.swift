internal import KernelABI
internal import Observation

/// What images read and wrote through open files.
extension Fold {
  mutating func applyIO(_ record: RecordView, _ process: UInt32) {
    let body = record.io
    setIdentity(body.file)
    let image = image(of: process, madeAt: body.image)
    if image != 0 { applied.imageID = image }
    let file = findOrAddFile(body.file, isNew: false)
    guard file != 0 else { return }
    showLocation(of: file)
    if body.why == MT_IO_UNKNOWN.rawValue {
      files[file].pointee.flags |= FileEntry.bytesAreUnknown
      return
    }
    guard image != 0, hasRoomForFiles() else {
      files[file].pointee.flags |= FileEntry.bytesAreUnknown
      notKept.accesses &+= 1
      return
    }
    var access = findAccess(file, image)
    if access == 0 {
      // A descriptor that it was born with, above those that are followed, or one that was only told of another image.
      var mode = FileAccess.Mode.inherited.rawValue
      if body.read > 0 { mode |= MT_FMODE_READ }
      if body.written > 0 { mode |= MT_FMODE_WRITE }
      access = addAccess(file, image, mode, record.time)
      if body.written > 0 { files[file].pointee.flags |= FileEntry.wasWritten }
    }
    add(ByteCounts(read: body.read, written: body.written), to: access)
  }

  private mutating func add(_ bytes: ByteCounts, to access: UInt32) {
    let known = findTransfer(access)
    if known != 0 {
      transfers[known].pointee.read &+= bytes.read
      transfers[known].pointee.written &+= bytes.written
      return
    }
    let entry = TransferEntry(access: access, read: bytes.read, written: bytes.written)
    transferIndex.insert(hash(UInt64(access)), transfers.append(entry))
  }

  private func findTransfer(_ access: UInt32) -> UInt32 {
    let all = transfers.all
    return transferIndex.find(hash(UInt64(access))) { all[Int($0)].access == access }
  }

  /// The image of a process that began at a time which is told by the kernel's programs: that of its exec is known a
  /// little later.
  private func image(of process: UInt32, madeAt time: UInt64) -> UInt32 {
    var image = processes[process].pointee.firstImage
    while images[image].pointee.at < time, images[image].pointee.next != 0 { image = images[image].pointee.next }
    return image
  }

  /// What was told of an access; nil if nothing can be said of its file.
  func bytes(of access: UInt32, _ file: UInt32) -> ByteCounts? {
    guard options.countsBytes, files[file].pointee.flags & FileEntry.bytesAreUnknown == 0 else { return nil }
    let entry = transfers[findTransfer(access)].pointee
    return ByteCounts(read: entry.read, written: entry.written)
  }
}
