import Testing

@testable import Configuration

@Suite("YAML")
struct YAMLReaderTests {
  private func read(_ text: String) throws -> Node { try YAMLReader.read(Array(text.utf8), file: "f.yaml") }

  private func complaint(_ bytes: [UInt8]) -> String? {
    do {
      _ = try YAMLReader.read(bytes, file: "f.yaml")
      return nil
    } catch {
      return error.description
    }
  }

  private func complaint(_ text: String) -> String? { complaint(Array(text.utf8)) }

  @Test("values, and where they stand")
  func values() throws {
    let node = try read("version: 1\nrules:\n  - {name: a, on: 'true'}\n  - \"b\"\n")
    guard case .map(let entries) = node.content else { throw Missing() }
    #expect(entries.map(\.key) == ["version", "rules"])
    #expect(entries[0].value == Node(.scalar("1", isPlain: true), at: Place(line: 1, column: 10)))
    guard case .list(let items) = entries[1].value.content, case .map(let rule) = items[0].content else {
      throw Missing()
    }
    #expect(items[1] == Node(.scalar("b", isPlain: false), at: Place(line: 4, column: 5)))
    #expect(rule[1].value == Node(.scalar("true", isPlain: false), at: Place(line: 3, column: 19)))
    #expect(rule[1].place == Place(line: 3, column: 15))
  }

  @Test("a file without content is an empty map", arguments: ["", "\n\n", "# nothing\n", "---\n", "--- \n...\n"])
  func empty(text: String) throws {
    #expect(try read(text).content == .map([]))
  }

  @Test(
    "what reads as one thing and means another is refused, with its place",
    arguments: [
      ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1: 'a' is there already, in line 1"),
      ("a: &x 1\nb: *x\n", "f.yaml:1:4: an anchor (&)"),
      ("a: *x\n", "f.yaml:1:4: an alias (*)"),
      ("a: !!python/object x\n", "f.yaml:1:4: a tag (!)"),
      ("a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document"),
      ("[a]: 1\n", "f.yaml:1:1: a key has to be a word"),
      ("a: [1, 2\n", "f.yaml:2:1: "),
      ("a:\n\t- 1\n", "f.yaml:2:1: "),
      ("a: b: c\n", "f.yaml:1:5: "),
    ])
  func refused(text: String, start: String) throws {
    let problem = try #require(complaint(text))
    #expect(problem.hasPrefix(start), "\(problem)")
  }

  @Test("bytes that are no text are refused, with the line")
  func noText() throws {
    let problem = try #require(complaint(Array("ä: 1\nbö: ".utf8) + [0xff, 0x0a]))
    #expect(problem.hasPrefix("f.yaml:2:5: cannot be read"), "\(problem)")
    #expect(complaint([0x61, 0x00, 0x62]) != nil)
  }

  @Test("depth and size end somewhere")
  func limits() throws {
    let deep = String(repeating: "[", count: 5000)
    #expect(try #require(complaint(deep)).hasPrefix("f.yaml:1:33: is nested too deeply"))
    #expect(try #require(complaint([UInt8](repeating: 0x20, count: 1 << 20 + 1))).contains("larger than 1 MiB"))
  }

  @Test("a hostile word cannot act on the terminal that shows the error")
  func hostile() throws {
    let problem = try #require(complaint("\"a\\e[2Jb\": 1\n\"a\\e[2Jb\": 2\n"))
    #expect(problem.contains("a\\u{1B}[2Jb"))
    #expect(!problem.unicodeScalars.contains("\u{1b}"))
  }

  private struct Missing: Error {}
}
