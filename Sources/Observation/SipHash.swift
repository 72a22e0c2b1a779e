/// SipHash-2-4 with 128 bits of output (Aumasson and Bernstein, 2012; the reference's `siphash` with outlen 16): a keyed
/// hash, small and fast for short inputs. It is a pseudorandom function: without the key nobody can try guesses.
struct SipHash: Sendable {
  let key: (UInt64, UInt64)

  /// A key from the system's random numbers.
  init() {
    var random = SystemRandomNumberGenerator()
    key = (random.next(), random.next())
  }

  init(key: (UInt64, UInt64)) { self.key = key }

  private struct State {
    var v0: UInt64, v1: UInt64, v2: UInt64, v3: UInt64

    @inline(__always)
    mutating func round() {
      v0 &+= v1
      v1 = v1 &<< 13 | v1 &>> 51
      v1 ^= v0
      v0 = v0 &<< 32 | v0 &>> 32
      v2 &+= v3
      v3 = v3 &<< 16 | v3 &>> 48
      v3 ^= v2
      v0 &+= v3
      v3 = v3 &<< 21 | v3 &>> 43
      v3 ^= v0
      v2 &+= v1
      v1 = v1 &<< 17 | v1 &>> 47
      v1 ^= v2
      v2 = v2 &<< 32 | v2 &>> 32
    }

    @inline(__always)
    mutating func absorb(_ word: UInt64) {
      v3 ^= word
      round()
      round()
      v0 ^= word
    }

    mutating func finish() -> UInt64 {
      round()
      round()
      round()
      round()
      return v0 ^ v1 ^ v2 ^ v3
    }
  }

  /// The two halves of the hash; the reference writes each in little-endian order, the first one first.
  func hash(_ bytes: UnsafeRawBufferPointer) -> (UInt64, UInt64) {
    var state = State(
      v0: 0x736f_6d65_7073_6575 ^ key.0, v1: 0x646f_7261_6e64_6f6d ^ key.1 ^ 0xEE,
      v2: 0x6c79_6765_6e65_7261 ^ key.0, v3: 0x7465_6462_7974_6573 ^ key.1)
    var i = 0
    while i &+ 8 <= bytes.count {
      state.absorb(UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: i, as: UInt64.self)))
      i &+= 8
    }
    var last = UInt64(truncatingIfNeeded: bytes.count) &<< 56
    var shift: UInt64 = 0
    while i < bytes.count {
      last |= UInt64(bytes[i]) &<< shift
      shift &+= 8
      i &+= 1
    }
    state.absorb(last)
    state.v2 ^= 0xEE
    let first = state.finish()
    state.v1 ^= 0xDD
    return (first, state.finish())
  }
}
