import KernelABI
import Observation
import Testing

@testable import Jobs

@Suite struct FlowTests {
  private func started() -> Job {
    let job = Job()
    job.exec(100, "/bin/sh")
    return job
  }

  private func socket(
    _ sock: UInt64, to address: [UInt8] = [192, 0, 2, 1], port: UInt16 = 443, from local: [UInt8] = [],
    localPort: UInt16 = 0, networkProtocol: UInt16 = 6
  ) -> mt_sock {
    var body = mt_sock()
    body.sock = sock
    body.family = address.count == 16 ? 10 : 2
    body.protocol = networkProtocol
    body.remote_port = port
    body.local_port = localPort
    withUnsafeMutableBytes(of: &body.remote) { $0.copyBytes(from: address) }
    withUnsafeMutableBytes(of: &body.local) { $0.copyBytes(from: local) }
    return body
  }

  private func say(
    _ job: Job, _ sock: UInt64, _ name: String?, by source: mt_named_by = MT_NAMED_BY_TLS, encrypted: Bool = false
  ) {
    var body = mt_server_name()
    body.sock = sock
    body.by = UInt16(source.rawValue)
    body.is_hidden = name == nil ? 1 : 0
    body.is_hello_encrypted = encrypted ? 1 : 0
    job.send(.serverName, 100, body: body, strings: name.map { [(.name, $0)] } ?? [])
  }

  @Test func connectionsAreToldByWhomTheyName() throws {
    let job = started()
    for (sock, name) in [(1, "a.example"), (2, "A.Example"), (3, "b.example"), (4, nil)] as [(UInt64, String?)] {
      job.send(.connect, 100, body: socket(sock))
      say(job, sock, name, encrypted: sock == 3)
      job.send(.tcpClose, 100, body: socket(sock))
    }
    job.send(.connect, 100, body: socket(5, port: 80))
    say(job, 5, "192.0.2.1", by: MT_NAMED_BY_HTTP)
    let flows = job.snapshot().flows
    #expect(flows.map { $0.serverName?.name?.text } == ["a.example", "b.example", nil, nil])
    #expect(flows.map { $0.serverName == nil } == [false, false, false, true])
    #expect(flows.map(\.repeats) == [1, 0, 0, 0])
    #expect(flows.compactMap { $0.serverName?.helloIsEncrypted } == [false, true, false])
  }

  /// In a log nothing tells of a connection before its end, but whom it names.
  @Test func aConnectionThatIsNamedBeforeItIsKnown() throws {
    let job = started()
    say(job, 1, "a.example")
    job.exec(100, "/usr/bin/later")
    let shell = try #require(job.snapshot().flows.first).image
    var end = socket(1)
    end.established = 1
    end.duration = job.time
    job.send(.tcpClose, 100, body: end)
    let flows = job.snapshot().flows
    let flow = try #require(flows.first)
    #expect(flows.count == 1 && flow.serverName?.name?.text == "a.example" && flow.remotePort == 443)
    #expect(flow.image <= shell && flow.state == .closed && flow.durationNanoseconds == end.duration)
  }

  @Test func aConnectionFromConnectToClose() throws {
    let job = started()
    let began = job.send(.connect, 100, body: socket(1))
    #expect(job.snapshot().flows.map(\.state) == [.requested])
    var end = socket(1, from: [10, 0, 0, 1], localPort: 5000)
    end.established = 1
    end.sent = 10
    end.received = 20
    end.duration = 77
    job.send(.tcpClose, 100, body: end)
    let flow = try #require(job.snapshot().flows.first)
    #expect(flow.state == .closed)
    #expect(flow.kind == .tcp)
    #expect(flow.process == 1)
    #expect(flow.startedAt == began)
    #expect(flow.durationNanoseconds == 77)
    #expect(flow.sentBytes == 10)
    #expect(flow.receivedBytes == 20)
    #expect(flow.remoteAddress == "192.0.2.1")
    #expect(flow.localAddress == "10.0.0.1")
    #expect(flow.localPort == 5000)
    #expect(flow.repeats == 0)
  }

