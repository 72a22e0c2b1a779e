import Glibc
import KernelABI
public import Observation

/// How much memory the sensor's rings take. Sizes are rounded up to a power of two of at least a page.
///
/// A ring has to hold what its producers write while the reader is not running. The defaults take 400,000
/// events a second on each CPU, of 112 bytes and the ring's own 8 each, and a reader that is held up for
/// 100 ms: 4.8 MB, so 8 MiB. With fewer than 8 CPUs the reader competes with the command for every one of
/// them and is held up longer: twice that. All bulk rings together stay within 512 MiB, which is what halves
/// them on machines of more than 64 CPUs: the kernel allocates a ring's pages at once.
///
/// The critical ring is shared by all CPUs. It carries processes and network only, whose rate is bounded by
/// the price of a fork or a connection: 8 MiB is 285 records of the greatest size, or 40,000 of 200 bytes.
public struct SensorOptions: Sendable {
  /// Bytes of the ring for processes and network.
  public var criticalRingBytes: Int
  /// Bytes of each CPU's ring for files.
  public var bulkRingBytes: Int
  /// Entries of the kernel's maps, by name, where they shall differ from what is usual: ``sizedMaps``.
  public var mapEntries: [String: UInt32] = [:]
  /// Maps that can be given another size.
  public static let sizedMaps = ["processes", "writers", "sockets", "open_files"]
  /// Recognise jobs by rules (``Sensor/setRules(_:identity:)``) and count what becomes of each one's events. Without it
  /// there is no program that looks at processes which are in no job.
  public var recognisesJobs = false
  /// Of other agents, for ``Sensor/know(_:)``.
  public var others: [OtherMembers] = []
  /// When the kernel side wakes the reader.
  public var wakeup = Wakeup.adaptive
  /// The kind of hooks to prefer, for tests and comparisons; nil: of each function the best that works.
  public var hooks: HookTier?
  /// Count the programs' runs and their time, which costs each run some 70 ns: see ``RunTimeStatistics``.
  public var countsRunTime = false

  /// Count events and map entries, and read the counts while the command runs. Without, a run cannot tell whether it is
  /// whole, and says so: it is for measuring what the counts cost.
  public var counts = true
  /// Count the bytes that are read and written through each open file.
  public var countsBytes = false
  /// Keep policies: what ``Sensor/enforce(_:on:in:)`` is given.
  public var enforces = false
  /// Go on denying when this process is killed, and after its end while a process of a job lives: see ``PinnedSensors``.
  public var outlives = false
  /// Tell by what names addresses were given to a job: the answers of its resolvers.
  public var names = false
  /// How long an answer of a resolver holds beyond what it says: programs connect to what they looked up a while ago.
  public var leaseGrace = Duration.seconds(120)
  /// Look at what is handed to TLS libraries: ``Sensor/requestProbes()`` says at which.
  public var readsRequests = false
  /// Have the kernel hash each image that is executed, where it can.
  public var hashesImages = false

  /// What may be left out of a job: ``Sensor/setFilter(_:on:)``, ``Sensor/setFilters(rules:asked:)``. Without any the
  /// programs have nothing of it.
  public var filters: [EventFilter] = []
  /// What is left out of every job, whatever its filter: what is for nothing else is not attached.
  public var leftOut: Set<EventClass> = []

  var requests: Set<HookRequest> {
    var requests: Set<HookRequest> = countsBytes ? [.bytes] : []
    if hashesImages { requests.insert(.hashes) }
    if readsRequests { requests.insert(.requests) }
    // What keeps policies tells of the answers, too.
    if enforces { requests.insert(.policy) } else if names { requests.insert(.names) }
    return requests
  }

  /// What the kernel side shall do without even if the kernel has it: for tests of what stands in.
  public var withheld: Set<KernelFeature> = []

  /// When the kernel side wakes the reader, which also looks by itself at an interval of its own.
  public enum Wakeup: String, Sendable, CaseIterable {
    /// Never: the least for the watched processes, and what a ring cannot hold for an interval is lost.
    case timer
    /// When a quarter of a ring has filled since it was last woken.
    case adaptive
    /// For every record: the least delay, at some microseconds of the watched process for each.
    case immediate

