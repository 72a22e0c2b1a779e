import Testing

@testable import Policy

@Suite("Rules for steps and images")
struct PlaceTests {
  private func actor(_ step: Whereabouts<String>, _ image: Whereabouts<ImageReference> = .nowhere) -> PolicyActor {
    PolicyActor(executable: "/bin/sh", step: step, image: image)
  }

  @Test("what is not known is denied what a rule denies to some, and not allowed what one allows to some")
  func unknown() throws {
    let policy = try policy(
      """
      version: 1
      exec:
        default: deny
        deny: [{path: /bin/a, steps: [build]}, {path: /bin/o, steps: [build], action: observe}]
        allow: [{path: /bin/b, steps: [build, "two words"]}, {path: /bin/a}]
      """)
    func may(_ path: String, _ step: Whereabouts<String>) -> PolicyDecision {
      policy.decide(execOf: PolicyExecutable(path: path), by: actor(step))
    }
    #expect(may("/bin/a", .inside("build")) == PolicyDecision(.deny, by: .rule(1)))
    #expect(may("/bin/a", .inside("Build")).isAllowed && may("/bin/a", .nowhere).isAllowed)
    #expect(may("/bin/a", .unknown) == PolicyDecision(.deny, by: .rule(1)))
    #expect(may("/bin/b", .inside("two words")) == PolicyDecision(.allow, by: .rule(3)))
    #expect(may("/bin/b", .unknown).basis == .sectionDefault && may("/bin/b", .nowhere).basis == .sectionDefault)
    #expect(may("/bin/o", .inside("build")).action == .observe && may("/bin/o", .unknown).action == .deny)
  }

  @Test("of step and image both have to be so")
  func both() throws {
    let policy = try policy(
      "version: 1\nsystem: {deny: [{deed: bpf, steps: [build], images: [\"alpine:*\"]}, {deed: mount, images: [\"**\"]}]}"
        .replacing("\"**\"", with: "\"ghcr.io/**\""))
    let alpine = Whereabouts.inside(try #require(ImageReference("alpine")))
    #expect(policy.decide(.bpf, by: actor(.inside("build"), alpine)).action == .deny)
    #expect(policy.decide(.bpf, by: actor(.inside("test"), .unknown)).action == .allow)
    #expect(policy.decide(.bpf, by: actor(.unknown, .nowhere)).action == .allow)
    #expect(policy.decide(.bpf, by: actor(.unknown, .unknown)).action == .deny)
    #expect(policy.decide(.mount, by: actor(.nowhere, alpine)).action == .allow)
  }

  private static let digest = "sha256:" + String(repeating: "0a", count: 32)

  @Test(
    "images are named as Docker names them",
    arguments: [
      ("alpine:3.20", "alpine:3.20", true), ("alpine:3.20", "docker.io/library/alpine:3.20", true),
      ("alpine:3.20", "index.docker.io/library/alpine:3.20", true), ("alpine:latest", "alpine", true),
      ("alpine:3.20", "alpine:3.2", false), ("alpine:*", "alpine@\(digest)", true), ("alpine:*", "alpine2", false),
      ("alpine@\(digest)", "alpine:3.20@\(digest)", true), ("alpine:3.20", "alpine:3.20@\(digest)", false),
      ("acme/x:*", "docker.io/acme/x:1", true), ("localhost:5000/x:1", "localhost:5000/x:1", true),
      ("docker.io/library/**", "alpine", true), ("ghcr.io/acme/**", "ghcr.io/acme/a/b:1", true),
      ("ghcr.io/acme/**", "ghcr.io/acme:1", false), ("ghcr.io/acme/**", "ghcr.io/acmes/a:1", false),
      ("ghcr.io/**", "docker.io/ghcr.io/x", false),
    ])
  func names(pattern: String, image: String, isMeant: Bool) throws {
    let pattern = try ImagePattern(pattern)
    #expect(pattern.matches(try #require(ImageReference(image))) == isMeant)
    #expect(try ImagePattern(pattern.written) == pattern)
  }

  @Test(
    "an id is no name",
    arguments: [
      "4e5021d210f6", "sha256:\(String(repeating: "0a", count: 32))", "a", "", "A", "a b", "a/", "/a", "a:", "a@b",
    ])
  func identifiers(text: String) { #expect(ImageReference(text) == nil) }

  @Test(
    "patterns that would mean something else than they seem to",
    arguments: [
      "alpine", "**", "*", "alpine:3*", "alp*:1", "acme/**", "ghcr.io/a/*", "alpine:3@\(digest)", "x@sha256:0", "A:1",
    ])
  func refused(text: String) { #expect(throws: (any Error).self) { try ImagePattern(text) } }

  @Test("what both policies say of steps and images")
  func narrowed() throws {
    let node = try policy(
      "version: 1\nnetwork: {default: deny, allow: [{cidr: 10.0.0.0/8, steps: [a, b], images: [\"docker.io/library/**\"]}]}"
    )
    let own = try policy(
      "version: 1\nnetwork: {default: deny, allow: [{ports: 443, steps: [b, c], images: [\"alpine:*\"]}]}")
    #expect(
      try node.narrowed(by: own).network?.allow.map { PolicyText.rule($0, usual: .allow) } == [
        "{cidr: 10.0.0.0/8, ports: [443], steps: [b], images: [\"docker.io/library/alpine:*\"]}"
      ])
    let other = try policy("version: 1\nnetwork: {default: deny, allow: [{ports: 443, steps: [d]}]}")
    #expect(try node.narrowed(by: other).network?.allow == [])
  }

  @Test("at most 31 steps and 31 images")
  func limits() throws {
    func names(_ count: Int) -> String { (0..<count).map { "s\($0)" }.joined(separator: ", ") }
    let fits = "version: 1\nsystem: {deny: [{deed: bpf, steps: [\(names(31))]}]}"
    _ = try policy(fits)
    let beyond = fits.replacing("]}]}", with: "]}, {deed: mount, steps: [more]}]}")
    #expect {
      try Policy.read(Array(beyond.utf8), file: "p")
    } throws: {
      "\($0)".contains("steps name more than 31 different ones in all")
    }
  }

  @Test("a report tells the steps and images of an agent's jobs, and of other commands nothing")
  func reports() throws {
    func actors(_ job: String) throws -> [PolicyActor] {
      let report = """
        {"schema":"martlet.report/v1","job":{"workingDirectory":"/w",\(job)\
        "steps":[{"number":1,"name":"build"},{"number":2,"name":null}],\
        "containers":[{"number":1,"image":"alpine:3.20"},{"number":2}]},"verdicts":["clean"],"processes":[\
        {"id":1,"step":1,"container":1,"executions":[{"id":2,"executable":"/a"},{"id":3,"executable":"/x"}]},\
        {"id":4,"step":2,"container":2,"executions":[{"id":5,"executable":"/b"},{"id":6,"executable":"/x"}]},\
        {"id":7,"step":null,"container":null,"executions":[{"id":8,"executable":"/c"},{"id":9,"executable":"/x"}]}]}
        """
      let run = try ObservedRun(Array(report.utf8), name: "r")
      return ["/a", "/b", "/c"].compactMap { path in run.events.first { $0.event.actor.executable == path }?.event.actor
      }
    }
    let known = try actors("\"rule\":\"github\",")
    #expect(known.map(\.step) == [.inside("build"), .unknown, .nowhere])
    #expect(known.map(\.image) == [.inside(try #require(ImageReference("alpine:3.20"))), .unknown, .nowhere])
    #expect(try actors("").allSatisfy { $0.step == .unknown && $0.image == .unknown })
  }
}
