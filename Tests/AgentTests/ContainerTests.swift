import KernelABI
import Observation
import Testing

@testable import Agent

@Suite struct ContainerTests {
  private static let container = ContainerName(cgroup: "/docker/\(String(repeating: "ab", count: 32))".utf8)!
  private static let step = ContainerName(cgroup: "/docker/buildkit/wyxgtbaurp4of9d6a1mci6djd".utf8)!

  /// Records of one conversation.
  private func tell(
    _ links: inout ContainerLinks, job: UInt16, process: UInt32 = 10, sock: UInt64, request: String? = nil,
    answer: [UInt8]? = nil
  ) -> Bool {
    var builder = RecordBuilder(.daemon, time: 5, tgid: process, leaderStart: 1)
    builder.job = job
    let bytes = request.map { Array($0.utf8) } ?? answer ?? []
    builder.setBody(
      mt_daemon(sock: sock, bytes: UInt64(bytes.count), is_answer: answer == nil ? 0 : 1, reserved: 0))
    builder.setString(.bytes, bytes)
    return builder.bytes.withUnsafeBytes { bytes in (try? RecordView(validating: bytes)).map { links.take($0) } ?? false
    }
  }

  private func asker(_ job: UInt16, _ process: UInt32 = 10) -> ContainerLinks.Asker {
    ContainerLinks.Asker(slot: job, process: process, start: 1)
  }

  private func create(_ links: inout ContainerLinks, job: UInt16, process: UInt32 = 10, sock: UInt64) {
    _ = tell(&links, job: job, process: process, sock: sock, request: "POST /containers/create HTTP/1.1\r\n\r\n")
    let answer = Array("HTTP/1.1 201 Created\r\n\r\n{\"Id\":\"\(Self.container.id)\"}".utf8)
    #expect(tell(&links, job: job, process: process, sock: sock, answer: answer))
  }

  @Test func aContainerIsWhoseProcessWasToldFirst() {
    var links = ContainerLinks()
    #expect(links.decide(Self.container, nil) == .unknown)
    create(&links, job: 3, sock: 1)
    create(&links, job: 4, sock: 2)
    #expect(links.decide(Self.container, nil) == .belongs(.init(asker: asker(3), how: .created)))
    // The process ends, and the container is the job's all the same; the job ends, and it is nobody's.
    links.processEnded(asker(3))
    #expect(links.takeEnded().map(\.socket) == [1])
    #expect(links.takeEnded().isEmpty)
    #expect(links.decide(Self.container, nil) == .belongs(.init(asker: asker(3), how: .created)))
    links.forget(slot: 3, now: 9)
    #expect(links.decide(Self.container, nil) == .unknown)
    #expect(links.isAwaiting)
    links.forget(slot: 4, now: 9)
    #expect(!links.isAwaiting)
  }

  @Test func aSocketThatIsUsedAgainIsAnothers() {
    var links = ContainerLinks()
    _ = tell(&links, job: 3, process: 10, sock: 1, request: "POST /containers/create HTTP/1.1\r\n\r\n")
    create(&links, job: 4, process: 11, sock: 1)
    // The answer of the first never came; its end does not end the second.
    links.processEnded(asker(3, 10))
    #expect(links.decide(Self.container, nil) == .belongs(.init(asker: asker(4, 11), how: .created)))
    let answer = Array("HTTP/1.1 201 Created\r\n\r\n{\"Id\":\"\(Self.container.id)\"}".utf8)
    #expect(!tell(&links, job: 3, process: 10, sock: 1, answer: answer))
  }

  @Test func whatWasToldToRunAndNotSeenIsLacking() {
    var links = ContainerLinks()
    create(&links, job: 3, sock: 1)
    #expect(!lacks(links, 3, since: 0), "created, and not started")
    let start = "POST /v1.41/containers/\(Self.container.id)/start HTTP/1.1\r\n\r\n"
    _ = tell(&links, job: 4, sock: 2, request: start)
    #expect(!lacks(links, 4, since: 0), "another job's")
    _ = tell(&links, job: 3, sock: 1, request: start)
    #expect(lacks(links, 3, since: 0))
    #expect(links.unexplained(0...4).isEmpty && links.unexplained(6...9).isEmpty)
    #expect(links.unexplained(5...5).map(\.id) == [Self.container.id])
    links.note(explained: Self.container.id)
    #expect(links.unexplained(5...5).isEmpty)
    links.note(Self.container)
    #expect(!lacks(links, 3, since: 0), "what is executed in its cgroup is seen")
    links.forget(slot: 3, now: 9)
    #expect(!lacks(links, 3, since: 0))
  }

