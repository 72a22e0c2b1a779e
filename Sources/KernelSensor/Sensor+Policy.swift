internal import CLibbpf
internal import KernelABI
public import Policy

extension Sensor {
  /// Puts a policy in force for a job, all of it at once: its rules are in the kernel before the job is under it.
  ///
  /// - Parameters:
  ///   - policy: with numbered rules
  ///   - slot: the job's
  ///   - directory: what relative paths of the policy are relative to
  public func enforce(_ policy: Policy, on slot: UInt16, in directory: String) throws(SensorError) {
    var key = UInt32(try checked(slot))
    var entry = mt_policy()
    entry.id = key
    try Self.set(&entry, at: &key, of: objects.map("policies"), named: "policies")
  }
}