  @Test func aConnectionThatFailed() {
    let job = started()
    job.send(.connect, 100, body: socket(1))
    var end = socket(1)
    end.error = 111
    job.send(.tcpClose, 100, body: end)
    let flows = job.snapshot().flows
    #expect(flows.map(\.state) == [.failed])
    #expect(flows.map(\.error) == [111])
  }

  @Test func connectionsThatAreOpenAtTheEnd() {
    let job = started()
    job.send(.connect, 100, body: socket(1))
    job.send(.connect, 100, body: socket(2, port: 80))
    var open = socket(1, from: [10, 0, 0, 1], localPort: 5000)
    open.established = 1
    open.duration = 1_000_000
    job.send(.flowOpen, 100, body: open)
    job.send(.flowOpen, 100, body: socket(2, port: 80))
    let flows = job.snapshot().flows
    #expect(flows.map(\.state) == [.established, .requested])
    #expect(flows.map(\.localPort) == [5000, 0])
    #expect(flows.map(\.durationNanoseconds) == [nil, nil])
  }

  @Test(arguments: [RecordType.tcpClose, .flowOpen]) func whatWasAcceptedBelongsToTheImageOfThen(
    type: RecordType
  ) throws {
    let job = started()
    let began = job.time
    job.send(.connect, 100, body: socket(5))
    job.exec(100, "/bin/one")
    job.exec(100, "/bin/two")
    var end = socket(6, port: 4000, from: [127, 0, 0, 1], localPort: 80)
    end.inbound = 1
    end.established = 1
    // Accepted by the shell, between its start and the connect.
    end.duration = job.time + 1_000_000 - began - 500_000
    job.send(type, 100, body: end)
    let snapshot = job.snapshot()
    #expect(snapshot.flows.map(\.isInbound) == [true, false])
    #expect(snapshot.flows[0].image == snapshot.flows[1].image)
    #expect(snapshot.flows[0].startedAt == began + 500_000)
    #expect(snapshot.flows[0].state == (type == .tcpClose ? .closed : .established))
  }

  @Test func equalFlowsAreMergedAndOthersAreNot() throws {
    let job = started()
    for sock in UInt64(1)...5 {
      job.send(.connect, 100, body: socket(sock))
      var end = socket(sock)
      end.established = 1
      end.sent = 100
      job.send(.tcpClose, 100, body: end)
    }
    job.send(.connect, 100, body: socket(9, port: 80))
    job.fork(100, 101)
    job.send(.connect, 101, body: socket(10))
    let flows = job.snapshot().flows
    #expect(flows.count == 3)
    #expect(flows[0].repeats == 4)
    #expect(flows[0].sentBytes == 500)
    #expect(flows.map(\.process) == [1, 1, 2])
  }

  /// `pairs` connections of 101 to 100, which listens, both ends of each; they end a second before the next begins.
  private func talk(_ job: Job, pairs: Range<UInt64>, port: UInt16 = 8080) {
    let localhost: [UInt8] = [127, 0, 0, 1]
    for number in pairs {
      let client = UInt16(30_000 + number)
      var end = socket(2 * number, to: localhost, port: port, from: localhost, localPort: client)
      end.established = 1
      end.sent = 10
      end.duration = 50
      job.send(.connect, 101, body: socket(2 * number, to: localhost, port: port))
      job.time += 1_000_000_000
      job.send(.tcpClose, 101, body: end)
      var accepted = socket(2 * number + 1, to: localhost, port: client, from: localhost, localPort: port)
      accepted.inbound = 1
      accepted.established = 1
      accepted.received = 10
      accepted.duration = 40
      job.send(.tcpClose, 100, body: accepted)
    }
  }

  private func small(flows: Int) -> Job {
    let job = Job { $0.limits.flows = flows }
    job.exec(100, "/bin/server")
    job.fork(100, 101)
    return job
  }

