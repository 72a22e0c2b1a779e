internal import KernelABI

extension Fold {
  /// Readers listed by name; the rest are counted.
  private static let readersListed = 32

  mutating func summary(ofFile file: UInt32) -> FileSummary {
    let entry = files[file].pointee
    var out = FileSummary()
    out.id = file
    setPaths(file, &out)
    out.identity = FileIdentity(device: entry.device, inode: entry.inode, generation: entry.generation)
    out.mode = UInt32(entry.mode)
    out.wasCreated = entry.flags & FileEntry.wasCreated != 0
    out.wasRead = entry.flags & FileEntry.wasRead != 0
    out.wasWritten = entry.flags & FileEntry.wasWritten != 0
    out.isDeleted = entry.flags & FileEntry.isDeleted != 0
    out.identityFromStat = entry.flags & FileEntry.identityFromStat != 0
    out.accesses = accesses(of: file)
    out.bytes = options.countsBytes ? ByteCounts() : nil
    for access in out.accesses { out.bytes = out.bytes.flatMap { sum in access.bytes.map { sum + $0 } } }
    if entry.flags & FileEntry.bytesAreUnknown != 0 { out.bytes = nil }
    out.digest = digest(ofWritten: file)
    setHolders(&out)
    if entry.detail != 0 { setVersions(file, &out) }
    return out
  }

  private mutating func setPaths(_ file: UInt32, _ out: inout FileSummary) {
    var current = files[file].pointee.name
    var isFirst = true
    while current != 0 {
      let entry = names[current].pointee
      let directory = path(of: entry.directory)
      let isMasked =
        entry.flags & NameEntry.hasSecret != 0 || directories[entry.directory].pointee.hasSecret
      let isTruncated = entry.flags & NameEntry.isTruncated != 0 || entry.directory == Fixed.unknown
      let name = name(directory, bytes(ofName: current), isMasked: isMasked, isTruncated: isTruncated)
      if isFirst {
        out.path = name
        out.pathIsUnresolved = entry.flags & NameEntry.isUnresolved != 0
      } else {
        out.otherPaths.append(name)
      }
      isFirst = false
      current = entry.next
    }
  }

  /// One for each image, oldest first.
  func accesses(of file: UInt32) -> [FileAccess] {
    var out: [FileAccess] = []
    var places: [UInt32: Int] = [:]
    var current = files[file].pointee.accesses
    while current != 0 {
      var one = summary(ofAccess: current)
      one.bytes = bytes(of: current, file)
      current = accesses[current].pointee.next
      if let place = places[one.image] {
        Self.merge(one, into: &out[place])
      } else {
        places[one.image] = out.count
        out.append(one)
      }
    }
    out.reverse()
    return out
  }

  private static func merge(_ earlier: FileAccess, into later: inout FileAccess) {
    let writes = (earlier.mode.contains(.write), later.mode.contains(.write))
    if writes.0 && !writes.1 {
      // Closes are those of the descriptors that can write.
      later.lastClosedAt = earlier.lastClosedAt
      later.isUpperBound = earlier.isUpperBound
    } else if writes.0 == writes.1, let end = later.lastClosedAt {
      if earlier.lastClosedAt.map({ $0 > end }) ?? true {
        later.lastClosedAt = earlier.lastClosedAt
        later.isUpperBound = earlier.isUpperBound
      }
    }
    // Whether it was inherited is told by how it began.
    later.mode.remove(.inherited)
    later.mode.formUnion(earlier.mode)
    later.firstOpenedAt = min(later.firstOpenedAt, earlier.firstOpenedAt)
    later.bytes = later.bytes.flatMap { bytes in earlier.bytes.map { bytes + $0 } }
  }

  private func summary(ofAccess access: UInt32) -> FileAccess {
    let entry = accesses[access].pointee
    let image = images[entry.image].pointee
    var out = FileAccess()
    out.image = entry.image
    out.process = image.process
    out.mode = FileAccess.Mode(rawValue: UInt32(entry.flags & ~AccessEntry.isUpperBound))
    out.firstOpenedAt = long(entry.first)
    let isSeen = !entry.last.isNone && !out.mode.contains(.mapped)
    if isSeen {
      out.lastClosedAt = long(entry.last)
      out.isUpperBound = entry.flags & AccessEntry.isUpperBound != 0
    } else if image.endedAt != 0 {
      out.lastClosedAt = image.endedAt
      out.isUpperBound = true
    }
    return out
  }

  private func setHolders(_ out: inout FileSummary) {
    var readers: Set<UInt32> = []
    var writers: Set<UInt32> = []
    var isOpen = false
    for access in out.accesses {
      if out.firstOpenedAt == 0 || access.firstOpenedAt < out.firstOpenedAt { out.firstOpenedAt = access.firstOpenedAt }
      if access.mode.contains(.read), readers.insert(access.process).inserted, readers.count <= Self.readersListed {
        out.readers.append(access.process)
      }
      if !access.mode.contains(.write) { continue }
      if writers.insert(access.process).inserted { out.writers.append(access.process) }
      guard let end = access.lastClosedAt else {
        isOpen = true
        continue
      }
      if out.lastClosedAt.map({ end > $0 }) ?? true {
        out.lastClosedAt = end
        out.lastCloseIsUpperBound = access.isUpperBound
      }
    }
    out.readerCount = UInt32(readers.count)
    if isOpen {
      out.lastClosedAt = nil
      out.lastCloseIsUpperBound = false
    }
  }

  private func setVersions(_ file: UInt32, _ out: inout FileSummary) {
    let detail = written[files[file].pointee.detail].pointee
    var version = detail.version
    var list = [summary(ofVersion: version)]
    while version.next != 0 {
      version = versions[version.next].pointee
      list.append(summary(ofVersion: version))
    }
    list.reverse()
    let last = list.count - 1
    // Somebody can write it still, or could until later than the last close that was seen.
    if detail.openDescriptors > 0 || out.lastClosedAt == nil {
      list[last].writtenAt = nil
      list[last].isUpperBound = false
    } else if let end = out.lastClosedAt, end > list[last].writtenAt ?? 0 {
      list[last].writtenAt = end
      list[last].isUpperBound = out.lastCloseIsUpperBound
    }
    out.versions = list
    if detail.version.flags & VersionEntry.hasState != 0 {
      out.size = detail.version.size
      out.changeTime = detail.version.changeTime
    }
  }

  private func summary(ofVersion entry: VersionEntry) -> FileVersion {
    var out = FileVersion()
    out.writingSince = long(entry.since)
    if !entry.until.isNone { out.writtenAt = long(entry.until) }
    out.isUpperBound = entry.flags & VersionEntry.isUpperBound != 0
    out.isCreation = entry.flags & VersionEntry.isCreation != 0
    out.isTruncation = entry.flags & VersionEntry.isTruncation != 0
    out.isMerged = entry.flags & VersionEntry.isMerged != 0
    if entry.flags & VersionEntry.hasState != 0 {
      out.size = entry.size
      out.changeTime = entry.changeTime
    }
    return out
  }

  // MARK: - Channels

  func summary(ofChannel file: UInt32) -> ChannelSummary {
    let entry = files[file].pointee
    var out = ChannelSummary()
    out.id = file
    if entry.device == PseudoDevice.pipe {
      out.kind = .pipe
    } else if entry.flags & FileEntry.isSocketPair != 0 {
      out.kind = .socketPair
    } else {
      out.kind = entry.flags & FileEntry.isUnixSocket != 0 ? .unixSocket : .socket
    }
    out.peer = entry.detail
    out.identity = entry.inode
    out.holders = accesses(of: file)
    return out
  }
}
