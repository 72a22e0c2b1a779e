internal import KernelSensor

extension AgentRecorder {
  /// Every packet of the machine passes the programs that look for names, so they are on their hooks for as long as there is a
  /// job, and a while longer. A claim wakes the reader, and they are there a millisecond after the job's exec.
  mutating func hearNames(_ sensor: Sensor, now: UInt64) {
    if !open.isEmpty { lastOpenAt = now }
    let areHeard = lastOpenAt != 0 && now &- lastOpenAt < Self.namesLinger
    guard areHeard != hearsNames else { return }
    hearsNames = areHeard
    do {
      try sensor.hearNames(areHeard)
    } catch {
      settings.log.say("\(error)")
      if areHeard { facts.missingHooks.append(("network", "names are not heard: \(error)")) }
    }
  }

  /// Nanoseconds.
  private static let namesLinger: UInt64 = 10_000_000_000
}
