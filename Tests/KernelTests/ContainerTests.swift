import KernelABI
import KernelSensor
import Observation
import Testing

extension KernelTests {
  /// What a daemon in no job says to a job's process, and the containers that it makes.
  @Suite struct Containers {
    @Test(arguments: ["write", "writev", "sendto", "sendmsg"], JobBench.lacking)
    func aDaemonAnswersAndMakesOne(way: String, lacking: Set<KernelFeature>) throws {
      let bench = try JobBench.with([JobRule(comm: "Runner.Asker")], without: lacking)
      let deed = try bench.run(["container-daemon", way])
      let asker = try deed.number("asker")
      let job = try deed.claim(asker).header.job

      // Both requests, of which the answer to one is listened to.
      // Where it is told behind the send, the process may have asked again by then.
      let said =
        deed.records.filter { $0.type == .daemon && $0.daemon.is_answer == 0 }
        + deed.records.filter { $0.type == .daemon && $0.daemon.is_answer == 1 }
      let texts = said.map { String(decoding: $0.string(.bytes) ?? [], as: UTF8.self) }
      try #require(said.count == 3, "\(deed.summary)")
      #expect(texts[0].hasPrefix("POST /v1.41/containers/create?name=x ") && texts[0].hasSuffix("{\"Image\":\"a\"}"))
      #expect(texts[1].hasPrefix("GET /v1.41/containers/json"))
      #expect(texts[2].hasPrefix("HTTP/1.1 201 Created") && texts[2].hasSuffix("\"}\n"))
      #expect(said.map(\.daemon.is_answer) == [0, 0, 1])
      #expect(said.allSatisfy { $0.header.job == job && $0.pid == asker })
      #expect(zip(said, texts).allSatisfy { Int($0.daemon.bytes) == $1.utf8.count })
      // One socket, the one that the connection's record names.
      let connect = try #require(deed.of(job).first { $0.type == .unixConnect }, "\(deed.summary)")
      #expect(said.allSatisfy { $0.daemon.sock == connect.unix.peer })

      // The cgroup, from when it is made until it is gone.
      let cgroup = UInt64(try deed.number("cgroup"))
      let changes = deed.records.filter { $0.type == .cgroup && $0.cgroup.cgroup == cgroup }
      try #require(changes.map(\.cgroup.is_gone) == [0, 1], "\(deed.summary)")
      let path = try #require(deed.facts["path"].map(hexadecimal))
      #expect(changes[0].string(.path)?.suffix(path.count).elementsEqual(path) == true)
      #expect(
        changes[0].string(.argv).map { String(decoding: $0, as: UTF8.self) }?.hasSuffix("\0container-daemon\0\(way)\0")
          == true)
      #expect(changes[0].pid == deed.pid && changes[0].header.job == 0)

      // All that is executed in it has one slot, which is no job's.
      let first = try deed.claim(try deed.number("first"))
      let second = try deed.claim(try deed.number("second"))
      let slot = first.header.job
      #expect(slot != job && slot != 0 && second.header.job == slot)
      #expect(first.claim.reason == MT_CLAIM_CONTAINER.rawValue && first.claim.rule == MT_CONTAINER_RULE)
      #expect(first.claim.cgroup == cgroup && first.claim.is_new == 1 && second.claim.is_new == 0)
      #expect(first.claim.step == 0 && second.claim.step == 0)
      #expect(deed.touched(slot).map(\.name) == ["first", "second"])
      #expect(deed.of(job).allSatisfy { $0.pid == asker })

      // The last request is none whose answer is listened to; had it been, this would end that.
      try bench.sensor.forgetTalk(said[0].daemon.sock, ofProcess: UInt32(asker), start: said[0].header.leader_start)
      try bench.release(job)
      try bench.release(slot)
      let maps = try bench.sensor.status().maps
      for name in ["talks", "rule_cgroups"] {
        let map = try #require(maps.first { $0.name == name })
        #expect(map.used == 0 && map.refused == 0, "\(name)")
      }
    }
  }
}
