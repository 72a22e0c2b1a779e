public import Reporting

/// Which build a job is, from the environment variables that its CI sets: those that are named here and in the
/// configuration, and no others, are ever stored.
public struct JobIdentity: Sendable, Equatable {
  /// What is known, each once. `step` is not among them: it belongs to a step.
  public private(set) var values: [ReportInput.Job.Fact: String] = [:]
  /// Variables that are stored and mean nothing to us, in the order of their names.
  public private(set) var others: [(name: String, value: String)] = []
  /// The directory that it works in, if its variables tell that; see ``tellsWorkspace``.
  public private(set) var workspace: String?
  private let provider: String

  /// Whether a variable of the provider's says in which directory a job works.
  public var tellsWorkspace: Bool { Self.tables[provider]?.workspace != nil }

  public init(provider: String) { self.provider = provider }

  private struct Table {
    /// Of several variables for a fact the first counts that is there.
    var facts: [(fact: ReportInput.Job.Fact, variables: [String])]
    /// The name of a step.
    var step: [String] = []
    /// Stored as they are: what tells the provider's jobs apart, for who looks for one.
    var others: [String] = []
    /// The directory that it works in.
    var workspace: String?
  }

  private static let tables: [String: Table] = [
    // https://docs.github.com/en/actions/reference/workflows-and-actions/variables
    "github": Table(
      facts: [
        (.repository, ["GITHUB_REPOSITORY"]), (.ref, ["GITHUB_REF"]), (.commit, ["GITHUB_SHA"]),
        (.workflow, ["GITHUB_WORKFLOW"]), (.job, ["GITHUB_JOB"]), (.run, ["GITHUB_RUN_ID"]),
        (.attempt, ["GITHUB_RUN_ATTEMPT"]),
      ], step: ["GITHUB_ACTION"], others: ["GITHUB_EVENT_NAME"], workspace: "GITHUB_WORKSPACE"),
    // https://docs.gitlab.com/ci/variables/predefined_variables/
    "gitlab": Table(
      facts: [
        (.repository, ["CI_PROJECT_PATH"]), (.ref, ["CI_COMMIT_REF_NAME"]), (.commit, ["CI_COMMIT_SHA"]),
        (.workflow, ["CI_PIPELINE_NAME", "CI_JOB_STAGE"]), (.job, ["CI_JOB_NAME"]), (.run, ["CI_PIPELINE_ID"]),
      ], others: ["CI_JOB_ID", "CI_PIPELINE_SOURCE"], workspace: "CI_PROJECT_DIR"),
    // https://www.jenkins.io/doc/book/pipeline/jenkinsfile/#using-environment-variables, and JENKINS_URL/env-vars.html
    "jenkins": Table(
      facts: [
        (.repository, ["GIT_URL"]), (.ref, ["BRANCH_NAME", "GIT_BRANCH"]), (.commit, ["GIT_COMMIT"]),
        (.job, ["JOB_NAME"]), (.run, ["BUILD_NUMBER"]),
      ], step: ["STAGE_NAME"], others: ["BUILD_TAG"], workspace: "WORKSPACE"),
    // https://buildkite.com/docs/pipelines/configure/environment-variables
    "buildkite": Table(
      facts: [
        (.repository, ["BUILDKITE_REPO"]), (.ref, ["BUILDKITE_TAG", "BUILDKITE_BRANCH"]),
        (.commit, ["BUILDKITE_COMMIT"]),
        (.workflow, ["BUILDKITE_PIPELINE_SLUG"]), (.job, ["BUILDKITE_LABEL", "BUILDKITE_STEP_KEY"]),
        (.run, ["BUILDKITE_BUILD_NUMBER"]), (.attempt, ["BUILDKITE_RETRY_COUNT"]),
      ], others: ["BUILDKITE_JOB_ID", "BUILDKITE_ORGANIZATION_SLUG"], workspace: "BUILDKITE_BUILD_CHECKOUT_PATH"),
    // https://circleci.com/docs/reference/variables/
    "circleci": Table(
      facts: [
        (.repository, ["CIRCLE_REPOSITORY_URL"]), (.ref, ["CIRCLE_TAG", "CIRCLE_BRANCH"]), (.commit, ["CIRCLE_SHA1"]),
        (.workflow, ["CIRCLE_WORKFLOW_ID"]), (.job, ["CIRCLE_JOB"]), (.run, ["CIRCLE_BUILD_NUM"]),
      ], others: ["CIRCLE_WORKFLOW_JOB_ID"]),
    // https://learn.microsoft.com/en-us/azure/devops/pipelines/build/variables
    "azure": Table(
      facts: [
        (.repository, ["BUILD_REPOSITORY_NAME"]), (.ref, ["BUILD_SOURCEBRANCH"]), (.commit, ["BUILD_SOURCEVERSION"]),
        (.workflow, ["BUILD_DEFINITIONNAME"]), (.job, ["SYSTEM_JOBDISPLAYNAME", "AGENT_JOBNAME"]),
        (.run, ["BUILD_BUILDID"]), (.attempt, ["SYSTEM_JOBATTEMPT"]),
      ], step: ["TASK_DISPLAYNAME", "SYSTEM_TASKDISPLAYNAME"], workspace: "BUILD_SOURCESDIRECTORY"),
    // https://www.jetbrains.com/help/teamcity/predefined-build-parameters.html
    "teamcity": Table(
      facts: [
        (.commit, ["BUILD_VCS_NUMBER"]), (.workflow, ["TEAMCITY_PROJECT_NAME"]), (.job, ["TEAMCITY_BUILDCONF_NAME"]),
        (.run, ["BUILD_NUMBER"]),
      ]),
    // https://docs.drone.io/pipeline/environment/reference/
    "drone": Table(
      facts: [
        (.repository, ["DRONE_REPO"]), (.ref, ["DRONE_COMMIT_REF"]), (.commit, ["DRONE_COMMIT_SHA", "DRONE_COMMIT"]),
        (.job, ["DRONE_STAGE_NAME"]), (.run, ["DRONE_BUILD_NUMBER"]),
      ], step: ["DRONE_STEP_NAME"], others: ["DRONE_BUILD_LINK"], workspace: "DRONE_WORKSPACE"),
  ]

