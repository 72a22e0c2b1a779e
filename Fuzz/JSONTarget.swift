import Glibc

/// Any bytes as JSON: the output is a JSON string in UTF-8 that means what the bytes decode to.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = UnsafeRawBufferPointer(start: data, count: count)
  var out = ByteBuffer(capacity: 16)
  out.append("before")
  let replaced = JSONText.appendContent(input, to: &out)
  out.removeFirst(6)
  require(out.count <= count * 6, "too long")
  guard let text = String(validating: out.array, as: UTF8.self) else {
    require(false, "not UTF-8")
    return 0
  }
  let expected = String(decoding: input, as: UTF8.self)
  require(replaced == (String(validating: Array(input), as: UTF8.self) == nil), "the flag is wrong")
  require(unescaped(text).map { Array($0.utf8) == Array(expected.utf8) } == true, "another text: \(text)")

  out.removeAll()
  out.append(base64: input)
  require(out.count == (count + 2) / 3 * 4, "base64 length")
  out.removeAll()
  out.append(hexOf: input)
  require(out.count == count * 2, "hex length")
  return 0
}

/// What the content of a JSON string means; nil if it is not one, or not escaped as ours are.
private func unescaped(_ text: String) -> String? {
  var out = String.UnicodeScalarView()
  var scalars = text.unicodeScalars.makeIterator()
  while let scalar = scalars.next() {
    if scalar.value < 0x20 || (scalar.value >= 0x7F && scalar.value < 0xA0) || scalar == "\"" { return nil }
    if scalar.value == 0x2028 || scalar.value == 0x2029 { return nil }
    guard scalar == "\\" else {
      out.append(scalar)
      continue
    }
    switch scalars.next() {
    case "\"": out.append("\"")
    case "\\": out.append("\\")
    case "b": out.append("\u{8}")
    case "f": out.append("\u{C}")
    case "n": out.append("\n")
    case "r": out.append("\r")
    case "t": out.append("\t")
    case "u":
      var value: UInt32 = 0
      for _ in 0..<4 {
        guard let digit = scalars.next().flatMap({ Character($0).hexDigitValue }) else { return nil }
        value = value * 16 + UInt32(digit)
      }
      guard let unit = Unicode.Scalar(value) else { return nil }
      out.append(unit)
    default: return nil
    }
  }
  return String(out)
}
