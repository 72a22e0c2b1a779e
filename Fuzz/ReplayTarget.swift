import Glibc

/// Lines of an event log, of which records are made again: any bytes give records that are valid, or none, and each line
/// is told or counted.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Array(UnsafeBufferPointer(start: data, count: count))
  var replay = LogReplay(clockOffset: 1_700_000_000_000_000_000)
  var lines: UInt64 = 0
  var records: UInt64 = 0
  for line in input.split(separator: UInt8(ascii: "\n")) {
    lines += 1
    replay.replay(line) { record in
      records += 1
      require(RecordType.allCases.contains(record.type), "a type")
      // As the fold and the log read it.
      record.forEachString { id, bytes in require(id != 0 && bytes.count <= 65_535, "a string") }
    }
  }
  require(records + replay.notUnderstood == lines, "\(lines) lines, \(records) records")
  return 0
}