  /// Providers whose variables are known.
  public static var providers: [String] { tables.keys.sorted() }

  /// The names of all variables that mean something for a provider's jobs.
  public static func variables(of provider: String) -> [String] {
    guard let table = tables[provider] else { return [] }
    return table.facts.flatMap(\.variables) + table.step + table.others + (table.workspace.map { [$0] } ?? [])
  }

  /// Variables that name a step of a provider's jobs, the first of them that is there.
  static func stepNames(of provider: String) -> [String] { tables[provider]?.step ?? [] }

  /// Takes over variables of a process of the job. What is known already stays: the runner's own come first, and later
  /// processes may have others.
  ///
  /// - Parameter variables: masked.
  /// - Returns: the name of the process' step, if they tell it.
  @discardableResult
  public mutating func take(_ variables: [(name: String, value: String)]) -> String? {
    let given = Dictionary(variables.map { ($0.name, $0.value) }) { first, _ in first }.filter { !$0.value.isEmpty }
    let table = Self.tables[provider] ?? Table(facts: [])
    for (fact, names) in table.facts where values[fact] == nil {
      if let name = names.first(where: { given[$0] != nil }) { values[fact] = given[name] }
    }
    if workspace == nil, let name = table.workspace { workspace = given[name] }
    let known = Set(table.facts.flatMap(\.variables) + table.step + (table.workspace.map { [$0] } ?? []))
    for (name, value) in given where !known.contains(name) && !others.contains(where: { $0.name == name }) {
      others.append((name, value))
    }
    others.sort { $0.name < $1.name }
    return table.step.first { given[$0] != nil }.flatMap { given[$0] }
  }

  public static func == (a: JobIdentity, b: JobIdentity) -> Bool {
    a.provider == b.provider && a.values == b.values && a.others.elementsEqual(b.others, by: ==)
  }
}
