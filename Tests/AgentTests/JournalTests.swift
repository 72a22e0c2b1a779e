import Glibc
import Supervision
import Testing

@testable import Agent

@Suite struct JournalTests {
  private static func entry(_ number: Int, rule: String = "github") -> JournalEntry {
    JournalEntry(
      job: "job-\(number)", directory: ".martlet-abcdefg\(number)", name: "github-2026-\(number)", rule: rule,
      provider: "github", reason: "comm", startedAt: 1_000 + UInt64(number), clockOffset: -5, boot: "boot")
  }

  private static func scratch() -> (path: String, descriptor: Int32) {
    var template = Array("/tmp/martlet-journal-XXXXXX".utf8CString)
    let path = mkdtemp(&template).map { String(cString: $0) } ?? ""
    return (path, open(path, O_RDONLY | O_DIRECTORY))
  }

  private static func remove(_ path: String) {
    for name in [".lock", ".journal.new", "journal"] { unlink(path + "/" + name) }
    rmdir(path)
  }

  private static func contents(_ path: String) -> [UInt8] { ProcessScan.file(path + "/journal", limit: 1 << 24) }

  @Test("what was opened and not closed is unfinished, in its order")
  func unfinished() throws {
    let bytes =
      JournalText.opened(Self.entry(1)) + JournalText.opened(Self.entry(2)) + JournalText.opened(Self.entry(3))
      + JournalText.closed(job: "job-2", path: "/x")
    var kept = Self.entry(4)
    kept.policy = .init(file: "policy.yaml", digest: "abc")
    #expect(JournalText.parse(JournalText.opened(kept)).entries == [kept])
    let (entries, unreadable) = JournalText.parse(bytes)
    #expect(entries == [Self.entry(1), Self.entry(3)] && unreadable == 0)
  }

  @Test("a last line that is torn at any place loses nothing before it")
  func torn() {
    let first = JournalText.opened(Self.entry(1))
    let second = JournalText.opened(Self.entry(2))
    for length in 0..<second.count {
      let (entries, unreadable) = JournalText.parse(first + second.prefix(length))
      // Without its line feed the last may be whole, and then it counts.
      #expect(entries == [Self.entry(1)] || length == second.count - 1 && entries == [Self.entry(1), Self.entry(2)])
      #expect(unreadable <= 1)
    }
  }

  @Test("names that a job or a configuration chose come back as they were")
  func hostileNames() {
    for name in [
      "a\nb", "\"}\n{\"fact\":\"closed\"", "\u{0}\u{1b}[31m", "\u{2028}", "ü\u{202E}",
      String(repeating: "x", count: 3000),
    ] {
      let entry = Self.entry(1, rule: name)
      let line = JournalText.opened(entry)
      #expect(line.count { $0 == UInt8(ascii: "\n") } == 1)
      #expect(JournalText.parse(line).entries == [entry], "\(name)")
    }
  }

  @Test("a directory that would lead elsewhere is not believed", arguments: ["", ".", "..", "a/b", "/etc", "a\u{0}b"])
  func escapes(_ name: String) {
    var entry = Self.entry(1)
    entry.directory = name
    #expect(JournalText.parse(JournalText.opened(entry)).entries.isEmpty)
    entry = Self.entry(1)
    entry.name = name
    #expect(JournalText.parse(JournalText.opened(entry)).unreadable == 1)
  }

  @Test func anyBytes() {
    var random = SystemRandomNumberGenerator()
    for _ in 0..<200 {
      let bytes = (0..<300).map { _ in UInt8.random(in: 0...255, using: &random) }
      #expect(JournalText.parse(bytes).entries.isEmpty)
    }
  }

  @Test("the next one finds what is unfinished, and what is over is gone from the file")
  func nextAgent() throws {
    let (path, directory) = Self.scratch()
    defer {
      close(directory)
      Self.remove(path)
    }
    do {
      let journal = try Journal(in: directory)
      #expect(journal.unfinished.isEmpty)
      for number in 1...3 { try journal.opened(Self.entry(number)) }
      try journal.closed(job: "job-2", path: "/somewhere")
      #expect(JournalText.parse(Self.contents(path)).entries == [Self.entry(1), Self.entry(3)])
      // What a job was opened with is on the disk when `sync` returns.
      try journal.sync()
    }
    // Whoever holds the lock is this process: the kernel gives it to another description only when that is closed.
    let found = JournalText.parse(Self.contents(path))
    #expect(found.entries == [Self.entry(1), Self.entry(3)])
  }

  @Test("it does not grow for ever")
  func compaction() throws {
    let (path, directory) = Self.scratch()
    defer {
      close(directory)
      Self.remove(path)
    }
    let journal = try Journal(in: directory)
    try journal.opened(Self.entry(0))
    for number in 1...6000 {
      try journal.opened(Self.entry(number))
      // Without waiting for the disk each time: that is not what is looked at.
      if number % 1000 == 0 { for old in (number - 999)...number { try journal.closed(job: "job-\(old)", path: "p") } }
    }
    let bytes = Self.contents(path)
    #expect(bytes.count < 1_100_000)
    #expect(JournalText.parse(bytes).entries == [Self.entry(0)])
  }

  @Test("two agents cannot have one directory")
  func locked() throws {
    let (path, directory) = Self.scratch()
    defer {
      close(directory)
      Self.remove(path)
    }
    let first = try Journal(in: directory)
    #expect(throws: SystemError.self) { _ = try Journal(in: directory) }
    withExtendedLifetime(first) {}
  }
}
