import KernelABI
import Observation
import Testing

@Suite("What filters leave out") struct EventFilterTests {
  private func filter(_ excluded: [String], _ included: [String] = []) -> EventFilter {
    var filter = EventFilter()
    filter.excludedPaths = excluded
    filter.includedPaths = included
    return filter
  }

  @Test("prefixes are whole components, and directories with an exception among their entries say so")
  func prefixes() {
    #expect(
      filter(["/usr/lib", "/usr/lib/a/b/"], ["/usr/lib/a"]).prefixes == [
        .init(path: "/usr/", isLeftOut: false, hasOthers: true),
        .init(path: "/usr/lib/", isLeftOut: true, hasOthers: true),
        .init(path: "/usr/lib/a/", isLeftOut: false, hasOthers: true),
        .init(path: "/usr/lib/a/b/", isLeftOut: true, hasOthers: false),
      ])
    #expect(
      filter(["/"], ["/w"]).prefixes == [
        .init(path: "/", isLeftOut: true, hasOthers: true), .init(path: "/w/", isLeftOut: false, hasOthers: false),
      ])
    #expect(filter([]).prefixes.isEmpty)
  }

  @Test("a filter that says what cannot be, or nothing, is refused in words")
  func objections() throws {
    #expect(filter(["/a", "/b/c"], ["/b/c/d"]).objection == nil && EventFilter().objection == nil)
    let refused = [
      filter(["a"]), filter(["/a/../b"]), filter(["/a/./b"]), filter(["/a\0"]), filter([""]),
      filter(["/" + String(repeating: "x", count: 251)]), filter([], ["/a"]), filter(["/ab"], ["/a"]),
      filter(["/a/"], ["/a"]), filter((0..<33).map { "/\($0)" }),
    ]
    for filter in refused { #expect(filter.objection != nil, "\(filter)") }
    #expect(filter([], ["/a"]).objection?.contains("exclude /") == true)
    for users in [EventFilter.Users.only([]), .except(Array(0..<17))] {
      var filter = EventFilter()
      filter.users = users
      #expect(filter.objection != nil)
    }
  }

  @Test("whether files may be opened without anybody being told")
  func opens() {
    #expect(filter(["/usr"]).mayLeaveOutOpens)
    var others = EventFilter()
    others.events = [.fileWrite, .fileName, .network]
    #expect(!others.mayLeaveOutOpens && !EventFilter().mayLeaveOutOpens)
    others.users = .only([0])
    #expect(others.mayLeaveOutOpens)
    others = EventFilter()
    others.events = [.fileRead]
    #expect(others.mayLeaveOutOpens)
  }

  @Test("every type belongs to one class at most, and those that cannot be left out to none")
  func classes() {
    let types = EventClass.allCases.flatMap(\.types)
    #expect(Set(types).count == types.count)
    for type in [RecordType.fork, .exec, .exit, .claim, .step, .digest, .denial, .answer, .daemon, .cgroup] {
      #expect(!types.contains(type))
    }
    #expect(EventClass.named("file") == [.fileRead, .fileWrite, .fileName, .fileAttribute])
    #expect(EventClass.named("file.read") == [.fileRead] && EventClass.named("process") == nil)
    for word in EventClass.words { #expect(EventClass.named(word) != nil) }
  }

  @Test("what is asked of io_uring, and sums of bytes, are left out with all that they may be")
  func bits() {
    func has(_ events: Set<EventClass>, _ type: RecordType) -> Bool {
      var filter = EventFilter()
      filter.events = events
      return filter.bits >> UInt64(type.rawValue) & 1 == 1
    }
    #expect(has([.fileRead], .open) && !has([.fileWrite], .open) && has([.fileWrite], .close))
    #expect(!has([.fileRead, .fileWrite], .uring) && has([.fileRead, .fileWrite, .fileName], .uring))
    #expect(has([.fileRead, .fileWrite], .io) && !has([.fileRead], .io))
    var writes = EventFilter()
    writes.events = [.fileWrite]
    #expect(writes.bits >> UInt64(MT_TYPE_COUNT.rawValue) == 1)
  }

  @Test("counts are told by type and by class")
  func counts() {
    var counts = FilteredCounts()
    counts[Int(RecordType.open.rawValue)] = 3
    counts[Int(MT_TYPE_COUNT.rawValue)] = 2
    counts[Int(RecordType.rename.rawValue)] = 1
    #expect(counts.total == 6)
    #expect(counts.types.map(\.name) == ["open", "rename"] && counts.types.map(\.count) == [5, 1])
    #expect(counts.classes.map(\.name) == ["file.read", "file.write", "file.name"])
    #expect(counts.classes.map(\.count) == [3, 2, 1])
    var sum = counts
    sum += counts
    #expect(sum.total == 12)
  }
}
