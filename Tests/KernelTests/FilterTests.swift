import Glibc
import KernelABI
import KernelSensor
import Observation
import Testing

extension KernelTests {
  @Suite struct Filters {
    struct Deed: Sendable, CustomTestStringConvertible {
      var words: [String]
      var left: Set<EventClass>
      /// Of types that are left out, and of some that are not.
      var without: [RecordType]
      var with: [RecordType]
      var testDescription: String { "\(words) without \(left.map(\.rawValue).sorted())" }
    }

    static let deeds = [
      Deed(words: ["filtered"], left: [.fileRead], without: [], with: [.open, .close, .rename, .mkdir, .chmod]),
      Deed(
        words: ["filtered"], left: [.fileWrite], without: [.close, .dup, .mmapShared, .truncate],
        with: [.open, .rename, .chmod]),
      Deed(
        words: ["filtered"], left: [.fileName], without: [.rename, .unlink, .mkdir], with: [.open, .close, .chmod]),
      Deed(words: ["filtered"], left: [.fileAttribute], without: [.chmod], with: [.open, .close, .rename]),
      Deed(
        words: ["filtered"], left: EventClass.files,
        without: [.open, .close, .dup, .mmapShared, .truncate, .rename, .unlink, .mkdir, .chmod], with: [.exit]),
      Deed(
        words: ["tcp", "127.0.0.1", "127.0.0.1"], left: [.network],
        without: [.connect, .tcpClose, .flowOpen, .listen, .bind],
        with: [.exit]),
      Deed(
        words: ["tcp", "127.0.0.1", "127.0.0.1"], left: [.unix], without: [], with: [.connect, .tcpClose, .listen]),
      Deed(words: ["pair", "pipe"], left: [.channel], without: [.pipe], with: [.exit]),
      Deed(words: ["pair", "pipe"], left: [.network, .security, .unix], without: [], with: [.pipe]),
      Deed(words: ["namespaces", "unshare"], left: [.security], without: [.security], with: [.exit]),
    ]

    @Test(arguments: deeds) func classesAreLeftOut(deed: Deed) throws {
      let (act, counts) = try Bench.filtered(words: deed.words) { _ in
        var filter = EventFilter()
        filter.events = deed.left
        return filter
      }
      for type in deed.without {
        act.none(type)
        // What is not followed has no end, and no copies, that could be counted.
        if ![.close, .dup, .flowOpen, .tcpClose].contains(type) {
          #expect(counts.types.contains { $0.name == type.name }, "\(type.name) \(counts.types)")
        }
      }
      for type in deed.with { #expect(!act.all(type).isEmpty, "no \(type.name)\n\(act.summary)") }
      let isAsked = deed.without.isEmpty && !deed.left.contains(.fileRead)
      #expect((counts.total == 0) == isAsked, "\(counts.types)")
      #expect(Set(counts.classes.map(\.name)).isSubset(of: deed.left.map(\.rawValue)), "\(counts.classes)")
      if deed.left == [.fileRead] { act.none(.open) { $0.open.fmode & (MT_FMODE_WRITE | MT_FMODE_CREATED) == 0 } }
      if deed.left == [.fileWrite] { act.none(.open) { $0.open.fmode & MT_FMODE_WRITE != 0 } }
    }

    /// Everything that a filter lets through is told as without it, and what it leaves out is counted: not one is missing.
    @Test func pathsAreLeftOutAndCounted() throws {
      let (all, none) = try Bench.filtered("filtered") { _ in EventFilter() }
      #expect(none.total == 0)
      let (act, counts) = try Bench.filtered("filtered") { directory in
        var filter = EventFilter()
        filter.excludedPaths = ["\(directory)/out", "\(directory)/out/in/no/", "/elsewhere"]
        filter.includedPaths = ["\(directory)/out/in"]
        return filter
      }
      // The directory's own name differs from run to run.
      func names(_ act: Act, _ type: RecordType) -> [String] {
        let prefix = act.directory + "/"
        return act.all(type).map { String(decoding: $0.path, as: UTF8.self) }.filter { $0.hasPrefix(prefix) }
          .map { String($0.dropFirst(prefix.count)) }.sorted()
      }
      func isLeftOut(_ name: String) -> Bool {
        let parts = name.split(separator: "/")
        return parts.first == "out" && !(parts.count > 1 && parts[1] == "in" && !(parts.count > 2 && parts[2] == "no"))
      }
      #expect(names(act, .open) == names(all, .open).filter { !isLeftOut($0) }, "\(act.summary)")
      #expect(names(act, .open).contains("out/in/changed") && names(act, .open).contains("outer"))
      #expect(!names(all, .open).filter(isLeftOut).isEmpty)
      func counted(_ type: RecordType) -> Int { Int(counts.types.first { $0.name == type.name }?.count ?? 0) }
      for type in [RecordType.open, .mmapShared, .truncate] {
        #expect(act.all(type).count + counted(type) == all.all(type).count, "\(type)\n\(act.summary)")
      }
      #expect(act.all(.mmapShared).count == 1 && act.all(.dup).count == 1)
      // A descriptor that was left out is not followed: its close is neither told nor counted.
      #expect(
        act.all(.close).count == act.all(.open) {
          $0.open.fmode & MT_FMODE_WRITE != 0 && $0.path.starts(with: Array(act.directory.utf8))
        }.count + act.all(.dup).count)
      let tellsCalls = try Bench.tellsCalls("path", "operations by name")
      if tellsCalls {
        // As given: what it leads to is not known in the kernel.
        #expect(names(act, .rename) == names(all, .rename) && names(act, .unlink) == names(all, .unlink))
      } else {
        // Of two names one is enough to be told.
        #expect(names(act, .rename) == ["out/deep/file", "outer/file"], "\(act.summary)")
        #expect(names(act, .unlink) == ["out/in/moved"] && names(act, .chmod) == ["out/in/file"])
        #expect(names(act, .mkdir) == ["out/in", "outer"])
        for type in [RecordType.rename, .unlink, .chmod, .mkdir] {
          #expect(act.all(type).count + counted(type) == all.all(type).count, "\(type)\n\(act.summary)")
        }
      }
    }

