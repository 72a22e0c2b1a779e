internal import KernelABI
internal import Observation
internal import Synchronization

/// All that is known about one job, and the rules by which a record changes it.
///
/// One value without a copy: a class with many stored properties would check for exclusive access at each of
/// them. The rules are in extensions, one a topic.
struct Fold: ~Copyable {
  typealias Bytes = UnsafeRawBufferPointer

  let options: JobOptions
  let hash: KeyedHash
  /// Of whoever has the job; shared with others.
  private(set) var workspace: UnsafeMutablePointer<FoldWorkspace.Memory>
  /// Bytes that may be kept.
  var limit: Int
  var arena = Arena()

  var processes = Pool(none: ProcessEntry())
  var processIndex = HashIndex()
  /// The latest process with a pid.
  var processByPid = HashIndex()
  var root: UInt32 = 0
  var images = Pool(none: ImageEntry())
  var execs = Pool(none: ExecEntry())

  var directories = Pool(none: DirectoryEntry())
  var identifiers = Pool(none: DirectoryIdentifier())
  var identifierIndex = HashIndex()
  var lastIdentifier: UInt32 = 0
  var names = Pool(none: NameEntry())
  var nameIndex = HashIndex()
  /// Raised when a directory moves: all directories' paths are then to be put together anew.
  var directoryEpoch: UInt32 = 1
  /// Raised when a directory moves or goes: a path may lead elsewhere then.
  var treeEpoch: UInt32 = 1
  var programs = ProgramPlaces()

  var files = Pool(none: FileEntry())
  var fileIndex = HashIndex()
  var accesses = Pool(none: AccessEntry())
  var written = Pool(none: WrittenFile())
  var versions = Pool(none: VersionEntry())
  /// What was read and written, for accesses of which it was told.
  var transfers = Pool(none: TransferEntry())
  var transferIndex = HashIndex()
  var digests = Pool(none: DigestEntry())
  var digestIndex = HashIndex()
  /// Why the kernel's own digests could not be used; see ``FileHashing/kernelObjection``.
  var kernelAlgorithm: Int16 = 0
  var socketInodes = Pool(none: SocketInode())
  var socketInodeIndex = HashIndex()

  var tables = Pool(none: DescriptorTable())
  var freeTable: UInt32 = 0
  var descriptors = Pool(none: DescriptorEntry())
  var descriptorIndex = HashIndex()
  var freeDescriptor: UInt32 = 0
  var descriptorSets = Pool(none: DescriptorSet())
  var descriptorSetIndex = HashIndex()
  var setMembers = Pool(none: SetMember())

  var changes = Pool(none: ChangeEntry())
  var copies = Pool(none: CopyEntry())
  var copyIndex = HashIndex()
  var flows = Pool(none: FlowEntry())
  var flowIndex = HashIndex()
  var merging = FlowMerging()
  var actions = Pool(none: ActionEntry())
  var actionIndex = HashIndex()
  var hosts = Pool(none: HostEntry())
  var hostIndex = HashIndex()
  var asked = Pool(none: AskedEntry())
  var askedAddresses = Pool(none: AskedAddressEntry())
  var askedIndex = HashIndex()
  var denials = Pool(none: DenialEntry())
  var denialIndex = HashIndex()
  var requests = Pool(none: RequestEntry())
  var requestIndex = HashIndex()
  var requestLists = Pool(none: RequestList())
  var requestListIndex = HashIndex()
  var requestCounts = RequestCounting()
  /// Deeds that were stopped of which there was no room to keep more.
  var deniedBeyond: UInt64 = 0

  var resolver: PathResolver
  var applied: Applied
  var masking: Masking {
    _read { yield workspace.pointee.masking }
    nonmutating _modify { yield &workspace.pointee.masking }
  }

  var records: UInt64 = 0
  var opens: UInt64 = 0
  var failedOpens: UInt64 = 0
  var unknownDirectories: UInt64 = 0
  var filesNotKept: UInt64 = 0
  var notKept = NotKept()
  /// What ``ShortTime`` counts from.
  var timeBase: UInt64 = 0
  var lastTime: UInt64 = 0
  private var room = Room()
  /// Has an address that is part of what it is, and gives one to all of this. Without it Swift 6.3 hands a method that changes
  /// nothing a copy of these two kilobytes, wherever one that does change something calls it.
  private let place = Atomic<UInt8>(0)

  // The process of the record before: most records come in runs.
  private var lastPid: UInt32 = 0
  private var lastStart: UInt64 = 0
  private var lastProcess: UInt32 = 0

  /// Whether the storage may grow, reckoned anew now and then.
  private struct Room: BitwiseCopyable {
    var untilNextLook: UInt32 = 0
    var forFiles = true
    var forOthers = true
  }

  init(options: JobOptions, workspace: UnsafeMutablePointer<FoldWorkspace.Memory>) {
    self.options = options
    self.workspace = workspace
    limit = options.limits.bytes
    hash = workspace.pointee.hash
    resolver = PathResolver(isEnabled: options.resolvesPaths, workspace: workspace)
    applied = Applied(scratch: workspace.pointee.scratch, scratch2: workspace.pointee.scratch2)
    makeFixedDirectories()
  }

