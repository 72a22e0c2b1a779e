/// What a resolver is said to have answered: whatever it is, a name is as long as it says and holds nothing but letters, and
/// addresses lie within the message.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Array(UnsafeBufferPointer(start: data, count: count))
  input.withUnsafeBytes { bytes in
    guard let answer = DNSAnswer(bytes) else { return }
    require((1...DNSAnswer.nameLimit).contains(answer.nameLength), "length of the name")
    var name = [UInt8](repeating: 0, count: answer.nameLength)
    name.withUnsafeMutableBytes { answer.writeName(to: $0) }
    let others = Array("-_.?".utf8)
    require(
      name.allSatisfy { isDigit($0) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) || others.contains($0) },
      "name")
    var sum = 0
    answer.forEachAddress { address, isV6 in
      require(address.count == (isV6 ? 16 : 4), "address")
      for byte in address { sum &+= Int(byte) }
    }
    blackHole = sum
  }
  return 0
}

nonisolated(unsafe) private var blackHole = 0
