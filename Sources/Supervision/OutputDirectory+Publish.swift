import CSystem
import Glibc

extension OutputDirectory {
  /// Brings everything to disk, gives the directory its name and its owner.
  ///
  /// An earlier report of the same name is replaced. Anything else there stays as it is, and the report goes
  /// under a number beside it.
  public func publish() throws(OutputError) -> Published {
    for file in files {
      guard fsync(file.descriptor) == 0 else { throw OutputError("cannot write \(file.name)", code: errno) }
    }
    fsync(directory)
    var note: String?
    let final = try place(note: &note)
    fsync(parent)
    // Only now: from here on the report is the user's, and so is what the user's processes do to it.
    try giveAway()
    return Published(path: shownPath(of: final), note: note)
  }

  /// Where it lies while it grows, and stays if it cannot be published.
  public var temporaryPath: String { shownPath(of: temporaryName) }

  func shownPath(of name: String) -> String {
    switch parentPath {
    case ".": Self.shown(name)
    case "/": Self.shown("/" + name)
    default: Self.shown(parentPath + "/" + name)
    }
  }

  /// Tries the name itself, then numbered ones. Every rename is checked afterwards, because the hidden name may
  /// have been given to something else just before it.
  private func place(note: inout String?) throws(OutputError) -> String {
    var number = 0
    // Bounded: somebody who renames without end must not keep martlet from ending.
    for _ in 0..<500 {
      if !refersToUs(temporaryName) || !isWhole {
        try moveToFreshDirectory()
        continue
      }
      let candidate = number == 0 ? name : "\(name).\(number)"
      switch settle(as: candidate, mayReplace: number == 0) {
      case .settled: return candidate
      case .lost: continue
      case .occupied(let what):
        if number == 0 { note = "\(shownPath(of: name)) is \(what)" }
        number += 1
      case .failed(let code):
        throw OutputError("cannot rename the report, which is in \(temporaryPath)", code: code)
      }
    }
    note = "its directory keeps being renamed by something else"
    return temporaryName
  }

  /// The directory holds our files and nothing else.
  private var isWhole: Bool {
    Self.names(in: directory) == files.map(\.name).sorted()
      && files.allSatisfy { file in
        let named = Self.status(of: directory, name: file.name).map(FileKey.init)
        return named == Self.status(of: file.descriptor).map(FileKey.init)
      }
  }

  private enum Settlement {
    case settled
    /// The hidden name was not ours any more.
    case lost
    case occupied(String)
    case failed(Int32)
  }

  private func settle(as candidate: String, mayReplace: Bool) -> Settlement {
    let code = rename(to: candidate, MT_OUTPUT_KEEP)
    if code == 0 { return refersToUs(candidate) ? .settled : .lost }
    guard code == -EEXIST || code == -ENOTEMPTY || code == -ENOTDIR else {
      return code == -ENOENT ? .lost : .failed(-code)
    }
    guard mayReplace else { return .occupied("there already") }
    let old = mt_output_open_directory(parent, candidate)
    guard old >= 0 else {
      switch old {
      case -ENOENT: return .lost
      case -EXDEV: return .occupied("a mount point")
      default: return .occupied("not a directory")
      }
    }
    defer { close(old) }
    guard let status = Self.status(of: old) else { return .lost }
    if let objection = objection(to: old, status: status) { return .occupied(objection) }
    return replace(candidate, old: old, key: FileKey(status))
  }

  /// Why a directory is not an earlier report that may go; nil if it is.
  private func objection(to old: Int32, status: mt_output_status) -> String? {
    guard status.user == geteuid() || status.user == owner?.uid else { return "somebody else's" }
    guard let names = Self.names(in: old) else { return "not a martlet report" }
    for name in names {
      guard Self.knownFiles.contains(name), Self.status(of: old, name: name)?.is_regular == true else {
        return "not only a martlet report"
      }
    }
    guard names.isEmpty || names.contains("report.json") else { return "not a martlet report" }
    return nil
  }

