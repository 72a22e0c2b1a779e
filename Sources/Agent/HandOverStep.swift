internal import Observation

/// What an agent that takes over asks of the one that runs, in this order. Each is a request of its own on its socket.
enum HandOverStep: Equatable, Sendable {
  /// Who are you? The answer is a ``HandOverFacts``, and comes with ``Sensor/members()``.
  case look
  /// The same, of the agent that is to be replaced, which leaves the names of its socket and its journal then.
  case begin
  /// Here are the members of my sensor: take nobody who is among them, and keep your jobs off me and these places. The answer
  /// says whether you can: they may be of a version that your programs cannot look into.
  case beside(start: UInt64, paths: [String])
  /// I begin jobs: begin none any more. Who has my token may be told of your jobs. If nobody is to join these either, by their
  /// keys, it is because you cannot look whom I have.
  case leave(token: String, joins: Bool)
  /// I am ready: when your last job is over, end. Before that it is not too late to go on as before, should I end.
  case done

  init?(_ value: JSONValue) {
    switch value["step"]?.text {
    case "look": self = .look
    case "begin": self = .begin
    case "beside":
      guard let start = value["start"]?.unsigned, let paths = value["paths"]?.array else { return nil }
      self = .beside(start: start, paths: paths.compactMap(\.text))
    case "leave":
      guard let token = value["token"]?.text, let joins = value["joins"]?.bool else { return nil }
      self = .leave(token: token, joins: joins)
    case "done": self = .done
    default: return nil
    }
  }
}
