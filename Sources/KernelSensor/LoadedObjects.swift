import CLibbpf
import CSystem
import Glibc
import KernelABI
import Observation

/// The BPF objects of a sensor: opened, loaded and attached together, closed together.
///
/// What the kernel does not take is thrown as an ``Obstacle``; what was loaded by then is worth nothing any more.
final class LoadedObjects {
  /// A program that is in the kernel.
  struct Program {
    var name: ProgramName
    var family: String
    var handle: OpaquePointer
    /// Whether it sits on its hook itself: others of them may take turns at it.
    var isAttached: Bool
  }

  /// What the objects have, loaded or not, with the object's name.
  let contents: [(name: ProgramName, object: String)]
  private(set) var programs: [Program] = []
  private(set) var hooks: [Hook] = []
  /// The maps that objects share, by name. The descriptors belong to the object that made the map.
  private(set) var maps: [String: Int32] = [:]
  private(set) var objects: [(name: String, handle: OpaquePointer)] = []
  var links: [(program: String, link: OpaquePointer)] = []
  private var isPreemptible = true
  /// Where links have names, see ``pin(in:maps:)``.
  var pinnedIn: String?
  /// What has a name stays on its hook; without being disconnected a kprobe's would be switched off.
  var staysAttached = false
  /// Of the first of each row that takes turns, by its name: what it had been left out of, and others had done, when all
  /// of the row were on their hook; and what was missed when the first of them was about to be taken off it.
  private var rowsAtStart: [String: (left: UInt64, stoodIn: UInt64)] = [:]
  private var missedAtEnd: [String: UInt64] = [:]

  /// Reads the objects, and asks the kernel for nothing yet.
  init(_ parts: [(name: String, bytes: [UInt8])]) throws(SensorError) {
    var contents: [(ProgramName, String)] = []
    for part in parts {
      let object: OpaquePointer
      do {
        object = try Self.open(part.name, part.bytes)
      } catch {
        for object in objects { bpf_object__close(object.handle) }
        throw error
      }
      objects.append((part.name, object))
      contents += Self.programs(of: object).map { ($0.name, part.name) }
    }
    self.contents = contents
  }

  deinit {
    detach()
    for object in objects { bpf_object__close(object.handle) }
  }

  func map(_ name: String) throws(SensorError) -> Int32 {
    guard let map = maps[name] else { throw .missing(map: name) }
    return map
  }

  /// Loads what is wanted.
  ///
  /// - Parameter logLevel: what the verifier is to write, apart from why it refuses something
  func load(_ selection: HookSelection, _ settings: ObjectSettings, logLevel: UInt32 = 0) throws(Obstacle) {
    let wanted = selection.wanted
    var settings = settings
    settings.config.typed = selection.typed
    isPreemptible = settings.config.preemptible != 0
    for object in objects {
      LibbpfLog.start()
      do {
        try configure(object.handle, settings, without: selection.refusedMaps)
      } catch {
        throw .other(error)
      }
      let all = Self.programs(of: object.handle)
      for program in all {
        var result = bpf_program__set_autoload(program.handle, wanted.contains(program.name.name))
        if result == 0, logLevel > 0 { result = bpf_program__set_log_level(program.handle, logLevel) }
        if result != 0 {
          throw .other(SensorError(.programRejected, "Could not choose \(program.name.name)", errno: -result))
        }
      }
      let result = bpf_object__load(object.handle)
      if result != 0 { throw Self.obstacle(result, loading: object.name, wanted) }
      keep(object.handle)
      let loaded = all.filter { wanted.contains($0.name.name) }
      let inTurns = Set(loaded.filter { !$0.name.isRunByInterrupts }.compactMap { $0.name.turn?.program })
      programs += loaded.map { name, handle in
        Program(
          name: name, family: selection.family(of: name.name), handle: handle,
          isAttached: name.isAttached && !inTurns.contains(name.name))
      }
    }
  }