    /// Bytes after which a producer wakes the reader.
    func edge(ofRing bytes: Int) -> UInt32 {
      switch self {
      case .timer: .max
      case .adaptive: UInt32(bytes / 4)
      case .immediate: 0
      }
    }
  }

  /// Entries of all maps that do not have what the programs say.
  var entries: [String: UInt32] {
    // With one job the global counts are its own.
    var entries = recognisesJobs ? Self.entriesForManyJobs : ["job_counts": 2, "filtered": 2]
    if enforces { entries.merge(Self.entriesForPolicies) { first, _ in first } }
    if enforces && recognisesJobs { entries.merge(Self.entriesForManyPolicies) { first, _ in first } }
    if readsRequests { entries.merge(Self.entriesForRequests) { first, _ in first } }
    // 600 KB. A ClientHello in two packets is kept until the second has left.
    if names || enforces { entries["beginnings"] = 128 }
    return mapEntries.merging(entries) { asked, _ in asked }
  }

  /// For hundreds of jobs at once: some 55 MB of the kernel's memory, where one job's take 20.
  static let entriesForManyJobs: [String: UInt32] = [
    "processes": 131_072, "writers": 131_072, "sockets": 131_072, "thread_tags": 262_144,
  ]

  /// Only what is put in takes memory, but of the last two, which are 4 MB.
  static let entriesForPolicies: [String: UInt32] = [
    "networks": 65536, "names": 65536, "network_sets": 65536, "leases": 16384, "asked_names": 16384,
  ]

  /// For jobs that have policies of their own, as each has its own directory: some 33 MB.
  static let entriesForManyPolicies: [String: UInt32] = [
    "policy_paths": 131_072, "policy_rules": 32_768, "policy_words": 32_768, "policy_inodes": 131_072,
    "policy_steps": 32_768,
  ]

  /// 6 MB. Who finds no room takes the place of what was not used for the longest time.
  static let entriesForRequests: [String: UInt32] = ["tls_streams": 16384, "tls_calls": 16384, "tls_ciphers": 16384]

  /// Maps of programs that are not loaded.
  var unusedMaps: Set<String> {
    var unused: Set<String> = countsBytes ? [] : ["open_files", "file_places"]
    if !readsRequests { unused.formUnion(Self.entriesForRequests.keys) }
    if !enforces { unused.formUnion(["networks", "asked_names", "listeners"] + Self.mapsOfPolicies) }
    if !enforces && !names {
      unused.formUnion(["names", "network_sets", "resolvers", "leases", "watched_sockets", "inspections", "beginnings"])
    }
    if !enforces || !recognisesJobs { unused.insert("rule_policies") }
    if filterBits == 0 { unused.formUnion(["filters", "given_filters", "filtered"]) }
    if filterBits & MT_FILTERS_PATHS.rawValue == 0 {
      unused.formUnion(["filter_paths", "filter_places", "filter_keys"])
    }
    if !recognisesJobs {
      unused.formUnion([
        "given_filters", "rule_filter", "rules", "rule_comms", "rule_variables", "rule_cgroups", "cgroup_paths",
        "recognition", "looks", "free_jobs", "job_keys", "talks", "container_state", "others",
      ])
    }
    return unused
  }

  private static let mapsOfPolicies = [
    "policy_paths", "policy_rules", "policy_needs", "policy_words", "policy_writes", "policy_inodes", "policy_steps",
  ]

  /// The defaults for this machine.
  public init() {
    self.init(cpuCount: sysconf(Int32(_SC_NPROCESSORS_ONLN)))
  }

  /// The defaults for a machine with so many CPUs.
  public init(cpuCount: Int) {
    let count = max(1, cpuCount)
    let milliseconds = count < 8 ? 200 : 100
    let wanted = 400_000 * (112 + 8) * milliseconds / 1000
    var size = min(max(RingMemory.size(atLeast: wanted), 8 << 20), 32 << 20)
    while size * count > 512 << 20, size > 1 << 20 { size /= 2 }
    bulkRingBytes = size
    criticalRingBytes = count < 16 ? 8 << 20 : 16 << 20
  }
}
