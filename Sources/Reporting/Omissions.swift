internal import Jobs

/// What the snapshot had no room for, in a form that can be listed.
struct Omissions {
  /// Only what is not zero.
  let rows: [(key: String, what: String, count: UInt64)]

  init(_ snapshot: JobSnapshot) {
    let notKept = snapshot.notKept
    let all: [(String, String, UInt64)] = [
      ("processes", "processes", notKept.processes),
      ("images", "program images", notKept.images),
      ("files", "uses of files", snapshot.filesNotKept),
      ("directories", "directories", notKept.directories),
      ("names", "names", notKept.names),
      ("accesses", "file accesses", notKept.accesses),
      ("descriptors", "descriptors", notKept.descriptors),
      ("flows", "connections", notKept.flows),
      ("changes", "path changes", notKept.changes),
      ("copies", "copies", notKept.copies),
      ("actions", "actions that concern security", notKept.actions),
      ("hosts", "names of addresses", notKept.hosts),
      ("denials", "denials", notKept.denials),
      ("requests", "requests", notKept.requests),
      ("strings", "strings", notKept.strings),
      ("digests", "digests of files", notKept.digests),
    ]
    rows = all.filter { $0.2 > 0 }.map { (key: $0.0, what: $0.1, count: $0.2) }
  }
}
