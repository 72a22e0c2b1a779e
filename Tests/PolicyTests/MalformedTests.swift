import Configuration
import Testing

@testable import Policy

@Suite("Malformed policy files")
struct MalformedTests {
  /// How many rules stand in a file, found without any of the forms.
  private func rules(in node: Node) -> Int {
    guard case .map(let sections) = node.content else { return 0 }
    return sections.reduce(0) { count, section in
      guard case .map(let entries) = section.value.content else { return count }
      return entries.reduce(count) { count, entry in
        guard ["deny", "allow"].contains(entry.key) || (section.key == "memory" && entry.key == "protect"),
          case .list(let rules) = entry.value.content
        else { return count }
        return count + rules.count
      }
    }
  }

  /// The good file with one thing wrong, in ways that are spread over all of it. Not all of them make it wrong.
  private var mutations: [[UInt8]] {
    let good = Array(everything.utf8)
    let lines = everything.split(separator: "\n", omittingEmptySubsequences: false).map { Array($0.utf8) }
    func joined(_ lines: [[UInt8]]) -> [UInt8] { Array(lines.joined(separator: [0x0a])) }
    var all: [[UInt8]] = []
    // A byte at a time: lost, doubled, or another.
    let others = Array("{}[]:,\"'#&*!|>-\n\t \u{0}x0".utf8) + [0x80, 0xff]
    for (step, at) in stride(from: 0, to: good.count, by: max(1, good.count / 110)).enumerated() {
      var lost = good
      lost.remove(at: at)
      var doubled = good
      doubled.insert(good[at], at: at)
      var other = good
      other[at] = others[step % others.count]
      var inserted = good
      inserted.insert(others[(step * 7 + 3) % others.count], at: at)
      all += [lost, doubled, other, inserted]
    }
    // Cut off.
    for at in stride(from: 1, to: good.count, by: max(1, good.count / 40)) { all.append(Array(good[..<at])) }
    // A line at a time: lost, doubled, or further in.
    for at in lines.indices {
      var lost = lines
      lost.remove(at: at)
      var doubled = lines
      doubled.insert(lines[at], at: at)
      var indented = lines
      indented[at] = [0x20, 0x20] + lines[at]
      all += [joined(lost), joined(doubled), joined(indented)]
    }
    return all
  }

  @Test("five hundred give an error with a place, or the whole of what stands there; never a part of it")
  func mutated() throws {
    let mutations = mutations
    #expect(mutations.count >= 500)
    var refused = 0
    for bytes in mutations {
      let text = String(decoding: bytes, as: UTF8.self)
      let lines = text.split(omittingEmptySubsequences: false) { $0.isNewline }
      do {
        let policy = try Policy.read(bytes, file: "f")
        let expected = rules(in: try YAMLReader.read(bytes, file: "f"))
        #expect(policy.heads.count == expected, "\(text)")
        #expect(policy.heads.map(\.number).sorted() == Array(1..<UInt32(expected + 1)), "\(text)")
        // All that was understood can be said again.
        #expect(try Policy.read(Array(policy.yaml.utf8), file: "g").withoutPlaces == policy.withoutPlaces, "\(text)")
      } catch {
        refused += 1
        #expect(!error.problems.isEmpty)
        for problem in error.problems {
          #expect((1...(lines.count + 1)).contains(problem.place.line), "\(problem) in \(text)")
          #expect(problem.place.column >= 1 && !problem.message.isEmpty, "\(problem) in \(text)")
        }
        #expect(error.description.hasPrefix("f:\(error.problems[0].place.line):\(error.problems[0].place.column): "))
      }
    }
    // Most of these are mistakes, or the mutations would show nothing.
    #expect(refused > mutations.count / 2 && refused < mutations.count)
  }

  @Test("a file that is no text, too large, or not there")
  func unreadable() {
    #expect(problems("version: 1\n\u{0}").count == 1)
    let error = #expect(throws: ConfigurationError.self) { try Policy.read([0xff, 0xfe, 0x00], file: "f") }
    #expect(error?.problems.count == 1)
    let large = [UInt8](repeating: 0x20, count: YAMLReader.maximumBytes + 1)
    #expect(throws: ConfigurationError.self) { try Policy.read(large, file: "f") }
    let missing = #expect(throws: ConfigurationError.self) { try Policy.read("/nonexistent/martlet.yaml") }
    #expect(missing?.description == "/nonexistent/martlet.yaml:1:1: cannot be read: No such file or directory")
  }
}
