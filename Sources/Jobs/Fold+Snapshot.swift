internal import KernelABI
internal import Observation
internal import Policy

extension Fold {
  mutating func snapshot() -> JobSnapshot {
    reopenHeld()
    var out = JobSnapshot()
    out.records = records
    out.opens = opens
    out.failedOpens = failedOpens
    out.unknownDirectories = unknownDirectories
    out.filesNotKept = filesNotKept
    out.notKept = notKept
    if options.countsBytes { out.bytes = ByteCounting() }
    out.hashing = hashing()
    out.requests = requestCounting()
    out.processes = processes.indices.map { summary(ofProcess: $0) }
    out.imageLinks = images.indices.map { link($0) }
    for process in processes.indices {
      let flags = processes[process].pointee.flags
      if flags & ProcessEntry.hasEnded == 0 { out.processesNotExited += 1 }
      if flags & ProcessEntry.isOrphan != 0 { out.orphans += 1 }
    }
    for file in files.indices {
      let flags = files[file].pointee.flags
      if flags & FileEntry.isChannel != 0 {
        out.edges.channels.append(summary(ofChannel: file))
        continue
      }
      let isWritten = flags & (FileEntry.wasWritten | FileEntry.wasCreated) != 0
      let isRead = flags & FileEntry.wasRead != 0
      if isRead && !isWritten { out.filesRead += 1 }
      if isWritten || options.listsFilesRead || !isRead && isNamedByChange(file) || isRead && isCredential(file) {
        out.files.append(summary(ofFile: file))
      }
    }
    out.changes = changes.indices.map { summary(ofChange: $0) }
    out.flows = flowSummaries()
    out.flowsMerged = merging.merged
    out.names = asked.indices.map { summary(ofAsked: $0) }
    out.actions = actions.indices.map { summary(ofAction: $0) }
    out.denials = denials.indices.map { summary(ofDenial: $0) }
    out.stopped = deniedBeyond &+ out.denials.reduce(0) { $1.effect == .observed ? $0 : $0 &+ $1.count }
    out.edges.channels += loopbackChannels()
    out.edges.copies = copies.indices.map { summary(ofCopy: $0) }
    return out
  }

  /// A file that was never opened, but renamed or linked: it may be what the job leaves.
  private func isNamedByChange(_ file: UInt32) -> Bool { files[file].pointee.accesses == 0 }

  /// Reading such a file is worth a line, and what a policy forbids unless it was learnt that a job does it.
  private mutating func isCredential(_ file: UInt32) -> Bool {
    var current = files[file].pointee.name
    while current != 0 {
      let entry = names[current].pointee
      let joined = Applied.join(path(of: entry.directory), bytes(ofName: current), applied.scratch)
      if FilesSection.Protected.isCredential(joined) { return true }
      current = entry.next
    }
    return false
  }

  /// What processes hold open now has no last close, even if another descriptor for it was closed.
  mutating func reopenHeld() {
    for process in processes.indices {
      let entry = processes[process].pointee
      if entry.flags & ProcessEntry.hasEnded != 0 || entry.descriptors == 0 { continue }
      var current = tables[entry.descriptors].pointee.first
      while current != 0 {
        let access = descriptors[current].pointee.access
        if access != 0 {
          accesses[access].pointee.last = ShortTime()
          accesses[access].pointee.flags &= ~AccessEntry.isUpperBound
        }
        current = descriptors[current].pointee.next
      }
    }
  }

  // MARK: - Processes

  private func summary(ofProcess process: UInt32) -> ProcessSummary {
    let entry = processes[process].pointee
    var out = ProcessSummary()
    out.id = process
    out.parent = entry.parent
    out.pid = entry.tgid
    out.step = entry.step
    out.container = entry.container
    out.startedAt = entry.startedAt
    if entry.flags & ProcessEntry.hasEnded != 0 {
      out.endedAt = entry.endedAt
      out.waitStatus = entry.waitStatus
    }
    out.userNanoseconds = entry.userNanoseconds
    out.systemNanoseconds = entry.systemNanoseconds
    out.readBytes = entry.readBytes
    out.writtenBytes = entry.writtenBytes
    out.peakResidentBytes = entry.peakResidentBytes
    out.threads = entry.threads
    out.outlivedCommand = entry.flags & ProcessEntry.outlivedCommand != 0
    out.parentIsUnknown = entry.flags & ProcessEntry.isOrphan != 0
    var image = entry.firstImage
    while image != 0 {
      if images[image].pointee.flags & ImageEntry.isExec != 0 { out.images.append(summary(ofImage: image)) }
      image = images[image].pointee.next
    }
    return out
  }

