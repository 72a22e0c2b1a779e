import CLibbpf
import Glibc
import KernelABI

/// The BPF objects of a sensor: opened, loaded and attached one by one, closed together.
final class LoadedObjects {
  /// A program that is in the kernel.
  struct Program {
    var name: ProgramName
    var rule: HookRule
    var handle: OpaquePointer
  }

  /// A program that is not, or is not attached.
  struct Refusal {
    var name: ProgramName
    var rule: HookRule
    var reason: String
  }

  private(set) var programs: [Program] = []
  private(set) var refusals: [Refusal] = []
  private(set) var hooks: [Hook] = []
  /// The maps that objects share, by name. The descriptors belong to the object that made the map.
  private(set) var maps: [String: Int32] = [:]
  private var objects: [OpaquePointer] = []
  private var links: [OpaquePointer] = []
  private let kernelTypes: KernelTypes

  init() throws(SensorError) {
    kernelTypes = try KernelTypes()
  }

  deinit {
    detach()
    for object in objects { bpf_object__close(object) }
  }

  func map(_ name: String) throws(SensorError) -> Int32 {
    guard let map = maps[name] else { throw .missing(map: name) }
    return map
  }

  /// Loads an object; without those optional programs that this kernel lacks a tracepoint for or refuses.
  func load(_ name: String, _ bytes: [UInt8], settings: ObjectSettings) throws(SensorError) {
    var refused: [String: String] = [:]
    while true {
      LibbpfLog.start()
      let object = try open(name, bytes)
      let rejected: (program: ProgramName, error: SensorError)
      do {
        try configure(object, settings)
        let wanted = try choose(object, name, refused)
        guard let rejection = try load(object, name, wanted) else {
          keep(object, wanted)
          return
        }
        rejected = rejection
      } catch {
        bpf_object__close(object)
        throw error
      }
      bpf_object__close(object)
      if HookRule.of(rejected.program, object: name).need == .required { throw rejected.error }
      refused[rejected.program.name] = LibbpfLog.reason(in: LibbpfLog.text)
    }
  }

  private func open(_ name: String, _ bytes: [UInt8]) throws(SensorError) -> OpaquePointer {
    let object = name.withCString { name in
      var options = bpf_object_open_opts()
      options.sz = MemoryLayout<bpf_object_open_opts>.size
      options.object_name = name
      return bytes.withUnsafeBytes { bpf_object__open_mem($0.baseAddress, $0.count, &options) }
    }
    guard let object else {
      throw SensorError(
        .programRejected, "libbpf cannot read the kernel object \(name)", errno: errno,
        detail: LibbpfLog.tail(of: LibbpfLog.text))
    }
    return object
  }

  /// Sizes the maps, takes those that exist from the objects before, and fills the constants.
  private func configure(_ object: OpaquePointer, _ settings: ObjectSettings) throws(SensorError) {
    var next = bpf_object__next_map(object, nil)
    while let map = next {
      next = bpf_object__next_map(object, map)
      let name = String(cString: bpf_map__name(map))
      if bpf_map__is_internal(map) { continue }
      var result: Int32 = 0
      if let shared = maps[name] {
        result = bpf_map__reuse_fd(map, shared)
      } else if let entries = settings.entries[name] {
        result = bpf_map__set_max_entries(map, entries)
      }
      if result == 0, name == "bulk", maps[name] == nil {
        result = bpf_map__set_inner_map_fd(map, settings.innerRing)
      }
      if result != 0 { throw .mapFailed(name, "set up", errno: -result) }
    }

    guard let constants = bpf_object__find_map_by_name(object, ".rodata.config") else { return }
    var size = 0
    guard bpf_map__initial_value(constants, &size) != nil, size == MemoryLayout<mt_config>.size else {
      throw .missing(map: ".rodata.config")
    }
    let result = withUnsafeBytes(of: settings.config) {
      bpf_map__set_initial_value(constants, $0.baseAddress, $0.count)
    }
    if result != 0 { throw .mapFailed(".rodata.config", "set up", errno: -result) }
  }

