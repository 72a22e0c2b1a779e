import Testing

@testable import Policy

/// A report.json with these parts.
func observed(
  _ name: String = "r", network: String = "", names: String = "", files: String = "", changes: String = "",
  security: String = "",
  executions: String = "", verdicts: String = "\"clean\""
) throws -> ObservedRun {
  let text = """
    {"schema":"martlet.report/v1","verdict":"clean","verdicts":[\(verdicts)],
    "job":{"id":"1","workingDirectory":"/w"},
    "processes":[
    {"id":1,"parent":0,"executable":"/opt/Runner.Worker","startedAt":"2026-01-01T00:00:01.000Z","executions":[
      {"id":11,"at":"2026-01-01T00:00:01.000Z","executable":"/opt/Runner.Worker"}]},
    {"id":2,"parent":1,"executable":"/usr/bin/make","startedAt":"2026-01-01T00:00:02.000Z","executions":[
      {"id":12,"at":"2026-01-01T00:00:02.000Z","executable":"/bin/sh","filename":"./build","workingDirectory":"/w"},
      {"id":13,"at":"2026-01-01T00:00:04.000Z","executable":"/usr/bin/make"}\(executions)]},
    {"id":3,"parent":2,"executable":"/bin/sh","startedAt":"2026-01-01T00:00:03.000Z","executions":[]}],
    "network":[\(network)],"names":[\(names)],"files":[\(files)],"changes":[\(changes)],"security":[\(security)]}
    """
  return try ObservedRun(Array(text.utf8), name: name)
}

func flow(
  _ host: String?, _ address: String, _ port: Int, _ number: Int = 6, kind: String = "tcp",
  direction: String = "outbound", local: (address: String, port: Int) = ("192.0.2.100", 0), saying: String? = nil
) -> String {
  """
  {"kind":"\(kind)","state":"closed","direction":"\(direction)","process":2,"image":13,"remoteAddress":"\(address)",\
  "localAddress":"\(local.address)","localPort":\(local.port),"remotePort":\(port),"protocol":\(number),"repeats":1\(host.map { ",\"host\":\"\($0)\"" } ?? "")\(saying.map { ",\"serverName\":{\($0)}" } ?? "")}
  """
}

func file(_ path: String, created: Bool = false, written: Bool = true) -> String {
  """
  {"id":1,"path":"\(path)","created":\(created),"read":\(!written),"written":\(written),\
  "writers":[\(written ? "2" : "")],"readers":[\(written ? "" : "3")]}
  """
}

