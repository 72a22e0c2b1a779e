internal import Glibc
internal import Observation
internal import Recording
internal import Reporting
internal import Supervision
internal import Synchronization

/// Somebody wants a job's report, now or when it has ended.
struct ReportRequest: Sendable {
  enum Whose: Sendable {
    /// That which the process is in, by the kernel side's tag.
    case process(PeerProcess)
    /// Somebody names it who may: root, the agent's own user, or who has the token.
    case named(String)
    /// It is known: what is left of the two, so that nothing is held for who does not wait for an answer.
    case found(by: AskedReport.Asker)
  }

  /// Whom the answer is for.
  var ticket: UInt64
  var whose: Whose
  /// Wants to be handed its files.
  var wantsFiles: Bool
  /// CLOCK_BOOTTIME: everything until then has to be in it.
  var at: UInt64
  /// When the job is over, not sooner: what it came to for a terminal, with colour or without, comes with it.
  var summary: Summary?

  struct Summary: Sendable {
    var hasColour: Bool
  }

  /// Its job is known.
  var found: ReportRequest {
    var found = self
    found.whose = .found(by: asker)
    return found
  }

  var asker: AskedReport.Asker {
    switch whose {
    case .process: .job
    case .named: .other
    case .found(let asker): asker
    }
  }
}

/// A report that is there.
struct MadeReport: Sendable {
  static let files = ReportFiles.all

  var identifier: String
  var path: String
  var verdict: String
  var verdicts: [String]
  var logHead: String?
  /// Until when it tells, RFC 3339, and how many processes of the job lived then; nil: to the job's end.
  var until: String?
  var processes: UInt64 = 0
  /// Whether there is a policy under which the job would have passed.
  var suggestsPolicy = false
  /// What `run` says at the end.
  var summary: String?
  /// Of ``files``, for reading; nil: not wanted, or not to be handed over.
  var descriptors: HeldDescriptors?

  /// The answer's line.
  ///
  /// - Parameter hasFiles: its descriptors come with it
  func json(hasFiles: Bool) -> [UInt8] {
    ControlAnswer.line { json in
      json.member("job", identifier)
      json.member("verdict", verdict)
      json.array("verdicts") { json in for verdict in verdicts { json.member(nil, verdict) } }
      json.member("path", path)
      json.member(named: "logHead", logHead)
      json.member(named: "until", until)
      json.member("processes", processes)
      json.member("suggestsPolicy", suggestsPolicy)
      if let summary { json.member("summary", summary) }
      json.array("files") { json in if hasFiles { for name in Self.files { json.member(nil, name) } } }
    }
  }

  /// Opens the files of a report that was just published, before another can take its place.
  static func open(_ path: String) throws(SystemError) -> HeldDescriptors {
    var numbers: [Int32] = []
    for name in files {
      let number = Glibc.open("\(path)/\(name)", O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
      guard number >= 0 else {
        let code = errno
        _ = HeldDescriptors(numbers)
        throw SystemError("open \(path)/\(name)", code: code)
      }
      numbers.append(number)
    }
    return HeldDescriptors(numbers)
  }
}

/// Where answers wait for the thread that speaks to clients. From any thread.
final class ReportDesk: Sendable {
  enum Answer: Sendable {
    case made(MadeReport)
    /// A process is watched from now on, as this job.
    case watched(String)
    /// Why not, in words.
    case refused(String)
    /// What there is to say to another agent.
    case said([UInt8])
  }

  let doorbell: Doorbell
  private let answers = Mutex<[(ticket: UInt64, answer: Answer)]>([])

  init() throws(SystemError) { doorbell = try Doorbell() }

  func answer(_ request: ReportRequest, _ answer: Answer) {
    answers.withLock { $0.append((request.ticket, answer)) }
    doorbell.ring()
  }

  func say(_ bytes: [UInt8], to ticket: UInt64) {
    answers.withLock { $0.append((ticket, .said(bytes))) }
    doorbell.ring()
  }

  func take() -> [(ticket: UInt64, answer: Answer)] {
    doorbell.silence()
    return answers.withLock { answers in
      defer { answers = [] }
      return answers
    }
  }
}
