internal import KernelABI
internal import Observation

extension Fold {
  // MARK: - Finding

  private func processHash(_ pid: UInt32, _ start: UInt64) -> UInt64 { hash(UInt64(pid), start) }

  func findProcess(_ pid: UInt32, _ start: UInt64) -> UInt32 {
    let all = processes.all
    return processIndex.find(processHash(pid, start)) {
      all[Int($0)].tgid == pid && all[Int($0)].leaderStart == start
    }
  }

  private func latestProcess(_ pid: UInt32) -> UInt32 {
    let all = processes.all
    return processByPid.find(hash(UInt64(pid))) { all[Int($0)].tgid == pid }
  }

  /// The process that a record is about, made known by it if need be; 0 for the kernel's own and beyond the limit.
  @inline(never)
  mutating func findOrAddProcess(_ pid: UInt32, _ start: UInt64, _ time: UInt64) -> UInt32 {
    if pid == 0 { return 0 }
    let known = findProcess(pid, start)
    if known != 0 { return known }
    // A start of 0 is "not known": in the very first records of the job's first process.
    let latest = latestProcess(pid)
    if latest != 0 {
      if start == 0 { return latest }
      if processes[latest].pointee.leaderStart == 0 {
        processIndex.remove(processHash(pid, 0), latest)
        processes[latest].pointee.leaderStart = start
        processIndex.insert(processHash(pid, start), latest)
        return latest
      }
    }
    return addProcess(pid, start, time, isOrphan: true)
  }

  private mutating func addProcess(_ pid: UInt32, _ start: UInt64, _ time: UInt64, isOrphan: Bool) -> UInt32 {
    guard processes.count < options.limits.processes, hasRoom() else {
      notKept.processes &+= 1
      return 0
    }
    let isRoot = root == 0 && pid == options.rootProcess
    let startedAt = start != 0 && start < time ? start : time
    let process = processes.append(
      ProcessEntry(
        leaderStart: start, tgid: pid, flags: isOrphan && !isRoot ? ProcessEntry.isOrphan : 0, startedAt: startedAt))
    if isRoot { root = process }
    let image = images.append(ImageEntry(process: process, at: startedAt))
    processes[process].pointee.firstImage = image
    processes[process].pointee.image = image
    processIndex.insert(processHash(pid, start), process)
    let latest = latestProcess(pid)
    if latest != 0 { processByPid.remove(hash(UInt64(pid)), latest) }
    processByPid.insert(hash(UInt64(pid)), process)
    return process
  }

  // MARK: - Fork, exec, exit

  mutating func applyFork(_ record: RecordView, _ process: UInt32) {
    let body = record.fork
    let time = record.time
    var child = body.child_tgid == 0 ? 0 : findProcess(body.child_tgid, body.child_start)
    if child == 0 {
      child = addProcess(body.child_tgid, body.child_start, time, isOrphan: false)
    } else if processes[child].pointee.flags & ProcessEntry.isOrphan == 0 {
      return  // Told twice.
    }
    guard child != 0, child != process else { return }
    let parent = processes[process].pointee
    let entry = processes[child]
    entry.pointee.parent = process
    entry.pointee.step = body.step != 0 ? body.step : parent.step
    entry.pointee.container = parent.container
    entry.pointee.flags &= ~ProcessEntry.isOrphan
    entry.pointee.flags |= parent.flags & (ProcessEntry.isChrooted | ProcessEntry.isInOtherNamespace)
    if time < entry.pointee.startedAt { entry.pointee.startedAt = time }
    let first = images[entry.pointee.firstImage]
    first.pointee.parent = parent.image
    first.pointee.at = min(first.pointee.at, time)
    first.pointee.exec = images[parent.image].pointee.exec
    first.pointee.file = images[parent.image].pointee.file
    if process != 0 { inheritDescriptors(from: process, to: child, shares: body.shares_files == 1, time) }
    applied.fileID = 0
  }

  mutating func applyExec(_ record: RecordView, _ process: UInt32) {
    let body = record.exec
    let time = record.time
    let empty = Bytes(start: nil, count: 0)
    let executable = record.string(.exe) ?? empty
    let filename = record.string(.filename) ?? empty
    let workingDirectory = record.string(.cwd) ?? empty
    let arguments = record.string(.argv) ?? empty
    let argumentsAreCut = body.argv_bytes > UInt64(arguments.count)
    let hashed = hash(0, executable)
    masking.exec(
      executable: executable, filename: filename, workingDirectory: workingDirectory, arguments: arguments,
      argumentsAreCut: argumentsAreCut, hash: hash, executableHash: hashed)
    applied.executable = masking.executable
    applied.filename = masking.filename
    applied.workingDirectory = masking.workingDirectory
    applied.arguments = masking.arguments
    setIdentity(body.file)
    guard process != 0 else { return }

    let previous = processes[process].pointee.image
    endImage(previous, time)
    leaveDescriptorsAtExec(process, previous, time)

    let flags = body.exec_flags
    let entry = processes[process]
    entry.pointee.flags &= ~(ProcessEntry.isChrooted | ProcessEntry.isInOtherNamespace)
    if flags & MT_EXEC_CHROOT.rawValue != 0 { entry.pointee.flags |= ProcessEntry.isChrooted }
    if flags & MT_EXEC_OTHER_MNTNS.rawValue != 0 { entry.pointee.flags |= ProcessEntry.isInOtherNamespace }

    // A process may call exec without end: an image that is not kept goes on as the one before.
    guard hasRoom() else {
      notKept.images &+= 1
      images[previous].pointee.endedAt = 0
      return
    }
    let image = images.append(
      ImageEntry(process: process, parent: previous, flags: (flags & 0xffff) | ImageEntry.isExec, at: time))
    images[previous].pointee.next = image
    processes[process].pointee.image = image
    images[image].pointee.exec = keepExec(body, previous: images[previous].pointee.exec)
    if argumentsAreCut { images[image].pointee.flags |= ImageEntry.argumentsAreTruncated }
    if record.flags.contains(.truncated) { images[image].pointee.flags |= ImageEntry.executableIsTruncated }
    applied.imageID = image
    adoptHighDescriptors(process, image, time)
    findDescriptors(body, process, image, time)

    let target = programTarget(of: executable, hashed, process)
    let file = findOrAddFile(body.file, isNew: false)
    if file != 0 {
      images[image].pointee.file = file
      if target.directory != 0 { nameFile(file, target.directory, target.name, flags: 0) }
      addAccess(file, image, FileAccess.Mode.execute.rawValue, time)
    }
    applied.fileID = file
  }

