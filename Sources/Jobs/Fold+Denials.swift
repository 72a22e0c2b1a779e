internal import KernelABI
internal import Observation

/// Equal denials of a process.
struct DenialEntry: BitwiseCopyable {
  var process: UInt32 = 0
  var image: UInt32 = 0
  var rule: UInt32 = 0
  var operation: UInt16 = 0
  var section: UInt8 = 0
  var action: UInt8 = 0
  var effect: UInt8 = 0
  var family: UInt16 = 0
  var port: UInt16 = 0
  var protocolBit: UInt16 = 0
  var remote = Address()
  var target: UInt32 = 0
  var targetPid: UInt32 = 0
  var host = Arena.Reference()
  var path = Arena.Reference()
  var isTruncated = false
  var firstAt: UInt64 = 0
  var lastAt: UInt64 = 0
  var count: UInt64 = 0

  func isSame(as other: DenialEntry) -> Bool {
    process == other.process && image == other.image && rule == other.rule && operation == other.operation
      && section == other.section && action == other.action && effect == other.effect && port == other.port
      && protocolBit == other.protocolBit && remote == other.remote && targetPid == other.targetPid
  }
}

extension Fold {
  mutating func applyDenial(_ record: RecordView, _ process: UInt32, _ image: UInt32) {
    let body = record.denial
    if record.flags.contains(.truncated) { applied.pathIsTruncated = true }
    setIdentity(body.file)
    if body.target_tgid != 0 { applied.targetID = findProcess(body.target_tgid, body.target_start) }
    if record.string(.path) != nil {
      let target = givenTarget(record, body.dir, .dir, .path, process)
      applied.pathIsResolved = target.isResolved
      show(target.directory, target.name)
    }
    var entry = DenialEntry()
    entry.process = process
    entry.image = image
    entry.rule = body.rule
    entry.operation = body.operation
    entry.section = body.section
    entry.action = body.action
    entry.effect = body.effect
    entry.family = body.family
    entry.port = body.port
    entry.protocolBit = body.protocol
    entry.remote = Self.address(body.remote)
    entry.target = applied.targetID
    entry.targetPid = body.target_tgid
    entry.isTruncated = applied.pathIsTruncated
    entry.firstAt = record.time
    // The name that the connection gave, else the one that the address was given by.
    let host = record.string(.name) ?? arena[hostName(entry.remote)]
    applied.detail = masking.detail(host)
    count(entry)
  }

  private mutating func count(_ new: DenialEntry) {
    let path = applied.path
    let key = hash(
      UInt64(new.process) &<< 32 | UInt64(new.operation), new.remote.high ^ new.remote.low ^ UInt64(new.port))
    let all = denials.all
    let known = denialIndex.find(key) { index in
      let old = all[Int(index)]
      return old.isSame(as: new) && equal(arena[old.path], path) && equal(arena[old.host], applied.detail)
    }
    if known != 0 {
      denials[known].pointee.count &+= 1
      denials[known].pointee.lastAt = new.firstAt
      return
    }
    guard denials.count < options.limits.denials, hasRoom() else {
      notKept.denials &+= 1
      if DenialEffect(rawValue: new.effect) != .observed { deniedBeyond &+= 1 }
      return
    }
    var entry = new
    entry.count = 1
    entry.lastAt = new.firstAt
    entry.path = keep(path)
    entry.host = keep(applied.detail)
    denialIndex.insert(key, denials.append(entry))
  }

  func summary(ofDenial denial: UInt32) -> DenialSummary {
    let entry = denials[denial].pointee
    var out = DenialSummary()
    out.process = entry.process
    out.image = entry.image
    out.section = PolicySectionKind(rawValue: entry.section)
    out.operation = DeniedOperation.name(entry.operation)
    out.effect = DenialEffect(rawValue: entry.effect) ?? .observed
    out.rule = entry.rule
    out.port = entry.port
    out.networkProtocol = DenialSummary.Transport(bit: entry.protocolBit)
    if entry.remote != Address() { out.address = Self.peerText(entry.remote) }
    if !entry.host.isEmpty { out.host = Name(bytes: Array(arena[entry.host])) }
    if !entry.path.isEmpty { out.path = Name(bytes: Array(arena[entry.path]), isTruncated: entry.isTruncated) }
    if entry.targetPid != 0 { out.target = SecurityAction.Target(process: entry.target, pid: entry.targetPid) }
    out.count = entry.count
    out.firstAt = entry.firstAt
    out.lastAt = entry.lastAt
    return out
  }
}
