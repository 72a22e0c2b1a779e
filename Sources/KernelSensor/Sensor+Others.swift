import CLibbpf
import CSystem
import Glibc
import KernelABI

/// Sensors of several agents at once: one that takes over, and those that keep the jobs that they have until these are over.
///
/// At an exec their programs run in the order in which the agents were started. Who is asked first and takes the process has
/// it in its ``members`` when the next one is asked, so of any exec at most one begins or joins a job, without any lock.
extension Sensor {
  /// The processes of its jobs, for others to look into.
  public func members() throws(SensorError) -> OtherMembers { try OtherMembers(copying: objects.map("processes")) }

  /// Takes nobody from now on who is in a job of another sensor, or inherits from who is.
  ///
  /// - Returns: false if it is of a version whose map these programs cannot look into
  /// - Throws: if there is no room for it
  @discardableResult
  public func know(_ members: OtherMembers) throws(SensorError) -> Bool {
    guard let place = others.firstIndex(where: { $0 == nil }) else {
      throw .systemCall("There are \(others.count) other agents already whose jobs are not over", errno: ENOSPC)
    }
    var (key, value) = (UInt32(place), members.descriptor)
    let result = bpf_map_update_elem(try objects.map("others"), &key, &value, 0)
    if result == -EINVAL { return false }
    if result != 0 { throw .mapFailed("others", "update", errno: -result) }
    others[place] = members
    try putFilter()
    return true
  }

  /// Ends ``know(_:)`` of a sensor that is gone: what is in its map is out of date.
  public func forget(_ members: OtherMembers) throws(SensorError) {
    guard let place = others.firstIndex(where: { $0 === members }) else { return }
    var key = UInt32(place)
    let result = bpf_map_delete_elem(try objects.map("others"), &key)
    if result != 0 { throw .mapFailed("others", "update", errno: -result) }
    others[place] = nil
    try putFilter()
  }

  /// Whether a process is in a job of another sensor.
  public func isAnothers(_ process: UInt32) -> Bool { others.contains { $0?.contains(process) ?? false } }

  /// Leaves jobs to another sensor to begin, and returns when no program is about to begin one; or begins them again.
  ///
  /// - Parameter joins: processes with the key of a job that there is still join it; else rules are not asked about
  public func leaveJobs(_ areLeft: Bool, joins: Bool = true) throws(SensorError) {
    leavesJobs = areLeft
    asksRules = !areLeft || joins
    try putFilter()
    mt_wait_for_programs()
  }

  /// There is no job any more that can be joined, after ``leaveJobs(_:joins:)``.
  public func stopJoining() throws(SensorError) {
    guard leavesJobs, asksRules else { return }
    asksRules = false
    try putFilter()
  }

  /// Returns when no program runs any more that has begun before.
  public static func waitForPrograms() { mt_wait_for_programs() }

  // MARK: - Shielding each other

  /// When this process began, as the kernel side compares it; nil: there is no hook that would.
  public var ownStart: UInt64? {
    guard let map = objects.maps["shield_processes"] else { return nil }
    var (key, start) = (UInt32(getpid()), UInt64(0))
    return bpf_map_lookup_elem(map, &key, &start) == 0 ? start : nil
  }

  /// Keeps jobs off another agent: its process, and its programs, maps and links.
  ///
  /// - Parameter start: its ``ownStart``
  public func shield(agent process: UInt32, start: UInt64) throws(SensorError) {
    if let map = objects.maps["shield_processes"] {
      var (key, value) = (process, start)
      try Self.set(&value, at: &key, of: map, named: "shield_processes")
    }
    guard let map = objects.maps["shield_objects"] else { return }
    for object in Self.objects(of: process) { try Self.shield(object, in: map) }
  }

  /// What a process holds, as /proc tells it.
  private static func objects(of process: UInt32) -> [mt_bpf_object] {
    let kinds = [("prog_id:", MT_OBJECT_PROGRAM), ("map_id:", MT_OBJECT_MAP), ("link_id:", MT_OBJECT_LINK)]
    var found: [mt_bpf_object] = []
    for name in directoryEntries("/proc/\(process)/fdinfo") {
      for line in readText("/proc/\(process)/fdinfo/\(name)")?.split(separator: "\n") ?? [] {
        for (word, kind) in kinds where line.hasPrefix(word) {
          let number = line.dropFirst(word.count).drop { $0 == " " || $0 == "\t" }
          if let id = UInt32(number) { found.append(mt_bpf_object(kind: kind.rawValue, id: id)) }
        }
      }
    }
    return found
  }
}

/// The processes of a sensor's jobs: a hash by their numbers, whose values may be of another version.
public final class OtherMembers: Sendable {
  public let descriptor: Int32
  private let valueSize: Int

  /// - Parameter descriptor: of the map; closed with this
  /// - Throws: if it is no map of processes
  public init(_ descriptor: Int32) throws(SensorError) {
    self.descriptor = descriptor
    let info = try LoadedObjects.info(ofMap: descriptor)
    valueSize = Int(info.value_size)
    guard info.type == BPF_MAP_TYPE_HASH.rawValue, info.key_size == 4 else {
      throw .systemCall("The map is none of processes", errno: EINVAL)
    }
  }

  fileprivate convenience init(copying descriptor: Int32) throws(SensorError) {
    let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)
    guard copy >= 0 else { throw .systemCall("Could not copy a descriptor", errno: errno) }
    try self.init(copy)
  }

  deinit { close(descriptor) }

  public func contains(_ process: UInt32) -> Bool {
    var (key, value) = (process, [UInt8](repeating: 0, count: valueSize))
    return bpf_map_lookup_elem(descriptor, &key, &value) == 0
  }
}
