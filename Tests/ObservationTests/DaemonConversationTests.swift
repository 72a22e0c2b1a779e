import Observation
import Testing

@Suite struct DaemonConversationTests {
  private typealias News = DaemonConversation.News
  private static let id = String(repeating: "0123456789abcdef", count: 4)

  private func ask(_ request: String) -> DaemonConversation {
    var conversation = DaemonConversation()
    conversation.take(request: Array(request.utf8))
    return conversation
  }

  // MARK: - Containers that are created

  @Test(arguments: [1, 2, 7, 40, 4096]) func anIdComesInPieces(of size: Int) {
    var conversation = ask(
      "POST /v1.41/containers/create?name=web-1&platform= HTTP/1.1\r\nHost: docker\r\n\r\n"
        + #"{"Env":["TOKEN=secret"],"Cmd":["true"],"Image":"registry:5000/a/b:1.2","Volumes":{}}"#)
    #expect(conversation.purpose == .create)
    #expect(conversation.image == "registry:5000/a/b:1.2" && conversation.name == "web-1")
    let answer = Array("HTTP/1.1 201 Created\r\n\r\n{\"Id\":\"\(Self.id)\",\"Warnings\":[]}\n".utf8)
    var news: [News] = []
    for start in stride(from: 0, to: answer.count, by: size) {
      news += conversation.take(answer: answer[start..<min(start + size, answer.count)], isCut: false)
    }
    #expect(news == [.created(Self.id)])
    // What comes after that is of no interest.
    #expect(conversation.take(answer: answer, isCut: false).isEmpty)
  }

  @Test(arguments: [
    ("/v1.41/build?dockerfile=Dockerfile&q=1&remote=x", true), ("/build?q=true", true), ("/build?q=YES", true),
    ("/build?q=0", false), ("/build?q=", false), ("/build?q=False", false), ("/build?quiet=1", false),
    ("/build", false),
    ("/containers/create?q=1", false),
  ]) func aBuildCanBeSilent(_ target: String, _ isSilent: Bool) {
    #expect(ask("POST \(target) HTTP/1.1\r\n\r\n").isSilent == isSilent)
  }

  @Test(arguments: [
    "GET /v1.41/containers/json HTTP/1.1", "POST /v1.41/containers/x/attach HTTP/1.1", "POST", "", "\r\n",
    "POST ? HTTP",
    "BREW /containers/create HTTP/1.1", "POST /containers/creates HTTP/1.1",
  ]) func answersToOtherRequestsAreNotListenedTo(_ request: String) {
    var conversation = ask(request + "\r\n\r\n")
    #expect(conversation.purpose == .other)
    #expect(conversation.take(answer: Array(#"{"Id":"\#(Self.id)"}"#.utf8), isCut: false).isEmpty)
  }

  @Test(arguments: [
    "0123", String(repeating: "g", count: 64), String(repeating: "A", count: 64), String(repeating: "0", count: 65),
  ]) func whatIsNoIdIsNone(_ id: String) {
    var conversation = ask("POST /containers/create HTTP/1.1\r\n\r\n")
    #expect(conversation.take(answer: Array("HTTP/1.1 201 OK\r\n\r\n{\"Id\":\"\(id)\"}".utf8), isCut: false).isEmpty)
  }

  @Test func anAnswerCanComeLate() {
    var conversation = ask("POST /containers/create HTTP/1.1\r\n\r\n")
    conversation.take(request: Array("GET /containers/x/json HTTP/1.1\r\n\r\n".utf8))
    // Of another container, as the answer to that would be.
    #expect(
      conversation.take(answer: Array("HTTP/1.1 200 OK\r\n\r\n{\"Id\":\"\(Self.id)\"}".utf8), isCut: true).isEmpty)
    let answer = Array("HTTP/1.1 201 Created\r\n\r\n{\"Id\":\"\(Self.id)\"}".utf8)
    #expect(conversation.take(answer: answer, isCut: false) == [.created(Self.id)])
    // A creation that failed does not keep it from hearing of a build.
    conversation.take(request: Array("POST /containers/create HTTP/1.1\r\n\r\n".utf8))
    conversation.take(request: Array("POST /build HTTP/1.1\r\n\r\n".utf8))
    #expect(conversation.purpose == .build)
  }