@Suite("What a report says of a run")
struct ObservedRunTests {
  @Test("who did it, and whom they come from")
  func actors() throws {
    let run = try observed(
      network: flow(nil, "10.0.0.1", 443),
      files: file("/w/a", written: false),
      security: """
        {"kind":"mount","process":2,"image":12,"count":3},
        {"kind":"proc_mem","process":3,"image":12,"target":{"process":1},"count":1},
        {"kind":"process_vm_read","process":3,"image":12,"target":{"process":null},"count":2},
        {"kind":"setuid","process":3,"count":2},{"kind":"from_tomorrow","process":3}
        """)
    let worker = "/opt/Runner.Worker"
    let make = PolicyActor(executable: "/usr/bin/make", ancestors: ["/bin/sh", worker])
    // It was forked before its parent became make.
    let child = PolicyActor(executable: "/bin/sh", ancestors: ["/bin/sh", worker])
    let shell = PolicyActor(executable: "/bin/sh", ancestors: [worker])
    let events = run.events.map { ($0.event.deed, $0.event.actor, $0.count) }
    let expected: [(ObservedRun.Event.Deed, PolicyActor, UInt64)] = [
      (.exec([PolicyExecutable(path: worker)]), PolicyActor(executable: ""), 1),
      (
        .exec([PolicyExecutable(path: "/bin/sh"), PolicyExecutable(path: "/w/./build")]),
        PolicyActor(executable: worker), 1
      ),
      (.exec([PolicyExecutable(path: "/usr/bin/make")]), shell, 1),
      (.connect(PolicyDestination(IPAddress(v4: 0x0a00_0001), port: 443)), make, 2),
      (.read("/w/a"), child, 1), (.system(.mount), shell, 3), (.memory("Runner.Worker"), child, 1),
    ]
    #expect(events.count == expected.count)
    for (event, expected) in zip(events, expected) { #expect(event == expected) }
    #expect(run.unknownTargets == 2 && run.isComplete && run.directory == "/w")
  }

  @Test("what is no report is refused")
  func malformed() {
    for text in ["", "{}", "[]", "{\"schema\":\"martlet.report/v2\",\"job\":{}}", "{\"schema\":\"martlet.report/v1\"}"]
    {
      #expect(throws: ObservedRun.Failure.self) { try ObservedRun(Array(text.utf8), name: "r") }
    }
  }

  @Test("a report of somebody's making does not go in circles")
  func circle() throws {
    let text = """
      {"schema":"martlet.report/v1","job":{},"processes":[{"id":1,"parent":2,"startedAt":"b"},{"id":2,"parent":1}],
      "network":[{"direction":"outbound","process":1,"remoteAddress":"::1","remotePort":99999,"protocol":6}]}
      """
    #expect(try ObservedRun(Array(text.utf8), name: "r").events.count == 1)
  }

  @Test("what is protected, as far as a report tells")
  func sets() throws {
    let run = try observed(
      files: [file("/w/a.o", created: true), file("/w/b.o", created: true), file("/w/.git/x", created: true)].joined(
        separator: ","),
      changes: "{\"kind\":\"rename\",\"process\":2,\"path\":\"/w/t\",\"target\":\"/w/b.o\"}")
    #expect(run.isIn(.sources, "/w/a.c") && run.isIn(.sources, "/w/.git/x") && run.isIn(.sources, "/w/b.o"))
    #expect(!run.isIn(.sources, "/w/a.o") && !run.isIn(.sources, "/tmp/a.c"))
    #expect(run.isIn(.pipelines, "/w/.github/workflows/ci.yml") && !run.isIn(.pipelines, "/x/.github/workflows/ci.yml"))
    #expect(run.isIn(.credentials, "/home/a/.ssh/id") && run.isIn(.credentials, "/root/.netrc"))
    #expect(run.isIn(.credentials, "/.npmrc") && run.isIn(.credentials, "/a/.config/gcloud/b/c"))
    for path in [
      "/root/netrc", "/root/.ssh", "/root/.ssh/", "/root/.npmrc/x", "/root/.npmrcs", "/root/x.npmrc", ".npmrc", "",
    ] {
      #expect(!run.isIn(.credentials, path))
    }
  }
}

extension ObservedRunTests {
  private func change(_ kind: String, _ path: String, _ target: String? = nil) -> String {
    "{\"kind\":\"\(kind)\",\"process\":2,\"path\":\"\(path)\"\(target.map { ",\"target\":\"\($0)\"" } ?? "")}"
  }

  @Test("what lies in directories that the job made is its own, but not what lay there before")
  func directories() throws {
    let changes = [
      change("mkdir", "/w/tmp1"), change("mkdir", "/w/tmp1/debug"), change("rename", "/w/tmp1", "/w/target"),
      change("rename", "/w/target/debug/.x", "/w/target/debug/x"),
      change("unlink", "/w/docs/a"), change("rmdir", "/w/docs"), change("mkdir", "/w/docs"),
      change("rename", "/w/docs/.b", "/w/docs/b"), change("rename", "/w/.c", "/w/c"),
    ]
    let files = ["/w/target/debug/x", "/w/docs/b", "/w/c", "/w/.c"].map { file($0, created: true) }
    let run = try observed(files: files.joined(separator: ","), changes: changes.joined(separator: ","))
    let sources = Set(
      run.events.compactMap { event, _ in
        if case .write(let path) = event.deed, run.isIn(.sources, path) { path } else { nil }
      })
    // Whether there was a /w/c is not known.
    #expect(sources == ["/w/docs/a", "/w/c"])
  }
}

@Suite("Exceptions to what is protected")
struct FileExceptionTests {
  private func section(_ paths: [String], created: Bool = false) throws -> (files: [String], notes: [String]) {
    let files = paths.map { file($0, created: created) }.joined(separator: ",")
    let learned = try LearnedPolicy(from: [observed(files: files)])
    let lines = learned.yaml.split(separator: "\n").map(String.init)
    let section = lines.drop { $0 != "files:" }.dropFirst().prefix { $0.hasPrefix(" ") }
    return (section.map { $0.trimmed }, learned.notes)
  }

