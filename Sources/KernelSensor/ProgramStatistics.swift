import CLibbpf
import CSystem
import Glibc

/// One BPF program in the kernel, and what it came to since statistics were switched on.
public struct ProgramStatistics: Sendable, Equatable {
  /// The kernel's number for it.
  public var id: UInt32
  /// The function's whole name from BTF; without BTF the kernel's, which ends after 15 characters.
  public var name: String
  /// As bpftool calls its type: `tracing`, `kprobe`, `cgroup_sock_addr`.
  public var type: String
  /// Nanoseconds of CLOCK_BOOTTIME.
  public var loadedAt: UInt64
  /// Only runs while somebody had ``RunTimeStatistics`` on.
  public var runs: UInt64
  public var nanoseconds: UInt64
  /// Runs that the kernel left out because the program was running on that CPU already. Always counted.
  public var missed: UInt64
  /// What the verifier looked at, which it tells since Linux 5.16.
  public var verifiedInstructions: UInt32
  /// Whether the program belongs to a martlet: see ``ProgramCensus``.
  public var isMartlets: Bool
  /// Ids of the maps that it uses.
  public var maps: [UInt32]

  public init(
    id: UInt32, name: String, type: String, loadedAt: UInt64 = 0, runs: UInt64 = 0, nanoseconds: UInt64 = 0,
    missed: UInt64 = 0, verifiedInstructions: UInt32 = 0, isMartlets: Bool = false, maps: [UInt32] = []
  ) {
    self.id = id
    self.name = name
    self.type = type
    self.loadedAt = loadedAt
    self.runs = runs
    self.nanoseconds = nanoseconds
    self.missed = missed
    self.verifiedInstructions = verifiedInstructions
    self.isMartlets = isMartlets
    self.maps = maps
  }

  /// Nanoseconds of one run on average; nil if it never ran.
  public var nanosecondsPerRun: Double? { runs == 0 ? nil : Double(nanoseconds) / Double(runs) }
}

/// All programs at one moment.
public struct ProgramSample: Sendable {
  /// CLOCK_BOOTTIME, nanoseconds.
  public var at: UInt64
  /// In the order of their ids.
  public var programs: [ProgramStatistics]

  public init(at: UInt64, programs: [ProgramStatistics]) {
    self.at = at
    self.programs = programs
  }
}

/// What a program did between two samples.
public struct ProgramRate: Sendable, Equatable {
  public var program: ProgramStatistics
  public var runsPerSecond: Double
  /// Of one run; nil if there was none.
  public var nanosecondsPerRun: Double?
  /// Percent of one CPU.
  public var cpuPercent: Double

  /// For each program of the later sample. One that is new began at 0.
  public static func rates(from earlier: ProgramSample, to later: ProgramSample) -> [ProgramRate] {
    let before = Dictionary(earlier.programs.map { ($0.id, $0) }, uniquingKeysWith: { $1 })
    let seconds = Double(max(1, later.at - min(earlier.at, later.at))) / 1e9
    return later.programs.map { program in
      // The kernel hands out ids in turn, so a number that means another program now is 2^31 loads away.
      let old = before[program.id].flatMap { $0.loadedAt == program.loadedAt ? $0 : nil }
      let runs = program.runs - min(old?.runs ?? 0, program.runs)
      let nanoseconds = program.nanoseconds - min(old?.nanoseconds ?? 0, program.nanoseconds)
      return ProgramRate(
        program: program, runsPerSecond: Double(runs) / seconds,
        nanosecondsPerRun: runs == 0 ? nil : Double(nanoseconds) / Double(runs),
        cpuPercent: Double(nanoseconds) / seconds / 1e7)
    }
  }
}

/// Asks the kernel for all BPF programs, again and again.
///
/// A program is a martlet's if its own BTF defines `struct mt_config`, the constants that every object of martlet's
/// carries: names of programs are anybody's, and the tag, a digest of the instructions, differs between versions.
public struct ProgramCensus {
  /// What never changes about a program.
  private struct Identity {
    var loadedAt: UInt64
    var name: String
    var isMartlets: Bool
  }

  private var known: [UInt32: Identity] = [:]

  public init() {}

