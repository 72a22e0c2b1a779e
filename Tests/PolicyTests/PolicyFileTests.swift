import Configuration
import Testing

@testable import Policy

/// Of a text; nil, with an issue, if it cannot be read.
func policy(_ text: String, sourceLocation: SourceLocation = #_sourceLocation) throws -> Policy {
  do {
    return try Policy.read(Array(text.utf8), file: "martlet.yaml")
  } catch {
    Issue.record("\(error)", sourceLocation: sourceLocation)
    throw error
  }
}

func problems(_ text: String) -> [String] {
  do {
    _ = try Policy.read(Array(text.utf8), file: "f")
    return []
  } catch {
    return error.problems.map { "\($0.place.line):\($0.place.column): \($0.message)" }
  }
}

/// All that a policy can say.
let everything = """
  version: 1
  network:
    default: deny
    deny:
      - {host: "*.Evil.Example", action: kill}
      - {cidr: 169.254.0.0/16}
    allow:
      - {host: github.com, ports: [443, 8000-8010]}
      - {host: "**.example.org", ports: 443, executables: [/usr/bin/curl], ancestors: [make, "/opt/**"]}
      - {address: "2001:db8::1", protocols: [tcp, udp]}
      - {protocols: icmp, action: observe}
    resolvers: [10.0.0.53, "fd00::53"]
  exec:
    default: allow
    deny:
      - {path: "/tmp/**"}
      - {memfd: true, action: kill}
      - {writtenDuringJob: true, executables: [bash]}
      - {sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
    allow: [{path: /usr/bin/*}]
  files:
    protect: [sources, credentials]
    action: kill
    deny:
      - {write: ".github/workflows/**"}
      - {read: "**/id_ed25519", action: observe}
    allow: [{write: docs/generated/*}]
  memory:
    protect: [Runner.Worker, {comm: ssh-agent, action: kill, executables: [gdb]}]
  system:
    default: observe
    deny: [moduleLoad, bpf]
    allow: [{deed: mount, ancestors: [/usr/bin/fuse-overlayfs]}]
  requirePrevention: true
  onSensorError: closed
  """

@Suite("Policy files")
struct PolicyFileTests {
  @Test("everything that can be said is read as it is meant")
  func whole() throws {
    let policy = try policy(everything)
    let network = try #require(policy.network)
    #expect(network.defaultAction == .deny)
    #expect(network.deny.map(\.peer) == [.host(HostPattern(.oneLabel, "evil.example")), .network(linkLocal)])
    #expect(network.deny.map(\.head.action) == [.kill, .deny])
    #expect(network.allow[0].ports == [443...443, 8000...8010])
    #expect(network.allow[1].ports == [443...443])
    #expect(network.allow[1].head.scope.executables == [PathPattern(.file, "/usr/bin/curl")])
    #expect(network.allow[1].head.scope.ancestors == [PathPattern(.named, "make"), PathPattern(.below, "/opt")])
    let address = IPAddress(high: 0x2001_0db8_0000_0000, low: 1)
    #expect(network.allow[2].peer == .network(IPNetwork(address: address, length: 128)))
    #expect(network.allow[3].protocols == [.icmp] && network.allow[3].head.action == .observe)
    #expect(network.resolvers == [IPAddress(v4: 0x0a00_0035), IPAddress(high: 0xfd00 << 48, low: 0x53)])

    let exec = try #require(policy.exec)
    #expect(exec.deny[0].path == PathPattern(.below, "/tmp"))
    #expect(exec.deny[1].memfd && exec.deny[1].head.action == .kill && exec.deny[2].writtenDuringJob)
    #expect(exec.deny[3].sha256.map(\.count) == [32] && exec.deny[3].sha256[0].prefix(2) == [0xe3, 0xb0])
    #expect(exec.allow[0].path == PathPattern(.children, "/usr/bin") && exec.allow[0].head.action == .allow)

    let files = try #require(policy.files)
    #expect(files.protect == [.sources, .credentials] && files.protectAction == .kill)
    #expect(files.deny[0].access == .write && files.deny[0].path.isRelative)
    #expect(files.deny[0].path == PathPattern(.below, ".github/workflows", isRelative: true))
    #expect(files.deny[1].access == .read && files.deny[1].path == PathPattern(.named, "id_ed25519"))
    #expect(policy.memory?.protect.map(\.comm) == ["Runner.Worker", "ssh-agent"])
    #expect(policy.memory?.protect.map(\.head.action) == [.deny, .kill])
    #expect(policy.system?.defaultAction == .observe && policy.system?.deny.map(\.deed) == [.moduleLoad, .bpf])
    #expect(policy.requirePrevention && policy.onSensorError == .closed)
  }

  private let linkLocal = IPNetwork(address: IPAddress(v4: 0xa9fe_0000), length: 112)

