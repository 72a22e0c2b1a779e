/// The objects of `bpf/`.
enum FixtureObject {
  /// `writes.bpf.c`: a sensor in small.
  static let bytes: [UInt8] = decode(String(describing: KernelProgram.writesBase64))
  /// `broken.bpf.c`: what no kernel takes.
  static let broken: [UInt8] = decode(String(describing: KernelProgram.brokenBase64))

  private static func decode(_ text: String) -> [UInt8] {
    var bytes: [UInt8] = []
    var bits: UInt32 = 0
    var bitCount = 0
    for character in text.utf8 {
      let value: UInt32
      switch character {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = UInt32(character) - 65
      case UInt8(ascii: "a")...UInt8(ascii: "z"): value = UInt32(character) - 71
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = UInt32(character) + 4
      case UInt8(ascii: "+"): value = 62
      case UInt8(ascii: "/"): value = 63
      default: continue
      }
      bits = bits << 6 | value
      bitCount += 6
      if bitCount >= 8 {
        bitCount -= 8
        bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(bitCount)))
      }
    }
    return bytes
  }
}

/// What the build's plugin adds the object to.
enum KernelProgram {}
