import Jobs
import Observation
import Testing

/// What an actor did: what it says, and what the sensor says.
struct Act: Sendable {
  /// The actor's process, which is the job's first.
  var pid: Int
  /// Where it worked: an absolute path without symbolic links.
  var directory: String
  /// Facts by key; bytes of texts, decimal digits of numbers.
  var facts: [String: String]
  var records: [Record]
  /// As wait(2) gives it.
  var status: Int32
  /// Of a bench whose sensor hashes: what came of the job in the end.
  var snapshot: JobSnapshot?

  var summary: String {
    "pid \(pid) status \(status) in \(directory)\n" + records.map { "  \($0)\n" }.joined()
      + facts.sorted { $0.key < $1.key }.map { "  \($0.key)=\($0.value)\n" }.joined()
  }

  func number(_ key: String, _ location: SourceLocation = #_sourceLocation) throws -> Int {
    try #require(facts[key].flatMap { Int($0) }, "the actor did not tell \(key)\n\(summary)", sourceLocation: location)
  }

  /// A text: paths, names.
  func text(_ key: String, _ location: SourceLocation = #_sourceLocation) throws -> [UInt8] {
    let digits = try #require(facts[key], "the actor did not tell \(key)\n\(summary)", sourceLocation: location)
    return hexadecimal(digits)
  }

  func file(_ key: String, _ location: SourceLocation = #_sourceLocation) throws -> FileFact {
    FileFact(
      descriptor: Int32(try number("\(key).fd", location)), device: UInt32(try number("\(key).device", location)),
      inode: UInt64(try number("\(key).inode", location)), mode: UInt32(try number("\(key).mode", location)),
      links: UInt32(try number("\(key).links", location)), size: UInt64(try number("\(key).size", location)))
  }

  func all(_ type: RecordType, where matches: (Record) -> Bool = { _ in true }) -> [Record] {
    records.filter { $0.type == type && matches($0) }
  }

  /// The one record of a type that matches; anything else fails the test, and shows all records.
  func only(
    _ type: RecordType, _ location: SourceLocation = #_sourceLocation, where matches: (Record) -> Bool = { _ in true }
  ) throws -> Record {
    let found = all(type, where: matches)
    return try #require(
      found.count == 1 ? found[0] : nil, "\(found.count) matching records of type \(type.name)\n\(summary)",
      sourceLocation: location)
  }

  /// That there is none.
  func none(
    _ type: RecordType, _ location: SourceLocation = #_sourceLocation, where matches: (Record) -> Bool = { _ in true }
  ) {
    let found = all(type, where: matches)
    #expect(found.isEmpty, "\(found.count) records of type \(type.name)\n\(summary)", sourceLocation: location)
  }

  /// An absolute path in the actor's directory, as bytes.
  func path(_ name: String) -> [UInt8] { [UInt8]("\(directory)/\(name)".utf8) }
}

func hexadecimal(_ digits: String) -> [UInt8] {
  let values = digits.utf8.map { UInt8($0 > 57 ? $0 - 87 : $0 - 48) }
  return stride(from: 0, to: values.count - 1, by: 2).map { values[$0] << 4 | values[$0 + 1] }
}