  @Test func namesAndImagesThatNeedDecodingAreLeftOut() {
    #expect(ask("POST /containers/create?name=a%2fb HTTP/1.1\r\n\r\n").name == nil)
    #expect(ask("POST /containers/create?name= HTTP/1.1\r\n\r\n").name == nil)
    #expect(ask("POST /containers/create HTTP/1.1\r\n\r\n{\"Image\":\"a\\u0041\"").image == nil)
    #expect(ask("POST /containers/create HTTP/1.1\r\n\r\n{\"Image\":\"cut").image == nil)
    #expect(ask("POST /containers/create HTTP/1.1\r\n\r\n{\"Image\":\"\"").image == nil)
  }

  // MARK: - Builds

  @Test func theClassicBuilderTellsWhatRuns() {
    var conversation = ask("POST /v1.41/build?nocache=1 HTTP/1.1\r\n\r\n")
    #expect(conversation.purpose == .build)
    func piece(_ text: String) -> [News] { conversation.take(answer: Array(text.utf8), isCut: false) }
    #expect(piece("25\r\n{\"stream\":\"Step 1/4 : FROM deb:12\"}\r\n\r\n").isEmpty)
    #expect(piece(#"33\#r\#n{"stream":" ---\u003e Running in 601b"#).isEmpty)
    #expect(piece("7f996759\\n\"}\r\n\r\n") == [.runs("601b7f996759")])
    // What a program prints is not at the beginning of what is streamed.
    #expect(piece(#"{"stream":"x ---\u003e Running in 601b7f996750\n"}"# + "\r\n").isEmpty)
    #expect(piece(#"{"stream":" ---\u003e Running in 601b7f99675"# + "\r\n").isEmpty)
  }

  /// A vertex as BuildKit encodes it.
  private static func vertex(
    _ name: String, digest: Character = "a", inputs: [Character] = [], started: UInt64? = nil, completed: UInt64? = nil
  ) -> [UInt8] {
    func field(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] { [number << 3 | 2] + varint(UInt64(bytes.count)) + bytes }
    func sum(_ digit: Character) -> [UInt8] { Array("sha256:\(String(repeating: digit, count: 64))".utf8) }
    func time(_ seconds: UInt64) -> [UInt8] { [0x08] + varint(seconds) + [0x10] + varint(7) }
    var vertex = field(1, sum(digest))
    for input in inputs { vertex += field(2, sum(input)) }
    vertex += field(3, Array(name.utf8))
    if let started { vertex += field(5, time(started)) }
    if let completed { vertex += field(6, time(completed)) }
    return field(1, vertex)
  }

  private static func varint(_ value: UInt64) -> [UInt8] {
    value < 0x80 ? [UInt8(value)] : [UInt8(value & 0x7f) | 0x80] + varint(value >> 7)
  }

  private static func sum(_ digit: Character) -> String { "sha256:\(String(repeating: digit, count: 64))" }

  private func base64(_ bytes: [UInt8]) -> String {
    var buffer = ByteBuffer(capacity: bytes.count * 2 + 8)
    bytes.withUnsafeBytes { buffer.append(base64: $0) }
    return buffer.text
  }

