internal import CSystem
internal import Configuration
internal import Glibc
internal import KernelSensor
internal import Observation
internal import Policy
internal import Recording
internal import Reporting
internal import Supervision
internal import Synchronization

/// What of a job's policy depends on the directory that it works in.
struct PolicyQuestion: Sendable {
  var slot: UInt16
  /// The job's.
  var identifier: String
  /// A process of it that works there, or whose mount namespace says what the directory's name means.
  var process: UInt32
  var processStart: UInt64
  /// As the job's variables tell it; nil: where the process is.
  var workspace: String?
  /// Of the job's first process; nil: not known.
  var user: UInt32?
  /// What is in force, but for the directory; nil: nothing.
  var policy: NamedPolicy?
  var hasDirectory: Bool
  /// What was read of the repository's before.
  var repositories: [[UInt8]]
}

struct PolicyAnswer: Sendable {
  var policy: NamedPolicy
  /// As people are shown it.
  var directory: String
  /// SHA-256 of the repository's own policy, if that narrows it now.
  var repository: [UInt8]?
  var prepared: PreparedPolicy
}

struct PolicyOutcome: Sendable {
  enum Result: Sendable {
    case made(PolicyAnswer)
    /// There is nothing to add.
    case nothing
    /// In words for the report.
    case refused(String)
  }

  var slot: UInt16
  var identifier: String
  var result: Result
}

/// Finds out what policies mean in jobs' directories, on a thread of its own: file systems of jobs may take their time, or not
/// answer at all.
final class PolicyPreparer: @unchecked Sendable {
  /// Bytes of a repository's martlet.yaml.
  static let limit = 1 << 20
  static let fileName = "martlet.yaml"
  private static let queueLimit = 4096

  private let terms: PolicyTerms
  private let keepsRepositories: Bool
  private let questions = Mutex<(all: [PolicyQuestion], isEnding: Bool)>(([], false))
  private let outcomes = Mutex<[PolicyOutcome]>([])
  private let doorbell: Doorbell
  private var thread: RunningThread?

  init(_ terms: PolicyTerms, keepsRepositories: Bool) throws(SystemError) {
    self.terms = terms
    self.keepsRepositories = keepsRepositories
    doorbell = try Doorbell()
  }

  func start() throws(SystemError) {
    thread = try startThread("the policies'", self) { $0.work() }
  }

  /// The thread is left to itself, as it may wait for a disk, and goes with the process.
  func end() {
    questions.withLock { $0.isEnding = true }
    doorbell.ring()
  }

  /// - Returns: false if there is no place for it
  func ask(_ question: PolicyQuestion) -> Bool {
    let isTaken = questions.withLock { questions in
      guard questions.all.count < Self.queueLimit, !questions.isEnding else { return false }
      questions.all.append(question)
      return true
    }
    if isTaken { doorbell.ring() }
    return isTaken
  }

  func take() -> [PolicyOutcome] {
    outcomes.withLock { outcomes in
      defer { outcomes = [] }
      return outcomes
    }
  }

  // MARK: - The thread

  private func work() {
    mt_thread_describe("martlet-policy", 0)
    while true {
      let (next, isEnding) = questions.withLock { questions in
        (questions.all.isEmpty ? nil : questions.all.removeFirst(), questions.isEnding)
      }
      if isEnding { return }
      guard let next else {
        doorbell.wait(milliseconds: -1)
        continue
      }
      let outcome = answer(next)
      outcomes.withLock { $0.append(outcome) }
    }
  }

  private func answer(_ question: PolicyQuestion) -> PolicyOutcome {
    var outcome = PolicyOutcome(slot: question.slot, identifier: question.identifier, result: .nothing)
    do throws(PolicyRefusal) {
      if let answer = try made(question) { outcome.result = .made(answer) }
    } catch {
      outcome.result = .refused(error.description)
    }
    return outcome
  }

  private func made(_ question: PolicyQuestion) throws(PolicyRefusal) -> PolicyAnswer? {
    guard let directory = Self.directory(question) else { return nil }
    guard let path = directory.path else { return nil }
    var policy = question.policy
    var repository: [UInt8]?
    if keepsRepositories, let (bytes, digest) = try Self.repositoryPolicy(in: directory, question.user) {
      if !question.repositories.contains(digest) {
        guard question.repositories.count < JobPolicy.repositoryLimit else {
          throw PolicyRefusal(
            "The repository's martlet.yaml has had \(JobPolicy.repositoryLimit) versions in this job: what it says now is not looked at."
          )
        }
        policy = try Self.narrowed(question.policy, by: bytes, in: path)
        repository = digest
      }
    }
    guard let policy, repository != nil || !question.hasDirectory else { return nil }
    do {
      return PolicyAnswer(
        policy: policy, directory: VisibleText.terminal(path, limit: 200), repository: repository,
        prepared: try PreparedPolicy(policy.policy, in: directory, terms))
    } catch {
      throw PolicyRefusal("What the policy says of the job's directory is not in force: \(error)")
    }
  }

