internal import Observation

/// What a client of the agent's socket asks for: a line with a JSON object.
///
///     {"command":"status"}
///     {"command":"stop","token":"…"}
///     {"command":"run","process":4711}
///     {"command":"report"}
///     {"command":"report","job":"0123…","token":"…","files":true}
///     {"command":"replace","step":"begin"}
enum ControlRequest: Equatable {
  case ready
  case status
  case stop(token: [UInt8])
  /// Of the named job, or else of that which the asking process is in.
  case report(job: String?, token: [UInt8]?, wantsFiles: Bool)
  /// A child of the asking process is to be watched; see ``GivenProcess``.
  case run(process: UInt32, policy: AskedPolicy?, wanted: RunWishes)
  /// Another agent takes over; see ``HandOver``.
  case replace(HandOverStep)
  /// A connection of somebody who is in a job of this agent, and has come to the one that took over: it comes with the
  /// request, and what was read of it.
  case serve(request: [UInt8])
  /// What a `run` came to is with who asked for it. Nobody sends that: it is how the server tells of a receipt.
  case kept(path: String)

  /// A policy that who asks has in a sealed file in memory.
  struct AskedPolicy: Equatable, Sendable {
    /// The asking process' number of it.
    var descriptor: Int32
    /// What it was read from.
    var file: String
  }

  /// Bytes of a request, its line feed included.
  static let limit = 4096

  enum Parsed: Equatable {
    /// The line has not ended yet.
    case incomplete
    case request(ControlRequest)
    /// Why not, in words.
    case refused(String)
  }

  /// The answer depends on which process asks: see ``PeerProcess``.
  var asksWho: Bool {
    switch self {
    case .ready, .status, .stop, .kept, .serve: false
    case .run, .replace: true
    case .report(let job, _, _): job == nil
    }
  }

  /// Something may come with it.
  var takesDescriptors: Bool {
    switch self {
    case .replace, .serve: true
    default: false
    }
  }

  /// It is about the job of the asking process.
  var isOfOwnJob: Bool {
    switch self {
    case .run: true
    case .report(let job, _, _): job == nil
    default: false
    }
  }

  /// Any bytes give an answer. What stands behind the line is not looked at.
  static func parse(_ bytes: some Collection<UInt8>) -> Parsed {
    let head = bytes.prefix(limit)
    guard let end = head.firstIndex(of: UInt8(ascii: "\n")) else {
      return head.count < limit ? .incomplete : .refused("the request is longer than \(limit) bytes")
    }
    guard let value = JSONValue(parsing: head[..<end], depth: 2, values: 128), case .object = value else {
      return .refused("the request is no JSON object")
    }
    switch value["command"]?.text {
    case "ready": return .request(.ready)
    case "status": return .request(.status)
    case "stop":
      guard let token = value["token"]?.bytes else { return .refused("stop takes a token") }
      return .request(.stop(token: token))
    case "report":
      if let job = value["job"], job.text?.isEmpty ?? true { return .refused("job takes the id of a job") }
      return .request(
        .report(
          job: value["job"]?.text, token: value["token"]?.bytes, wantsFiles: value["files"]?.bool ?? false))
    case "run":
      guard let process = value["process"]?.unsigned, (1...UInt64(Int32.max)).contains(process) else {
        return .refused("run takes the number of a process")
      }
      var policy: AskedPolicy?
      if let descriptor = value["policy"]?.unsigned {
        guard descriptor <= UInt64(Int32.max), let file = value["policyFile"]?.text else {
          return .refused("a policy is a descriptor, and the name of its file")
        }
        policy = AskedPolicy(descriptor: Int32(descriptor), file: file)
      }
      return .request(
        .run(
          process: UInt32(process), policy: policy,
          wanted: RunWishes(
            colour: value["colour"]?.bool ?? false, hashes: value["hashes"]?.bool ?? false,
            requests: value["requests"]?.bool ?? false)))
    case "replace":
      guard let step = HandOverStep(value) else { return .refused("an agent takes over in steps that this one knows") }
      return .request(.replace(step))
    case "serve":
      guard let request = value["request"]?.bytes else { return .refused("serve takes a request") }
      return .request(.serve(request: request))
    default: return .refused("there are the commands ready, status, report, run, replace and stop")
    }
  }
}

/// What a user wants of a `run`.
public struct RunWishes: Sendable, Equatable {
  /// In the summary.
  public var colour: Bool
  public var hashes: Bool
  public var requests: Bool

  public init(colour: Bool = false, hashes: Bool = false, requests: Bool = false) {
    self.colour = colour
    self.hashes = hashes
    self.requests = requests
  }
}

/// What `stop` has to be given: 128 random bits.
struct ControlToken: Equatable {
  let text: String

  init(text: String) { self.text = text }

  /// Compares in a time that does not depend on where they differ.
  func matches(_ given: [UInt8]) -> Bool {
    let own = Array(text.utf8)
    var difference = UInt8(own.count == given.count ? 0 : 1)
    for (index, byte) in own.enumerated() { difference |= byte ^ (given.isEmpty ? 0 : given[index % given.count]) }
    return difference == 0
  }
}
