internal import KernelABI
internal import Observation

/// The contents of a file over time: a version lasts from when the first writer opens it to when the last closes it.
extension Fold {
  /// Older versions kept of one file; of a log that is opened for each line the rest are folded together.
  private static let versionsKept: UInt32 = 32

  /// One more descriptor can write the file. `continues`: it is one that was there before, under another number
  /// or in another process, so no new version begins.
  mutating func beginWriting(_ file: UInt32, _ time: UInt64, _ mode: UInt32, continues: Bool) {
    files[file].pointee.flags |= FileEntry.wasWritten
    let isCreation = mode & FileAccess.Mode.created.rawValue != 0
    let isTruncation = mode & FileAccess.Mode.truncated.rawValue != 0
    var flags: UInt16 = isCreation ? VersionEntry.isCreation : 0
    if isTruncation { flags |= VersionEntry.isTruncation }
    var detail = files[file].pointee.detail
    if detail == 0 {
      detail = written.append(WrittenFile())
      files[file].pointee.detail = detail
      written[detail].pointee.version.since = short(time)
    } else if written[detail].pointee.openDescriptors == 0 {
      if continues {
        written[detail].pointee.version.until = ShortTime()
        written[detail].pointee.version.flags &= ~VersionEntry.isUpperBound
      } else {
        startVersion(detail, time)
      }
    }
    written[detail].pointee.openDescriptors &+= 1
    written[detail].pointee.version.flags |= flags
  }

  private mutating func startVersion(_ detail: UInt32, _ time: UInt64) {
    let entry = written[detail]
    if entry.pointee.olderCount >= Self.versionsKept || !hasRoomForFiles() {
      entry.pointee.version.flags |= VersionEntry.isMerged
      entry.pointee.version.until = ShortTime()
      return
    }
    let older = versions.append(entry.pointee.version)
    entry.pointee.version = VersionEntry(since: short(time), next: older)
    entry.pointee.olderCount &+= 1
  }

  /// One descriptor fewer. Until a close is seen, the end of the version is an upper bound.
  mutating func endWriting(_ file: UInt32, _ time: UInt64) {
    let detail = files[file].pointee.detail
    if detail == 0 { return }
    let entry = written[detail]
    if entry.pointee.openDescriptors > 0 { entry.pointee.openDescriptors &-= 1 }
    let end = short(time)
    if entry.pointee.version.until.isNone || end.delta > entry.pointee.version.until.delta {
      entry.pointee.version.until = end
      entry.pointee.version.flags |= VersionEntry.isUpperBound
    }
  }

  /// A close was seen, with what the inode was like then.
  mutating func noteClose(_ file: UInt32, _ body: mt_close, _ time: UInt64) {
    let detail = files[file].pointee.detail
    if detail == 0 { return }
    let entry = written[detail]
    let end = short(time)
    let until = entry.pointee.version.until
    if until.isNone || end.delta >= until.delta || entry.pointee.version.flags & VersionEntry.isUpperBound != 0 {
      // The end of the process and its closes are told in either order, at the same moment.
      entry.pointee.version.until = end
      entry.pointee.version.flags &= ~VersionEntry.isUpperBound
      if body.has_state != 0 {
        entry.pointee.version.flags |= VersionEntry.hasState
        entry.pointee.version.size = body.size
        entry.pointee.version.changeTime = body.ctime
      } else {
        entry.pointee.version.flags &= ~VersionEntry.hasState
      }
    }
  }

  /// The contents changed without an open: truncate(2).
  mutating func noteTruncation(_ file: UInt32, _ image: UInt32, _ time: UInt64, isByPath: Bool) {
    let mode = FileAccess.Mode.write.union(.truncated).union(isByPath ? .byPath : [])
    let known = findAccess(file, image)
    files[file].pointee.flags |= FileEntry.wasWritten
    if known != 0 {
      // Whoever has it open to write it goes on doing so.
      accesses[known].pointee.flags |= UInt16(truncatingIfNeeded: mode.rawValue)
      if accesses[known].pointee.last.isNone && !isHeldForWriting(file) { accesses[known].pointee.last = short(time) }
    } else {
      let access = addAccess(file, image, mode.rawValue, time)
      if access != 0 { accesses[access].pointee.last = short(time) }
    }
    let detail = files[file].pointee.detail
    if detail != 0 && written[detail].pointee.openDescriptors > 0 {
      written[detail].pointee.version.flags |= VersionEntry.isTruncation
      return
    }
    beginWriting(file, time, mode.rawValue, continues: false)
    let entry = written[files[file].pointee.detail]
    entry.pointee.openDescriptors &-= 1
    entry.pointee.version.until = short(time)
  }

  func isHeldForWriting(_ file: UInt32) -> Bool {
    let detail = files[file].pointee.detail
    return detail != 0 && written[detail].pointee.openDescriptors > 0
  }
}
