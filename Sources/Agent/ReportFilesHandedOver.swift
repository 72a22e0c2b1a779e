internal import Glibc
internal import Observation
public import Supervision

/// The files of a report that an agent keeps where nobody but root can read them, handed over as descriptors: who gets them
/// makes files of its own, and root writes nothing to a directory of somebody else's.
public final class ReportFilesHandedOver {
  private let files: [(name: String, descriptor: Int32)]

  /// nil: the answer has none.
  init?(_ answer: JSONValue, _ descriptors: [Int32]) {
    let names = answer["files"]?.array?.compactMap(\.text) ?? []
    guard !names.isEmpty, names.count == descriptors.count, names.allSatisfy(OutputDirectory.knownFiles.contains) else {
      for descriptor in descriptors { close(descriptor) }
      return nil
    }
    files = Array(zip(names, descriptors))
  }

  deinit { for file in files { close(file.descriptor) } }

  /// Makes them files of a report of ours.
  public func copy(to directory: OutputDirectory) throws(OutputError) {
    for file in files { try directory.copy(file.descriptor, upTo: .max, to: file.name) }
  }

  /// All of one, of at most that many bytes; nil: there is none of that name.
  public func contents(of name: String, atMost limit: Int) -> [UInt8]? {
    files.first { $0.name == name }.map { FileContents.readAll($0.descriptor, atMost: limit).bytes }
  }
}
