import Observation
import Recording
import Synchronization

/// What the live status shows, published by the reader's thread and read by the main one.
final class Progress: Sendable {
  private let processes = Atomic<UInt64>(1)
  private let running = Atomic<UInt64>(1)
  private let opens = Atomic<UInt64>(0)
  private let connections = Atomic<UInt64>(0)
  private let lost = Atomic<UInt64>(0)

  func publish(_ tally: RecordTallies, lost: UInt64) {
    let processes = tally[.fork] &+ 1
    self.processes.store(processes, ordering: .relaxed)
    running.store(processes > tally[.exit] ? processes &- tally[.exit] : 0, ordering: .relaxed)
    opens.store(tally[.open], ordering: .relaxed)
    connections.store(tally[.connect] &+ tally[.udpSend] &+ tally.accepted, ordering: .relaxed)
    self.lost.store(lost, ordering: .relaxed)
  }

  /// One line, of our own words and numbers only.
  var line: String {
    var text =
      "martlet: \(running.load(ordering: .relaxed)) of \(processes.load(ordering: .relaxed)) processes, "
      + "\(opens.load(ordering: .relaxed)) files opened, \(connections.load(ordering: .relaxed)) connections"
    let lost = lost.load(ordering: .relaxed)
    if lost > 0 { text += ", \(lost) LOST" }
    return text
  }
}