    @Test func nothingButWhatIsIncluded() throws {
      let (act, counts) = try Bench.filtered("filtered") { directory in
        var filter = EventFilter()
        filter.excludedPaths = ["/"]
        filter.includedPaths = ["\(directory)/outer"]
        return filter
      }
      let opens = act.all(.open).filter { $0.path.first == UInt8(ascii: "/") }.map {
        String(decoding: $0.path, as: UTF8.self)
      }
      #expect(Set(opens) == ["\(act.directory)/outer", "\(act.directory)/outer/file"], "\(act.summary)")
      #expect(counts.total > 10)
      // Programs are told whatever they are called.
      #expect(act.all(.exec).count == act.all(.exec).filter { !$0.executable.isEmpty }.count)
    }

    @Test func usersAreLeftOut() throws {
      for (users, told, left) in [
        (EventFilter.Users.except([0]), "second", "first"), (.only([0, 7]), "first", "second"),
      ] {
        let (act, counts) = try Bench.filtered("filtered-users", "1234") { _ in
          var filter = EventFilter()
          filter.users = users
          return filter
        }
        #expect(!act.all(.open) { $0.path == act.path(told) }.isEmpty, "\(act.summary)")
        act.none(.open) { $0.path == act.path(left) }
        #expect(counts.total > 0)
        #expect(!act.all(.exit).isEmpty)
      }
    }

    /// What a program finds open is told once for a set of descriptors, or left out once.
    @Test func inheritedDescriptors() throws {
      let (act, counts) = try Bench.filtered("filtered-child") { directory in
        var filter = EventFilter()
        filter.excludedPaths = ["\(directory)"]
        return filter
      }
      act.none(.open) { $0.path.starts(with: Array("\(act.directory)/".utf8)) }
      act.none(.close)
      #expect(counts.total >= 3, "\(counts.types)")
      #expect(act.all(.exec).count == 2 && act.all(.fork).count == 1)
    }

    /// The longest path that a prefix can have holds for what is below it, and not for what begins like it.
    @Test func longPrefixes() throws {
      let (act, counts) = try Bench.filtered("filtered-long", "\(MT_FILTER_PATH_MAX)") { directory in
        var filter = EventFilter()
        let rest = Int(MT_FILTER_PATH_MAX) - directory.utf8.count - 1
        filter.excludedPaths = ["\(directory)/" + String(repeating: "x", count: rest)]
        return filter
      }
      let (left, told) = (try act.text("left"), try act.text("told"))
      act.none(.open) { $0.path == left }
      #expect(act.all(.open) { $0.path == told }.count == 2, "\(act.summary)")
      #expect(counts.types.first { $0.name == "open" }?.count == 2, "\(counts.types)")
    }
  }
}
