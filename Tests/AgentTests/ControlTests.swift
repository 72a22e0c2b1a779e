import Glibc
import Observation
import Recording
import Reporting
import Supervision
import Testing

@testable import Agent

@Suite struct ControlRequestTests {
  private func parse(_ text: String) -> ControlRequest.Parsed { ControlRequest.parse(Array(text.utf8)) }

  @Test func requests() {
    #expect(parse("{\"command\":\"status\"}\n") == .request(.status))
    #expect(parse("{\"command\":\"ready\"}\nmore") == .request(.ready))
    #expect(parse("{\"command\":\"stop\",\"token\":\"ab\"}\n") == .request(.stop(token: Array("ab".utf8))))
    #expect(
      parse("{\"command\":\"report\"}\n") == .request(.report(job: nil, token: nil, wantsFiles: false)))
    #expect(
      parse("{\"command\":\"report\",\"job\":\"a\",\"token\":\"b\",\"files\":true}\n")
        == .request(.report(job: "a", token: Array("b".utf8), wantsFiles: true)))
    #expect(
      parse("{\"command\":\"run\",\"process\":7,\"hashes\":true}\n")
        == .request(.run(process: 7, policy: nil, wanted: .init(hashes: true))))
    #expect(
      parse("{\"command\":\"run\",\"process\":7,\"requests\":true,\"colour\":true}\n")
        == .request(.run(process: 7, policy: nil, wanted: .init(colour: true, requests: true))))
    #expect(
      parse("{\"command\":\"run\",\"process\":7,\"policy\":5,\"policyFile\":\"a.yaml\"}\n")
        == .request(
          .run(process: 7, policy: .init(descriptor: 5, file: "a.yaml"), wanted: .init())))
    #expect(parse("{\"command\":\"status\"}") == .incomplete && parse("") == .incomplete)
  }

  @Test(arguments: [
    "\n", "status\n", "[]\n", "{}\n", "{\"command\":5}\n", "{\"command\":\"quit\"}\n", "{\"command\":\"stop\"}\n",
    "{\"command\":\"kept\",\"path\":\"/etc\"}\n", "{\"command\":\"run\"}\n", "{\"command\":\"run\",\"process\":0}\n",
    "{\"command\":\"run\",\"process\":-1}\n", "{\"command\":\"run\",\"process\":7,\"policy\":5}\n",
    "{\"command\":\"run\",\"process\":4294967295}\n",
    "{\"command\":\"report\",\"job\":1}\n", "{\"command\":\"report\",\"job\":\"\"}\n",
    "{\"command\":\"stop\",\"token\":[1]}\n", "{\"command\":\"status\",\"a\":[[[[1]]]]}\n",
  ])
  func refused(_ text: String) {
    guard case .refused(let reason) = parse(text) else {
      Issue.record("\(text) was not refused")
      return
    }
    #expect(!reason.isEmpty)
  }

  @Test func aLineThatDoesNotEnd() {
    let long = String(repeating: " ", count: ControlRequest.limit)
    #expect(parse(String(long.dropLast())) == .incomplete)
    guard case .refused = parse(long) else {
      Issue.record("a request without an end was waited for")
      return
    }
  }

  @Test func tokens() {
    let token = ControlToken(text: "0123456789abcdef")
    #expect(token.matches(Array("0123456789abcdef".utf8)))
    for wrong in [
      "", "0", "0123456789abcde", "0123456789abcdeg", "0123456789abcdef0", "0123456789abcdef0123456789abcdef",
    ] {
      #expect(!token.matches(Array(wrong.utf8)), "\(wrong)")
    }
    #expect(ControlToken.make() != ControlToken.make() && ControlToken.make().text.utf8.count == 32)
  }
}

/// A server that answers what the tests say, on a thread of its own.
private final class Served: @unchecked Sendable {
  let path: String
  private var server: ControlServer?
  private var thread: pthread_t?
  private let end: Doorbell
  private(set) var turnedAway: UInt64 = 0

  init() throws {
    path = "/tmp/martlet-control-\(getpid())-\(UInt32.random(in: 0...UInt32.max)).sock"
    server = try ControlServer(path: path)
    end = try Doorbell()
    var thread = pthread_t()
    pthread_create(
      &thread, nil,
      { context in
        if let context { Unmanaged<Served>.fromOpaque(context).takeRetainedValue().serve() }
        return nil
      }, Unmanaged.passRetained(self).toOpaque())
    self.thread = thread
  }

  func stop() {
    end.ring()
    if let thread { pthread_join(thread, nil) }
    thread = nil
  }