  private func replace(_ candidate: String, old: Int32, key: FileKey) -> Settlement {
    let code = rename(to: candidate, MT_OUTPUT_EXCHANGE)
    if code == 0 {
      guard refersToUs(candidate) else { return .lost }
      // What the exchange brought out is only cleared if it is what was looked at.
      if Self.status(of: parent, name: temporaryName).map(FileKey.init) == key {
        removeKnownFiles(in: old)
        unlinkat(parent, temporaryName, AT_REMOVEDIR)
      }
      return .settled
    }
    guard code == -EINVAL || code == -ENOSYS || code == -EOPNOTSUPP else {
      return code == -ENOENT ? .lost : .failed(-code)
    }
    // Some network file systems cannot exchange: empty the old one, whose place may then be taken.
    removeKnownFiles(in: old)
    let plain = rename(to: candidate, MT_OUTPUT_PLAIN)
    if plain == 0 { return refersToUs(candidate) ? .settled : .lost }
    return plain == -ENOENT ? .lost : .failed(-plain)
  }

  private func removeKnownFiles(in old: Int32) {
    // unlinkat(2) removes a name, never what a link points to.
    for name in Self.knownFiles { unlinkat(old, name, 0) }
  }

  private func rename(to candidate: String, _ how: mt_output_rename) -> Int32 {
    let code = mt_output_rename(parent, temporaryName, candidate, how)
    guard how == MT_OUTPUT_KEEP, code == -EINVAL || code == -ENOSYS else { return code }
    // Without flags a directory still replaces nothing but an empty directory.
    return mt_output_rename(parent, temporaryName, candidate, MT_OUTPUT_PLAIN)
  }

  /// Somebody renamed or changed the hidden directory: its files get names in a new one, from the descriptors that
  /// are held.
  func moveToFreshDirectory() throws(OutputError) {
    let (name, fresh, key) = try Self.makeTemporary(in: parent)
    for index in files.indices {
      let file = files[index]
      if mt_output_link(file.descriptor, fresh, file.name) != 0 {
        // Without the capability, or already removed everywhere.
        files[index].descriptor = try Self.copy(file.descriptor, to: fresh, name: file.name)
        close(file.descriptor)
      }
      unlinkat(directory, file.name, 0)
    }
    close(directory)
    (temporaryName, directory, identity) = (name, fresh, key)
  }

  private static func copy(_ source: Int32, to directory: Int32, name: String) throws(OutputError) -> Int32 {
    let target = mt_output_create_file(directory, name)
    guard target >= 0 else { throw OutputError("cannot create \(name)", code: -target) }
    do {
      try copy(source, upTo: .max, to: target, name: name)
    } catch {
      close(target)
      throw error
    }
    return target
  }

  static func copy(_ source: Int32, upTo bytes: UInt64, to target: Int32, name: String) throws(OutputError) {
    var offset: UInt64 = 0
    while offset < bytes {
      var failure: Int32 = 0
      let chunk = [UInt8](unsafeUninitializedCapacity: 1 << 18) { buffer, count in
        let wanted = Int(min(UInt64(buffer.count), bytes - offset))
        let result = pread(source, buffer.baseAddress, wanted, off_t(clamping: offset))
        failure = result < 0 ? errno : 0
        count = max(0, result)
      }
      if failure == EINTR { continue }
      guard failure == 0 else { throw OutputError("cannot copy \(name)", code: failure) }
      if chunk.isEmpty { return }
      try write(chunk, to: target, name: name)
      offset += UInt64(chunk.count)
    }
  }

  private func giveAway() throws(OutputError) {
    guard let owner else { return }
    for file in files {
      guard fchown(file.descriptor, owner.uid, owner.gid) == 0 else {
        throw OutputError("cannot give \(file.name) to user \(owner.uid)", code: errno)
      }
    }
    guard fchown(directory, owner.uid, owner.gid) == 0 else {
      throw OutputError("cannot give the report to user \(owner.uid)", code: errno)
    }
  }
}
