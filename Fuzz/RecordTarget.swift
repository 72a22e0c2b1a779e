import Glibc
import KernelABI

/// Takes the input as a record, as one whose length is right, and as changes to one that was valid: what passes the checks
/// must be readable to its last byte.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = UnsafeRawBufferPointer(start: data, count: count)
  examine(input)
  guard count >= 8 else { return 0 }
  var whole = [UInt8](input.prefix(count & ~7))
  whole.withUnsafeMutableBytes { $0.storeBytes(of: UInt32($0.count), as: UInt32.self) }
  whole.withUnsafeBytes { examine($0) }

  let type = RecordType.allCases[Int(input[0]) % RecordType.allCases.count]
  var builder = RecordBuilder(type)
  for (number, name) in RecordString.allCases.enumerated() where Int(input[1]) >> (number % 8) & 1 == 1 {
    builder.setString(name, repeatElement(UInt8(ascii: "a"), count: number * 3))
  }
  var changed = builder.bytes
  changed.withUnsafeBytes { bytes in
    do throws(RecordError) { try touch(RecordView(validating: bytes)) } catch { require(false, "refused: \(error)") }
  }
  var i = 2
  while i + 2 < count {
    changed[(Int(input[i]) << 8 | Int(input[i + 1])) % changed.count] = input[i + 2]
    i += 3
  }
  changed.withUnsafeBytes { examine($0) }
  changed.withUnsafeBytes { examine(UnsafeRawBufferPointer(rebasing: $0.prefix(Int(input[2])))) }
  return 0
}

func examine(_ bytes: UnsafeRawBufferPointer) {
  _ = RecordView.time(of: bytes)
  _ = RecordStream.forEach(in: bytes) { _ in }
  guard let record = try? RecordView(validating: bytes) else { return }
  touch(record)
}

func touch(_ record: RecordView) {
  let bytes = record.bytes
  let start = UInt(bitPattern: bytes.baseAddress)
  var sum = record.time &+ UInt64(record.tgid) &+ record.leaderStart &+ UInt64(record.header.length)
  sum &+= UInt64(record.fork.child_tgid) &+ record.exec.cgroup &+ record.exit.failed_opens &+ record.open.peer
  sum &+= record.close.size &+ UInt64(record.dup.file.mode) &+ record.pathOp.argument &+ record.mmap.length
  sum &+= record.copy.bytes &+ record.pair.b_sock &+ UInt64(record.sock.inbound) &+ record.unix.ino
  sum &+= record.uring.argument &+ record.security.before.2 &+ UInt64(record.securityKind?.rawValue ?? 0)
  record.forEachString { id, string in
    require(UInt(bitPattern: string.baseAddress) >= start + 40, "string \(id) before the body")
    require(
      UInt(bitPattern: string.baseAddress) + UInt(string.count) <= start + UInt(bytes.count), "string \(id) beyond")
    for byte in string { sum &+= UInt64(byte) }
    // Of variables there are several, each with the same id.
    guard let name = RecordString(rawValue: id), name != .variable else { return }
    require(record.string(name)?.baseAddress == string.baseAddress, "another string \(id)")
  }
  // The sum keeps the reads from being optimised away.
  require(sum != 0x5EED_5EED_5EED_5EED || bytes.count > 0, "never")
}
