internal import KernelABI
internal import Observation

/// What files hash to that were executed or written.
extension Fold {
  /// How often a version is asked for again that could not be hashed: its process may live longer the next time.
  private static let requestLimit: UInt16 = 8

  mutating func applyDigest(_ record: RecordView) {
    let body = record.digest
    setIdentity(body.file)
    let file = findFile(body.file)
    if file != 0 { showLocation(of: file) }
    if body.how == UInt16(MT_DIGEST_KERNEL.rawValue), body.absence == .otherAlgorithm {
      // Not worth having: martlet hashes the file itself when the exec is told.
      kernelAlgorithm = body.algorithm
      return
    }
    let digest = findOrAddDigest(body)
    guard digest != 0 else { return }
    let entry = digests[digest]
    if entry.pointee.why == UInt16(MT_DIGEST_TAKEN.rawValue), entry.pointee.how != 0 { return }
    entry.pointee.at = record.time
    entry.pointee.how = body.how
    entry.pointee.why = body.why
    entry.pointee.size = body.size
    entry.pointee.changeTime = body.ctime
    entry.pointee.sha256 = withUnsafeBytes(of: body.sha256) { $0.loadUnaligned(as: DigestEntry.SHA256.self) }
  }

  // MARK: - What is to be hashed

  /// What to hash for an exec that was just applied; nil if the image's digest is known or on its way.
  mutating func digestRequest(for record: RecordView) -> DigestRequest? {
    let exec = record.exec
    guard options.hashesFiles, exec.file.ino != 0 else { return nil }
    var body = mt_digest()
    body.file = exec.file
    body.size = exec.size
    body.ctime = exec.ctime
    body.of = UInt16(MT_DIGEST_IMAGE.rawValue)
    let digest = findOrAddDigest(body)
    guard digest != 0 else { return nil }
    let entry = digests[digest]
    let isKnown = entry.pointee.how != 0 && entry.pointee.why == UInt16(MT_DIGEST_TAKEN.rawValue)
    let isUnderWay = entry.pointee.how == 0 && entry.pointee.requests > 0
    let isLost = entry.pointee.why == DigestAbsence.tooLarge.rawValue
    if isKnown || isUnderWay || isLost || entry.pointee.requests >= Self.requestLimit { return nil }
    entry.pointee.requests &+= 1
    entry.pointee.how = 0
    var request = DigestRequest(body: body)
    request.process = record.tgid
    request.processStart = record.leaderStart
    request.parent = exec.parent_tgid
    request.at = record.time
    request.path = Array(record.string(.exe) ?? Bytes(start: nil, count: 0))
    request.isInOtherMountNamespace = exec.exec_flags & MT_EXEC_OTHER_MNTNS.rawValue != 0
    return request
  }

  /// The regular files that the job wrote and that are there still, and those among them that can still be written.
  mutating func writtenFiles() -> [DigestRequest] {
    guard options.hashesFiles else { return [] }
    reopenHeld()
    var requests: [DigestRequest] = []
    for file in files.indices where isLeftBehind(file) {
      let entry = files[file].pointee
      let name = names[entry.name].pointee
      var body = mt_digest()
      body.file = mt_file(
        ino: entry.inode, dev: entry.device, generation: entry.generation, mode: UInt32(entry.mode), nlink: 1)
      body.of = UInt16(MT_DIGEST_WRITTEN.rawValue)
      if isStillWritten(file) { body.why = UInt16(MT_DIGEST_OPEN.rawValue) }
      var request = DigestRequest(body: body)
      let directory = path(of: name.directory)
      request.path = Array(Applied.join(directory, bytes(ofName: entry.name), applied.scratch))
      requests.append(request)
    }
    return requests
  }

  private func isLeftBehind(_ file: UInt32) -> Bool {
    let entry = files[file].pointee
    let isRegular = UInt32(entry.mode) & FileType.mask == FileType.regular
    return isRegular && entry.flags & FileEntry.wasWritten != 0 && entry.flags & FileEntry.isDeleted == 0
      && entry.flags & FileEntry.isChannel == 0 && entry.name != 0 && entry.inode != 0
  }

  private func isStillWritten(_ file: UInt32) -> Bool {
    var current = files[file].pointee.accesses
    while current != 0 {
      let access = accesses[current].pointee
      let mode = FileAccess.Mode(rawValue: UInt32(access.flags))
      let isOver = !access.last.isNone && !mode.contains(.mapped) || images[access.image].pointee.endedAt != 0
      if mode.contains(.write), !isOver { return true }
      current = access.next
    }
    return false
  }