  @Test("rules are numbered in the order of the file, and know their places")
  func numbers() throws {
    let policy = try policy(
      """
      system: {allow: [bpf], deny: [mount]}
      version: 1
      exec:
        deny:
          - {memfd: true}
      network: {allow: [{ports: 1}, {ports: 2}]}
      """)
    let places = policy.heads.map { $0.place.map { "\($0.line):\($0.column)" } }
    #expect(policy.heads.map(\.number) == [4, 5, 3, 2, 1])
    #expect(places == ["6:19", "6:31", "5:7", "1:31", "1:18"])
  }

  @Test("the skeleton that others rely on")
  func skeleton() throws {
    _ = try policy(
      """
      version: 1
      network: {default: deny, allow: [{host: "*.example.org", ports: [443]}, {cidr: 10.0.0.0/8}, {host: db.internal}]}
      exec:    {deny: [{path: /tmp/**}, {memfd: true}]}
      files:   {protect: sources, deny: [{write: ".github/workflows/**"}]}
      memory:  {protect: [Runner.Worker]}
      system:  {default: observe, deny: [moduleLoad, bpf]}
      requirePrevention: false
      onSensorError: open
      """)
  }

  @Test("what is left out decides nothing") func empty() throws { #expect(try policy("version: 1") == Policy()) }

  @Test(
    "each mistake is told, where it is and what would be right",
    arguments: [
      ("{}", ["1:1: version is missing: Of this format: 1."]),
      ("version: 2", ["1:10: 2 is not between 1 and 1"]),
      ("version: 1\nnetwrok: {}", ["2:1: there is no key 'netwrok'; did you mean 'network'?"]),
      ("version: 1\nnetwork: {default: dney}", ["2:20: there is no word 'dney'; did you mean 'deny'?"]),
      (
        "version: 1\nnetwork: {allow: [{host: a.b, action: deny}, {host: a, actoin: observe}]}",
        [
          "2:39: there is no word 'deny'; there is allow or observe",
          "2:56: there is no key 'actoin'; did you mean 'action'?",
        ]
      ),
      (
        "version: 1\nnetwork: {allow: [{host: a.b, stesp: [test]}]}\nimages: []",
        [
          "2:31: there is no key 'stesp'; did you mean 'steps'?",
          "3:1: there is no key 'images'; there is version, network, exec, files, memory, system, requirePrevention or onSensorError",
        ]
      ),
      ("version: 1\nsystem: {deny: [{deed: bpf, steps: []}]}", ["2:36: has 0 elements; at least 1 has to be there"]),
      (
        "version: 1\nsystem: {deny: [{deed: bpf, images: [alpine, \"a:*\", \"*\", \"x/**\"]}]}",
        [
          "2:38: 'alpine' says nothing of its version: write 'alpine:latest', or 'alpine:*' for all",
          "2:53: '*' is no pattern of images; there is \(ImagePattern.forms)",
          "2:58: 'x/**' is no pattern of images; there is \(ImagePattern.forms)",
        ]
      ),
      (
        "version: 1\nnetwork: {allow: [{}]}",
        ["2:19: the rule names nothing and would be for everything; that is what 'default' says"]
      ),
      (
        "version: 1\nexec: {deny: [{action: kill}]}",
        ["2:15: the rule names nothing and would be for everything; that is what 'default' says"]
      ),
      (
        "version: 1\nnetwork: {deny: [{host: a.b, cidr: 10.0.0.0/8}]}",
        ["2:18: host and cidr in one rule: write a rule for each"]
      ),
      (
        "version: 1\nnetwork: {deny: [{ports: 1, protocols: [tcp, icmp]}]}",
        ["2:18: icmp has no ports: write a rule of its own for it"]
      ),
      (
        "version: 1\nnetwork: {deny: [{host: a.b, protocols: raw}]}",
        ["2:18: raw sockets can send to whomever: a rule for them names no host"]
      ),
      (
        "version: 1\nnetwork: {deny: [{ports: [65536, 9-1, a, 1-, '1', true]}]}",
        [
          "2:27: 65536 is not between 0 and 65535", "2:34: '9-1' ends before it begins",
          "2:39: has to be a number such as 443 or a range such as 8000-8010, not 'a'",
          "2:42: has to be a number such as 443 or a range such as 8000-8010, not '1-'",
          "2:46: has to be a number such as 443 or a range such as 8000-8010, not '1'",
          "2:51: has to be a number such as 443 or a range such as 8000-8010, not 'true'",
        ]
      ),
      // A list that was emptied must not turn a rule for some into one for all.
      (
        "version: 1\nsystem: {allow: [{deed: bpf, executables: []}]}\nnetwork: {allow: [{host: a, ports: []}]}",
        [
          "2:43: has 0 elements; at least 1 has to be there", "3:36: has 0 elements; at least 1 has to be there",
        ]
      ),
      ("version: 1\nexec: {deny: [{memfd: false}]}", ["2:23: can only be true; leave it out otherwise"]),
      (
        "version: 1\nexec: {deny: [{memfd: true, path: a}]}",
        ["2:15: path and memfd in one rule: what has no place has no path"]
      ),
      ("version: 1\nexec: {deny: [{sha256: abc}]}", ["2:24: 'abc' is no SHA-256: 64 hexadecimal digits"]),
      ("version: 1\nfiles: {protect: source}", ["2:18: there is no word 'source'; did you mean 'sources'?"]),
      ("version: 1\nfiles: {protect: [sources, sources]}", ["2:18: names a set twice"]),
      ("version: 1\nfiles: {action: allow}", ["2:17: there is no word 'allow'; there is observe, deny or kill"]),
      (
        "version: 1\nfiles: {deny: [{write: a, read: a}, {action: deny}]}",
        [
          "2:16: write and read in one rule: write a rule for each", "2:37: the rule names neither 'write' nor 'read'",
        ]
      ),
      (
        "version: 1\nmemory: {protect: [Runner.Worker.Long, {action: kill}, a/b]}",
        [
          "2:20: the text is longer than 15 bytes", "2:40: comm is missing: The process' name as in /proc/PID/comm.",
          "2:56: 'a/b' is no process' name, which has no '/'; see /proc/PID/comm",
        ]
      ),
      (
        "version: 1\nsystem: {deny: [moduleload, {deed: bfp}]}",
        [
          "2:17: there is no word 'moduleload'; did you mean 'moduleLoad'?",
          "2:36: there is no word 'bfp'; did you mean 'bpf'?",
        ]
      ),
      ("version: 1\nsystem: {deny: bpf}", ["2:16: has to be a list, not 'bpf'"]),
      ("version: 1\nnetwork:", ["2:9: has to be a map with default, deny, allow or resolvers, not nothing"]),
    ])
  func mistakes(text: String, expected: [String]) {
    #expect(problems(text) == expected)
  }

  @Test("what the kernel side has no room for is refused")
  func limits() {
    func list(_ count: Int, _ rule: (Int) -> String) -> String { (0..<count).map(rule).joined(separator: ", ") }
    let limit = PolicyLimits.scopePatterns
    let executables =
      "version: 1\nnetwork: {deny: [{executables: [\(list(limit) { "a\($0)" })]}]}\nexec: {deny: [{ancestors: [%]}]}"
    #expect(problems(executables.replacing("%", with: "a1")).isEmpty)
    #expect(
      problems(executables.replacing("%", with: "b"))
        == ["3:15: executables and ancestors name more than \(limit) different patterns in all"])
    func files(_ deny: Int, _ allow: Int) -> String {
      let lists = (list(deny) { "{write: a\($0)}" }, list(allow) { "{write: b\($0)}" })
      return "version: 1\nfiles:\n  deny: [\(lists.0), {read: c}]\n  allow: [\(lists.1)]"
    }
    #expect(problems(files(62, 1)).isEmpty)
    #expect(problems(files(61, 3)) == ["4:37: files for writing has 64 rules; 63 at most"])
    #expect(problems(files(64, 0)) == ["3:9: has 65 elements; at most 63 are allowed"])
    // Each a host of 100 bytes.
    let label = String(repeating: "a", count: 48)
    func hosts(_ count: Int) -> String {
      "version: 1\nnetwork: {allow: [\(list(count) { "{host: \(label).\(label).\($0 + 1000)}" })]}"
    }
    #expect(problems(hosts(PolicyLimits.hostBytes / 102).replacing(".1000}", with: ".x000}")).isEmpty)
    #expect(
      problems(hosts(PolicyLimits.hostBytes / 102 + 1))
        == [
          "1:1: the host names have \((PolicyLimits.hostBytes / 102 + 1) * 102) bytes; \(PolicyLimits.hostBytes) at most"
        ])
    let path = String(repeating: "/" + String(repeating: "b", count: 249), count: 4)
    #expect(problems("version: 1\nfiles: {deny: [\(list(16) { _ in "{write: \(path)}" })]}").isEmpty)
    #expect(
      problems("version: 1\nfiles: {deny: [\(list(17) { _ in "{write: \(path)}" })]}")
        == ["1:1: the path patterns have 17000 bytes; \(PolicyLimits.pathBytes) at most"])
  }

  @Test("the schema has every key, and alternatives for what may be a word or a rule")
  func schema() {
    let text = String(decoding: Policy.schema, as: UTF8.self)
    for key in [
      "version", "network", "default", "deny", "allow", "resolvers", "host", "cidr", "address", "ports", "protocols",
      "executables", "ancestors", "action", "exec", "path", "sha256", "memfd", "writtenDuringJob", "files", "protect",
      "write", "read", "memory", "comm", "system", "deed", "requirePrevention", "onSensorError",
    ] {
      #expect(text.contains("\"\(key)\":{\"description\":"), "\(key)")
    }
    #expect(
      text.contains(#""anyOf":[{"enum":["moduleLoad","bpf","mount","namespace","containerDaemon"]},{"type":"object""#))
    #expect(text.contains(#""required":["version"]"#))
  }
}
