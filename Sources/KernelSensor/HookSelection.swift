internal import KernelABI
public import Observation

/// What is only looked for if somebody asks.
public enum HookRequest: String, Sendable, CaseIterable {
  /// ``SensorOptions/countsBytes``
  case bytes
  /// ``SensorOptions/hashesImages``
  case hashes
  /// ``SensorOptions/enforces``
  case policy
  /// ``SensorOptions/names``
  case names
  /// ``SensorOptions/readsRequests``
  case requests

  /// What does it where the kernel does not; nil: it is not done then, and a run that asked for it is incomplete.
  public var standIn: String? {
    switch self {
    case .bytes, .policy, .names, .requests: nil
    case .hashes: "martlet hashes them itself, a little later"
    }
  }
}

/// Which hooks see one thing on this kernel.
public struct HookChoice: Sendable, Equatable {
  /// A better way that does not work here.
  public struct PassedOver: Sendable, Equatable {
    public var hooks: [Hook]
    /// The program that stands in the way, and what the kernel says: `uring_submit_req: this kernel does not have it`.
    public var reason: String
  }

  /// `process`, `file`, `path`, `flow`, `network`, `io_uring`.
  public var family: String
  /// What is seen: `fork`, `open`, `connect`.
  public var function: String
  /// Whether martlet does not start without it.
  public var isRequired: Bool
  /// What has to be asked for to have it; nil: nothing.
  public var request: HookRequest?
  /// The best hooks that work, of all programs that have a part in it; empty if there are none.
  public var hooks: [Hook]
  /// The best first.
  public var passedOver: [PassedOver]
  /// Which tier these hooks are; nil if they belong to every tier, or there are none.
  public var tier: HookTier?

  public var isOnRequest: Bool { request != nil }
  /// Whether nothing sees what somebody wanted to see.
  var isMissing: Bool { hooks.isEmpty && request?.standIn == nil }

  /// What speaks against each way that there is, for what is not seen.
  public var reasons: String { passedOver.map(\.reason).joined(separator: "; ") }
}

/// What stands in the way of a sensor.
enum Obstacle: Error {
  /// How far a program came.
  enum Stage: Sendable {
    /// It was not tried: the kernel does not have its tracepoint, or runs no program of its kind.
    case choice
    /// The verifier, or what comes before it, refused it.
    case load
    /// It is in the kernel and could not be attached.
    case attachment
    /// It is attached and did not run when it should have.
    case run
  }

  /// The kernel does not have, does not take, does not attach or does not run a program. The error is for those who
  /// cannot do without it.
  case program(String, at: Stage = .load, reason: String, SensorError)
  /// The kernel does not know a kind of map.
  case map(String, reason: String, SensorError)
  /// Nothing that another program could help.
  case other(SensorError)
}

/// Which programs to load: of each function the best way that nothing is known against.
///
/// Only trying tells what a kernel accepts. So what has failed is told to ``overcome(_:)``, and whoever tries starts
/// again with what is ``wanted`` then.
struct HookSelection {
  private let functions: [HookFunction]
  private let names: [String: ProgramName]
  /// Whether tasks can be preempted within the programs, so that more than interrupts comes between.
  private let isPreemptible: Bool
  /// The tier to prefer to all others, better or worse: `--hooks`.
  private let forced: HookTier?
  /// What speaks against programs, by name.
  private(set) var refusals: [String: String] = [:]
  /// How far these came, and the end of the verifier's log.
  private(set) var failures: [String: (stage: Obstacle.Stage, log: String)] = [:]
  /// What speaks against maps, by name.
  private(set) var refusedMaps: [String: String] = [:]

