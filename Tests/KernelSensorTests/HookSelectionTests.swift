import Glibc
import Observation
import Testing

@testable import KernelSensor

@Suite("Which hooks are chosen")
struct HookSelectionTests {
  /// Two functions: one that must be seen, with three tiers, and one that may be missed. `dispatch` serves both.
  private let table = [
    HookFunction(
      "file", "open", .required, ["lsm_open"], ["fentry_open", "fentry_close"], ["dispatch", "on_open"]),
    HookFunction("flow", "copy", .optional, ["fentry_copy"], ["dispatch", "on_copy"]),
    HookFunction("network", "connect", .required, ["not_shipped"]),
  ]
  private let programs = [
    ("lsm_open", "lsm/file_open"), ("fentry_open", "fentry/security_file_open"),
    ("fentry_close", "fentry/filp_close"), ("fentry_copy", "fentry/splice"), ("dispatch", "tp_btf/sys_exit"),
    ("on_open", "tp_btf/sys_exit"), ("on_copy", "tp_btf/sys_exit"), ("stranger", "cgroup/connect4"),
  ].map { (name: ProgramName(name: $0.0, section: $0.1), object: "sensor") }

  private var selection: HookSelection { HookSelection(table: table, programs: programs) }

  private func refusal(_ program: String, _ reason: String = "no") -> Obstacle {
    .program(program, reason: reason, SensorError(.programRejected, "\(program) was refused"))
  }

  private func choice(_ selection: HookSelection, _ function: String) throws -> HookChoice {
    try #require(selection.choices.first { $0.function == function })
  }