  @Test func equalFlowsAreTakenTogetherWhenTheTableIsFull() throws {
    let job = small(flows: 64)
    talk(job, pairs: 1..<1001)
    let all = small(flows: 4096)
    talk(all, pairs: 1..<1001)
    let (some, whole) = (job.snapshot(), all.snapshot())
    #expect(some.notKept.isEmpty)
    #expect(some.flowsMerged >= 1900)
    #expect(whole.flowsMerged == 0)
    #expect(some.flows.count == 2)
    for (one, other) in zip(some.flows, whole.flows) {
      #expect(one.repeats == 999)
      #expect(one.repeats == other.repeats)
      #expect(one.sentBytes == other.sentBytes)
      #expect(one.receivedBytes == other.receivedBytes)
      #expect(one.durationNanoseconds == other.durationNanoseconds)
      #expect(one.startedAt == other.startedAt)
      #expect(one.lastAt == other.lastAt)
      #expect(one.remoteAddress == other.remoteAddress)
    }
  }

  @Test func theWayBetweenTwoProcessesStaysWhenTheirConnectionsAreTakenTogether() throws {
    let job = small(flows: 64)
    talk(job, pairs: 1..<301)
    let snapshot = job.snapshot()
    let ways = snapshot.edges.channels.filter { $0.kind == .loopback }
    #expect(!ways.isEmpty)
    for way in ways { #expect(way.holders.map(\.process) == [2, 1]) }
    // From the first of all connections to the last.
    let first = snapshot.flows.map(\.startedAt).min()
    #expect(ways.map { $0.holders[0].firstOpenedAt }.min() == first)
  }

  @Test func whatDiffersIsNotTakenTogether() {
    let job = small(flows: 64)
    for number in UInt64(1)...300 {
      job.time += 1_000_000_000
      job.send(.connect, 101, body: socket(number, port: 443 + UInt16(number % 3)))
      var end = socket(number, port: 443 + UInt16(number % 3))
      end.established = number % 2 == 0 ? 1 : 0
      end.error = number % 2 == 0 ? 0 : 111
      job.send(.tcpClose, 101, body: end)
    }
    let flows = job.snapshot().flows
    #expect(flows.count == 6)
    #expect(flows.map(\.repeats) == [49, 49, 49, 49, 49, 49])
    #expect(Set(flows.map { "\($0.remotePort) \($0.state)" }).count == 6)
    #expect(job.snapshot().notKept.isEmpty)
  }

  @Test func openConnectionsAndDifferentOnesAreCountedWhenTheTableIsFull() {
    let job = small(flows: 64)
    for number in UInt64(1)...100 {
      job.time += 1_000_000_000
      job.send(.connect, 101, body: socket(number))
    }
    #expect(job.snapshot().notKept.flows == 36)
    #expect(job.snapshot().flowsMerged == 0)
    let other = small(flows: 64)
    for number in UInt64(1)...100 {
      other.time += 1_000_000_000
      other.send(.tcpClose, 101, body: socket(number, port: UInt16(number)))
    }
    #expect(other.snapshot().notKept.flows == 36)
  }

  @Test func socketsWhoseEndNobodyTellsAreTakenTogetherToo() {
    let job = small(flows: 64)
    for number in UInt64(1)...1000 {
      job.time += 1_000_000_000
      job.send(.udpSend, 101, body: socket(number, port: 53, networkProtocol: 17))
      var body = mt_unix()
      body.sock = 5000 + number
      body.fd = -1
      job.send(.unixConnect, 101, body: body, strings: [(.path, "/run/app.sock")])
    }
    let snapshot = job.snapshot()
    #expect(snapshot.notKept.isEmpty)
    #expect(snapshot.flows.map(\.kind) == [.udp, .unix])
    #expect(snapshot.flows.map(\.repeats) == [999, 999])
    #expect(snapshot.flows[1].remoteAddress == "/run/app.sock")
  }

  @Test func aNumberThatComesAgainIsAnotherSocket() {
    let job = started()
    job.send(.connect, 100, body: socket(1))
    var end = socket(1)
    end.established = 1
    job.send(.tcpClose, 100, body: end)
    job.send(.connect, 100, body: socket(1, port: 8080))
    #expect(job.snapshot().flows.map(\.remotePort) == [443, 8080])
    #expect(job.snapshot().flows.map(\.state) == [.closed, .requested])
  }

  @Test func whatWasAcceptedIsNotASocketThatHadItsNumber() {
    let job = started()
    job.send(.connect, 100, body: socket(1))
    var end = socket(1, port: 40_000, from: [127, 0, 0, 1], localPort: 80)
    end.inbound = 1
    end.established = 1
    job.send(.tcpClose, 100, body: end)
    #expect(job.snapshot().flows.map(\.state) == [.requested, .closed])
    #expect(job.snapshot().flows.map(\.remotePort) == [443, 40_000])
  }

  @Test func datagramsHaveAFlowForEachDestination() {
    let job = started()
    job.send(.connect, 100, body: socket(1, port: 53, networkProtocol: 17))
    job.send(.udpSend, 100, body: socket(1, port: 53, networkProtocol: 17))
    job.send(.udpSend, 100, body: socket(2, port: 53, networkProtocol: 17))
    job.send(.udpSend, 100, body: socket(2, to: [192, 0, 2, 9], port: 53, networkProtocol: 17))
    let flows = job.snapshot().flows
    #expect(flows.map(\.kind) == [.udp, .udp])
    #expect(flows.map(\.remoteAddress) == ["192.0.2.1", "192.0.2.9"])
    #expect(flows.map(\.state) == [.established, .established])
    #expect(flows.map(\.repeats) == [1, 0])
  }

  @Test func serversAndTheirLoopbackClients() throws {
    let job = started()
    let localhost: [UInt8] = [127, 0, 0, 1]
    job.send(.bind, 100, body: socket(1, to: [], port: 0, from: localhost, localPort: 8080))
    #expect(job.snapshot().flows.map(\.state) == [.bound])
    job.send(.listen, 100, body: socket(1, to: [], port: 0, from: localhost, localPort: 8080))
    job.fork(100, 101)
    job.send(.connect, 101, body: socket(2, to: localhost, port: 8080))
    var accepted = socket(3, to: localhost, port: 40_000, from: localhost, localPort: 8080)
    accepted.inbound = 1
    accepted.established = 1
    job.send(.tcpClose, 100, body: accepted)
    var made = socket(2, to: localhost, port: 8080, from: localhost, localPort: 40_000)
    made.established = 1
    job.send(.flowOpen, 101, body: made)
    let snapshot = job.snapshot()
    #expect(snapshot.flows.map(\.kind) == [.listen, .tcp, .tcp])
    #expect(snapshot.flows.map(\.isInbound) == [false, false, true])
    #expect(snapshot.flows[0].localPort == 8080)
    let channel = try #require(snapshot.edges.channels.first { $0.kind == .loopback })
    #expect(channel.holders.map(\.process) == [2, 1])
  }

  @Test func addressesOfTheSixthVersion() {
    let job = started()
    let address: [UInt8] = [0x20, 1, 0x0d, 0xb8] + [UInt8](repeating: 0, count: 11) + [1]
    job.send(.connect, 100, body: socket(1, to: address))
    #expect(job.snapshot().flows.map(\.remoteAddress) == ["2001:db8::1"])
  }

  @Test func unixSocketsAreFlowsAndChannels() throws {
    let job = started()
    job.fork(100, 101)
    let (identifier, text) = job.directory("/run")
    var body = mt_unix()
    body.sock = 11
    body.peer = 12
    body.dir = identifier
    job.send(.unixConnect, 101, body: body, strings: [(.path, "app.sock")] + text)
    #expect(job.path == "/run/app.sock")
    body.sock = 12
    body.peer = 11
    job.send(.unixAccept, 100, body: body)
    body.sock = 13
    body.peer = 0
    job.send(.unixConnect, 101, body: body, strings: [(.path, "\0hidden")])
    let snapshot = job.snapshot()
    #expect(snapshot.flows.map(\.kind) == [.unix, .unix, .unix])
    #expect(snapshot.flows.map(\.remoteAddress) == ["/run/app.sock", "", "@hidden"])
    #expect(snapshot.flows.map(\.isInbound) == [false, true, false])
    let channels = snapshot.edges.channels.filter { $0.kind == .unixSocket }
    #expect(channels.count == 3)
    #expect(channels[0].peer == channels[1].id)
    #expect(channels[1].peer == channels[0].id)
    #expect(channels[0].holders.map(\.process) == [2])
    #expect(channels[1].holders.map(\.process) == [1])
  }

  @Test func pipesHaveTheirCreatorAndWhoeverFoundThemOpen() throws {
    let job = started()
    var pair = mt_pair()
    pair.a_ino = 900
    pair.b_ino = 900
    job.send(.pipe, 100, body: pair)
    job.fork(100, 101)
    job.exec(101, "/bin/cat")
    var body = mt_open()
    body.file = mt_file(ino: 900, dev: 13, generation: 0, mode: 0o010600, nlink: 1)
    body.fmode = 1
    body.how = UInt16(MT_OPEN_INHERITED.rawValue)
    job.send(.open, 101, body: body, strings: [(.path, "pipe:[900]")])
    #expect(job.path == "pipe:[900]")
    let snapshot = job.snapshot()
    let pipe = try #require(snapshot.edges.channels.first)
    #expect(pipe.kind == .pipe)
    #expect(pipe.identity == 900)
    #expect(pipe.holders.map(\.process) == [1, 2])
    #expect(pipe.holders[0].mode == [.read, .write])
    #expect(pipe.holders[1].mode == [.read, .inherited])
    #expect(snapshot.files.isEmpty)
    // The fork's image holds what its parent's did: that is to be had from the links.
    #expect(snapshot.imageLinks[2].parent == pipe.holders[0].image)
  }

  @Test func socketPairsArePeers() throws {
    let job = started()
    var pair = mt_pair()
    pair.a_sock = 21
    pair.b_sock = 22
    pair.a_ino = 501
    pair.b_ino = 502
    job.send(.socketpair, 100, body: pair)
    let channels = job.snapshot().edges.channels
    #expect(channels.map(\.kind) == [.socketPair, .socketPair])
    #expect(channels.map(\.peer) == [channels[1].id, channels[0].id])
  }

  @Test func copiesAreAddedUp() throws {
    let job = started()
    let source = Job.File(5)
    let target = Job.File(6)
    job.open(100, "/w", "from", source)
    job.open(100, "/w", "to", target, fd: 4, write: true)
    var body = mt_copy()
    body.from = source.body
    body.to = target.body
    body.kind = MT_COPY_RANGE.rawValue
    body.bytes = 100
    job.send(.copy, 100, body: body)
    #expect(job.path == "/w/to")
    #expect(job.path2 == "/w/from")
    job.send(.copy, 100, body: body)
    // Into a socket that only its inode tells.
    body.to = mt_file(ino: 700, dev: 9, generation: 0, mode: 0o140777, nlink: 1)
    body.kind = MT_COPY_SENDFILE.rawValue
    job.send(.copy, 100, body: body)
    let snapshot = job.snapshot()
    #expect(snapshot.edges.copies.map(\.kind) == [.copyFileRange, .sendfile])
    #expect(snapshot.edges.copies.map(\.bytes) == [200, 100])
    let to = try #require(job.file("/w/to"))
    #expect(snapshot.edges.copies[0].to == to.id)
    #expect(snapshot.edges.channels.map(\.id) == [snapshot.edges.copies[1].to])
  }
}