  @Test func aStepThatMayBeInALostContainerIsLacking() {
    var links = ContainerLinks()
    links.note(Self.step)
    build(&links, job: 3, sock: 1, "make", digest: "a")
    #expect(!lacks(links, 3, since: 5), "nothing was lost")
    links.note(lostAt: 4, mayBeStep: true)
    #expect(!lacks(links, 3, since: 5), "before the job")
    links.note(lostAt: 6, mayBeStep: true)
    #expect(lacks(links, 3, since: 5))
    links.note(foundStep: Self.sum("a"), at: 5_000_000_000)
    #expect(!lacks(links, 3, since: 5))
  }

  @Test func aStepThatMayBeInAContainerWhichWaitsIsLacking() {
    var links = ContainerLinks()
    links.note(Self.step)
    build(&links, job: 3, sock: 1, "make", digest: "a")
    #expect(!lacks(links, 3, since: 0))
    #expect(links.lacks(slot: 3, since: 0, isStepWaiting: true) && !links.lacks(slot: 4, since: 0, isStepWaiting: true))
    links.note(foundStep: Self.sum("a"), at: 5_000_000_000)
    #expect(!links.lacks(slot: 3, since: 0, isStepWaiting: true))
  }

  private func lacks(_ links: ContainerLinks, _ slot: UInt16, since start: UInt64) -> Bool {
    links.lacks(slot: slot, since: start, isStepWaiting: false)
  }

  @Test func aBuildThatTellsNothingMayHaveHadAnyContainer() {
    var links = ContainerLinks()
    links.note(lostAt: 4, mayBeStep: false)
    _ = tell(&links, job: 3, sock: 1, request: "POST /v1.41/build?dockerfile=Dockerfile&q=1 HTTP/1.1\r\n\r\n")
    _ = tell(&links, job: 4, sock: 2, request: "POST /v1.41/build?q=0 HTTP/1.1\r\n\r\n")
    #expect(!lacks(links, 3, since: 0), "before the build")
    links.note(lostAt: 6, mayBeStep: false)
    #expect(lacks(links, 3, since: 0) && !lacks(links, 4, since: 0))
    #expect(links.mayBeOfSilentBuild(5, slot: 3) && !links.mayBeOfSilentBuild(4, slot: 3))
    links.forget(slot: 3, now: 9)
    #expect(!lacks(links, 3, since: 0))
  }

  // MARK: - Steps of builds

  private static func sum(_ digit: Character) -> String { "sha256:\(String(repeating: digit, count: 64))" }

  private func build(
    _ links: inout ContainerLinks, job: UInt16, sock: UInt64, _ command: String, digest: Character,
    input: Character? = nil, started: UInt8 = 1, completed: UInt8? = nil
  ) {
    func field(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] { [number << 3 | 2, UInt8(bytes.count)] + bytes }
    var vertex = field(1, Array(Self.sum(digest).utf8))
    if let input { vertex += field(2, Array(Self.sum(input).utf8)) }
    vertex += field(3, Array("[2/2] RUN \(command)".utf8)) + field(5, [0x08, started])
    if let completed { vertex += field(6, [0x08, completed]) }
    _ = tell(&links, job: job, sock: sock, request: "POST /grpc HTTP/1.1\r\n\r\n")
    #expect(tell(&links, job: job, sock: sock, answer: vertex))
  }

  private func execution(
    _ command: String, at seconds: UInt64 = 5, variables: [String: String] = [:], layers: OverlayLayers? = nil
  ) -> ContainerLinks.Execution {
    ContainerLinks.Execution(
      at: seconds * 1_000_000_000, arguments: ["/bin/sh", "-c", command].map { Array($0.utf8) },
      variable: { variables[$0].map { Array($0.utf8) } }, layers: layers)
  }

  private func owner(_ decision: ContainerLinks.Decision) -> UInt16? {
    if case .belongs(let link) = decision { link.asker.slot } else { nil }
  }

