import Glibc
import KernelABI
import KernelSensor
import Observation
import Policy
import Testing

/// What a policy's guards are expected to do on this kernel, and what an actor says that they did.
enum Guarded {
  /// What the hooks that were chosen for functions of the family `policy` can do here: the least of them.
  static func strength(_ functions: String...) throws -> RuleEnforcement.Strength {
    let refusing: [HookTier?] = [.lsm, .fentry]
    return try functions.allSatisfy { refusing.contains(try tier($0)) } ? .prevented : .killed
  }

  static func tier(_ function: String) throws -> HookTier? {
    let choices = try Bench.enforcing.get().sensor.choices
    return try #require(choices.first { $0.family == "policy" && $0.function == function }).tier
  }

  /// What the sensor says of the first rule of a section.
  static func told(_ section: String, _ rules: (inout Policy) -> Void) throws -> RuleEnforcement.Strength {
    var policy = Policy()
    rules(&policy)
    let rows = try Bench.enforcing.get().sensor.enforcement(of: policy).filter { $0.section == section }
    return try #require(rows.first).strength
  }

  static func head(_ number: UInt32, _ action: PolicyAction = .deny) -> RuleHead {
    var head = RuleHead(action: action)
    head.number = number
    return head
  }
}

extension Act {
  /// The denials of what the child did, by which it was decided.
  func denials(_ section: mt_section) -> [Record] {
    all(.denial) { $0.denial.section == UInt8(section.rawValue) }
  }

  /// That the deed was refused, or the process killed, as far as this kernel can, and told with the rule.
  func checkDenied(
    _ section: mt_section, _ operation: UInt32, rule: UInt32, by strength: RuleEnforcement.Strength,
    _ location: SourceLocation = #_sourceLocation
  ) throws {
    let outcome = try number("outcome", location)
    let isPrevented = strength == .prevented
    #expect(outcome == (isPrevented ? Int(EPERM) : -Int(SIGKILL)), "\(summary)", sourceLocation: location)
    let doer = try number("doer", location)
    let records = denials(section).filter { $0.pid == doer && $0.denial.operation == UInt16(operation) }
    let record = try #require(records.first, "no denial\n\(summary)", sourceLocation: location)
    #expect(record.denial.rule == rule, "\(summary)", sourceLocation: location)
    #expect(record.denial.action == UInt8(MT_DENY.rawValue), sourceLocation: location)
    let effect = isPrevented ? MT_EFFECT_PREVENTED : MT_EFFECT_KILLED
    #expect(record.denial.effect == UInt8(effect.rawValue), "\(summary)", sourceLocation: location)
  }

  func checkAllowed(_ section: mt_section, _ location: SourceLocation = #_sourceLocation) throws {
    #expect(try number("outcome", location) == 0, "\(summary)", sourceLocation: location)
    #expect(denials(section).isEmpty, "\(summary)", sourceLocation: location)
  }
}