  private mutating func keepExec(_ body: mt_exec, previous: UInt32) -> UInt32 {
    var exec = ExecEntry()
    let old = execs[previous].pointee
    // Most execs keep the working directory of the image before: no need for a second copy.
    if previous != 0 && equal(arena[old.workingDirectory], masking.workingDirectory) {
      exec.workingDirectory = old.workingDirectory
    } else {
      exec.workingDirectory = keep(masking.workingDirectory)
    }
    exec.executable =
      previous != 0 && equal(arena[old.executable], masking.executable) ? old.executable : keep(masking.executable)
    exec.filename =
      equal(masking.filename, masking.executable) ? exec.executable : keep(masking.filename)
    exec.arguments = keep(masking.arguments)
    exec.fullArgumentBytes = body.argv_bytes
    exec.inode = body.file.ino
    exec.device = body.file.dev
    exec.generation = body.file.generation
    exec.size = body.size
    exec.changeTime = body.ctime
    exec.user = body.uid
    exec.group = body.gid
    return execs.append(exec)
  }

  mutating func applyExit(_ record: RecordView, _ process: UInt32) {
    let body = record.exit
    failedOpens &+= body.failed_opens
    guard process != 0 else { return }
    let entry = processes[process]
    entry.pointee.flags |= ProcessEntry.hasEnded
    entry.pointee.endedAt = record.time
    entry.pointee.waitStatus = body.status
    entry.pointee.threads = body.threads
    entry.pointee.userNanoseconds = body.user_ns
    entry.pointee.systemNanoseconds = body.system_ns
    entry.pointee.readBytes = body.read_bytes
    entry.pointee.writtenBytes = body.written_bytes
    entry.pointee.peakResidentBytes = body.peak_rss
    endImage(entry.pointee.image, record.time)
    leaveDescriptorsAtExit(process, record.time)
  }

  // MARK: - Whose they are

  /// A process that was recognised: one of the job's first ones, with nobody of the job above it.
  ///
  /// What was there before the sensor has its program told here, as no exec does.
  mutating func applyClaim(_ record: RecordView, _ process: UInt32, _ image: UInt32) {
    let body = record.claim
    masking.variables(of: record)
    applied.variables = masking.variables
    guard process != 0 else { return }
    let entry = processes[process]
    if entry.pointee.parent == 0 { entry.pointee.flags &= ~ProcessEntry.isOrphan }
    if root == 0, body.reason != MT_CLAIM_CONTAINER.rawValue { root = process }
    if body.step != 0 { entry.pointee.step = body.step }
    if body.container != 0 { entry.pointee.container = body.container }
    applied.step = entry.pointee.step
    applied.container = entry.pointee.container
    guard let executable = record.string(.exe) else { return }
    let empty = Bytes(start: nil, count: 0)
    masking.exec(
      executable: executable, filename: executable, workingDirectory: record.string(.cwd) ?? empty,
      arguments: record.string(.argv) ?? empty, argumentsAreCut: record.flags.contains(.truncated), hash: hash,
      executableHash: hash(0, executable))
    applied.executable = masking.executable
    applied.filename = masking.filename
    applied.workingDirectory = masking.workingDirectory
    applied.arguments = masking.arguments
    guard images[image].pointee.flags & ImageEntry.isExec == 0, hasRoom() else { return }
    var exec = mt_exec()
    exec.uid = body.uid
    images[image].pointee.flags |= ImageEntry.isExec
    if record.flags.contains(.truncated) { images[image].pointee.flags |= ImageEntry.argumentsAreTruncated }
    images[image].pointee.exec = keepExec(exec, previous: 0)
  }

  mutating func applyStep(_ record: RecordView, _ process: UInt32) {
    masking.variables(of: record)
    applied.variables = masking.variables
    let step = record.step.step
    guard process != 0, step != 0 else { return }
    processes[process].pointee.step = step
    applied.step = step
  }

  private mutating func endImage(_ image: UInt32, _ time: UInt64) {
    if image != 0 { images[image].pointee.endedAt = time }
  }

  mutating func commandEnded(at time: UInt64) {
    for process in processes.indices where process != root {
      let entry = processes[process]
      // Records are folded in order of time, but this comes from elsewhere: an end may be known that is later.
      let hasEnded = entry.pointee.flags & ProcessEntry.hasEnded != 0 && entry.pointee.endedAt <= time
      if !hasEnded && entry.pointee.startedAt <= time {
        entry.pointee.flags |= ProcessEntry.outlivedCommand
      }
    }
  }
}
