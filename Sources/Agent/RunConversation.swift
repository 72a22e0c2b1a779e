internal import CSystem
internal import Glibc
public import Observation
public import Supervision

/// A command that the agent watches for a user who may load no programs into the kernel.
///
/// ```swift
/// let run = try RunConversation.begin()
/// let child = try Child(command, inherited: inherited)   // waits
/// if let reason = try run.watch(child.pid, wantsColour: false, wantsHashes: false) { … }
/// try child.release()
/// // …
/// let (answer, files) = try run.report(milliseconds: 60_000)
/// run.kept()
/// ```
public final class RunConversation {
  private let conversation: ControlConversation

  /// Reaches an agent, and gives up for good what executing a program could add to this process and its children: the
  /// agent watches for nobody what is more than who asks.
  ///
  /// - Returns: nil if there is none
  public static func begin(path: String = AgentConfiguration().socket) throws(SystemError) -> RunConversation? {
    let conversation: ControlConversation
    do throws(SystemError) {
      conversation = try ControlConversation(path: path, milliseconds: 10_000)
    } catch {
      if [ENOENT, ECONNREFUSED].contains(error.code) { return nil }
      throw error
    }
    let code = mt_gain_no_privileges()
    guard code == 0 else { throw SystemError("give up gaining privileges", code: -code) }
    return RunConversation(conversation)
  }

  private init(_ conversation: ControlConversation) { self.conversation = conversation }

  /// - Parameter process: a child that waits to be let go
  /// - Returns: why it is not watched; nil: it is, from now on
  public func watch(_ process: Int32, wantsColour: Bool, wantsHashes: Bool) throws(SystemError) -> String? {
    try conversation.send(
      ControlAnswer.line { json in
        json.member("command", "run")
        json.member("process", process)
        json.member("colour", wantsColour)
        json.member("hashes", wantsHashes)
      })
    guard try conversation.introduce() else { return "the agent that runs is of another version" }
    let answer = try conversation.receive().value
    if let error = answer["error"]?.text { return error }
    return answer["watched"]?.text == nil ? "the agent gave no answer that makes sense" : nil
  }

  /// Waits for the report, which comes when the process has ended: `error`, or as of ``ControlClient``, and `summary`.
  public func report(milliseconds: Int) throws(SystemError) -> (value: JSONValue, files: ReportFilesHandedOver?) {
    conversation.end = ControlServer.now + UInt64(milliseconds) * 1_000_000
    let answer = try conversation.receive().value
    return (answer, ReportFilesHandedOver(answer, conversation.takeDescriptors()))
  }

  /// Its files are ours: the agent needs them no more.
  public func kept() { try? conversation.send(Array("kept\n".utf8)) }
}