  @Test("each file, and of git's own each directory")
  func few() throws {
    let git = ["FETCH_HEAD", "refs/heads/a", "objects/0a/1", "objects/0b/2", "index.lock"].map { "/w/.git/" + $0 }
    #expect(
      try section(git + ["/w/src/a.c", "/w/Cargo.lock", "/w/.github/workflows/ci.yml", "/x/b"]).files == [
        "protect: [sources, pipelines, credentials]", "allow:",
        "# Of sources it was changed.", "- {write: \".git/FETCH_HEAD\"}",
        "# Of sources it was changed.", "- {write: \".git/index.lock\"}",
        "# Wider than what was seen: of sources 2 files were changed there.", "- {write: \".git/objects/**\"}",
        "# Wider than what was seen: of sources 1 file was changed there.", "- {write: \".git/refs/**\"}",
        "# Of sources it was changed.", "- {write: \".github/workflows/ci.yml\"}",
        "# Of sources it was changed.", "- {write: \"./Cargo.lock\"}",
        "# Of sources it was changed.", "- {write: src/a.c}",
      ])
  }

  @Test("many are one directory, but not one in which tools have their settings")
  func many() throws {
    let paths = (0..<20).map { "/w/target/\($0 % 3)/\($0)" }
    #expect(
      try section(paths + ["/w/.a/b/c"]).files == [
        "protect: [sources, pipelines, credentials]", "allow:", "# Of sources it was changed.", "- {write: \".a/b/c\"}",
        "# Wider than what was seen: of sources 20 files were changed there.", "- {write: \"target/**\"}",
      ])
    #expect(try section(paths, created: true).files == ["protect: [sources, pipelines, credentials]"])
  }

  @Test("what no rules can say is not protected, and that is said")
  func none() throws {
    let hidden = try section((0..<20).map { "/w/.cache/\($0)" })
    #expect(hidden.files == ["protect: [pipelines, credentials]"])
    #expect(hidden.notes.last == "sources are not protected: the run touched /w/.cache/0.")
    #expect(try section(["/w/[a]"]).files == ["protect: [pipelines, credentials]"])
  }
}

extension String {
  fileprivate var trimmed: String { String(drop { $0 == " " }) }
}

@Suite("Differences of policies")
struct PolicyDifferenceTests {
  private func differences(_ old: String, _ new: String) throws -> [String] {
    try policy("version: 1\n" + old).differences(to: policy("version: 1\n" + new)).map {
      "\($0.isWider ? "+" : "-") \($0.section): \($0.what): \($0.old.rawValue)(\($0.oldRule)) \($0.new.rawValue)(\($0.newRule))"
    }
  }

  @Test("what was added and what was taken away, with the rules that decide")
  func network() throws {
    #expect(
      try differences(
        "network: {default: deny, allow: [{host: a.example, ports: 443}, {host: b.example}]}",
        "network: {default: deny, allow: [{host: \"*.c.example\"}, {host: a.example, ports: [80, 443]}]}") == [
          "- network: {host: b.example}: allow(2) deny(0)",
          "+ network: {host: \"*.c.example\"}: deny(0) allow(1)",
          "+ network: {host: a.example, ports: [80, 443]}: deny(0) allow(2)",
        ])
  }

  @Test("of rules that overlap, what they have in common; what is hidden is not told")
  func overlaps() throws {
    #expect(
      try differences(
        "exec: {deny: [{path: \"/tmp/**\"}], allow: [{path: /tmp/a}]}",
        "exec: {deny: [{path: \"/tmp/b/*\", action: kill}, {path: \"/tmp/**\"}]}")
        == ["- exec: {path: \"/tmp/b/*\"}: deny(1) kill(1)"])
    #expect(
      try differences("system: {deny: [bpf]}", "system: {default: deny}") == [
        "- system: everything else: allow(0) deny(0)"
      ])
    #expect(
      try differences("system: {deny: [bpf]}", "system: {deny: [{deed: bpf, executables: [sh]}]}") == [
        "+ system: {deed: bpf}: deny(1) allow(0)"
      ])
  }

  @Test("sections, protection and what is beside them")
  func others() throws {
    #expect(
      try differences(
        "files: {protect: [sources, pipelines]}", "files: {protect: sources, action: kill, allow: [{write: a}]}") == [
          "+ files: {write: a} of what is protected: deny(0) allow(1)",
          "- files: protect: sources: deny(0) kill(0)", "+ files: protect: pipelines: deny(0) allow(0)",
        ])
    #expect(
      try differences(
        "memory: {protect: [a, b]}\nonSensorError: closed", "memory: {protect: [b, c]}\nrequirePrevention: true") == [
          "+ memory: {comm: a}: deny(1) allow(0)", "- memory: {comm: c}: allow(0) deny(2)",
          "- requirePrevention: a job that cannot be held to it: allow(0) deny(0)",
          "+ onSensorError: a job whose sensor is gone: deny(0) allow(0)",
        ])
    #expect(
      try differences("network: {resolvers: [10.0.0.1]}", "network: {}") == [
        "+ network: resolvers: [10.0.0.1], now []: deny(0) allow(0)"
      ])
    #expect(try differences("network: {}", "exec: {}").isEmpty)
  }

  @Test("whatever they decide differently is told, and nothing of a policy and itself", arguments: 0..<150)
  func complete(seed: Int) throws {
    var dice = Dice(UInt64(seed + 9000))
    let texts = (World.policy(&dice), World.policy(&dice))
    let (old, new) = (try policy(texts.0), try policy(texts.1))
    #expect(old.differences(to: old).isEmpty)
    let told = old.differences(to: new)
    let actions = zip(World.decisions(old), World.decisions(new)).map { ($0.action, $1.action) }
    // A file may be in several sets, which are told one by one.
    let sets = told.filter { $0.what.hasPrefix("protect: ") }
    let missing = actions.first { before, after in
      before != after && !told.contains { $0.old == before && $0.new == after }
        && !sets.contains { $0.isWider == (after < before) }
    }
    #expect(missing == nil, "\(texts.0)\n\(texts.1)\n\(told)")
    #expect(old.differences(to: new).filter(\.isWider).count == new.differences(to: old).filter { !$0.isWider }.count)
  }
}

