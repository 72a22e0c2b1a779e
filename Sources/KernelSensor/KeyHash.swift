import KernelABI

/// The programs' keyed hash (`hash_begin` to `hash_end` of `bpf/maps.h`), of what the value of a key's variable is.
struct KeyHash {
  let seed: (UInt64, UInt64)

  func ofValue(_ value: [UInt8]) -> UInt64 {
    var hash = seed.0 ^ (UInt64(UInt8(ascii: "k")) &* 0x9e37_79b9_7f4a_7c15)
    for start in stride(from: 0, to: value.count, by: 8) {
      var word: UInt64 = 0
      for (index, byte) in value[start..<min(start + 8, value.count)].enumerated() {
        word |= UInt64(byte) << UInt64(index * 8)
      }
      hash = mixing(word, into: hash)
    }
    hash = mixing(UInt64(value.count), into: hash)
    hash = (hash ^ hash >> 33) &* 0xc4ce_b9fe_1a85_ec53
    hash ^= hash >> 29
    return hash | 1
  }

  private func mixing(_ word: UInt64, into hash: UInt64) -> UInt64 {
    let hash = (hash ^ word) &* 0xff51_afd7_ed55_8ccd
    return (hash << 29 | hash >> 35) &+ seed.1
  }
}