  @Test func aStepIsWhoseBuildHasIt() {
    var links = ContainerLinks()
    build(&links, job: 3, sock: 1, "make all", digest: "a")
    build(&links, job: 4, sock: 2, "make test", digest: "b")
    #expect(owner(links.decide(Self.step, execution("make all"))) == 3)
    #expect(owner(links.decide(Self.step, execution("make test"))) == 4)
    #expect(links.decide(Self.step, execution("make")) == .unknown)
    #expect(links.decide(Self.step, nil) == .unknown)
    // It had not begun, or was over.
    #expect(links.decide(Self.step, execution("make all", at: 0)) == .unknown)
    build(&links, job: 3, sock: 1, "make all", digest: "a", completed: 4)
    #expect(links.decide(Self.step, execution("make all")) == .unknown)
    // Only containers of builds are told by what they execute.
    #expect(links.decide(Self.container, execution("make test")) == .unknown)
  }

  @Test func aStepDoesNotBecomeAnothersWhenItsJobIsOver() {
    var links = ContainerLinks()
    build(&links, job: 3, sock: 1, "make", digest: "a")
    build(&links, job: 4, sock: 2, "make", digest: "b")
    #expect(links.decide(Self.step, execution("make")) == .several)
    links.forget(slot: 3, now: 9)
    #expect(links.decide(Self.step, execution("make")) == .several)
    build(&links, job: 5, sock: 1, "make", digest: "a")
    #expect(links.decide(Self.step, execution("make")) == .several)
    links.forget(slot: 4, now: 9)
    links.forget(slot: 5, now: 9)
    #expect(links.decide(Self.step, execution("make")) == .several)
    links.forgetDeparted(before: 9)
    #expect(links.decide(Self.step, execution("make")) == .several)
    // No container that waits is as old.
    links.forgetDeparted(before: 10)
    #expect(links.decide(Self.step, execution("make")) == .unknown)
    build(&links, job: 6, sock: 3, "make", digest: "c")
    #expect(owner(links.decide(Self.step, execution("make"))) == 6)
  }

  @Test func aStepHasOneContainer() {
    var links = ContainerLinks()
    build(&links, job: 3, sock: 1, "make", digest: "a")
    links.note(foundStep: Self.sum("a"), at: 2_000_000_000)
    // The step that this executes is not told yet.
    #expect(links.decide(Self.step, execution("make")) == .unknown)
    build(&links, job: 4, sock: 2, "make", digest: "b")
    #expect(owner(links.decide(Self.step, execution("make"))) == 4)
    // Without a cache the same step is begun anew.
    build(&links, job: 5, sock: 3, "make", digest: "a", started: 3)
    #expect(links.decide(Self.step, execution("make")) == .several)
    links.note(Self.step)
    #expect(!links.lacks(slot: 3, since: 0, isStepWaiting: true) && links.lacks(slot: 5, since: 0, isStepWaiting: true))
  }

  @Test func whatSeveralBuildsShareIsTheRestsWhenOneIsOver() {
    var links = ContainerLinks()
    build(&links, job: 3, sock: 1, "make", digest: "a")
    build(&links, job: 4, sock: 2, "make", digest: "a")
    links.forget(slot: 3, now: 9)
    #expect(owner(links.decide(Self.step, execution("make"))) == 4)
    links.forget(slot: 4, now: 9)
    #expect(links.decide(Self.step, execution("make")) == .unknown)
  }

  @Test func oneStepOfSeveralBuildsIsTheFirstOnes() throws {
    var links = ContainerLinks()
    build(&links, job: 4, sock: 2, "make", digest: "a")
    build(&links, job: 3, sock: 1, "make", digest: "a")
    guard case .belongs(let link) = links.decide(Self.step, execution("make")) else {
      Issue.record("nobody's")
      return
    }
    #expect(link.asker == asker(4) && link.sharers == [asker(3)])
  }

  @Test func whoElseBuildsMayBeToldOfItsStepsLater() {
    var links = ContainerLinks()
    build(&links, job: 3, sock: 1, "make", digest: "a")
    create(&links, job: 5, sock: 3)
    #expect(!links.othersBuild(than: 3) && links.othersBuild(than: 5))
    // Of its steps nothing is told yet.
    #expect(!tell(&links, job: 4, sock: 2, request: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
    #expect(links.othersBuild(than: 3))
    links.processEnded(asker(4))
    #expect(!links.othersBuild(than: 3))
  }

