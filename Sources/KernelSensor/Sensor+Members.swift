import CLibbpf
import CSystem
import Glibc
import KernelABI

/// Who is in a job: added by user space, found by the task iterator, and taken out when an end went unseen.
extension Sensor {
  /// Makes a process, and everything that it starts from now on, part of a job.
  ///
  /// The process must not run meanwhile: stop it before its first instruction, or what it does is not seen. What it
  /// has started already, its other threads too, ``adopt()`` finds. The kernel side adds the start time, which user
  /// space cannot know to the nanosecond.
  ///
  /// - Parameters:
  ///   - pidfd: of the process, from pidfd_open(2) or clone3(2)
  ///   - pid: in the initial pid namespace
  ///   - job: 1 up to `MT_MAX_JOBS` - 1
  ///   - step: that the process is in; 0: none
  ///   - isRunner: each of its children from now on begins a step
  /// - Throws: also if the process has ended: the job does not have it then; and with `EEXIST` if it is in a job already,
  ///   this one or another, where it stays
  public func addToJob(
    pidfd: Int32, pid: Int32, job: UInt16, step: UInt32 = 0, isRunner: Bool = false
  ) throws(SensorError) {
    guard job > 0, job < MT_MAX_JOBS, pid > 0 else {
      throw .systemCall("There is no job \(job) for process \(pid)", errno: EINVAL)
    }
    let image = mt_boottime_ns()
    let tgid = UInt32(pid)
    if jobs[job].started == 0 { jobs.begin(job, rule: 0, key: 0, at: image) }
    // The tag comes last: a hook that finds it counts on the process.
    try list(tgid, pidfd: pidfd, in: job, image: image, isRunner: isRunner)

    var tag = mt_tag()
    tag.image = image
    tag.tgid = tgid
    tag.job = job
    tag.step = step
    if isRunner { tag.flags = UInt16(MT_TAG_RUNNER.rawValue) }
    do {
      try put(&tag, of: tgid, pidfd: pidfd)
    } catch {
      if error.errno == EEXIST {
        // Recognised between the two: the program that gives the tag a job takes over what was listed here.
        for _ in 0..<1000 where self.job(ofProcess: tgid) == job { sched_yield() }
      } else {
        try forgetProcess(tgid, job)
      }
      throw error
    }
    try countEntry(MT_MAP_TAGS, 1)
    // Its end may have been told before it had a tag.
    if mt_pidfd_has_ended(pidfd) == 1, try forgetProcess(tgid, job) {
      throw .systemCall("The process \(pid) has ended", errno: ESRCH)
    }
  }

  /// Puts a process without a tag into the map of processes, and counts it as one of the job's that live.
  func list(_ tgid: UInt32, pidfd: Int32, in job: UInt16, image: UInt64, isRunner: Bool) throws(SensorError) {
    if try hasTag(tgid, pidfd: pidfd) { throw Self.isInJob(tgid) }
    let processes = try objects.map("processes")
    var key = tgid
    var process = mt_process()
    process.image = image
    process.job = job
    if isRunner { process.step = UInt64(MT_NO_STEP) }
    jobs.addLive(job, 1)
    var result = bpf_map_update_elem(processes, &key, &process, UInt64(BPF_NOEXIST))
    if result == 0 { return try countEntry(MT_MAP_PROCESSES, 1) }
    var last = mt_process()
    if result == -EEXIST, bpf_map_lookup_elem(processes, &key, &last) == 0 {
      // Who is recognised has a tag before it is listed.
      if try hasTag(tgid, pidfd: pidfd) {
        jobs.addLive(job, -1)
        throw Self.isInJob(tgid)
      }
      // One of that number whose end was not seen.
      result = bpf_map_update_elem(processes, &key, &process, UInt64(BPF_EXIST))
      if result == 0 { return jobs.addLive(last.job, -1) }
    }
    jobs.addLive(job, -1)
    throw .mapFailed("processes", "update", errno: -result)
  }

  private func hasTag(_ tid: UInt32, pidfd: Int32) throws(SensorError) -> Bool { try tag(of: tid, pidfd: pidfd) != nil }