  private static func narrowed(
    _ policy: NamedPolicy?, by bytes: [UInt8], in directory: String
  ) throws(PolicyRefusal) -> NamedPolicy {
    let refused = "The repository's martlet.yaml is not in force"
    let held = policy == nil ? "nothing is denied to the job" : "the job is held to the policy that it had"
    let own: Policy
    do {
      own = try Policy.read(bytes, file: fileName)
    } catch {
      let first = error.problems.first.map { "\($0.place.line):\($0.place.column): \($0.message)" } ?? ""
      throw PolicyRefusal("\(refused), and \(held): \(fileName):\(first)")
    }
    guard own.onSensorError == .open, !own.requirePrevention else {
      throw PolicyRefusal("\(refused), and \(held): onSensorError and requirePrevention are the machine's to say")
    }
    do {
      return NamedPolicy(try AgentPolicies.narrow(policy?.policy, by: own, fileName), file: fileName)
    } catch {
      throw PolicyRefusal("\(refused), and \(held): \(error)")
    }
  }

  /// Where the job works; nil: the process is over, or the directory is none.
  private static func directory(_ question: PolicyQuestion) -> PolicyDirectory? {
    let process = "/proc/\(question.process)"
    // Its number may be another's by now.
    guard ProcessScan.stat(of: question.process).map({ isClose($0.startedAt, question.processStart) }) ?? false else {
      return nil
    }
    var own = stat()
    var its = stat()
    guard stat("/proc/self/ns/mnt", &own) == 0, stat("\(process)/ns/mnt", &its) == 0 else { return nil }
    let isHere = own.st_ino == its.st_ino && link("\(process)/root") == "/"
    guard let path = question.workspace ?? link("\(process)/cwd"), path.utf8.first == UInt8(ascii: "/"),
      path.utf8.count < 4096, !path.utf8.contains(0), !path.hasSuffix(" (deleted)")
    else { return nil }
    guard isHere else { return .elsewhere(path) }
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return nil }
    return .here(path)
  }

  /// /proc counts in ticks.
  private static func isClose(_ a: UInt64, _ b: UInt64) -> Bool { b == 0 || max(a, b) - min(a, b) < 30_000_000 }

  private static func link(_ path: String) -> String? {
    ProcessScan.link(path).flatMap { String(validating: $0, as: UTF8.self) }
  }

  /// What martlet.yaml says there; nil: there is none. Whoever wrote it may mean no good: it is no link, and what it says
  /// wrong is shown to the job's user, so it has to be that user's.
  static func repositoryPolicy(
    in directory: PolicyDirectory, _ user: UInt32?
  ) throws(PolicyRefusal) -> (bytes: [UInt8], digest: [UInt8])? {
    guard case .here(let path) = directory else {
      throw PolicyRefusal("The repository's martlet.yaml is not looked for: the job works in another mount namespace.")
    }
    func refusal(_ why: String) -> PolicyRefusal {
      PolicyRefusal("The repository's martlet.yaml is not in force: \(why)")
    }
    let parent = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard parent >= 0 else { return nil }
    defer { close(parent) }
    let file = mt_output_read_file(parent, fileName)
    if file == -ENOENT { return nil }
    guard file >= 0 else {
      let reasons = [ELOOP: "it is a symbolic link", EINVAL: "it is no file"]
      throw refusal(reasons[-file] ?? String(cString: strerror(-file)))
    }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0, let user, status.st_uid == user else {
      throw refusal("it does not belong to the job's user")
    }
    guard status.st_size <= limit else { throw refusal("it has more than \(limit) bytes") }
    let (bytes, error) = FileContents.read(file, atMost: limit + 1)
    guard error == 0, bytes.count <= limit else { throw refusal("it cannot be read") }
    var hash = SHA256()
    bytes.withUnsafeBytes { hash.update($0) }
    return (bytes, Array(hash.finish()))
  }
}