  /// - Parameters:
  ///   - table: functions; of these only ways count whose programs are all there
  ///   - programs: what there is, with the name of its object. Programs in no way of the table are each an optional
  ///     function of their own, in a family that is called as the object.
  ///   - forced: of each function the ways of this tier come first, then those of worse ones, then those of better
  ///   - requests: also what is only wanted on request, of these
  ///   - recognises: also what is only for sensors that recognise jobs
  ///   - unwanted: without what is for these alone
  ///   - isPreemptible: have turns taken at all programs that can be, not only at those that interrupts run; and what is
  ///     only for kernels where that is so
  init(
    table: [HookFunction], programs: [(name: ProgramName, object: String)], forced: HookTier? = nil,
    requests: Set<HookRequest> = [], recognises: Bool = true, without unwanted: Set<EventClass> = [],
    isPreemptible: Bool = false
  ) {
    self.forced = forced
    self.isPreemptible = isPreemptible
    let names = Dictionary(programs.map { ($0.name.name, $0.name) }, uniquingKeysWith: { first, _ in first })
    var functions: [HookFunction] = []
    var used: Set<String> = []
    for var function in table {
      // Objects for old kernels lack some of what a way can do without.
      function.ways = function.ways.map { way in way.filter { !$0.isOptional || names[$0.program] != nil } }
      function.ways.removeAll { way in way.contains { names[$0.program] == nil } }
      for way in function.ways { used.formUnion(way.map(\.program)) }
      // One interrupt is all that these make up for.
      if isPreemptible { function.ways.removeAll { $0.contains { names[$0.program]?.isInPlaceOfTurn == true } } }
      if isPreemptible, function.request == .policy {
        for part in function.ways.joined() where names[part.program]?.kind == "fmod_ret" {
          refusals[part.program] = Self.leavesOut
        }
      }
      if !function.isWanted(without: unwanted) || function.isForPreemption && !isPreemptible { continue }
      // What was asked for is not passed over in silence where these programs cannot do it.
      if function.request.map({ !requests.contains($0) }) ?? function.ways.isEmpty { continue }
      functions.append(function)
    }
    for program in programs where !used.contains(program.name.name) && !program.name.isTurn {
      functions.append(
        HookFunction(program.object, program.name.name, .optional, [HookFunction.Part(program.name.name)]))
    }
    self.functions = functions.filter { recognises || !$0.isForRecognition }
    self.names = names
  }

  /// Programs, each with the arguments that it wants of its tracepoint.
  var candidates: [(name: ProgramName, signature: String?)] {
    var seen: Set<String> = []
    return functions.flatMap { $0.ways.joined() }.compactMap { part in
      guard let name = names[part.program], seen.insert(part.program).inserted else { return nil }
      return (name, part.signature)
    }
  }

  /// Those that take turns, as far as they are to be loaded, or that the kernel did not take.
  var turns: [ProgramName] {
    let wanted = wanted
    return names.values.filter { $0.isTurn && (wanted.contains($0.name) || refusals[$0.name] != nil) }
      .sorted { $0.name < $1.name }
  }

  /// The programs to load. Those at which others of them take turns are not to be attached.
  var wanted: Set<String> {
    let chosen = functions.flatMap { function in possible(best(of: function) ?? []).map(\.program) }
    // They are only ever chosen where nobody else takes turns.
    if chosen.contains(where: { names[$0]?.isInPlaceOfTurn == true }) { return Set(chosen) }
    return Set(chosen + chosen.flatMap(turns(at:)))
  }

  /// Those that take turns at a program, if that is of use: all tasks' calls, or a task's and an interrupt's. Without
  /// them the kernel leaves out more runs, and says so.
  private func turns(at program: String) -> [String] {
    let turns = (names[program]?.turns ?? []).compactMap { names[$0] }
    guard let first = turns.first, let last = turns.last, turns.allSatisfy({ refusals[$0.name] == nil }) else {
      return []
    }
    if isPreemptible { return turns.map(\.name) }
    return first.isRunByInterrupts ? [first.name, last.name] : []
  }

  /// Bits of `mt_typed`, for the programs.
  var typed: UInt32 {
    functions.reduce(0) { bits, function in
      guard let typed = function.typed, let best = best(of: function) else { return bits }
      return best.contains { $0.program == "sys_exit" } ? bits : bits | typed.rawValue
    }
  }

  /// What a program is needed for first.
  func family(of program: String) -> String {
    functions.first { function in
      function.ways.joined().contains {
        [program, names[program]?.turn?.program].contains($0.program)
      }
    }?.family ?? ""
  }

