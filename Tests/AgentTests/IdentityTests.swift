import Glibc
import KernelSensor
import Recording
import Reporting
import Testing

@testable import Agent

@Suite struct IdentityTests {
  @Test func github() {
    var identity = JobIdentity(provider: "github")
    #expect(identity.take([]) == nil && identity.values.isEmpty)
    let step = identity.take([
      ("GITHUB_REPOSITORY", "octo/repo"), ("GITHUB_RUN_ID", "7"), ("GITHUB_ACTION", "__run"), ("GITHUB_JOB", ""),
      ("OTHER", "x"),
    ])
    #expect(step == "__run")
    #expect(identity.values == [.repository: "octo/repo", .run: "7"])
    #expect(identity.others.map(\.name) == ["OTHER"])
    // What is known stays.
    identity.take([("GITHUB_RUN_ID", "8"), ("GITHUB_JOB", "build"), ("OTHER", "y")])
    #expect(identity.values[.run] == "7" && identity.values[.job] == "build" && identity.others[0].value == "x")
  }

  @Test func theFirstThatIsThere() {
    var identity = JobIdentity(provider: "jenkins")
    identity.take([("GIT_BRANCH", "origin/main"), ("JOB_NAME", "a/b"), ("BUILD_TAG", "jenkins-a-b-1")])
    #expect(identity.values == [.ref: "origin/main", .job: "a/b"])
    #expect(identity.others.map(\.name) == ["BUILD_TAG"])
  }

  @Test func whoIsNotKnown() {
    var identity = JobIdentity(provider: "ours")
    #expect(identity.take([("BUILD", "1")]) == nil)
    #expect(identity.values.isEmpty && identity.others.map(\.value) == ["1"])
  }

  @Test("the shipped rules are such as the sensor takes, and each provider's variables are known")
  func defaults() {
    let configuration = AgentConfiguration()
    #expect(Set(configuration.rules.map(\.name)).count == configuration.rules.count)
    #expect(configuration.rules.count <= JobRule.limit)
    for rule in configuration.rules {
      #expect(JobIdentity.providers.contains(rule.provider), "\(rule.provider)")
      #expect(rule.match.comm != nil || !rule.match.markers.isEmpty)
      if let comm = rule.match.comm { #expect(comm.utf8.count <= 15) }
      // Whatever may tell jobs apart may be stored, too: it is what people look for.
      for name in rule.match.markers + (rule.match.key.map { [$0] } ?? []) {
        #expect((2...47).contains(name.utf8.count))
      }
    }
    for name in configuration.storedVariables {
      #expect((2...47).contains(name.utf8.count) && !name.contains("TOKEN") && !name.contains("SECRET"), "\(name)")
    }
    #expect(Set(configuration.storedVariables).count == configuration.storedVariables.count)
  }

  @Test(arguments: [
    ("github", "github-20231114T221320Z-01234567"), ("../../etc", "etc-20231114T221320Z-01234567"),
    ("Ä\n/", "job-20231114T221320Z-01234567"), ("my-CI", "my-ci-20231114T221320Z-01234567"),
  ])
  func names(_ provider: String, _ expected: String) {
    let clock = WallClock(offset: 1_700_000_000_000_000_000)
    #expect(JobName.make(provider: provider, at: 0, clock: clock, identifier: "0123456789abcdef") == expected)
  }
}

@Suite struct ProcessScanTests {
  private func process(_ comm: String, _ path: String, _ variables: [String] = [], user: UInt32 = 1000) -> FoundProcess
  {
    var process = FoundProcess(pid: 5, parent: 1, startedAt: 9, comm: comm)
    process.executable = Array(path.utf8)
    process.user = user
    process.variables = variables.map { ($0, []) }
    return process
  }

  @Test func rules() {
    let worker = process("Runner.Worker", "/opt/runner/bin/Runner.Worker")
    #expect(worker.satisfies(JobRule(comm: "Runner.Worker")))
    var placed = worker
    placed.cgroup = "/ci.slice/job-1"
    for (cgroup, holds) in [
      ("/ci.slice", true), ("/ci.slice/job-1", true), ("/ci", false), ("/ci*", true), ("/", true),
    ] {
      #expect(placed.satisfies(JobRule(cgroup: cgroup)) == holds, "\(cgroup)")
    }
    #expect(!worker.satisfies(JobRule(cgroup: "/ci.slice")) && !placed.satisfies(JobRule(uid: 1, cgroup: "/ci.slice")))
    #expect(!worker.satisfies(JobRule(comm: "Runner")))
    #expect(worker.satisfies(JobRule(path: "bin/Runner.Worker")) && worker.satisfies(JobRule(path: "Runner.Worker")))
    #expect(!worker.satisfies(JobRule(path: "unner.Worker")))
    #expect(worker.satisfies(JobRule(path: "/opt/runner/bin/Runner.Worker")))
    #expect(!worker.satisfies(JobRule(path: "/bin/Runner.Worker")))
    #expect(worker.satisfies(JobRule(comm: "Runner.Worker", uid: 1000)))
    #expect(!worker.satisfies(JobRule(comm: "Runner.Worker", uid: 0)))
    #expect(!worker.satisfies(JobRule()))
    let long = process("a-name-that-is-", "/x")
    #expect(long.satisfies(JobRule(comm: "a-name-that-is-longer")))
    let build = process("sh", "/bin/sh", ["JENKINS_URL", "BUILD_TAG"])
    #expect(build.satisfies(JobRule(markers: ["JENKINS_URL", "BUILD_TAG"])))
    #expect(!build.satisfies(JobRule(markers: ["JENKINS_URL", "GITLAB_CI"])))
  }

  @Test("this process is among those that are found")
  func own() throws {
    let scan = ProcessScan(AgentConfiguration())
    let own = try #require(scan.process(UInt32(getpid())))
    #expect(ProcessScan.isThere(own))
    let file = "/proc/self/comm"
    let comm = String(decoding: ProcessScan.file(file, limit: 64).dropLast(), as: UTF8.self)
    #expect(own.comm == comm)
    #expect(scan.first([JobRule(comm: comm)]).contains { $0.process.pid == own.pid })
  }
}
