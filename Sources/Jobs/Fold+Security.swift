internal import KernelABI
internal import Observation

/// Equal actions of a process.
struct ActionEntry: BitwiseCopyable {
  var process: UInt32 = 0
  var image: UInt32 = 0
  var kind: UInt16 = 0
  var flags: UInt16 = 0
  var error: Int32 = 0
  var target: UInt32 = 0
  var targetPid: UInt32 = 0
  var targetStart: UInt64 = 0
  var argument: UInt64 = 0
  var inode: UInt64 = 0
  var device: UInt32 = 0
  var generation: UInt32 = 0
  var before = ActionValues()
  var after = ActionValues()
  var path = Arena.Reference()
  var source = Arena.Reference()
  var detail = Arena.Reference()
  var isTruncated = false
  var isUnresolved = false
  var firstAt: UInt64 = 0
  var lastAt: UInt64 = 0
  var count: UInt64 = 0
}

struct ActionValues: BitwiseCopyable, Equatable {
  var first: UInt64 = 0
  var second: UInt64 = 0
  var third: UInt64 = 0

  init() {}

  init(_ values: (UInt64, UInt64, UInt64)) { (first, second, third) = values }

  var array: [UInt64] { [first, second, third] }
}

extension Fold {
  mutating func applySecurity(_ record: RecordView, _ process: UInt32, _ image: UInt32) {
    let body = record.security
    if record.flags.contains(.truncated) { applied.pathIsTruncated = true }
    setIdentity(body.file)
    if body.target_tgid != 0 { applied.targetID = findProcess(body.target_tgid, body.target_start) }
    if let detail = record.string(.detail) { applied.detail = masking.detail(detail) }
    if record.string(.path) != nil { showPaths(record, body, process) }

    var entry = ActionEntry()
    entry.process = process
    entry.image = image
    entry.kind = body.kind
    entry.flags = body.security_flags
    // Without an outcome whatever is there is nothing.
    entry.error = record.securityFlags.contains(.hasOutcome) ? body.error : 0
    entry.target = applied.targetID
    entry.targetPid = body.target_tgid
    entry.targetStart = body.target_start
    entry.argument = body.argument
    entry.inode = body.file.ino
    entry.device = body.file.dev
    entry.generation = body.file.generation
    entry.before = ActionValues(body.before)
    entry.after = ActionValues(body.after)
    entry.isTruncated = applied.pathIsTruncated
    entry.isUnresolved = !applied.pathIsResolved
    entry.firstAt = record.time
    count(entry)
  }

  /// What the security modules are told are whole paths; what a call was told has to be resolved, except what is
  /// mounted, which may be anything.
  private mutating func showPaths(_ record: RecordView, _ body: mt_security, _ process: UInt32) {
    let kind = record.securityKind
    let isMount = kind == .mount || kind == .moveMount || kind == .umount || kind == .pivotRoot
    if isMount, record.securityFlags.contains(.hasOutcome) {
      let target = givenTarget(record, body.dir, .dir, .path, process)
      applied.pathIsResolved = target.isResolved
      show(target.directory, target.name)
      guard let raw = record.string(.path2) else { return }
      if kind == .mount {
        showSecond(Fixed.nowhere, raw)
      } else {
        let source = givenTarget(record, body.dir2, .dir2, .path2, process)
        showSecond(source.directory, source.name)
      }
    } else {
      if let raw = record.string(.path) { show(Fixed.nowhere, raw) }
      if let raw = record.string(.path2) { showSecond(Fixed.nowhere, raw) }
    }
  }

  /// Keeps an action, or counts it with an equal one.
  private mutating func count(_ new: ActionEntry) {
    // Joined in the scratch space of `applied`, one each.
    let path = applied.path
    let source = applied.path2
    let key = hash(UInt64(new.process) &<< 32 | UInt64(new.kind), new.argument ^ new.targetStart)
    let all = actions.all
    let known = actionIndex.find(key) { index in
      let old = all[Int(index)]
      return old.process == new.process && old.image == new.image && old.kind == new.kind && old.flags == new.flags
        && old.error == new.error && old.targetPid == new.targetPid && old.targetStart == new.targetStart
        && old.argument == new.argument && old.inode == new.inode && old.device == new.device
        && old.before == new.before && old.after == new.after && equal(arena[old.path], path)
        && equal(arena[old.source], source) && equal(arena[old.detail], applied.detail)
    }
    if known != 0 {
      actions[known].pointee.count &+= 1
      actions[known].pointee.lastAt = new.firstAt
      return
    }
    guard actions.count < options.limits.actions, hasRoom() else {
      notKept.actions &+= 1
      return
    }
    var entry = new
    entry.count = 1
    entry.lastAt = new.firstAt
    entry.path = keep(path)
    entry.source = keep(source)
    entry.detail = keep(applied.detail)
    actionIndex.insert(key, actions.append(entry))
  }

  func summary(ofAction action: UInt32) -> SecurityAction {
    let entry = actions[action].pointee
    let flags = SecurityFlags(rawValue: entry.flags)
    func name(_ text: Arena.Reference, isPath: Bool = true) -> Name? {
      text.isEmpty ? nil : Name(bytes: Array(arena[text]), isTruncated: isPath && entry.isTruncated)
    }
    var out = SecurityAction(kind: SecurityKind(rawValue: entry.kind))
    out.process = entry.process
    out.image = entry.image
    out.flags = flags
    if flags.contains(.hasOutcome) { out.outcome = entry.error == 0 ? .success : .failure(error: entry.error) }
    if entry.targetPid != 0 { out.target = .init(process: entry.target, pid: entry.targetPid) }
    out.argument = entry.argument
    if entry.inode != 0 {
      out.identity = FileIdentity(device: entry.device, inode: entry.inode, generation: entry.generation)
    }
    out.path = name(entry.path)
    out.source = name(entry.source)
    out.detail = name(entry.detail, isPath: false)
    out.isUnresolved = entry.isUnresolved
    if flags.contains(.hasBefore) { out.before = entry.before.array }
    if flags.contains(.hasAfter) { out.after = entry.after.array }
    out.count = entry.count
    out.firstAt = entry.firstAt
    out.lastAt = entry.lastAt
    return out
  }
}
