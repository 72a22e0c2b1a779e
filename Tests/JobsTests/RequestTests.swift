import KernelABI
import Observation
import Testing

@testable import Jobs

@Suite struct RequestTests {
  private func started(_ change: (inout JobOptions) -> Void = { _ in }) -> Job {
    let job = Job {
      $0.readsRequests = true
      change(&$0)
    }
    job.exec(100, "/usr/bin/curl")
    return job
  }

  private func connect(_ job: Job, _ sock: UInt64, port: UInt16) {
    var body = mt_sock()
    body.sock = sock
    body.family = 2
    body.protocol = 6
    body.remote_port = port
    withUnsafeMutableBytes(of: &body.remote) { $0.copyBytes(from: [192, 0, 2, 1]) }
    job.send(.connect, 100, body: body)
  }

  private func ask(_ job: Job, _ path: String, sock: UInt64, flags: mt_request_flag? = nil, cut: Bool = false) {
    job.send(
      .request, 100,
      body: mt_request(sock: sock, library: 2, flags: UInt16(flags?.rawValue ?? 0), reserved: 0),
      strings: flags == MT_REQUEST_HIDDEN ? [] : [(.detail, "GET"), (.name, "a.example"), (.path, path)],
      flags: cut ? .truncated : [])
  }

  @Test func belongToTheirConnection() throws {
    let job = started()
    connect(job, 1, port: 443)
    connect(job, 2, port: 8443)
    ask(job, "/one", sock: 1)
    ask(job, "/one", sock: 1)
    ask(job, "/two", sock: 2, flags: MT_REQUEST_HTTP2)
    ask(job, "/lost", sock: 3)
    ask(job, "", sock: 1, flags: MT_REQUEST_HIDDEN)
    ask(job, "/long/", sock: 2, cut: true)
    let snapshot = job.snapshot()
    let flows = snapshot.flows
    #expect(flows.map(\.requests.count) == [2, 2])
    let one = try #require(flows[0].requests.distinct.first)
    #expect(flows[0].requests.distinct.count == 1)
    #expect(one.method == "GET" && one.host.text == "a.example" && one.path.text == "/one" && one.count == 2)
    #expect(one.library == .gnuTLS && !one.isHTTP2 && one.process == 1)
    #expect(flows[1].requests.distinct.map(\.path.text) == ["/two", "/long/"])
    #expect(flows[1].requests.distinct.map(\.isHTTP2) == [true, false])
    #expect(flows[1].requests.distinct.map(\.path.isTruncated) == [false, true])
    let counting = try #require(snapshot.requests)
    #expect(counting.count == 5 && counting.hidden == 1 && counting.cut == 1)
    #expect(counting.withoutConnection.count == 1)
    #expect(counting.withoutConnection.distinct.map(\.path.text) == ["/lost"])
  }

  @Test func ofEqualConnectionsAreAddedUp() throws {
    let job = started()
    for sock: UInt64 in 1...3 {
      connect(job, sock, port: 443)
      ask(job, "/same", sock: sock)
      ask(job, "/\(sock)", sock: sock)
    }
    let flow = try #require(job.snapshot().flows.first)
    #expect(flow.repeats == 2 && flow.requests.count == 6)
    #expect(flow.requests.distinct.map(\.path.text) == ["/same", "/1", "/2", "/3"])
    #expect(flow.requests.distinct.map(\.count) == [3, 1, 1, 1])
  }

  @Test func haveALimitThatIsCounted() throws {
    let job = started { $0.limits.requests = 70 }
    connect(job, 1, port: 443)
    connect(job, 2, port: 444)
    for number in 0..<100 { ask(job, "/\(number)", sock: 1) }
    for number in 0..<10 { ask(job, "/\(number)", sock: 2) }
    let snapshot = job.snapshot()
    #expect(snapshot.flows[0].requests.count == 100)
    #expect(snapshot.flows[0].requests.distinct.count == 64 && snapshot.flows[0].requests.unlisted == 36)
    // That there is no memory for more is another thing, which the report tells.
    #expect(snapshot.flows[1].requests.distinct.count == 6 && snapshot.flows[1].requests.unlisted == 4)
    #expect(snapshot.notKept.requests == 4)
  }

  @Test func secretsAreMasked() throws {
    let job = started()
    connect(job, 1, port: 443)
    let secret = "ghp_" + String(repeating: "a1B2", count: 9)
    ask(job, "/download/\(secret)/file", sock: 1)
    let path = try #require(job.snapshot().flows.first?.requests.distinct.first?.path.text)
    #expect(!path.contains(secret) && path.hasPrefix("/download/"))
    #expect(!String(decoding: job.applied.name, as: UTF8.self).contains(secret))
  }

  @Test func withoutTheQuestionThereIsNoAnswer() {
    let job = Job()
    job.exec(100, "/bin/sh")
    #expect(job.snapshot().requests == nil)
  }
}