  @Test(arguments: [10, 300, 3000]) func buildKitTellsSteps(_ length: Int) {
    let command = "apt-get install -y " + String(repeating: "x", count: length)
    let message =
      Self.vertex("[internal] load build context", digest: "c")
      + Self.vertex("[stage 2/3] RUN \(command)", digest: "b", inputs: ["a", "c"], started: 5)
    let step = DaemonConversation.Step(
      digest: Self.sum("b"), inputs: [Self.sum("a"), Self.sum("c")], command: command, startedAt: 5_000_000_007,
      completedAt: nil)
    // In the answer to a build…
    var conversation = ask("POST /v1.41/build?version=2 HTTP/1.1\r\n\r\n")
    let line = "1a3\r\n{\"id\":\"moby.buildkit.trace\",\"aux\":\"\(base64(message))\"}\r\n\r\n"
    #expect(conversation.take(answer: Array(line.utf8), isCut: false) == [.step(step)])
    // …and as gRPC.
    var other = ask("POST /grpc HTTP/1.1\r\n\r\n")
    #expect(other.take(answer: [0, 0, 1, 0] + message, isCut: false) == [.step(step)])
    var direct = ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    #expect(direct.take(answer: message, isCut: false) == [.step(step)])
  }

  @Test func aStepThatIsOverSaysSo() throws {
    var conversation = ask("POST /build HTTP/1.1\r\n\r\n")
    let news = conversation.take(answer: Self.vertex("[2/2] RUN true", started: 5, completed: 9), isCut: false)
    guard case .step(let step) = try #require(news.first) else { throw Failure() }
    #expect(step.completedAt == 9_000_000_007 && step.inputs.isEmpty && step.command == "true")
  }

  private struct Failure: Error {}

  @Test func everyBeginningOfAMessageIsUnderstoodOrPassedOver() {
    let message = Self.vertex("[2/2] RUN echo", inputs: ["c"], started: 1 << 33, completed: 1 << 40)
    for length in 0...message.count {
      var conversation = ask("POST /grpc HTTP/1.1\r\n\r\n")
      _ = conversation.take(answer: message.prefix(length), isCut: false)
      for place in message.indices.prefix(length) {
        var damaged = message
        damaged[place] ^= UInt8(truncatingIfNeeded: 1 << (place % 8))
        _ = conversation.take(answer: damaged, isCut: true)
      }
    }
  }

  @Test func whatIsTooLongIsCountedAndGivenUp() {
    var conversation = ask("POST /build HTTP/1.1\r\n\r\n")
    let piece = [UInt8](repeating: UInt8(ascii: "x"), count: 64 << 10)
    for _ in 0..<8 { _ = conversation.take(answer: piece, isCut: false) }
    #expect(conversation.cut == 1)
    _ = conversation.take(answer: piece, isCut: true)
    #expect(conversation.cut == 2)
    let line = "\r\n{\"stream\":\" ---\\u003e Running in 601b7f996759\\n\"}\r\n"
    #expect(conversation.take(answer: Array(line.utf8), isCut: false) == [.runs("601b7f996759")])
  }

  // MARK: - Cgroups

  @Test(
    arguments: [
      ("/docker/\(id)", id, "docker"), ("/system.slice/docker-\(id).scope", id, "docker"),
      ("/machine.slice/libpod-\(id).scope/container", nil, nil), ("/machine.slice/libpod-\(id).scope", id, "podman"),
      ("/kubepods.slice/kubepods-pod1.slice/cri-containerd-\(id).scope", id, "containerd"),
      ("/kubepods/besteffort/pod1/crio-\(id)", id, "cri-o"), ("/default/\(id)", id, nil),
      ("/docker/buildkit/wyxgtbaurp4of9d6a1mci6djd", "wyxgtbaurp4of9d6a1mci6djd", "buildkit"),
      ("/user.slice/user-1000.slice/session-3.scope", nil, nil), ("/", nil, nil), ("", nil, nil),
      ("/system.slice/\(String(id.dropLast())).scope", nil, nil),
    ] as [(String, String?, String?)])
  func namesOfCgroups(_ path: String, _ id: String?, _ runtime: String?) {
    let name = ContainerName(cgroup: path.utf8)
    #expect(name?.id == id)
    #expect(name?.runtime == runtime)
  }
}
