import CLibbpf
import CSystem
import Glibc
import KernelABI
import Observation

extension Sensor {
  // MARK: - Containers that daemons start for jobs

  /// Whether somebody may be waiting for a daemon's answer: while that is so, every container's cgroup that is made is
  /// looked at, and else for a minute after a job's process has last asked.
  public func holdContainers(_ isHeld: Bool) throws(SensorError) {
    guard let map = objects.maps["container_state"] else { return }
    let page = RingMemory.pageBytes
    guard let base = mmap(nil, page, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0), base != MAP_FAILED else {
      throw .mapFailed("container_state", "map", errno: errno)
    }
    // The other word is the programs' own.
    mt_store_release_u64(base + MemoryLayout<mt_container_state>.offset(of: \.held)!, isHeld ? 1 : 0)
    munmap(base, page)
  }

  /// A process has ended that may have waited for answers on this socket of a daemon's, as `mt_daemon` names it.
  ///
  /// Sockets are used again: another process that asks on it by now goes on waiting. One that begins to between these two
  /// looks is not heard, and its containers are in no job's report.
  public func forgetTalk(_ socket: UInt64, ofProcess pid: UInt32, start: UInt64) throws(SensorError) {
    guard let map = objects.maps["talks"] else { return }
    var socket = socket
    var talk = mt_talk()
    guard bpf_map_lookup_elem(map, &socket, &talk) == 0, talk.tgid == pid, talk.leader_start == start else { return }
    try remove(socket, from: "talks", countedAs: MT_MAP_TALKS)
  }

  /// What execs in this container's cgroup from now on is nobody's.
  public func forgetContainer(_ cgroup: UInt64) throws(SensorError) {
    try remove(cgroup, from: "rule_cgroups", countedAs: MT_MAP_CGROUPS)
  }

  /// Takes an entry out of a map that counts its own, if there is such a map and it has the entry.
  private func remove(_ key: UInt64, from name: String, countedAs counted: mt_map) throws(SensorError) {
    guard let map = objects.maps[name] else { return }
    var key = key
    let result = bpf_map_delete_elem(map, &key)
    if result == -ENOENT { return }
    if result != 0 { throw .mapFailed(name, "update", errno: -result) }
    try countEntry(counted, -1)
  }
}

extension JobCounts {
  public static func += (sum: inout JobCounts, other: JobCounts) {
    sum.deduplicated &+= other.deduplicated
    sum.aggregated &+= other.aggregated
    sum.lostCritical &+= other.lostCritical
    sum.lostBulk &+= other.lostBulk
    sum.failed &+= other.failed
    sum.filtered += other.filtered
  }
}
