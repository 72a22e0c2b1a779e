import KernelABI

/// What is handed to TLS: whatever it is, what comes out has three texts at most, each of letters that may be shown and
/// within its limit, and what is kept of a connection stays within bounds. The input is cut into writes at 0xff, of which
/// the first byte says what the kernel side would say of it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Array(UnsafeBufferPointer(start: data, count: count))
  var decoder = RequestDecoder()
  func told(_ builder: RecordBuilder) {
    builder.bytes.withUnsafeBytes { bytes in
      guard let record = try? RecordView(validating: bytes) else { return require(false, "record") }
      require(record.type == .request && record.string(.bytes) == nil, "type")
      require((record.string(.detail)?.count ?? 0) <= RequestText.methodLimit, "method")
      require((record.string(.name)?.count ?? 0) <= RequestText.hostLimit, "host")
      let path = record.string(.path).map { Array($0) } ?? []
      require(path.count <= RequestText.pathLimit, "path")
      require(
        path.allSatisfy { $0 > 0x20 && $0 != 0x7f && $0 != UInt8(ascii: "?") || $0 == UInt8(ascii: "?") }, "letters")
      require(!path.contains(UInt8(ascii: "#")), "query")
    }
  }
  var part: UInt32 = 1
  var place = mt_tls_place()
  for (index, piece) in input.split(separator: 0xff).enumerated() {
    guard let kind = piece.first else { continue }
    let bytes = Array(piece.dropFirst())
    var body = mt_tls_write()
    body.stream = UInt64(kind >> 6)
    body.write = UInt64(index)
    body.bytes = UInt64(bytes.count) + UInt64(kind & 0x20)
    if kind & 3 != 0 { body.flags |= UInt16(MT_TLS_FRAMES.rawValue) }
    if kind & 3 == 1 {
      body.flags |= UInt16(MT_TLS_BEGINS.rawValue)
      part = 1
      place = mt_tls_place()
    }
    if kind & 4 != 0 { body.flags |= UInt16(MT_TLS_FOLLOWS.rawValue) }
    // Mostly as it is, sometimes as no kernel would say.
    if kind & 8 != 0 {
      place = mt_tls_place(
        left: UInt32(index), head: 0x0100_0000, have: kind >> 4, opens: 1, reserved: (0, 0, 0, 0, 0, 0))
    }
    body.place = place
    body.part = part
    part += 1
    var builder = RecordBuilder(.tlsWrite, time: UInt64(index + 1))
    builder.setBody(body)
    builder.setString(.bytes, bytes)
    builder.bytes.withUnsafeBytes { bytes in
      if let record = try? RecordView(validating: bytes) { decoder.take(record, told) }
    }
  }
  decoder.finish(told)
  return 0
}
