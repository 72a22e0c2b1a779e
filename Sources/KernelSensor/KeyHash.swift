import KernelABI

/// The programs' keyed hash (`hash_begin` to `hash_end` of `bpf/maps.h`).
struct KeyHash {
  let seed: (UInt64, UInt64)

  /// Of the value of a key's variable.
  func ofValue(_ value: [UInt8]) -> UInt64 {
    var hash = begin("k")
    for start in stride(from: 0, to: value.count, by: 8) {
      var word: UInt64 = 0
      for (index, byte) in value[start..<min(start + 8, value.count)].enumerated() {
        word |= UInt64(byte) << UInt64(index * 8)
      }
      hash = mixing(word, into: hash)
    }
    return end(mixing(UInt64(value.count), into: hash))
  }

  /// Of the id of a cgroup that is one job.
  func ofCgroup(_ id: UInt64) -> UInt64 { end(mixing(id, into: begin("c"))) }

  /// Of a host's name, as `families/messages.h` takes it: from its end, byte by byte.
  func ofHost(_ name: String) -> UInt64 {
    end(name.utf8.reversed().reduce(begin("h")) { mixing(UInt64($1), into: $0) })
  }

  /// Of a path or a name, which the programs look at byte by byte.
  func ofPath(_ path: some Sequence<UInt8>) -> UInt64 {
    end(path.reduce(begin("P")) { hash, byte in mixing(UInt64(byte), into: hash) })
  }

  private func begin(_ domain: Unicode.Scalar) -> UInt64 { seed.0 ^ (UInt64(domain.value) &* 0x9e37_79b9_7f4a_7c15) }

  private func end(_ hash: UInt64) -> UInt64 {
    var hash = (hash ^ hash >> 33) &* 0xc4ce_b9fe_1a85_ec53
    hash ^= hash >> 29
    return hash | 1
  }

  private func mixing(_ word: UInt64, into hash: UInt64) -> UInt64 {
    let hash = (hash ^ word) &* 0xff51_afd7_ed55_8ccd
    return (hash << 29 | hash >> 35) &+ seed.1
  }
}