  private func serve() {
    guard var server = server.take() else { return }
    while true {
      var polled = server.polled([end.descriptor])
      poll(&polled, nfds_t(polled.count), server.timeout(now: ControlServer.now))
      if polled[0].revents != 0 { break }
      for question in server.advance(polled[1...], now: ControlServer.now) {
        server.answer(
          question,
          ControlAnswer.line { json in
            json.member("ready", question.request == .ready)
            json.member("process", orNull: question.peer?.pid)
            if question.request == .status { json.member("padding", String(repeating: "x", count: 1 << 19)) }
          })
      }
    }
    turnedAway = server.turnedAway
    server.finish(milliseconds: 100)
  }
}

@Suite(.serialized) struct ControlServerTests {
  private func connect(_ path: String) -> Int32 {
    let made = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let size = socklen_t(MemoryLayout<sockaddr_un>.size)
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.connect(made, $0, size) }
    }
    return result == 0 ? made : -1
  }

  @Test func aQuestionAndItsAnswer() throws {
    let served = try Served()
    defer { served.stop() }
    let isReady = try ControlClient.isReady(path: served.path, milliseconds: 60_000)
    #expect(isReady)
    // Larger than what a socket takes at once.
    let answer = try ControlClient.status(path: served.path, milliseconds: 60_000)
    #expect(answer.value["ready"]?.bool == false && answer.bytes.count > 1 << 19)
  }

  @Test("a request that depends on who asks is answered when that has been said back, by that process")
  func whoAsks() throws {
    let served = try Served()
    defer { served.stop() }
    for (said, isTrue) in [("", true), ("x", false)] {
      let conversation = try ControlConversation(path: served.path, milliseconds: 60_000)
      try conversation.send(Array("{\"command\":\"report\"}\n".utf8))
      let challenge = try #require(try conversation.receive().value["challenge"]?.text)
      try conversation.send(Array("\(said)\(challenge)\n".utf8))
      let answer = try conversation.receive().value
      #expect((answer["process"]?.unsigned == UInt64(getpid())) == isTrue)
      #expect((answer["error"] != nil) != isTrue)
    }
    // With something that nobody has asked for.
    let conversation = try ControlConversation(path: served.path, milliseconds: 60_000)
    try conversation.send(Array("{\"command\":\"report\"}\n".utf8))
    _ = try conversation.introduce(attached: [0, 1, 2])
    #expect(throws: SystemError.self) { _ = try conversation.receive() }
  }

  @Test("clients that say nothing, half of it, nonsense or too much do not keep another from its answer")
  func badClients() throws {
    let served = try Served()
    defer { served.stop() }
    var held: [Int32] = []
    for bytes in ["", "{\"command\":", String(repeating: "x", count: 100_000), "nonsense\n"] {
      let client = connect(served.path)
      #expect(client >= 0)
      var bytes = bytes
      bytes.withUTF8 { _ = send(client, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)) }
      held.append(client)
    }
    // One that asks and goes.
    let gone = connect(served.path)
    var question = "{\"command\":\"status\"}\n"
    question.withUTF8 { _ = send(gone, $0.baseAddress, $0.count, 0) }
    close(gone)
    let isReady = try ControlClient.isReady(path: served.path, milliseconds: 60_000)
    #expect(isReady)
    for client in held { close(client) }
  }

  @Test("more connections than there are places for are closed at once, and none is waited for")
  func flood() throws {
    let served = try Served()
    let held = (0..<100).map { _ in connect(served.path) }
    #expect(held.allSatisfy { $0 >= 0 })
    // Wait until the last was looked at: it is closed, or has a place.
    var waiting = pollfd(fd: held[99], events: Int16(POLLIN), revents: 0)
    #expect(poll(&waiting, 1, 10_000) == 1)
    for client in held.prefix(60) { close(client) }
    var isReady = false
    for _ in 0..<500 where !isReady {
      isReady = (try? ControlClient.isReady(path: served.path, milliseconds: 60_000)) ?? false
      if !isReady { usleep(10_000) }
    }
    #expect(isReady)
    for client in held.dropFirst(60) { close(client) }
    served.stop()
    #expect(served.turnedAway >= 68)
  }

  @Test("a socket that nobody listens on is replaced, one that somebody does is not")
  func stale() throws {
    let path = "/tmp/martlet-stale-\(getpid()).sock"
    let left = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(left, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    #expect(bound == 0)
    close(left)
    let server = try ControlServer(path: path)
    #expect(throws: SystemError.self) { _ = try ControlServer(path: path) }
    #expect(server.path == path)
    _ = consume server
    #expect(access(path, F_OK) != 0)
  }

  @Test func nobodyThere() {
    #expect(throws: SystemError.self) { try ControlClient.isReady(path: "/tmp/martlet-nobody-\(getpid()).sock") }
  }
}