  /// Nothing of the workspace before is used any more, nor what ``applied`` said.
  mutating func use(_ workspace: UnsafeMutablePointer<FoldWorkspace.Memory>) {
    self.workspace = workspace
    resolver.workspace = workspace
    applied = Applied(scratch: workspace.pointee.scratch, scratch2: workspace.pointee.scratch2)
  }

  // MARK: - Limits

  /// Memory in use, in bytes.
  var bytes: Int {
    let entries =
      processes.bytes + images.bytes + execs.bytes + directories.bytes + identifiers.bytes + names.bytes
      + files.bytes + accesses.bytes + transfers.bytes + written.bytes + versions.bytes + socketInodes.bytes
    let others =
      tables.bytes + descriptors.bytes + descriptorSets.bytes + setMembers.bytes + changes.bytes
      + copies.bytes + flows.bytes + actions.bytes + hosts.bytes + asked.bytes + askedAddresses.bytes + denials.bytes
      + requests.bytes + requestLists.bytes + arena.bytes
    let indices =
      processIndex.bytes + processByPid.bytes + identifierIndex.bytes + nameIndex.bytes + fileIndex.bytes
      + descriptorIndex.bytes + descriptorSetIndex.bytes + copyIndex.bytes + flowIndex.bytes + socketInodeIndex.bytes
      + actionIndex.bytes + hostIndex.bytes + askedIndex.bytes + denialIndex.bytes + transferIndex.bytes + digests.bytes
      + digestIndex.bytes + requestIndex.bytes + requestListIndex.bytes
    return entries + others + indices
  }

  private mutating func look() {
    if room.untilNextLook > 0 {
      room.untilNextLook &-= 1
      return
    }
    let used = bytes
    room = Room(
      untilNextLook: 256, forFiles: used < limit / 4 * 3, forOthers: used < limit)
  }

  /// Whether there is room for what a flood of files could use up.
  mutating func hasRoomForFiles() -> Bool {
    look()
    return room.forFiles
  }

  /// Whether there is room for a process, a connection or what belongs to them.
  mutating func hasRoom() -> Bool {
    look()
    return room.forOthers
  }

  /// Keeps a string if there is room; counts it otherwise.
  mutating func keep(_ string: Bytes) -> Arena.Reference {
    if string.isEmpty { return Arena.Reference() }
    guard hasRoom() else {
      notKept.strings &+= 1
      return Arena.Reference()
    }
    return arena.append(string)
  }

  func short(_ time: UInt64) -> ShortTime { ShortTime(time, since: timeBase) }
  func long(_ time: ShortTime) -> UInt64 { time.isNone ? 0 : timeBase &+ time.delta }

  // MARK: - Records

  mutating func apply(_ record: RecordView) {
    let time = record.time
    if records == 0 {
      // Some way back: records of other CPUs may still come with earlier times.
      timeBase = time > 60_000_000_000 ? time - 60_000_000_000 : 0
    }
    records &+= 1
    if time > lastTime { lastTime = time }
    let pid = record.tgid
    let start = record.leaderStart
    let process: UInt32
    if pid == lastPid && start == lastStart && lastProcess != 0 {
      process = lastProcess
    } else {
      process = findOrAddProcess(pid, start, time)
      lastPid = pid
      lastStart = start
      lastProcess = process
    }
    let entry = processes[process]
    let image = entry.pointee.image
    applied.begin(
      process: process, image: image, step: entry.pointee.step, container: entry.pointee.container)
    switch record.type {
    case .fork: applyFork(record, process)
    case .exec: applyExec(record, process)
    case .exit: applyExit(record, process)
    case .open, .passFD: applyOpen(record, process, image)
    case .close: applyClose(record, process)
    case .dup: applyDup(record, process, image)
    case .rename, .unlink, .rmdir, .link, .symlink, .mkdir, .mknod, .truncate, .chmod, .chown:
      applyPathOperation(record, process, image)
    case .mmapShared: applyMapping(record, image)
    case .copy: applyCopy(record, image)
    case .pipe, .socketpair: applyPair(record, image)
    case .connect, .bind, .listen, .udpSend, .tcpClose, .socket, .flowOpen: applyFlow(record, process, image)
    case .unixConnect, .unixAccept: applyUnix(record, process, image)
    case .uring: applyURing(record, process, image)
    case .security: applySecurity(record, process, image)
    case .io: applyIO(record, process)
    case .digest: applyDigest(record)
    case .claim: applyClaim(record, process, image)
    case .step: applyStep(record, process)
    // They say where containers belong, which is not the fold's business; what TLS is given is for the decoder alone.
    case .daemon, .cgroup, .tlsWrite, .tlsSent: break
    case .denial: applyDenial(record, process, image)
    case .answer: applyAnswer(record)
    case .request: applyRequest(record, process)
    case .serverName: applyServerName(record, image)
    }
  }
}
