internal import Glibc
internal import Observation

/// A fast hash under a secret key: whoever chooses file names must not be able to choose collisions.
///
/// Multiply and fold, as in wyhash; not for anything but tables.
struct KeyedHash: BitwiseCopyable {
  private let k0: UInt64
  private let k1: UInt64

  init() {
    var random = SystemRandomNumberGenerator()
    k0 = random.next() | 1
    k1 = random.next() | 1
  }

  @inline(__always)
  private func mix(_ a: UInt64, _ b: UInt64) -> UInt64 {
    let product = a.multipliedFullWidth(by: b)
    return product.high ^ product.low
  }

  @inline(__always)
  func callAsFunction(_ a: UInt64, _ b: UInt64) -> UInt64 { mix(mix(a ^ k0, b ^ k1) ^ k1, k0) }

  @inline(__always)
  func callAsFunction(_ a: UInt64) -> UInt64 { mix(a ^ k0, k1) }

  /// Of a name within something that has the number `scope`.
  @inline(__always)
  func callAsFunction(_ scope: UInt32, _ string: UnsafeRawBufferPointer) -> UInt64 {
    let count = string.count
    // Scope and length go in under the key first: added to the data as they are, they could be cancelled out.
    var state = mix(UInt64(scope) ^ k0, UInt64(truncatingIfNeeded: count) ^ k1)
    guard count > 0, let base = string.baseAddress else { return mix(state ^ k1, k0) }
    var offset = 0
    while count &- offset > 16 {
      state = mix(Self.word(base + offset) ^ k0, Self.word(base + offset + 8) ^ state)
      offset &+= 16
    }
    let rest = count &- offset
    let a: UInt64
    let b: UInt64
    if rest > 8 {
      a = Self.word(base + offset)
      b = Self.word(base + count - 8)
    } else if rest == 8 {
      a = Self.word(base + offset)
      b = 0
    } else {
      a = (base + offset).word(ofFirst: rest)
      b = 0
    }
    return mix(mix(a ^ k0, b ^ state) ^ k1, k0)
  }

  @inline(__always)
  private static func word(_ pointer: UnsafeRawPointer) -> UInt64 { pointer.loadUnaligned(as: UInt64.self) }
}

/// Whether two strings are the same bytes: by memcmp, where `elementsEqual` looks at one byte after the other.
@inline(__always)
public func equal(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
  guard a.count == b.count else { return false }
  guard a.count > 0, let left = a.baseAddress, let right = b.baseAddress else { return true }
  return memcmp(left, right, a.count) == 0
}