  var choices: [HookChoice] {
    functions.map { function in
      let best = best(of: function)
      // What would have been taken had nothing been forced, and what was to be taken before what was.
      let better = function.ways.prefix { $0 != best }
      let preferred = inOrder(function).prefix { $0 != best }
      return HookChoice(
        family: function.family, function: function.name, isRequired: function.need == .required,
        request: function.request, hooks: hooks(best ?? [], function.family),
        passedOver: function.ways.filter { better.contains($0) || preferred.contains($0) }.map { way in
          let reasons = reasons(way)
          let unwanted = forced.map { "not asked for (--hooks \($0.rawValue))" } ?? ""
          return .init(
            hooks: hooks(way, function.family), reason: reasons.isEmpty ? unwanted : reasons.joined(separator: ", "))
        } + (function.ways.isEmpty ? [.init(hooks: [], reason: Self.tooOld)] : []),
        tier: best.flatMap { tier($0) })
    }
  }

  /// Why a guard does not rest on such a program: threads on one CPU that all try what is denied get by while one of them
  /// is preempted in it, most of the time. The security modules' programs and kprobes see every call.
  private static let leavesOut =
    "lets calls through while another task is preempted in it, so that whoever keeps trying gets by a policy"
  private static let tooOld = "martlet's programs for kernels before 5.17 do not have it"

  /// - Throws: if a tier is forced that no function has a way in, or none that works
  func checkForcedTier() throws(SensorError) {
    guard let forced else { return }
    let ways = functions.flatMap(\.ways).filter { tier($0) == forced }
    if ways.contains(where: isWorking) { return }
    let reasons = ways.flatMap(reasons)
    throw .noHooks(of: forced, reason: reasons.first, all: reasons)
  }

  /// Learns what failed.
  ///
  /// - Throws: if a required function has no way left, or the obstacle does not go away by doing without a program.
  mutating func overcome(_ obstacle: Obstacle) throws(SensorError) {
    switch obstacle {
    case .program(let program, let stage, let reason, let error):
      guard refusals[program] == nil else { throw error }
      failures[program] = (stage, error.detail)
      // A program that wants a map that could not be made is refused for a reason that says nothing.
      let map = refusedMaps.first { reason.contains("'\($0.key)'") }
      refusals[program] = map.map { "its map \($0.key): \($0.value)" } ?? reason
      if functions.contains(where: { $0.need == .required && best(of: $0) == nil }) { throw error }
    case .map(let map, let reason, let error):
      guard refusedMaps.updateValue(reason, forKey: map) == nil else { throw error }
    case .other(let error):
      throw error
    }
  }

  private func best(of function: HookFunction) -> [HookFunction.Part]? { inOrder(function).first(where: isWorking) }

  /// The ways of a function, what is preferred first.
  private func inOrder(_ function: HookFunction) -> [[HookFunction.Part]] {
    guard let forced else { return function.ways }
    let tiers = function.ways.map { tier($0) ?? forced }
    let ways = zip(function.ways, tiers)
    // What stands in is worse than any tier, and better than one that nobody asked for.
    let better = function.request?.standIn == nil ? ways.filter { $1 > forced } : []
    return (ways.filter { $1 == forced } + ways.filter { $1 < forced } + better).map(\.0)
  }

  private func tier(_ way: [HookFunction.Part]) -> HookTier? { .of(way.compactMap { names[$0.program] }) }

  private func isWorking(_ way: [HookFunction.Part]) -> Bool {
    way.allSatisfy { $0.isOptional || refusals[$0.program] == nil }
  }

  /// A way without what it can do without and nothing can be had of.
  private func possible(_ way: [HookFunction.Part]) -> [HookFunction.Part] {
    way.filter { !$0.isOptional || refusals[$0.program] == nil }
  }

  /// What speaks against the programs of a way.
  private func reasons(_ way: [HookFunction.Part]) -> [String] {
    var reasons: [(reason: String, programs: [String])] = []
    for part in way where !part.isOptional {
      guard let reason = refusals[part.program] else { continue }
      if let known = reasons.firstIndex(where: { $0.reason == reason }) {
        reasons[known].programs.append(part.program)
      } else {
        reasons.append((reason, [part.program]))
      }
    }
    return reasons.map { reason, programs in
      let all = programs.count > 2 ? "\(programs[0]) and \(programs.count - 1) more" : programs.joined(separator: ", ")
      return "\(all): \(reason)"
    }
  }

  private func hooks(_ way: [HookFunction.Part], _ family: String) -> [Hook] {
    possible(way).compactMap { names[$0.program]?.hook(family: family) }
  }
}