  /// Decides which programs to load, and says so to libbpf.
  private func choose(
    _ object: OpaquePointer, _ objectName: String, _ refused: [String: String]
  ) throws(SensorError) -> [Program] {
    var wanted: [Program] = []
    var left: [Refusal] = []
    var next = bpf_object__next_program(object, nil)
    while let handle = next {
      next = bpf_object__next_program(object, handle)
      let name = ProgramName(
        name: String(cString: bpf_program__name(handle)), section: String(cString: bpf_program__section_name(handle)))
      let rule = HookRule.of(name, object: objectName)
      var reason = refused[name.name]
      if reason == nil, let type = name.traceType {
        reason = kernelTypes.objection(to: type, wanting: rule.signature)
        if let reason, rule.need == .required {
          throw SensorError(
            .kernelTooOld, "The tracepoint \(name.target) is needed, and \(reason)", advice: Sensor.upgradeAdvice)
        }
      }
      if let reason {
        let result = bpf_program__set_autoload(handle, false)
        if result != 0 { throw SensorError(.programRejected, "Could not leave out \(name.name)", errno: -result) }
        left.append(Refusal(name: name, rule: rule, reason: reason))
      } else {
        wanted.append(Program(name: name, rule: rule, handle: handle))
      }
    }
    // Only the last attempt at an object counts, and it carries the refusals of those before.
    let names = Set((wanted.map(\.name) + left.map(\.name)))
    refusals.removeAll { names.contains($0.name) }
    refusals += left
    return wanted
  }

  /// Loads the object into the kernel. Returns the program that was refused if it was one, else throws.
  private func load(
    _ object: OpaquePointer, _ name: String, _ wanted: [Program]
  ) throws(SensorError) -> (program: ProgramName, error: SensorError)? {
    let result = bpf_object__load(object)
    if result == 0 { return nil }
    let text = LibbpfLog.text
    let detail = LibbpfLog.tail(of: text)
    if result == -ENOMEM { throw .memoryLimit("The kernel object \(name)", errno: -result) }
    let rejected = LibbpfLog.lastProgram(in: text, among: wanted.map(\.name.name))
    guard let rejected, let program = wanted.first(where: { $0.name.name == rejected }) else {
      if result == -EPERM {
        throw .bpfRefused("The kernel refused to load the object \(name)", errno: -result, detail: detail)
      }
      throw SensorError(
        .programRejected, "The kernel did not take the object \(name) (\(LibbpfLog.reason(in: text)))",
        errno: -result, advice: Sensor.rejectionAdvice, detail: detail)
    }
    if result == -EPERM, !text.contains("BEGIN PROG LOAD LOG") {
      // The verifier did not even look at it.
      throw .bpfRefused("The kernel refused to load the program \(rejected)", errno: -result, detail: detail)
    }
    return (
      program.name,
      SensorError(
        .programRejected, "The kernel's verifier rejected the program \(rejected) (\(LibbpfLog.reason(in: text)))",
        errno: -result, advice: Sensor.rejectionAdvice, detail: detail)
    )
  }

  private func keep(_ object: OpaquePointer, _ wanted: [Program]) {
    objects.append(object)
    programs += wanted
    var next = bpf_object__next_map(object, nil)
    while let map = next {
      next = bpf_object__next_map(object, map)
      let name = String(cString: bpf_map__name(map))
      if !bpf_map__is_internal(map), maps[name] == nil { maps[name] = bpf_map__fd(map) }
    }
  }
}

extension LoadedObjects {
  /// Puts the tails of sys_exit where it looks for them.
  func fillHandlers() throws(SensorError) {
    for program in programs where program.name.isTail {
      guard let index = Self.handlers[program.name.name] else {
        refusals.append(Refusal(name: program.name, rule: program.rule, reason: "no system call is handed to it"))
        continue
      }
      let map = try map("handlers")
      var key = index
      var value = UInt32(bitPattern: bpf_program__fd(program.handle))
      let result = bpf_map_update_elem(map, &key, &value, 0)
      if result != 0 { throw .mapFailed("handlers", "update", errno: -result) }
    }
  }