@Suite("Explanations of runs")
struct PolicyExplanationTests {
  @Test("what the job wrote and executed, by hash, and without a place")
  func executions() throws {
    let run = try observed(
      files: file("/w/tool"),
      executions: """
        ,{"id":14,"at":"","executable":"/w/tool"},\
        {"id":15,"at":"","executable":"/bin/x","digest":"sha256:\(String(repeating: "0a", count: 32))"},\
        {"id":16,"at":"","executable":"/memfd:y","isMemoryFile":true}
        """)
    let policy = try policy(
      """
      version: 1
      exec:
        deny:
          - {writtenDuringJob: true}
          - {sha256: "\(String(repeating: "0A", count: 32))", action: kill}
          - {memfd: true, action: observe}
      """)
    let decisions = PolicyExplanation(policy, of: run).items.filter { $0.section == "exec" }.map(\.decision)
    #expect(
      decisions.suffix(3) == [.init(.deny, by: .rule(1)), .init(.kill, by: .rule(2)), .init(.observe, by: .rule(3))])
  }

  @Test("each event with what decides it")
  func events() throws {
    let run = try observed(
      network: flow("a.example", "192.0.2.1", 443),
      files: file("/w/docs/a") + "," + file("/w/b") + "," + file("/tmp/c"),
      security: "{\"kind\":\"mount\",\"process\":2,\"image\":13,\"count\":3}")
    let policy = try policy(
      """
      version: 1
      network: {default: deny, allow: [{host: a.example, ports: 80}]}
      files: {protect: sources, allow: [{write: docs/*}]}
      exec: {deny: [{path: /usr/bin/make, action: observe}]}
      """)
    let explanation = PolicyExplanation(policy, of: run)
    let lines = explanation.items.map {
      "\($0.section) \($0.what) by \($0.actor.executable) x\($0.count): \($0.decision.action.rawValue) \($0.decision.basis)"
    }
    #expect(
      lines == [
        "exec execute /opt/Runner.Worker by  x1: allow sectionDefault",
        "exec execute /bin/sh for /w/./build by /opt/Runner.Worker x1: allow sectionDefault",
        "exec execute /usr/bin/make by /bin/sh x1: observe rule(3)",
        "network ask for a.example by /usr/bin/make x2: allow rule(1)",
        "network connect to 192.0.2.1:443/tcp (a.example) by /usr/bin/make x2: deny sectionDefault",
        "files write /w/docs/a by /usr/bin/make x1: allow rule(2)",
        "files write /w/b by /usr/bin/make x1: deny protected(Policy.FilesSection.Protected.sources)",
        "system mount by /usr/bin/make x3: allow notGoverned",
      ])
    #expect(explanation.otherFiles == 1)
  }
}
