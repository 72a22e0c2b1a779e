internal import CLibbpf
internal import CSystem
internal import Glibc
internal import KernelABI
internal import Observation

/// Sensors that go on denying when who loaded them is gone: their links and some of their maps have names in a BPF file
/// system, each in a directory of its own, `/sys/fs/bpf/martlet/PID-START`. Their programs go on as they were; what they
/// tell finds no reader, and is counted as lost.
public enum PinnedSensors {
  static let root = MT_BPFFS + "/martlet"
  /// What others look at.
  static let maps = ["processes", "counters", "map_full", "rule_filter"]

  public struct Entry: Sendable, Equatable {
    /// Of its directory.
    public var name: String
    /// Who loaded it.
    public var owner: UInt32
    public var ownerLives: Bool
    /// Processes of its jobs that live.
    public var processes: Int
    /// Records that found no place.
    public var lost: UInt64
  }

  /// All that there are on this machine.
  public static func all() -> [Entry] { entries { _ in true } }

  /// Those whose owners are gone.
  public static func abandoned() -> [Entry] { entries { !$0 } }

  /// - Parameter isWanted: told whether the owner lives, before it is counted whom one is for
  private static func entries(where isWanted: (_ ownerLives: Bool) -> Bool) -> [Entry] {
    guard let directory = opendir(root) else { return [] }
    defer { closedir(directory) }
    var entries: [Entry] = []
    while let found = readdir(directory) {
      let name = withUnsafeBytes(of: &found.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      let parts = name.split(separator: "-")
      guard parts.count == 2, let owner = UInt32(parts[0]), let start = UInt64(parts[1]) else { continue }
      let ownerLives = self.start(of: owner) == start
      guard isWanted(ownerLives) else { continue }
      entries.append(
        Entry(
          name: name, owner: owner, ownerLives: ownerLives, processes: processes(of: name), lost: lost(by: name)))
    }
    return entries.sorted { $0.name < $1.name }
  }

  /// Takes away those that nobody needs.
  ///
  /// - Returns: what they were
  @discardableResult
  public static func releaseIdle() -> [Entry] {
    let idle = abandoned().filter { $0.processes == 0 }
    for entry in idle { release(entry.name) }
    return idle
  }

  /// Takes one away, whoever lives: its programs are off their hooks then.
  public static func release(_ name: String) {
    let path = "\(root)/\(name)"
    if let directory = opendir(path) {
      var names: [String] = []
      while let found = readdir(directory) {
        names.append(
          withUnsafeBytes(of: &found.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
      }
      closedir(directory)
      for name in names where name != "." && name != ".." { unlink("\(path)/\(name)") }
    }
    rmdir(path)
    rmdir(root)
  }

  /// From now on the sensors of dead owners take nobody new into their jobs: somebody else does. Whoever is in one stays.
  public static func closeAbandoned() {
    for entry in abandoned() {
      let map = bpf_obj_get("\(root)/\(entry.name)/map_rule_filter")
      guard map >= 0 else { continue }
      var zero: UInt32 = 0
      var none = mt_rule_filter()
      bpf_map_update_elem(map, &zero, &none, 0)
      close(map)
    }
  }

  private static func processes(of name: String) -> Int {
    let map = bpf_obj_get("\(root)/\(name)/map_processes")
    guard map >= 0 else { return 0 }
    defer { close(map) }
    return processes(in: map)
  }

  /// Of those that the kernel side has a process of, the ones that live: the end of one may have gone unseen.
  static func processes(in map: Int32) -> Int {
    var count = 0
    var key: UInt32 = 0
    var found = bpf_map_get_next_key(map, nil, &key)
    // A key that is deleted meanwhile starts the walk again.
    for _ in 0..<(mapCapacity(map) ?? 0) where found == 0 {
      if kill(pid_t(bitPattern: key), 0) == 0 || errno == EPERM { count += 1 }
      var last = key
      found = bpf_map_get_next_key(map, &last, &key)
    }
    return count
  }

  private static func lost(by name: String) -> UInt64 {
    let counters = bpf_obj_get("\(root)/\(name)/map_counters")
    let full = bpf_obj_get("\(root)/\(name)/map_map_full")
    defer { for map in [counters, full] where map >= 0 { close(map) } }
    guard counters >= 0, full >= 0, case let cpus = libbpf_num_possible_cpus(), cpus > 0,
      let all = try? SensorCounters(counters: counters, mapFull: full, mapUsed: nil, possibleCPUs: Int(cpus))
    else { return 0 }
    return all.types.reduce(0) { $0 &+ $1.lost }
  }

  /// In clock ticks since boot: with its number it says which process one is.
  static func start(of process: UInt32) -> UInt64? {
    guard let text = readText("/proc/\(process)/stat"), let name = text.lastIndex(of: ")") else { return nil }
    let fields = text[name...].split(separator: " ")
    // One that has ended and waits for its parent is gone.
    return fields.count > 20 && fields[1] != "Z" && fields[1] != "X" ? UInt64(fields[20]) : nil
  }
}

/// The names of one sensor, this process'.
final class PinnedSensor {
  let name: String
  /// Programs that go with this process all the same.
  private(set) var unpinned: Set<String> = []
  private let processes: Int32
  /// It has been decided what becomes of them.
  private var isSettled = false

  /// - Throws: why its programs cannot outlive this process
  init(_ objects: LoadedObjects) throws(SensorError) {
    let own = UInt32(getpid())
    guard let start = PinnedSensors.start(of: own) else {
      throw .systemCall("Could not tell when this process was started", errno: errno)
    }
    let mounted = mt_bpffs_mount()
    guard mounted == 0 else {
      throw SensorError(
        .policyRefused,
        "The policy says onSensorError: closed, and there is no BPF file system at \(MT_BPFFS) for what has to stay",
        errno: -mounted, advice: "Mount one, outside of containers and services: mount -t bpf bpf \(MT_BPFFS)")
    }
    name = "\(own)-\(start)"
    processes = try objects.map("processes")
    // One that this process had before.
    PinnedSensors.release(name)
    if mkdir(PinnedSensors.root, 0o700) != 0, errno != EEXIST { throw Self.failed("make \(PinnedSensors.root)", errno) }
    let path = "\(PinnedSensors.root)/\(name)"
    if mkdir(path, 0o700) != 0 { throw Self.failed("make \(path)", errno) }
    do throws(SensorError) {
      unpinned = Set(try objects.pin(in: path, maps: PinnedSensors.maps))
    } catch {
      PinnedSensors.release(name)
      isSettled = true
      throw error
    }
  }

  deinit { if !isSettled { PinnedSensors.release(name) } }

  /// To be asked before the programs are taken off their hooks: whether they stay, as processes of jobs live. Else the names
  /// are gone.
  func settle() -> Bool {
    isSettled = true
    if PinnedSensors.processes(in: processes) > 0 { return true }
    PinnedSensors.release(name)
    return false
  }

  static func failed(_ what: String, _ code: Int32) -> SensorError {
    SensorError(
      .policyRefused, "The policy says onSensorError: closed, and it is not possible here to \(what)", errno: code,
      advice: "Let \(MT_BPFFS) be written to, or write onSensorError: open")
  }
}
