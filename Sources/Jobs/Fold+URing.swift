internal import KernelABI
internal import Observation

/// Operations given to io_uring: whether and when they were done is not told, so what they would change is looked
/// at, or marked as unconfirmed.
extension Fold {
  /// enum io_uring_op, which is stable.
  private enum Opcode {
    static let openat: UInt32 = 18
    static let openat2: UInt32 = 28
    static let renameat: UInt32 = 35
    static let unlinkat: UInt32 = 36
    static let mkdirat: UInt32 = 37
    static let symlinkat: UInt32 = 38
    static let linkat: UInt32 = 39
  }

  /// AT_REMOVEDIR.
  private static let removesDirectory: UInt64 = 0x200

  mutating func applyURing(_ record: RecordView, _ process: UInt32, _ image: UInt32) {
    let body = record.uring
    if record.flags.contains(.truncated) { applied.pathIsTruncated = true }
    let type: RecordType
    switch body.opcode {
    case Opcode.openat, Opcode.openat2:
      openByURing(record, body, process, image)
      return
    case Opcode.renameat: type = .rename
    case Opcode.unlinkat: type = body.argument & Self.removesDirectory != 0 ? .rmdir : .unlink
    case Opcode.mkdirat: type = .mkdir
    case Opcode.symlinkat: type = .symlink
    case Opcode.linkat: type = .link
    default:
      if record.string(.path) != nil {
        let target = givenTarget(record, body.dir, .dir, .path, process)
        applied.pathIsResolved = target.isResolved
        show(target.directory, target.name)
      }
      return
    }
    var operation = PathOperation(
      type: type, time: record.time, process: process, image: image, argument: body.argument,
      flags: UInt32(truncatingIfNeeded: body.argument))
    operation.isUnconfirmed = true
    perform(operation, givenTarget(record, body.dir, .dir, .path, process), record, body.dir2)
  }

  private mutating func openByURing(_ record: RecordView, _ body: mt_uring, _ process: UInt32, _ image: UInt32) {
    opens &+= 1
    let given = givenTarget(record, body.dir, .dir, .path, process)
    let target = body.open_flags & Self.noFollow != 0 ? given : follow(given, process)
    applied.pathIsResolved = target.isResolved
    show(target.directory, target.name)
    guard target.isResolved else { return }
    let known = findName(target.directory, target.name)
    var file: UInt32 = 0
    if known != 0 {
      if names[known].pointee.flags & NameEntry.isDirectory != 0 { return }
      file = names[known].pointee.target
    } else {
      let (found, state) = fileByLooking(at: target, process)
      guard found != 0, let state else { return }
      file = found
      files[file].pointee.mode = UInt16(truncatingIfNeeded: state.mode)
      nameFile(file, target.directory, target.name, flags: 0)
    }
    setIdentity(ofEntry: file)
    // O_ACCMODE: 0 reads, 1 writes, 2 does both.
    let access = body.open_flags & 3
    var mode = FileAccess.Mode()
    if access != 1 { mode.insert(.read) }
    if access != 0 { mode.insert(.write) }
    addAccess(file, image, mode.rawValue, record.time)
    if mode.contains(.read) { files[file].pointee.flags |= FileEntry.wasRead }
    if mode.contains(.write) && UInt32(files[file].pointee.mode) & FileType.mask == FileType.regular {
      // Its descriptor is not told: held until the image ends.
      addAccess(file, image, FileAccess.Mode.mapped.rawValue, record.time)
      beginWriting(file, record.time, mode.rawValue, continues: false)
      endWriting(file, record.time)
    }
  }

  /// O_NOFOLLOW on x86-64.
  private static let noFollow: UInt32 = 0o400000
}