  // MARK: - What is known

  /// Images by their version, written files by their identity: of these the last state counts.
  private func findDigest(_ body: mt_digest) -> UInt32 {
    let all = digests.all
    return digestIndex.find(hashOf(body)) {
      let entry = all + Int($0)
      return entry.pointee.inode == body.file.ino && entry.pointee.device == body.file.dev
        && entry.pointee.generation == body.file.generation && entry.pointee.of == body.of
        && (body.of == UInt16(MT_DIGEST_WRITTEN.rawValue)
          || entry.pointee.size == body.size && entry.pointee.changeTime == body.ctime)
    }
  }

  private func hashOf(_ body: mt_digest) -> UInt64 {
    let isImage = body.of == UInt16(MT_DIGEST_IMAGE.rawValue)
    return hash(body.file.ino ^ UInt64(body.file.dev) << 32, isImage ? UInt64(bitPattern: body.ctime) : UInt64(body.of))
  }

  private mutating func findOrAddDigest(_ body: mt_digest) -> UInt32 {
    let known = findDigest(body)
    if known != 0 { return known }
    guard hasRoomForFiles() else {
      notKept.digests &+= 1
      return 0
    }
    var entry = DigestEntry(inode: body.file.ino, device: body.file.dev, generation: body.file.generation)
    entry.size = body.size
    entry.changeTime = body.ctime
    entry.of = body.of
    let digest = digests.append(entry)
    digestIndex.insert(hashOf(body), digest)
    return digest
  }

  func digest(ofImage exec: ExecEntry) -> FileDigest? {
    var body = mt_digest()
    body.file = mt_file(ino: exec.inode, dev: exec.device, generation: exec.generation, mode: 0, nlink: 0)
    body.size = exec.size
    body.ctime = exec.changeTime
    body.of = UInt16(MT_DIGEST_IMAGE.rawValue)
    return options.hashesFiles ? summary(ofDigest: findDigest(body)) : nil
  }

  func digest(ofWritten file: UInt32) -> FileDigest? {
    guard options.hashesFiles, isLeftBehind(file) else { return nil }
    let entry = files[file].pointee
    var body = mt_digest()
    body.file = mt_file(ino: entry.inode, dev: entry.device, generation: entry.generation, mode: 0, nlink: 0)
    body.of = UInt16(MT_DIGEST_WRITTEN.rawValue)
    let digest = findDigest(body)
    var out = summary(ofDigest: digest)
    let version = written[entry.detail].pointee.version
    out.isAsClosed =
      entry.detail != 0 && version.flags & VersionEntry.hasState != 0
      && version.changeTime == digests[digest].pointee.changeTime && version.size == digests[digest].pointee.size
    return out
  }

  private func summary(ofDigest digest: UInt32) -> FileDigest {
    let entry = digests[digest].pointee
    var out = FileDigest()
    if entry.how == UInt16(MT_DIGEST_KERNEL.rawValue) { out.how = .kernel }
    out.at = entry.at
    if entry.how != 0, entry.why == UInt16(MT_DIGEST_TAKEN.rawValue) {
      out.sha256 = withUnsafeBytes(of: entry.sha256) { Array($0) }
    } else {
      out.absence = entry.how == 0 ? .notHashed : DigestAbsence(rawValue: entry.why) ?? .notHashed
    }
    return out
  }

  func hashing() -> FileHashing? {
    guard options.hashesFiles else { return nil }
    var out = FileHashing()
    out.kernelObjection = Self.objection(to: kernelAlgorithm)
    for digest in digests.indices {
      let one = summary(ofDigest: digest)
      if let absence = one.absence {
        out.absent[absence, default: 0] += 1
      } else if one.how == .kernel {
        out.byKernel += 1
      } else {
        out.byUserSpace += 1
      }
    }
    return out
  }

  private static func objection(to algorithm: Int16) -> String? {
    // The first numbers of linux/hash_info.h.
    let names = ["MD4", "MD5", "SHA-1", "RIPEMD-160", "SHA-256", "SHA-384", "SHA-512"]
    if algorithm == 0 { return nil }
    if algorithm < 0 { return "the kernel's integrity module (IMA) does not hash: errno \(-Int(algorithm))" }
    let name = names.indices.contains(Int(algorithm)) ? names[Int(algorithm)] : "algorithm \(algorithm)"
    return "the kernel's integrity module (IMA) hashes with \(name), not SHA-256: ima_hash= on its command line"
  }
}
