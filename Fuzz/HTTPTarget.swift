import Glibc

/// A request that arrives in pieces: any bytes give an answer that is HTTP, and what was refused stays refused.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Array(UnsafeBufferPointer(start: data, count: count))
  let whole = HTTPRequest.parse(input)
  for split in Set([count / 2, count - min(1, count)]) {
    switch HTTPRequest.parse(input[..<split]) {
    case .incomplete: break
    // What was decided on a part of it, more bytes do not change.
    case let decided: require(decided == whole, "a different answer with more bytes")
    }
  }
  if case .request(let request) = whole {
    require(request.path.hasPrefix("/") && request.path.utf8.allSatisfy { (0x21...0x7e).contains($0) }, "path")
    require(!request.path.contains("?"), "query")
  }
  let answer = HTTPResponse.answer(to: whole) { Array("martlet_info 1\n".utf8) }
  require((answer == nil) == (whole == .incomplete), "an answer without a request, or none to one")
  if let answer {
    answer.withUnsafeBytes { bytes in
      require(bytes.starts(with: "HTTP/1.1 ".utf8) && contains(bytes, Array("\r\n\r\n".utf8)), "no HTTP")
    }
  }
  return 0
}
