public import KernelSensor
public import Observation

/// A kind of jobs, and how they are told from everything else on the machine.
public struct AgentRule: Sendable, Equatable {
  /// Short, unique among the rules: what status and reports call it.
  public var name: String
  /// Whose jobs they are; says what their variables mean, see ``JobIdentity``.
  public var provider: String
  /// What its first process is known by.
  public var match: JobRule
  /// Nanoseconds that a job is kept open after its first process has ended, or, with a key, after its last one has: a
  /// further process may come. nil: 2 s, 30 s with a key.
  public var linger: UInt64?

  public init(name: String, provider: String, match: JobRule, linger: UInt64? = nil) {
    self.name = name
    self.provider = provider
    self.match = match
    self.linger = linger
  }

  /// - Parameter isKeyed: processes that come later can join the job.
  func linger(isKeyed: Bool) -> UInt64 { linger ?? (isKeyed ? 30 : 2) * 1_000_000_000 }
}

/// How much the agent takes at most.
public struct AgentLimits: Sendable, Equatable {
  /// Jobs at once: at most 1,023.
  public var jobs = 1000
  /// Of those, commands that one user runs under the agent; of all users a quarter of ``jobs``. 0: nobody does.
  public var runsPerUser = 8
  /// Bytes that are kept of one job. What comes beyond is in the event log, counted, and missing in its report.
  public var bytesPerJob = 128 << 20
  /// Bytes that are kept of all jobs together. Above it the largest keep no more.
  public var bytes = 1 << 30
  /// Bytes of memory of the agent itself, without rings; nil: no ceiling. See ``Governor`` for what is given up above it.
  public var agentBytes: Int?
  /// Percent of one CPU that the agent takes, on the average of ten seconds; nil: no ceiling.
  public var cpuPercent: Int?

  public init() {}
}

/// A policy of jobs that some rules make.
public struct RulesPolicy: Sendable, Equatable {
  /// Their names, and `run` for what users have watched.
  public var rules: [String] = []
  /// An absolute path.
  public var file = ""

  /// What no rule makes: a command that a user has watched.
  public static let run = "run"
}

/// What is left out of the evidence of jobs that some rules make.
public struct RulesFilter: Sendable, Equatable {
  /// Their names, and ``RulesPolicy/run``.
  public var rules: [String]
  public var filter: EventFilter

  public init(rules: [String], filter: EventFilter) {
    self.rules = rules
    self.filter = filter
  }
}

/// What an agent is told to do.
public struct AgentConfiguration: Sendable {
  public var rules = JobRules.defaults
  /// Names of environment variables that may be stored besides those that ``JobIdentity`` knows for the rules' providers.
  public var identity: [String] = []
  /// Where each job's directory goes, and the journal.
  public var output = "/var/lib/martlet"
  public var socket = "/run/martlet/agent.sock"
  public var limits = AgentLimits()
  /// Hash what jobs execute, and the files that they leave behind.
  public var hashes = false
  /// Tell what jobs ask for over TLS.
  public var requests = false
  /// Tell by what names jobs found the addresses that they speak to.
  public var names = true
  /// What jobs of some rules may do, beside what the machine's policy says.
  public var policies: [RulesPolicy] = []
  /// What is left out of the evidence of jobs of some rules. Nothing that a job or its repository says changes it.
  public var filters: [RulesFilter] = []
  /// Whether a repository's own policy narrows what its jobs may do.
  public var keepsRepositoryPolicies = false
  /// Of jobs that run already, only what they do from now on is asked for. Not in the file: it is how an agent is started.
  public var beginsHere = false
  /// Take over from the agent that runs. Not in the file, either.
  public var replaces = false
  /// The file that this was read from.
  public var file: String?

  public init() {}

  /// Files that say what this agent does.
  var files: [String] { (file.map { [$0] } ?? []) + policies.map(\.file) }

  /// All names of environment variables whose values may be stored.
  public var storedVariables: [String] {
    var seen: Set<String> = []
    let known = rules.flatMap { JobIdentity.variables(of: $0.provider) }
    return (known + identity).filter { seen.insert($0).inserted }
  }
}

/// The rules that are in force unless others are given.
public enum JobRules {
  /// Where a provider's runner has a process for each job, that is the first process, known by its name; where there is
  /// none the job is all that has the same value in a variable.
  public static let defaults: [AgentRule] = [
    AgentRule(
      name: "github", provider: "github", match: JobRule(comm: "Runner.Worker", childrenAreSteps: true)),
    AgentRule(name: "azure", provider: "azure", match: JobRule(comm: "Agent.Worker", childrenAreSteps: true)),
    AgentRule(
      name: "buildkite", provider: "buildkite",
      match: JobRule(markers: ["BUILDKITE", "BUILDKITE_JOB_ID"], key: "BUILDKITE_JOB_ID", childrenAreSteps: true)),
    AgentRule(
      name: "gitlab", provider: "gitlab", match: JobRule(markers: ["GITLAB_CI", "CI_JOB_ID"], key: "CI_JOB_ID")),
    // JENKINS_URL alone is in the environment of an agent that runs in Jenkins' own container image.
    AgentRule(
      name: "jenkins", provider: "jenkins", match: JobRule(markers: ["JENKINS_URL", "BUILD_TAG"], key: "BUILD_TAG")),
    AgentRule(
      name: "circleci", provider: "circleci",
      match: JobRule(markers: ["CIRCLECI", "CIRCLE_WORKFLOW_JOB_ID"], key: "CIRCLE_WORKFLOW_JOB_ID")),
    // The file has a name of its own for each build; no variable has the build's number in all of the server.
    AgentRule(
      name: "teamcity", provider: "teamcity",
      match: JobRule(
        markers: ["TEAMCITY_VERSION", "TEAMCITY_BUILD_PROPERTIES_FILE"], key: "TEAMCITY_BUILD_PROPERTIES_FILE")),
    AgentRule(
      name: "drone", provider: "drone", match: JobRule(markers: ["DRONE", "DRONE_BUILD_LINK"], key: "DRONE_BUILD_LINK")),
  ]
}