  @Test("where nothing fails the best is taken, and nothing else is loaded")
  func best() throws {
    #expect(selection.wanted == ["lsm_open", "fentry_copy", "stranger"])
    let open = try choice(selection, "open")
    #expect(
      open.hooks == [Hook(family: "file", kind: "lsm", target: "file_open", program: "lsm_open")])
    #expect(open.passedOver.isEmpty)
    #expect(open.isRequired)
  }

  @Test("what is left out of every job is not attached, but for what else it serves")
  func unwanted() throws {
    let network = HookFunction("network", "connect", .required, ["stranger"])
    let without = HookSelection(table: table + [network], programs: programs, without: [.channel, .fileRead])
    #expect(without.wanted == ["lsm_open", "stranger"])
    let files = HookSelection(table: table + [network], programs: programs, without: [.fileRead, .fileWrite, .network])
    #expect(files.wanted == ["fentry_copy"])
    try files.checkForcedTier()
    var options = SensorOptions()
    options.leftOut = [.network, .unix]
    #expect(options.unwanted == [.network, .unix])
    options.names = true
    #expect(options.unwanted == [.unix])
  }

  @Test("a program that is refused leads to the next tier, with the kernel's reason")
  func refused() throws {
    var selection = selection
    try selection.overcome(refusal("lsm_open", "R1 invalid mem access 'scalar'"))
    #expect(selection.wanted == ["fentry_open", "fentry_close", "fentry_copy", "stranger"])
    var open = try choice(selection, "open")
    #expect(open.hooks.map(\.kind) == ["fentry", "fentry"])
    #expect(open.passedOver.map(\.reason) == ["lsm_open: R1 invalid mem access 'scalar'"])
    #expect(open.passedOver.first?.hooks.map(\.target) == ["file_open"])

    // One program of a tier is enough to pass over it.
    try selection.overcome(refusal("fentry_close", "can be attached, but does not run"))
    #expect(selection.wanted == ["dispatch", "on_open", "fentry_copy", "stranger"])
    open = try choice(selection, "open")
    #expect(open.passedOver.map(\.reason).last == "fentry_close: can be attached, but does not run")
    #expect(open.passedOver.count == 2)
  }

  @Test("turns are taken at programs whose calls come while others are under way, unless one of the row is refused")
  func turns() throws {
    let more = [
      ("turn0_fentry_open", "fentry/security_file_open"), ("turn1_fentry_open", "fentry/security_file_open"),
      ("turn2_fentry_open", "fentry/security_file_open"), ("turn0_dispatch", "tp_btf/sys_exit"),
      ("states", "tp_btf/inet_sock_set_state"),
      ("turn1_states", "tp_btf/inet_sock_set_state"), ("turn2_states", "tp_btf/inet_sock_set_state"),
    ].map { (name: ProgramName(name: $0.0, section: $0.1), object: "sensor") }
    // A task and an interrupt within its call.
    let plain = HookSelection(table: table, programs: programs + more)
    #expect(plain.wanted == ["lsm_open", "fentry_copy", "stranger", "states", "turn2_states"])

    var preemptible = HookSelection(table: table, programs: programs + more, isPreemptible: true)
    #expect(preemptible.wanted == plain.wanted.union(["turn1_states"]))

    // Instead of the second on the tracepoint, but not of a row of all of them.
    let instead = [(name: ProgramName(name: "ended", section: "fentry/tcp_done"), object: "sensor")]
    let states = [HookFunction("network", "TCP states", .required, ["states", "ended"], ["states"])]
    var other = HookSelection(table: table + states, programs: programs + more + instead)
    #expect(other.wanted == plain.wanted.subtracting(["turn2_states"]).union(["ended"]))
    try other.overcome(refusal("ended"))
    #expect(other.wanted == plain.wanted)
    other = HookSelection(table: table + states, programs: programs + more + instead, isPreemptible: true)
    #expect(other.wanted == preemptible.wanted)

    try preemptible.overcome(refusal("lsm_open"))
    let row = ["turn0_fentry_open", "turn1_fentry_open", "turn2_fentry_open"]
    #expect(preemptible.wanted.isSuperset(of: ["fentry_open"] + row))
    #expect(preemptible.family(of: "turn1_fentry_open") == "file")
    // Without one of them the program is called by its hook, as where nobody takes turns.
    try preemptible.overcome(refusal("turn1_fentry_open"))
    #expect(preemptible.wanted.contains("fentry_open") && preemptible.wanted.isDisjoint(with: row))
    #expect(try choice(preemptible, "open").hooks.map(\.program) == ["fentry_open", "fentry_close"])
  }

  @Test("no guard rests on a program that lets calls through while another task is preempted in it")
  func evadable() throws {
    let guarding = [
      HookFunction("policy", "files", .onRequest(.policy), ["guard_fmod"], ["guard_kprobe"]),
      HookFunction("self-protection", "files", .optional, ["shield_fmod"], ["shield_calls"]),
    ]
    let more = [
      ("guard_fmod", "fmod_ret/security_file_open"), ("guard_kprobe", "kprobe/security_file_open"),
      ("shield_fmod", "fmod_ret/security_file_open"), ("shield_calls", "tp_btf/sys_exit"),
    ].map { (name: ProgramName(name: $0.0, section: $0.1), object: "sensor") }
    func selection(isPreemptible: Bool) -> HookSelection {
      HookSelection(table: guarding, programs: more, requests: [.policy], isPreemptible: isPreemptible)
    }
    #expect(selection(isPreemptible: false).wanted == ["guard_fmod", "shield_fmod"])
    let preemptible = selection(isPreemptible: true)
    #expect(preemptible.wanted == ["guard_kprobe", "shield_fmod"])
    let choice = try #require(preemptible.choices.first { $0.family == "policy" })
    #expect(choice.passedOver.count == 1 && choice.passedOver[0].reason.hasPrefix("guard_fmod: lets calls through"))
  }

  @Test("without any tier an optional function is missed and named, a required one is an error")
  func nothingLeft() throws {
    var selection = selection
    try selection.overcome(refusal("fentry_copy", "absent"))
    try selection.overcome(refusal("on_copy", "rejected"))
    let copy = try choice(selection, "copy")
    #expect(copy.hooks.isEmpty)
    #expect(copy.reasons == "fentry_copy: absent; on_copy: rejected")
    #expect(!selection.wanted.contains("dispatch"))

    try selection.overcome(refusal("lsm_open"))
    try selection.overcome(refusal("fentry_open"))
    let error = try #require(throws: SensorError.self) { try selection.overcome(refusal("dispatch")) }
    #expect(error.context == "dispatch was refused")
  }

  @Test("a program that several functions need is missed by all of them")
  func shared() throws {
    var selection = HookSelection(
      table: [HookFunction("a", "one", .optional, ["x", "y"]), HookFunction("b", "two", .optional, ["x"], ["z"])],
      programs: ["x", "y", "z"].map { (ProgramName(name: $0, section: "tp_btf/\($0)"), "sensor") })
    #expect(selection.family(of: "x") == "a")
    #expect(selection.wanted == ["x", "y"])
    try selection.overcome(refusal("x"))
    #expect(selection.wanted == ["z"])
    #expect(selection.choices.map(\.hooks.isEmpty) == [true, false])
  }

  @Test("what is only wanted on request is not loaded unasked, and where it cannot be had that is said")
  func onRequest() throws {
    let table =
      table + [
        HookFunction("bytes", "read", .onRequest(.bytes), ["fentry_read"]),
        HookFunction("bytes", "aio", .onRequest(.bytes), ["not_shipped"]),
      ]
    let programs = programs + [(ProgramName(name: "fentry_read", section: "fentry/vfs_read"), "sensor")]
    let unasked = HookSelection(table: table, programs: programs)
    #expect(unasked.wanted == selection.wanted)
    #expect(!unasked.choices.contains { $0.family == "bytes" || $0.function == "fentry_read" })

    var asked = HookSelection(table: table, programs: programs, requests: [.bytes])
    #expect(asked.wanted == selection.wanted.union(["fentry_read"]))
    #expect(try choice(asked, "read").isOnRequest && !choice(asked, "open").isOnRequest)
    let missing = try choice(asked, "aio")
    #expect(missing.hooks.isEmpty && !missing.reasons.isEmpty)
    try asked.overcome(refusal("fentry_read", "no"))
    #expect(try choice(asked, "read").reasons == "fentry_read: no")
  }

  @Test("what has something that stands in for it misses nothing, and is not taken from a tier that nobody asked for")
  func standIn() throws {
    let table = table + [HookFunction("hashes", "images", .onRequest(.hashes), ["lsm_hash"])]
    let programs = programs + [(ProgramName(name: "lsm_hash", section: "lsm.s/bprm_committed_creds"), "sensor")]
    #expect(!HookSelection(table: table, programs: programs, requests: [.bytes]).wanted.contains("lsm_hash"))
    var asked = HookSelection(table: table, programs: programs, requests: [.hashes])
    #expect(asked.wanted == selection.wanted.union(["lsm_hash"]))
    try asked.overcome(refusal("lsm_hash", "no"))
    let refused = try choice(asked, "images")
    #expect(refused.hooks.isEmpty && !refused.isMissing && refused.reasons == "lsm_hash: no")

    let fentry = HookSelection(table: table, programs: programs, forced: .fentry, requests: [.hashes])
    let forced = try choice(fentry, "images")
    #expect(forced.hooks.isEmpty && !forced.isMissing && forced.reasons == "not asked for (--hooks fentry)")
    #expect(
      HookSelection(table: table, programs: programs, forced: .lsm, requests: [.hashes]).wanted.contains("lsm_hash"))
  }

  /// Ways by LSM, by fentry and by tp_btf for `open`, by fentry and by tp_btf for `copy`.
  private func forced(_ tier: HookTier) -> HookSelection {
    HookSelection(table: table, programs: programs, forced: tier)
  }

  @Test("a forced tier is taken where there is one, and better ones are passed over as not asked for")
  func forcedTier() throws {
    let selection = forced(.typedTracepoint)
    #expect(selection.wanted == ["dispatch", "on_open", "on_copy", "stranger"])
    let open = try choice(selection, "open")
    #expect(open.tier == .typedTracepoint)
    #expect(open.passedOver.map(\.hooks.first?.program) == ["lsm_open", "fentry_open"])
    #expect(open.passedOver.allSatisfy { $0.reason == "not asked for (--hooks tp_btf)" })
    try selection.checkForcedTier()

    // What belongs to every tier has none.
    #expect(try choice(selection, "stranger").tier == nil)
    #expect(try choice(self.selection, "open").tier == .lsm)
  }

  @Test("where the forced tier has no way the next worse is taken, a better one only if that fails too")
  func forcedTierMissing() throws {
    var selection = forced(.lsm)
    #expect(selection.wanted == ["lsm_open", "fentry_copy", "stranger"])
    #expect(try choice(selection, "copy").passedOver.isEmpty)

    selection = forced(.kprobe)
    #expect(selection.wanted == ["dispatch", "on_open", "on_copy", "stranger"])
    try selection.overcome(refusal("dispatch", "no such tracepoint"))
    #expect(selection.wanted == ["lsm_open", "fentry_copy", "stranger"])
    let open = try choice(selection, "open")
    #expect(open.tier == .lsm)
    // Nothing is better than what was taken, but this was preferred to it.
    #expect(open.passedOver.map(\.reason) == ["dispatch: no such tracepoint"])
  }

  @Test("a forced tier that martlet has no programs of, or that works nowhere, is an error that says so")
  func forcedTierImpossible() throws {
    let none = try #require(throws: SensorError.self) { try forced(.tracepoint).checkForcedTier() }
    #expect(none.code == .tierUnavailable)
    #expect(none.context.contains("tracepoint") && none.context.contains("no programs"))

    var selection = forced(.fentry)
    try selection.overcome(refusal("fentry_close", "Operation not permitted"))
    try selection.checkForcedTier()
    try selection.overcome(refusal("fentry_copy", "Operation not permitted"))
    let all = try #require(throws: SensorError.self) { try selection.checkForcedTier() }
    #expect(all.code == .tierUnavailable)
    #expect(all.context.contains("fentry_close: Operation not permitted"))
    #expect(all.detail == "fentry_close: Operation not permitted\nfentry_copy: Operation not permitted")
  }

  @Test("the tier of programs that work together")
  func tiers() {
    func tier(_ sections: String...) -> HookTier? { .of(sections.map { ProgramName(name: "x", section: $0) }) }
    #expect(tier("lsm.s/bprm_check_security", "fentry/filp_close") == .lsm)
    #expect(tier("fexit/do_sys_open") == .fentry)
    #expect(tier("kretprobe/x", "tp_btf/sys_exit") == .kprobe)
    #expect(tier("tp_btf/sys_exit", "tracepoint/x") == .tracepoint, "typed tracepoints are there for all")
    #expect(tier("tp_btf/sys_exit", "cgroup/connect4") == .typedTracepoint)
    #expect(tier("raw_tp/x") == .rawTracepoint)
    // Run by user space, and what nothing competes with.
    #expect(tier("raw_tp") == nil)
    #expect(tier("cgroup/connect4", "uprobe") == nil)
    #expect(tier() == nil)
    #expect(HookTier.allCases.sorted(by: >) == HookTier.allCases, "the best first")
  }

  @Test("functions that no object has programs for are left out; programs that no function has are functions")
  func strangers() throws {
    #expect(selection.choices.map(\.function) == ["open", "copy", "stranger"])
    #expect(try choice(selection, "stranger").family == "sensor")
    #expect(try !choice(selection, "stranger").isRequired)
  }

  @Test("a map of an unknown kind costs the programs that use it, and is the reason that is given")
  func unknownMap() throws {
    var selection = selection
    let error = SensorError(.programRejected, "no map")
    try selection.overcome(.map("bloom", reason: "Invalid argument (errno 22)", error))
    #expect(selection.refusedMaps == ["bloom": "Invalid argument (errno 22)"])
    #expect(selection.wanted == self.selection.wanted)
    try selection.overcome(refusal("lsm_open", "BPF map 'bloom' is referenced but wasn't created"))
    #expect(
      try choice(selection, "open").passedOver.first?.reason == "lsm_open: its map bloom: Invalid argument (errno 22)")
    #expect(throws: SensorError.self) { try selection.overcome(.map("bloom", reason: "again", error)) }
  }

  @Test("what no other program helps against ends it, as does what was refused before")
  func otherObstacles() throws {
    var selection = selection
    #expect(throws: SensorError.self) { try selection.overcome(.other(.memoryLimit("A map", errno: ENOMEM))) }
    try selection.overcome(refusal("fentry_copy"))
    #expect(throws: SensorError.self) { try selection.overcome(refusal("fentry_copy")) }
  }

  @Test("the table names each program's part once, and every way has programs")
  func table_() {
    var functions: Set<String> = []
    for function in HookFunction.table {
      #expect(functions.insert("\(function.family) \(function.name)").inserted, "\(function.name) twice")
      #expect(!function.ways.isEmpty && function.ways.allSatisfy { !$0.isEmpty })
    }
  }

  @Test("kinds and targets come from the section")
  func names() {
    let sleepable = ProgramName(name: "x", section: "lsm.s/bprm_check_security")
    #expect(sleepable.kind == "lsm" && sleepable.target == "bprm_check_security")
    #expect(sleepable.canBeSilent && sleepable.attachType?.name == "bpf_lsm_bprm_check_security")
    let tail = ProgramName(name: "on_open", section: "tp_btf/sys_exit")
    #expect(tail.isTail && tail.deed == nil && !tail.canBeSilent)
    #expect(ProgramName(name: "sys_exit", section: "tp_btf/sys_exit").deed != nil)
    #expect(ProgramName(name: "x", section: "syscall").target == "")
  }
}