  /// Index in `handlers` by the tail's name.
  private static let handlers: [String: UInt32] = Dictionary(
    uniqueKeysWithValues: [
      ("on_open", MT_HANDLER_OPEN), ("on_close", MT_HANDLER_CLOSE), ("on_close_range", MT_HANDLER_CLOSE_RANGE),
      ("on_dup", MT_HANDLER_DUP), ("on_path", MT_HANDLER_PATH), ("on_descriptor", MT_HANDLER_DESCRIPTOR),
      ("on_mmap", MT_HANDLER_MMAP), ("on_copy", MT_HANDLER_COPY), ("on_pair", MT_HANDLER_PAIR),
      ("on_receive", MT_HANDLER_RECEIVE), ("on_connect", MT_HANDLER_CONNECT), ("on_accept", MT_HANDLER_ACCEPT),
      ("on_socket", MT_HANDLER_SOCKET),
    ].map { ($0.0, UInt32($0.1.rawValue)) })

  /// Attaches what is loaded. `sched_process_fork` comes first, so that no child of a tagged process is missed
  /// while the rest follows; the others in the order of the objects, as programs of one tracepoint run in the
  /// order in which they were attached.
  func attach(cgroupRoot: String) throws(SensorError) {
    let first = programs.filter { $0.name.target == "sched_process_fork" }
    let others = programs.filter { $0.name.target != "sched_process_fork" && !$0.name.isTail }
    let needsCgroup = others.contains { $0.name.kind == "cgroup" }
    let cgroup = needsCgroup ? Glibc.open(cgroupRoot, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1
    if needsCgroup, cgroup < 0 { throw .systemCall("Could not open the cgroup hierarchy \(cgroupRoot)", errno: errno) }
    defer { if cgroup >= 0 { close(cgroup) } }

    for program in first + others {
      LibbpfLog.start()
      let isCgroup = program.name.kind == "cgroup"
      let link = isCgroup ? bpf_program__attach_cgroup(program.handle, cgroup) : bpf_program__attach(program.handle)
      if let link {
        links.append(link)
        hooks.append(
          Hook(
            family: program.rule.family, kind: program.name.kind, target: program.name.target,
            program: program.name.name))
        continue
      }
      let error = errno
      if program.rule.need == .required {
        let context = "Could not attach \(program.name.name) to \(program.name.section)"
        if error == EPERM { throw .bpfRefused(context, errno: error) }
        throw SensorError(
          .attachFailed, context, errno: error, advice: Sensor.rejectionAdvice,
          detail: LibbpfLog.tail(of: LibbpfLog.text))
      }
      refusals.append(
        Refusal(name: program.name, rule: program.rule, reason: "could not be attached: \(errorText(error))"))
    }
  }

  /// Times that a program was left out because it, or what it interrupted, was running on that CPU already.
  func missedRuns() throws(SensorError) -> UInt64 {
    var missed: UInt64 = 0
    for program in programs where !program.name.isTail {
      missed += try bpf_prog_info.of(bpf_program__fd(program.handle)).info.recursion_misses
    }
    return missed
  }

  /// What each program came to; runs of a tail count for the program that called it.
  func programStatistics() throws(SensorError) -> [ProgramStatistics] {
    var statistics: [ProgramStatistics] = []
    for program in programs {
      let info = try bpf_prog_info.of(bpf_program__fd(program.handle)).info
      statistics.append(ProgramStatistics(info, name: program.name.name, isMartlets: true))
    }
    return statistics
  }

  func detach() {
    for link in links.reversed() { bpf_link__destroy(link) }
    links.removeAll()
  }

  /// What is not seen, without the alternatives of what is.
  var missing: [(family: String, reason: String)] {
    let tails = programs.lazy.filter(\.name.isTail).map(\.name.name)
    let working = Set(hooks.map(\.program)).union(tails)
    let groups = programs.filter { working.contains($0.name.name) }.map(\.rule.need)
    return refusals.filter { refusal in
      if case .oneOf = refusal.rule.need { return !groups.contains(refusal.rule.need) }
      return true
    }.map { ($0.rule.family, "\($0.name.name): \($0.reason)") }
  }
}

/// What user space decides about the maps and constants of an object before it is loaded.
struct ObjectSettings {
  var config: mt_config
  /// Entries of the maps whose size is not fixed: bytes of a ring.
  var entries: [String: UInt32]
  /// A ring like those that `bulk` will hold.
  var innerRing: Int32
}