  @Test func stepsThatExecuteTheSameAreToldApartByWhatTheyBeginWith() {
    var links = ContainerLinks()
    build(&links, job: 3, sock: 1, "make", digest: "a", input: "c")
    build(&links, job: 4, sock: 2, "make", digest: "b", input: "d")
    let layers = OverlayLayers(options: "rw,lowerdir=/o/two/diff:/o/base/diff,upperdir=/o/x/diff") { _ in nil }
    #expect(links.decide(Self.step, execution("make")) == .several)
    // Its layers are not known to be a step's.
    #expect(links.decide(Self.step, execution("make", layers: layers)) == .unknown)
    let before = OverlayLayers(options: "rw,lowerdir=/o/base/diff,upperdir=/o/two/diff") { _ in nil }
    if let before { links.note(before, of: Self.sum("d")) }
    #expect(owner(links.decide(Self.step, execution("make", layers: layers))) == 4)
  }

  @Test func variablesHaveTheirValuesInWhatIsSaid() {
    var links = ContainerLinks()
    build(&links, job: 3, sock: 1, "install one && ok", digest: "a")
    build(&links, job: 4, sock: 2, "install two && ok", digest: "b")
    #expect(links.decide(Self.step, execution("install $WHAT && ok")) == .several)
    #expect(owner(links.decide(Self.step, execution("install ${WHAT} && ok", variables: ["WHAT": "two"]))) == 4)
    #expect(
      owner(links.decide(Self.step, execution("install $WHAT && $X", variables: ["WHAT": "one", "X": "ok"]))) == 3)
    #expect(links.decide(Self.step, execution("install $WHAT && ok", variables: ["WHAT": "three"])) == .unknown)
  }

  @Test func aVariableIsLookedAtThoughOneBuildAloneIsKnown() {
    var links = ContainerLinks()
    build(&links, job: 3, sock: 1, "install one $HOME", digest: "a")
    let words = "install $WHAT $HOME"
    #expect(owner(links.decide(Self.step, execution(words, variables: ["WHAT": "one", "HOME": "/root"]))) == 3)
    #expect(links.decide(Self.step, execution(words, variables: ["WHAT": "two", "HOME": "/root"])) == .unknown)
    // Nobody knows them any more.
    #expect(owner(links.decide(Self.step, execution(words))) == 3)
  }

  @Test(
    arguments: [
      (["/bin/sh", "-c", "make"], "make", true),
      (["/bin/sh", "-c", "make"], "--mount=type=cache,target=/x make", true),
      (["/bin/sh", "-c", "make"], "make ", false), (["/bin/sh", "-c", "make"], "makes", false),
      (["/bin/bash", "-ec", "make"], "make", false), (["make", "all"], #"["make", "all"]"#, true),
      (["make"], #"["make", "all"]"#, false), ([], "", false), (["/bin/sh", "-c", "a $"], "a $", true),
      (["/bin/sh", "-c", "a ${"], "a ${", true), (["/bin/sh", "-c", "${A:-b}c"], "bc", true),
      (["/bin/sh", "-c", "$A-$B-$A"], "1-2-1", true), (["/bin/sh", "-c", "$A-$B-x"], "1-x", false),
      (["/bin/sh", "-c", ""], "", true),
    ] as [([String], String, Bool)])
  func commands(_ arguments: [String], _ said: String, _ isSame: Bool) {
    #expect(BuildCommand(arguments.map { Array($0.utf8) }).matches(said) == isSame)
  }

  // MARK: - What the runtime is told

  @Test func aBundleSaysWhatIsExecuted() throws {
    let text = #"{"process":{"args":["/bin/sh","-c","x"],"env":["A=1","B=2","A=3"]},"root":{"path":"rootfs"}}"#
    let bundle = try #require(ContainerBundle(configuration: Array(text.utf8)))
    #expect(bundle.arguments == ["/bin/sh", "-c", "x"].map { Array($0.utf8) })
    #expect(bundle.variable("A") == Array("3".utf8) && bundle.variable("C") == nil)
    for length in 0..<text.utf8.count {
      #expect(ContainerBundle(configuration: Array(text.utf8.prefix(length))) == nil)
    }
  }

  @Test func layersHaveShortNames() throws {
    let options = "rw,relatime,lowerdir=/d/overlay2/l/ABC:/d/overlay2/l/GONE,upperdir=/d/overlay2/up/diff,workdir=/d/x"
    let layers = try #require(OverlayLayers(options: options) { $0 == "/d/overlay2/l/ABC" ? "../low/diff" : nil })
    #expect(layers.upper == "up" && layers.lower == ["low"])
    #expect(OverlayLayers(options: "rw") { _ in nil } == nil)
    #expect(OverlayLayers(options: "lowerdir=,upperdir=") { _ in nil } == nil)
  }
}