  /// Tags are kept with the task, by its pidfd, or by the thread's number.
  func tag(of tid: UInt32, pidfd: Int32) throws(SensorError) -> mt_tag? {
    if let tags = objects.maps["thread_tags"] {
      var key = tid
      var entry = mt_thread_tag()
      return bpf_map_lookup_elem(tags, &key, &entry) == 0 ? entry.tag : nil
    }
    var key = pidfd
    var tag = mt_tag()
    return bpf_map_lookup_elem(try objects.map("tags"), &key, &tag) == 0 ? tag : nil
  }

  private func put(_ tag: inout mt_tag, of tid: UInt32, pidfd: Int32) throws(SensorError) {
    let result: Int32
    if let tags = objects.maps["thread_tags"] {
      var key = tid
      var entry = mt_thread_tag(start: 0, tag: tag)
      result = bpf_map_update_elem(tags, &key, &entry, UInt64(BPF_NOEXIST))
    } else {
      var key = pidfd
      result = bpf_map_update_elem(try objects.map("tags"), &key, &tag, UInt64(BPF_NOEXIST))
    }
    if result == -EEXIST { throw Self.isInJob(tid) }
    if result != 0 { throw .mapFailed("tags", "update", errno: -result) }
  }

  private static func isInJob(_ tgid: UInt32) -> SensorError {
    .systemCall("The process \(tgid) is in a job already", errno: EEXIST)
  }

  /// Of all who find that a process has ended, the one who takes it out of the map tells its job.
  @discardableResult
  private func forgetProcess(_ tgid: UInt32, _ job: UInt16) throws(SensorError) -> Bool {
    var tgid = tgid
    guard bpf_map_delete_elem(try objects.map("processes"), &tgid) == 0 else { return false }
    jobs.addLive(job, -1)
    try countEntry(MT_MAP_PROCESSES, -1)
    return true
  }

  func countEntry(_ map: mt_map, _ change: Int64) throws(SensorError) {
    guard change != 0, let mapUsed = objects.maps["map_used"] else { return }
    try SensorCounters.countEntry(map, change, in: mapUsed, possibleCPUs: possibleCPUs)
  }

  /// Looks at all tasks once and makes those part of a job that belong to one and were there before it: other threads
  /// of its processes, and processes whose parent is one of its.
  ///
  /// To be called again until it finds none: a child may come before its parent.
  ///
  /// - Returns: how many tasks were added
  public func adopt() throws(SensorError) -> Int {
    try objects.iterate("adopt")
  }

  /// Looks at all tasks, and puts right what is counted of closed jobs: processes whose ends went unseen, and those of
  /// which `processes` had no room to know the end. For slots that do not come free: the look takes a microsecond a task.
  ///
  /// - Returns: how many slots turned out to have nobody in them, and can be given back
  public func reconcile() throws(SensorError) -> Int {
    let suspects = (1..<UInt16(MT_MAX_JOBS)).filter { jobs.isClosed($0) && jobs.isOccupied($0) }
    guard !suspects.isEmpty else { return 0 }
    let born = suspects.map { slot in
      jobs.clearTasks(slot)
      return jobs.born(slot)
    }
    _ = try adopt()
    // Without a birth in between, who is there now was there all the time, and has been found.
    let empty = zip(suspects, born).filter { slot, born in jobs[slot].tasks == 0 && jobs.born(slot) == born }.map(\.0)
    guard !empty.isEmpty else { return 0 }
    let processes = try objects.map("processes")
    var key: UInt32 = 0
    var gone: [(UInt32, UInt16)] = []
    var result = bpf_map_get_next_key(processes, nil, &key)
    // A key that is deleted meanwhile starts the walk again, so it is bounded by the size of the map.
    for _ in 0..<(mapCapacity(processes) ?? 0) where result == 0 {
      var process = mt_process()
      if bpf_map_lookup_elem(processes, &key, &process) == 0, empty.contains(process.job) {
        gone.append((key, process.job))
      }
      var last = key
      result = bpf_map_get_next_key(processes, &last, &key)
    }
    for (tgid, job) in gone { try forgetProcess(tgid, job) }
    for slot in empty {
      jobs.clearUnlisted(slot)
      let rest = jobs.live(slot)
      if rest != 0 { jobs.addLive(slot, -Int64(bitPattern: rest)) }
    }
    return empty.count
  }
}