  private static func open(_ name: String, _ bytes: [UInt8]) throws(SensorError) -> OpaquePointer {
    LibbpfLog.start()
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

  private static func programs(of object: OpaquePointer) -> [(name: ProgramName, handle: OpaquePointer)] {
    var programs: [(ProgramName, OpaquePointer)] = []
    var next = bpf_object__next_program(object, nil)
    while let handle = next {
      next = bpf_object__next_program(object, handle)
      let name = String(cString: bpf_program__name(handle))
      programs.append((ProgramName(name: name, section: String(cString: bpf_program__section_name(handle))), handle))
    }
    return programs
  }

  /// Sizes the maps, takes those that exist from the objects before, and fills the constants.
  private func configure(
    _ object: OpaquePointer, _ settings: ObjectSettings, without refused: [String: String]
  ) throws(SensorError) {
    var next = bpf_object__next_map(object, nil)
    while let map = next {
      next = bpf_object__next_map(object, map)
      let name = String(cString: bpf_map__name(map))
      if bpf_map__is_internal(map) { continue }
      var result: Int32 = 0
      if refused[name] != nil || settings.unusedMaps.contains(name) {
        result = bpf_map__set_autocreate(map, false)
      } else if let shared = maps[name] {
        result = bpf_map__reuse_fd(map, shared)
      } else if let entries = settings.entries[name] {
        result = bpf_map__set_max_entries(map, entries)
      }
      let inner = name == "bulk" ? settings.innerRing : name == "others" ? settings.innerProcesses : nil
      if result == 0, maps[name] == nil, let inner { result = bpf_map__set_inner_map_fd(map, inner) }
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

  /// What an object's load failed for. libbpf tells it in words alone.
  private static func obstacle(_ result: Int32, loading name: String, _ wanted: Set<String>) -> Obstacle {
    let text = LibbpfLog.text
    let detail = LibbpfLog.tail(of: text)
    let reason = LibbpfLog.reason(in: text)
    if result == -ENOMEM { return .other(.memoryLimit("The kernel object \(name)", errno: -result)) }
    if let program = LibbpfLog.lastProgram(in: text, among: Array(wanted)) {
      // Without a log the verifier did not even look at it.
      let isLooked = text.contains("BEGIN PROG LOAD LOG")
      if result == -EPERM, !isLooked {
        let context = "The kernel refused to load the program \(program)"
        return .program(
          program, reason: "refused: \(errorText(EPERM))", .bpfRefused(context, errno: EPERM, detail: detail))
      }
      return .program(
        program, reason: reason,
        SensorError(
          .programRejected, "The kernel's verifier rejected the program \(program) (\(reason))", errno: -result,
          advice: Sensor.rejectionAdvice, detail: detail))
    }
    let error = SensorError(
      .programRejected, "The kernel did not take the object \(name) (\(reason))", errno: -result,
      advice: Sensor.rejectionAdvice, detail: detail)
    if result == -EINVAL, let map = LibbpfLog.failedMap(in: text) {
      return .map(map, reason: "this kernel does not make maps of its kind: \(errorText(EINVAL))", error)
    }
    if result == -EPERM {
      return .other(
        .bpfRefused("The kernel refused to load the object \(name)", errno: -result, detail: detail))
    }
    return .other(error)
  }

  private func keep(_ object: OpaquePointer) {
    var next = bpf_object__next_map(object, nil)
    while let map = next {
      next = bpf_object__next_map(object, map)
      let name = String(cString: bpf_map__name(map))
      if !bpf_map__is_internal(map), maps[name] == nil, bpf_map__fd(map) >= 0 { maps[name] = bpf_map__fd(map) }
    }
  }
}

extension LoadedObjects {
  /// Puts the tails of sys_exit where it looks for them, and what others take turns at where those do.
  func fillHandlers() throws(SensorError) {
    for program in programs where !program.isAttached {
      let name = program.name.name
      if program.name.isTail {
        guard let index = Self.handlers[name] else {
          throw SensorError(.attachFailed, "No system call is handed to \(name)")
        }
        try put(program, "handlers", at: index)
      } else if program.name.isAttached {
        try put(program, "deed_\(name)", at: 0)
      }
    }
  }

  /// - Parameter array: the name of a program array
  private func put(_ program: Program, _ array: String, at index: UInt32) throws(SensorError) {
    let map = try map(array)
    var key = index
    var value = UInt32(bitPattern: bpf_program__fd(program.handle))
    let result = bpf_map_update_elem(map, &key, &value, 0)
    if result != 0 { throw .mapFailed(array, "update", errno: -result) }
  }

  /// Index in `handlers` by the tail's name.
  private static let handlers: [String: UInt32] = Dictionary(
    uniqueKeysWithValues: [
      ("on_close", MT_HANDLER_CLOSE), ("on_close_range", MT_HANDLER_CLOSE_RANGE),
      ("on_dup", MT_HANDLER_DUP), ("on_path", MT_HANDLER_PATH), ("on_descriptor", MT_HANDLER_DESCRIPTOR),
      ("on_mmap", MT_HANDLER_MMAP), ("on_copy", MT_HANDLER_COPY), ("on_pair", MT_HANDLER_PAIR),
      ("on_receive", MT_HANDLER_RECEIVE), ("on_connect", MT_HANDLER_CONNECT), ("on_accept", MT_HANDLER_ACCEPT),
      ("on_socket", MT_HANDLER_SOCKET), ("on_access", MT_HANDLER_ACCESS), ("on_memory", MT_HANDLER_MEMORY),
      ("on_mount", MT_HANDLER_MOUNT), ("on_credential", MT_HANDLER_CREDENTIAL), ("on_module", MT_HANDLER_MODULE),
      ("on_bpf", MT_HANDLER_BPF), ("on_namespace", MT_HANDLER_NAMESPACE),
    ].map { ($0.0, UInt32($0.1.rawValue)) })

  /// Attaches what is loaded. `sched_process_fork` comes first, so that no child of a tagged process is missed
  /// while the rest follows; the others in the order of the objects, as programs of one tracepoint run in the
  /// order in which they were attached. On a function the last one that was attached runs first: where turns are taken
  /// on one the last comes first.
  func attach() throws(Obstacle) {
    let cgroup: CgroupRoot
    do {
      cgroup = try CgroupRoot()
    } catch {
      throw .other(error)
    }
    let first = programs.filter { $0.name.target == "sched_process_fork" }
    let onFunctions = programs.filter { $0.name.turn != nil && $0.name.kind != "tp_btf" }.reversed()
    let others = programs.filter {
      $0.name.target != "sched_process_fork" && ($0.name.turn == nil || $0.name.kind == "tp_btf")
    }
    for program in first + onFunctions + others where program.isAttached {
      LibbpfLog.start()
      guard let link = program.attach(to: cgroup) else {
        let error = errno
        let context = "Could not attach \(program.name.name) to \(program.name.section)"
        throw .program(
          program.name.name, at: .attachment, reason: "could not be attached: \(errorText(error))",
          error == EPERM
            ? .bpfRefused(context, errno: error)
            : SensorError(
              .attachFailed, context, errno: error, advice: Sensor.rejectionAdvice,
              detail: LibbpfLog.tail(of: LibbpfLog.text)))
      }
      links.append((program.name.name, link))
      // A row of those that take turns is the hook of one program.
      guard let turn = program.name.turn else { hooks.append(program.name.hook(family: program.family)); continue }
      if turn.place == 0 {
        hooks.append(ProgramName(name: turn.program, section: program.name.section).hook(family: program.family))
      }
    }
    do throws(SensorError) { try noteRows() } catch { throw .other(error) }
  }

  /// What is loaded, by name.
  func handles(where isWanted: (ProgramName) -> Bool) -> [String: OpaquePointer] {
    Dictionary(
      programs.filter { isWanted($0.name) }.map { ($0.name.name, $0.handle) }, uniquingKeysWith: { first, _ in first })
  }

  /// Makes happen what the attached programs are there for, and looks whether they ran.
  ///
  /// - Parameter all: also those that run wherever they can be attached
  /// - Returns: the names of the programs that ran. Those of which it cannot be told are not among them: nothing
  ///   simple makes them run, or this process may not have the kernel count runs.
  func prove(all: Bool) throws(Obstacle) -> Set<String> {
    let asked = programs.filter { $0.isAttached && $0.name.deed != nil && (all || $0.name.canBeSilent) }
    guard !asked.isEmpty, let statistics = try? RunTimeStatistics() else { return [] }
    defer { withExtendedLifetime(statistics) {} }
    let before = try stoodIn(asked)
    var results: [UInt32: Int32] = [:]
    for program in asked {
      guard let deed = program.name.deed, results[deed.rawValue] == nil else { continue }
      results[deed.rawValue] = mt_deed(deed)
    }
    var proven: Set<String> = []
    var runs: [String: UInt64] = [:]
    for program in asked {
      do throws(SensorError) {
        runs[program.name.name] = try program.runCount()
      } catch {
        throw .other(error)
      }
      if runs[program.name.name] != 0 {
        proven.insert(program.name.name)
        // The kernel counts the run of a tail for who jumped to it.
        if let turn = program.name.turn { proven.insert(turn.program) }
      } else if let deed = program.name.deed, results[deed.rawValue] == 0 {
        let reason = "can be attached, but does not run"
        throw .program(
          program.name.name, at: .run, reason: reason,
          SensorError(
            .attachFailed, "\(program.name.name) \(reason) when \(program.name.target) should call it",
            advice: Sensor.rejectionAdvice))
      }
    }
    for (name, count) in try stoodIn(asked) {
      // Of a few calls others can have stood in for the first, of all of them only if they came before it.
      guard count - before[name, default: 0] >= max(2, runs[name, default: 0]) else { continue }
      let reason = "does not run before those that are to stand in for it"
      throw .program(
        name, at: .run, reason: reason, SensorError(.attachFailed, "\(name) \(reason)", advice: Sensor.rejectionAdvice))
    }
    if all {
      for program in programs where program.name.isCalled || program.name.isIterator {
        do throws(SensorError) {
          if program.name.isIterator { _ = try iterate(program.name.name) } else { try call(program.name.name) }
        } catch {
          throw .program(program.name.name, at: .run, reason: "cannot be run: \(error.description)", error)
        }
        proven.insert(program.name.name)
      }
    }
    return proven
  }

  /// Times that a program was left out because it, or what it interrupted, was running on that CPU already. Where
  /// several take turns, those that the first was left out of and none of the others stood in for.
  func missedRuns(of isWanted: (Program) -> Bool = { _ in true }) throws(SensorError) -> UInt64 {
    var missed: UInt64 = 0
    // There others see all that one of these is left out of, and count nothing, see EACH_IN_TURN.
    let pair = isPreemptible ? [] : programs.filter { $0.name.isRunByInterrupts || $0.name.isInPlaceOfTurn }
    let pairNames = pair.count > 1 ? Set(pair.map(\.name.name)) : []
    for program in programs where program.isAttached && isWanted(program) {
      guard program.name.turn?.place ?? 0 == 0, !pairNames.contains(program.name.name) else { continue }
      missed += try missedRuns(of: program)
    }
    return missed
  }

  private func missedRuns(of program: Program) throws(SensorError) -> UInt64 {
    if let known = missedAtEnd[program.name.name] { return known }
    // Read first: what is made up for in between is in both.
    let left = try bpf_prog_info.of(bpf_program__fd(program.handle)).info.recursion_misses
    guard let turn = program.name.turn else { return left }
    let (stoodIn, failed) = try turns(at: turn.program)
    let before = rowsAtStart[program.name.name] ?? (0, 0)
    let missed = left - before.left + failed
    return missed - min(missed, stoodIn - before.stoodIn)
  }

  /// While not all of a row are on their hook others do what the first was not even left out of: from here on it is
  /// told.
  private func noteRows() throws(SensorError) {
    for (first, deed) in rows(of: programs) {
      // Read first: what comes in between may be told as missed, and hides nothing that is.
      let left = try bpf_prog_info.of(bpf_program__fd(first.handle)).info.recursion_misses
      rowsAtStart[first.name.name] = (left, try turns(at: deed).stoodIn)
    }
  }

  /// Of these programs those that are the first to take turns, and what at.
  private func rows(of programs: [Program]) -> [(first: Program, deed: String)] {
    programs.compactMap { program in
      guard let turn = program.name.turn, turn.place == 0 else { return nil }
      return (program, turn.program)
    }
  }

  /// How often others did the deeds of those that are the first to take turns, by these' names.
  private func stoodIn(_ programs: [Program]) throws(Obstacle) -> [String: UInt64] {
    var counts: [String: UInt64] = [:]
    for (first, deed) in rows(of: programs) {
      do throws(SensorError) {
        counts[first.name.name] = try turns(at: deed).stoodIn
      } catch {
        throw .other(error)
      }
    }
    return counts
  }

  private func turns(at program: String) throws(SensorError) -> (stoodIn: UInt64, failed: UInt64) {
    guard let index = Self.turns[program] else { return (0, 0) }
    let values: [mt_turn] = try perCPUValues(
      map("turns"), named: "turns", Int(index.rawValue), Int(libbpf_num_possible_cpus()), zero: mt_turn())
    return values.reduce(into: (0, 0)) {
      $0.0 += $1.stood_in
      $0.1 += $1.failed
    }
  }

  /// Index in `turns` by the program's name. Of several with the same index only one is ever loaded.
  private static let turns: [String: mt_turns] = [
    "sched_process_fork": MT_TURN_FORK, "sched_process_exec": MT_TURN_EXEC,
    "exec_descriptors": MT_TURN_EXEC_DESCRIPTORS, "sched_process_exit": MT_TURN_EXIT,
    "inet_sock_set_state": MT_TURN_TCP_STATE, "fentry_fd_install": MT_TURN_INSTALL,
    "fentry_file_close_fd": MT_TURN_CLOSE, "fentry_close_fd": MT_TURN_CLOSE, "fentry_do_dup2": MT_TURN_DUP,
    "fexit_vfs_unlink": MT_TURN_UNLINK, "fexit_vfs_rename": MT_TURN_RENAME,
    "fexit_vfs_mkdir": MT_TURN_MKDIR, "fexit_vfs_symlink": MT_TURN_SYMLINK, "fexit_vfs_link": MT_TURN_LINK,
    "fexit_notify_change": MT_TURN_ATTRIBUTES, "fexit_do_pipe2": MT_TURN_PIPE, "recognise": MT_TURN_RECOGNISE,
    "guard_scope": MT_TURN_SCOPE, "guard_exec": MT_TURN_GUARD_EXEC, "inherit_tag": MT_TURN_INHERIT,
  ]

  /// What each program came to; runs of a tail count for the program that called it.
  func programStatistics() throws(SensorError) -> [ProgramStatistics] {
    var statistics: [ProgramStatistics] = []
    for program in programs {
      let info = try bpf_prog_info.of(bpf_program__fd(program.handle)).info
      statistics.append(ProgramStatistics(info, name: program.name.name, isMartlets: true))
    }
    return statistics
  }

  func detach(except kept: Set<String> = []) {
    for (first, _) in rows(of: programs) where !kept.contains(first.name.name) {
      missedAtEnd[first.name.name] = try? missedRuns(of: first)
    }
    for (program, link) in links.reversed() where !kept.contains(program) {
      if staysAttached { bpf_link__disconnect(link) }
      bpf_link__destroy(link)
    }
    links.removeAll { !kept.contains($0.program) }
  }

  /// Has an iterator's program look at everything.
  ///
  /// - Returns: the bytes that it wrote
  func iterate(_ name: String) throws(SensorError) -> Int {
    guard let link = links.first(where: { $0.program == name })?.link else {
      throw SensorError(.attachFailed, "The program \(name) is not attached")
    }
    let iterator = bpf_iter_create(bpf_link__fd(link))
    guard iterator >= 0 else { throw .systemCall("Could not run the program \(name)", errno: -iterator) }
    defer { close(iterator) }
    var total = 0
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = read(iterator, &buffer, buffer.count)
      if count == 0 { return total }
      if count > 0 {
        total += count
      } else if errno != EINTR && errno != EAGAIN {
        throw .systemCall("Could not run the program \(name)", errno: errno)
      }
    }
  }

  /// Runs a program that is not attached, if it is loaded.
  ///
  /// - Parameter argument: what it finds at the beginning of its context; before 5.17 it reads that
  /// - Returns: what it returned, 0 if it is not loaded
  @discardableResult
  func call(_ name: String, _ argument: UInt64 = 0) throws(SensorError) -> UInt32 {
    guard let program = programs.first(where: { $0.name.name == name }) else { return 0 }
    var options = bpf_test_run_opts()
    options.sz = MemoryLayout<bpf_test_run_opts>.size
    let result = withUnsafeBytes(of: argument) { context in
      options.ctx_in = context.baseAddress
      options.ctx_size_in = UInt32(context.count)
      return bpf_prog_test_run_opts(bpf_program__fd(program.handle), &options)
    }
    if result != 0 { throw .systemCall("Could not run the program \(name)", errno: -result) }
    return options.retval
  }
}
