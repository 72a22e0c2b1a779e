import ArgumentParser
import Glibc
import KernelSensor

/// `martlet agent release`.
struct AgentReleaseCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "release",
    abstract: "Takes out of the kernel what a policy with 'onSensorError: closed' left there, where nobody needs it.",
    discussion: """
      What was loaded by a martlet that is gone goes on denying to processes that were under the policy. This takes away \
      what none of them is under any more, as the next 'martlet run' or agent does. Each is told, with what becomes of it.

      EXIT STATUS
        0    nothing of a martlet that is gone is left
        1    something is: processes under it live
      """)

  @Flag(help: "Also what processes are under that live: nothing is denied to them then. Not of a martlet that lives.")
  var force = false

  func run() throws {
    var isLeft = false
    for entry in PinnedSensors.all() {
      let isReleased = !entry.ownerLives && (force || entry.processes == 0)
      if isReleased { PinnedSensors.release(entry.name) }
      isLeft = isLeft || !isReleased && !entry.ownerLives
      let fate = isReleased ? "released" : entry.ownerLives ? "in use" : "kept"
      Message.write(
        "\(entry.name): \(fate); \(entry.processes) processes under it live, \(entry.lost) records were dropped\n",
        to: STDOUT_FILENO)
    }
    if isLeft { throw ExitCode(1) }
  }
}
