import CSystem
import Glibc
import Observation
import Testing

@testable import Agent

@Suite struct GivenProcessTests {
  @Test("what /proc says of a process")
  func status() {
    let own = ProcessStatus(of: UInt32(getpid()))
    #expect(own.parent == UInt32(getppid()))
    #expect(own.users == Array(repeating: getuid(), count: 4) && own.groups == Array(repeating: getgid(), count: 4))
  }

  @Test("what is not said, or not understood, is not so")
  func nothing() {
    for text in [
      "", "PPid:\t-1\nUid:\t0\t0\t0\nNoNewPrivs:\t0\nCapPrm:\t0\n", "NoNewPrivs:\t1 1\nCapPrm:\tx\nCapEff:\t0\n",
      "CapPrm:\t0000000000000001\nCapEff:\t0000000000000000\nNoNewPrivs\nPPid\nUid\n",
    ] {
      let status = ProcessStatus(Array(text.utf8))
      #expect(status.parent == nil && status.users.count != 4 && !status.gainsNothing && !status.hasNoCapabilities)
    }
    let status = ProcessStatus(
      Array("Name:\tUid: 0 0 0 0\nPPid:\t4\nUid:\t1\t2\t3\t4\nNoNewPrivs:\t1\nCapPrm:\t00\nCapEff:\t00\n".utf8))
    #expect(status.parent == 4 && status.users == [1, 2, 3, 4] && status.gainsNothing && status.hasNoCapabilities)
  }

  @Test("what the agent tells of nobody is refused")
  func wishes() throws {
    var configuration = AgentConfiguration()
    try RunWishes(colour: true).check(configuration)
    #expect(throws: RunRefusal.self) { try RunWishes(hashes: true).check(configuration) }
    #expect(throws: RunRefusal.self) { try RunWishes(requests: true).check(configuration) }
    configuration.requests = true
    try RunWishes(requests: true).check(configuration)
    var filter = EventFilter()
    filter.events = [.network]
    configuration.filters = [RulesFilter(rules: ["github"], filter: filter)]
    try RunWishes(requests: true).check(configuration)
    configuration.filters.append(RulesFilter(rules: [RulesPolicy.run], filter: filter))
    #expect(throws: RunRefusal.self) { try RunWishes(requests: true).check(configuration) }
    try RunWishes().check(configuration)
  }

  @Test("a process that is nobody's child of who asks is not given")
  func strangers() throws {
    var ends: [Int32] = [-1, -1]
    #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
    defer { for end in ends { close(end) } }
    var peer = mt_peer()
    #expect(mt_local_peer(ends[0], &peer) == 0)
    let own = try PeerProcess(connectedBy: peer, socket: ends[0])
    #expect(own.pid == UInt32(getpid()) && own.user == geteuid())
    // Itself, init, and a number that no process has.
    for pid in [own.pid, 1, UInt32(Int32.max) - 1] {
      #expect(throws: RunRefusal.self) { _ = try GivenProcess(pid, of: own) }
    }
    #expect(!own.hasAnswered(Array("x\n".utf8), sender: getpid()))
  }
}
