internal import CSystem
internal import Glibc
public import Observation
public import Supervision

/// A command that the agent watches for a user who may load no programs into the kernel.
///
/// ```swift
/// let run = try RunConversation.begin()
/// let child = try Child(command, inherited: inherited)   // waits
/// if let reason = try run.watch(child.pid, wanted: RunWishes()) { … }
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

  /// - Parameters:
  ///   - process: a child that waits to be let go
  ///   - policy: the text of one that the machine's is to be narrowed by, and what it was read from
  /// - Returns: why it is not watched; nil: it is, from now on
  public func watch(
    _ process: Int32, policy: (bytes: [UInt8], file: String)?, wanted: RunWishes
  ) throws(SystemError) -> String? {
    var sealed: Int32 = -1
    if let policy {
      sealed = policy.bytes.withUnsafeBytes { mt_sealed_file($0.baseAddress, $0.count) }
      guard sealed >= 0 else { throw SystemError("hand over the policy", code: -sealed) }
    }
    defer { if sealed >= 0 { close(sealed) } }
    try conversation.send(
      ControlAnswer.line { json in
        json.member("command", "run")
        json.member("process", process)
        json.member("colour", wanted.colour)
        json.member("hashes", wanted.hashes)
        json.member("requests", wanted.requests)
        if let policy {
          json.member("policy", sealed)
          json.member("policyFile", policy.file)
        }
      })
    guard try conversation.introduce() else { return "the agent that runs is of another version" }
    let answer = try conversation.receive().value
    if let error = answer["error"]?.text { return error }
    guard answer["watched"]?.text != nil else { return "the agent gave no answer that makes sense" }
    // One of another version does not know what it was asked for.
    guard !wanted.requests || answer["requests"]?.bool == true else {
      return "the agent that runs here is of a version that does not tell requests (--requests)"
    }
    return nil
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