  /// - Throws: if this process may not ask about others' programs.
  public mutating func take() throws(SensorError) -> ProgramSample {
    var programs: [ProgramStatistics] = []
    var seen: [UInt32: Identity] = [:]
    var id: UInt32 = 0
    while true {
      let result = bpf_prog_get_next_id(id, &id)
      if result == -ENOENT { break }
      guard result == 0 else {
        throw .refusedToAsk("The kernel would not list its BPF programs", errno: -result)
      }
      let descriptor = bpf_prog_get_fd_by_id(id)
      // Gone since.
      if descriptor == -ENOENT { continue }
      guard descriptor >= 0 else {
        throw .refusedToAsk("The kernel would not show the BPF program \(id)", errno: -descriptor)
      }
      defer { close(descriptor) }
      let (info, maps) = try bpf_prog_info.of(descriptor, mapLimit: 64)
      let identity: Identity
      if let before = known[id], before.loadedAt == info.load_time {
        identity = before
      } else {
        identity = Self.identify(descriptor, info)
      }
      seen[id] = identity
      programs.append(
        ProgramStatistics(info, name: identity.name, isMartlets: identity.isMartlets, maps: maps))
    }
    known = seen
    return ProgramSample(at: mt_boottime_ns(), programs: programs)
  }

  private static func identify(_ descriptor: Int32, _ info: bpf_prog_info) -> Identity {
    var identity = Identity(loadedAt: info.load_time, name: info.shortName, isMartlets: false)
    guard info.btf_id != 0, let btf = btf__load_from_kernel_by_id(info.btf_id) else { return identity }
    defer { btf__free(btf) }
    // BTF_KIND_STRUCT of linux/btf.h.
    identity.isMartlets = btf__find_by_name_kind(btf, "mt_config", 4) > 0
    if let function = info.firstFunction(of: descriptor), let type = btf__type_by_id(btf, function),
      let name = btf__name_by_offset(btf, type.pointee.name_off)
    {
      identity.name = String(cString: name)
    }
    return identity
  }
}

extension ProgramStatistics {
  init(_ info: bpf_prog_info, name: String, isMartlets: Bool, maps: [UInt32] = []) {
    self.init(
      id: info.id, name: name,
      type: libbpf_bpf_prog_type_str(bpf_prog_type(info.type)).map { String(cString: $0) } ?? "type \(info.type)",
      loadedAt: info.load_time, runs: info.run_cnt, nanoseconds: info.run_time_ns, missed: info.recursion_misses,
      verifiedInstructions: info.verified_insns, isMartlets: isMartlets, maps: maps)
  }
}

extension bpf_prog_info {
  /// - Parameter mapLimit: how many ids of maps to ask for.
  static func of(_ descriptor: Int32, mapLimit: Int = 0) throws(SensorError) -> (info: bpf_prog_info, maps: [UInt32]) {
    var info = bpf_prog_info()
    var size = UInt32(MemoryLayout<bpf_prog_info>.size)
    var maps = [UInt32](repeating: 0, count: mapLimit)
    let result = maps.withUnsafeMutableBufferPointer { maps in
      info.nr_map_ids = UInt32(mapLimit)
      info.map_ids = UInt64(UInt(bitPattern: maps.baseAddress))
      return bpf_obj_get_info_by_fd(descriptor, &info, &size)
    }
    guard result == 0 else { throw .systemCall("Could not ask about a BPF program", errno: -result) }
    return (info, Array(maps.prefix(Int(info.nr_map_ids))))
  }

  fileprivate var shortName: String {
    withUnsafeBytes(of: name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }

  /// The BTF id of the program's main function.
  fileprivate func firstFunction(of descriptor: Int32) -> UInt32? {
    guard nr_func_info > 0, func_info_rec_size == MemoryLayout<bpf_func_info>.size else { return nil }
    var function = bpf_func_info()
    var info = bpf_prog_info()
    var size = UInt32(MemoryLayout<bpf_prog_info>.size)
    info.nr_func_info = 1
    info.func_info_rec_size = func_info_rec_size
    let result = withUnsafeMutablePointer(to: &function) { function in
      info.func_info = UInt64(UInt(bitPattern: function))
      return bpf_obj_get_info_by_fd(descriptor, &info, &size)
    }
    return result == 0 ? function.type_id : nil
  }
}
