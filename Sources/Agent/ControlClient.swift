internal import CSystem
internal import Glibc
public import Observation
public import Supervision

/// Asks a running agent.
public enum ControlClient {
  /// Sends one request and reads its answer.
  ///
  /// - Parameters:
  ///   - request: the members of the object, without braces.
  ///   - milliseconds: for all of it.
  /// - Throws: ENOENT and ECONNREFUSED if no agent listens there, EPERM if whoever does is neither root nor who asks.
  private static func ask(
    _ request: [UInt8], path: String, milliseconds: Int
  ) throws(SystemError) -> (value: JSONValue, bytes: [UInt8]) {
    let conversation = try ControlConversation(path: path, milliseconds: milliseconds)
    try conversation.send(request)
    return try conversation.receive()
  }

  /// Whether an agent is ready there.
  public static func isReady(path: String, milliseconds: Int = 1000) throws(SystemError) -> Bool {
    try ask(ControlAnswer.line { $0.member("command", "ready") }, path: path, milliseconds: milliseconds).value[
      "ready"]?.bool
      == true
  }

  /// Schema `martlet.agent/v1`, parsed and as it came.
  public static func status(
    path: String, milliseconds: Int = 10_000
  ) throws(SystemError) -> (value: JSONValue, bytes: [UInt8]) {
    try ask(ControlAnswer.line { $0.member("command", "status") }, path: path, milliseconds: milliseconds)
  }

  /// Has the agent stop, and returns when every report is written: `stopped` and `jobs`, or `error`.
  public static func stop(path: String, token: String, milliseconds: Int = 30_000) throws(SystemError) -> JSONValue {
    let request = ControlAnswer.line { json in
      json.member("command", "stop")
      json.member("token", token)
    }
    return try ask(request, path: path, milliseconds: milliseconds).value
  }

  /// Has the report made of a job as it is now, and returns when that is written.
  ///
  /// - Parameters:
  ///   - job: its id, which takes root or the agent's token; nil: that which this process is in
  ///   - wantsFiles: to be handed its files
  /// - Returns: `error`, or what it is: `job`, `verdict`, `verdicts`, `path`, `logHead`, `until`, `processes`; and its files,
  ///   as far as the agent hands them over
  public static func report(
    path: String, job: String?, token: String?, wantsFiles: Bool, milliseconds: Int
  ) throws(SystemError) -> (value: JSONValue, files: ReportFilesHandedOver?) {
    let request = ControlAnswer.line { json in
      json.member("command", "report")
      if let job { json.member("job", job) }
      if let token { json.member("token", token) }
      json.member("files", wantsFiles)
    }
    let conversation = try ControlConversation(path: path, milliseconds: milliseconds)
    try conversation.send(request)
    if job == nil, try conversation.introduce() == false {
      throw SystemError("speak with the agent at \(path), which knows no reports of jobs that run", code: EPROTO)
    }
    let answer = try conversation.receive().value
    return (answer, ReportFilesHandedOver(answer, conversation.takeDescriptors()))
  }
}
