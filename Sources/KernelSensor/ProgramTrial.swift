import CLibbpf
public import Observation

/// How one of martlet's programs fared on this kernel.
public struct ProgramTrial: Sendable, Equatable {
  /// Where it runs. Its family is that of the first function that it has a part in.
  public var hook: Hook
  public var isLoaded = false
  /// nil for programs that other programs or user space call.
  public var isAttached: Bool?
  /// Whether it was seen to run; nil where that was not tried or cannot be.
  public var fires: Bool?
  /// What the verifier looked at; nil if it is not loaded.
  public var verifiedInstructions: Int?
  /// Why it is not used; empty if it is.
  public var reason = ""
  /// The end of the verifier's log, if it was refused.
  public var log = ""

  /// Whether the verifier looked into it and did not like what it does: a mistake of martlet's, not a lack of the kernel's.
  public var isRefusedByVerifier: Bool {
    // Its last line: "processed 152 insns (limit 1000000) …", and 0 where it did not come as far as the program.
    log.split(separator: "\n").contains { line in
      let words = line.split(separator: " ")
      return words.count > 2 && words[0] == "processed" && words[1] != "0" && words[2] == "insns"
    }
  }
}

/// Takes down how the programs of a sensor fare while it is opened, be that in vain.
final class TrialNotes {
  private(set) var programs: [ProgramTrial] = []
  private var loaded: [String: (isProven: Bool, instructions: Int?)] = [:]

  /// What is in use.
  func note(_ objects: LoadedObjects, _ proven: Set<String>) throws(SensorError) {
    for program in try objects.programStatistics() {
      let count = Int(program.verifiedInstructions)
      loaded[program.name] = (proven.contains(program.name), count > 0 ? count : nil)
    }
  }

  /// Whether this kernel does not tell what it verified: before 5.16.
  var isWithoutCounts: Bool { loaded.values.contains { $0.instructions == nil } }

  /// What the verifier's log says instead, by program.
  func note(counts: [String: Int]) {
    for (name, count) in counts { loaded[name]?.instructions = count }
  }

  /// What was found out about all others.
  func note(_ selection: HookSelection) {
    programs = (selection.candidates.map(\.name) + selection.turns).map { name in
      var trial = ProgramTrial(hook: name.hook(family: selection.family(of: name.name)))
      if let found = loaded[name.name] {
        trial.isLoaded = true
        trial.isAttached = name.isAttached ? true : nil
        trial.fires = found.isProven ? true : nil
        trial.verifiedInstructions = found.instructions
      } else if let failure = selection.failures[name.name] {
        trial.isLoaded = failure.stage == .attachment || failure.stage == .run
        trial.isAttached = name.isAttached ? failure.stage == .run : nil
        trial.fires = failure.stage == .run ? false : nil
        trial.reason = selection.refusals[name.name] ?? ""
        trial.log = failure.log
      } else {
        trial.isAttached = name.isAttached ? false : nil
        trial.reason = selection.refusals[name.name] ?? "not needed: another way was taken"
      }
      return trial
    }
  }
}
