import Glibc
import KernelSensor
import Observation
import Testing

extension KernelTests {
  /// What work outside any job pays for a sensor that recognises jobs: not a test but the guest's part of
  /// `Benchmarks/untracked`, which boots a kernel whose clock counts instructions.
  @Suite(.enabled(if: getenv("MARTLET_STORM") != nil, "a measurement: Benchmarks/untracked"))
  struct Untracked {
    /// What a shell on a build machine hands to its children.
    static let environment = [
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/home/builder", "USER=builder",
      "LOGNAME=builder", "SHELL=/bin/bash", "LANG=en_US.UTF-8", "LC_ALL=C.UTF-8", "TERM=xterm-256color", "SHLVL=2",
      "PWD=/home/builder/work/project", "OLDPWD=/home/builder", "MAIL=/var/mail/builder", "EDITOR=vim", "PAGER=less",
      "LESSOPEN=| /usr/bin/lesspipe %s", "LESSCLOSE=/usr/bin/lesspipe %s %s", "XDG_SESSION_ID=4",
      "XDG_RUNTIME_DIR=/run/user/1000", "XDG_SESSION_TYPE=tty", "XDG_SESSION_CLASS=user",
      "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus", "SSH_CLIENT=192.0.2.7 51234 22",
      "SSH_CONNECTION=192.0.2.7 51234 192.0.2.8 22", "SSH_TTY=/dev/pts/3", "MOTD_SHOWN=pam",
      "LS_COLORS=" + (0..<80).map { "*.e\($0)=01;31" }.joined(separator: ":"), "DEBIAN_FRONTEND=noninteractive",
      "MAKEFLAGS=-j8", "CCACHE_DIR=/var/cache/ccache", "_=/usr/bin/make",
    ]

    /// One for each provider, as an agent has them.
    static let rules: [JobRule] = [
      JobRule(comm: "Runner.Worker", childrenAreSteps: true), JobRule(markers: ["GITHUB_ACTIONS"]),
      JobRule(markers: ["GITLAB_CI", "CI_JOB_ID"], key: "CI_JOB_ID"),
      JobRule(markers: ["JENKINS_URL", "BUILD_TAG"], key: "BUILD_TAG"),
      JobRule(comm: "buildkite-agent", markers: ["BUILDKITE"], key: "BUILDKITE_JOB_ID", childrenAreSteps: true),
      JobRule(markers: ["CIRCLECI"], key: "CIRCLE_WORKFLOW_JOB_ID"),
      JobRule(markers: ["TF_BUILD"], key: "SYSTEM_JOBID"),
      JobRule(markers: ["TEAMCITY_VERSION"]), JobRule(markers: ["DRONE"], key: "DRONE_BUILD_NUMBER"),
    ]

    /// At once, where print keeps lines back.
    static func say(_ line: String) {
      let bytes = Array((line + "\n").utf8)
      _ = write(STDOUT_FILENO, bytes, bytes.count)
    }

    static func run(_ words: [String]) throws {
      let arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
      let variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup($0) } + [nil]
      defer { (arguments + variables).forEach { free($0) } }
      var pid: pid_t = 0
      let failed = posix_spawn(&pid, words[0], nil, nil, arguments, variables)
      guard failed == 0 else { throw CallFailed(words[0], failed) }
      var status: Int32 = 0
      guard waitpid(pid, &status, 0) == pid, status == 0 else { throw CallFailed("\(words): \(status)", EINVAL) }
    }

    /// CPU time of a storm and all that it starts, in nanoseconds.
    static func measure(_ words: [String]) throws -> UInt64 {
      let storm = try #require(getenv("MARTLET_STORM").map { String(cString: $0) })
      try run([storm, "measure", "/dev/shm/figures", storm] + words)
      let file = try #require(fopen("/dev/shm/figures", "re"))
      defer { fclose(file) }
      var line = [CChar](repeating: 0, count: 512)
      try #require(fgets(&line, 512, file) != nil)
      let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      return ["\"user\":", "\"system\":"].reduce(0) { sum, key in
        guard let rest = text.split(separator: key).last else { return sum }
        return sum + (UInt64(rest.prefix { $0.isNumber }) ?? 0)
      }
    }

    @Test func whatOutsidersPay() throws {
      let all: [(name: String, words: [String])] = [
        ("spawn", ["spawn", "300"]), ("open", ["open", "/dev/shm/tree", "1000", "30000"]),
        ("connect", ["connect", "4000"]),
        ("write", ["write", "/dev/shm/file", "16", "16", "256"]),
      ]
      let storm = try #require(getenv("MARTLET_STORM").map { String(cString: $0) })
      try Self.run([storm, "prepare", "/dev/shm/tree", "1000", "100"])
      let wanted = getenv("MARTLET_STORMS").map { String(cString: $0).split(separator: " ").map(String.init) } ?? []
      let storms = all.filter { wanted.isEmpty || wanted.contains($0.name) }
      func measured(_ mode: String) throws -> [UInt64] {
        try storms.map { storm in
          _ = try Self.measure(storm.words)
          let figure = try Self.measure(storm.words)
          Self.say("FIGURE \(storm.name) \(mode) \(figure)")
          return figure
        }
      }
      let bare = try measured("bare")
      var options = SensorOptions()
      options.hooks = try Bench.hooks()
      let modes: [(String, Bool, [JobRule])] = [
        ("without-recognition", false, []), ("no-rules", true, []), ("rules", true, Self.rules),
      ]
      for (mode, recognises, rules) in modes {
        options.recognisesJobs = recognises
        let sensor = try Sensor(options: options)
        if recognises {
          try sensor.setRules(rules, identity: ["CI_JOB_ID", "BUILD_TAG"])
          try sensor.openSlots(1...9)
        }
        for (index, figure) in try measured(mode).enumerated() {
          Self.say("RATIO \(storms[index].name) \(mode) \(Double(figure) / Double(bare[index]))")
        }
        #expect(try sensor.counters().types.allSatisfy { $0.seen == 0 })
        sensor.detach()
      }
    }
  }
}