  private func summary(ofImage image: UInt32) -> ImageSummary {
    let entry = images[image].pointee
    let exec = execs[entry.exec].pointee
    var out = ImageSummary()
    out.id = image
    out.at = entry.at
    let isCut = entry.flags & ImageEntry.executableIsTruncated != 0
    out.executable = Name(bytes: Array(arena[exec.executable]), isTruncated: isCut)
    if exec.filename != exec.executable && !exec.filename.isEmpty {
      out.filename = Name(bytes: Array(arena[exec.filename]), isTruncated: isCut)
    }
    let argumentsAreCut = entry.flags & ImageEntry.argumentsAreTruncated != 0
    out.arguments = Self.arguments(arena[exec.arguments], isCut: argumentsAreCut)
    if argumentsAreCut { out.fullArgumentBytes = exec.fullArgumentBytes }
    out.workingDirectory = Name(bytes: Array(arena[exec.workingDirectory]), isTruncated: isCut)
    out.identity = FileIdentity(device: exec.device, inode: exec.inode, generation: exec.generation)
    out.size = exec.size
    out.user = exec.user
    out.group = exec.group
    out.digest = digest(ofImage: exec)
    out.isDeleted = entry.flags & MT_EXEC_DELETED.rawValue != 0
    out.isInTmpfs = entry.flags & MT_EXEC_TMPFS.rawValue != 0
    out.isMemoryFile = entry.flags & MT_EXEC_MEMFD.rawValue != 0
    out.isChrooted = entry.flags & MT_EXEC_CHROOT.rawValue != 0
    out.isInOtherMountNamespace = entry.flags & MT_EXEC_OTHER_MNTNS.rawValue != 0
    return out
  }

  private static func arguments(_ bytes: Bytes, isCut: Bool) -> [Name] {
    if bytes.isEmpty { return [] }
    var parts = bytes.split(separator: 0, omittingEmptySubsequences: false)
    // Each argument ends with a NUL, so there is nothing behind the last one.
    if let last = parts.last, last.isEmpty { parts.removeLast() }
    var out = parts.map { Name(bytes: Array($0)) }
    if isCut, !out.isEmpty { out[out.count - 1].isTruncated = true }
    return out
  }

  private func link(_ image: UInt32) -> ImageLink {
    let entry = images[image].pointee
    var out = ImageLink()
    out.id = image
    out.process = entry.process
    out.parent = entry.parent
    out.startedAt = entry.at
    out.endedAt = entry.endedAt == 0 ? nil : entry.endedAt
    out.isExec = entry.flags & ImageEntry.isExec != 0
    return out
  }

  // MARK: - Paths

  mutating func name(_ directory: Bytes, _ name: Bytes, isMasked: Bool, isTruncated: Bool) -> Name {
    let joined = Applied.join(directory, name, applied.scratch)
    if !isMasked { return Name(bytes: Array(joined), isTruncated: isTruncated) }
    return Name(bytes: Array(masking.path(joined, isCut: isTruncated)), isTruncated: isTruncated)
  }

  func text(_ path: PathText) -> (directory: Bytes, name: Bytes) {
    (arena.bytes(path.directory, Int(path.directoryLength)), arena.bytes(path.name, Int(path.nameLength)))
  }

  private mutating func summary(ofChange change: UInt32) -> PathChange {
    let entry = changes[change].pointee
    var out = PathChange()
    switch RecordType(rawValue: entry.type) {
    case .unlink: out.kind = .unlink
    case .rmdir: out.kind = .rmdir
    case .link: out.kind = .link
    case .symlink: out.kind = .symlink
    case .mkdir: out.kind = .mkdir
    case .mknod: out.kind = .mknod
    case .truncate: out.kind = .truncate
    case .chmod: out.kind = .chmod
    case .chown: out.kind = .chown
    default: out.kind = .rename
    }
    out.process = entry.process
    out.at = entry.at
    let isTruncated = entry.flags & ChangeEntry.isTruncated != 0
    let path = text(entry.path)
    out.path = name(path.directory, path.name, isMasked: true, isTruncated: isTruncated)
    if entry.flags & ChangeEntry.hasTarget != 0 {
      let target = text(entry.target)
      out.target = name(target.directory, target.name, isMasked: true, isTruncated: isTruncated)
    }
    out.argument = entry.argument
    out.isResolved = entry.flags & ChangeEntry.isUnresolved == 0
    out.isUnconfirmed = entry.flags & ChangeEntry.isUnconfirmed != 0
    return out
  }

  private func summary(ofCopy copy: UInt32) -> CopySummary {
    let entry = copies[copy].pointee
    var out = CopySummary()
    switch entry.kind {
    case MT_COPY_SPLICE.rawValue: out.kind = .splice
    case MT_COPY_TEE.rawValue: out.kind = .tee
    case MT_COPY_RANGE.rawValue: out.kind = .copyFileRange
    case MT_COPY_REFLINK.rawValue: out.kind = .reflink
    default: out.kind = .sendfile
    }
    out.image = entry.image
    out.process = images[entry.image].pointee.process
    out.at = entry.at
    out.from = entry.from
    out.to = entry.to
    out.bytes = entry.bytes
    return out
  }
}
