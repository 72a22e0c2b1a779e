extension UnsafeRawPointer {
  /// The first `count` bytes, less than eight, as a number whose lowest byte is the first; none behind them is read.
  @inlinable @inline(__always)
  public func word(ofFirst count: Int) -> UInt64 {
    if count >= 4 {
      // The two halves overlap in what is the same.
      let head = UInt64(UInt32(littleEndian: loadUnaligned(as: UInt32.self)))
      let tail = UInt64(UInt32(littleEndian: loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self)))
      return head | tail &<< UInt64(truncatingIfNeeded: (count &- 4) &* 8)
    }
    var word: UInt64 = 0
    var offset = 0
    while offset < count {
      word |= UInt64(load(fromByteOffset: offset, as: UInt8.self)) &<< UInt64(truncatingIfNeeded: offset &* 8)
      offset &+= 1
    }
    return word
  }
}

extension UnsafeRawBufferPointer {
  /// The last eight bytes, or 0 where there are fewer: enough to tell texts apart that are compared afterwards.
  @inlinable @inline(__always)
  public var lastWord: UInt64 {
    guard count >= 8, let base = baseAddress else { return 0 }
    return base.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
  }

  /// Where the next zero at or after `start` is, else the end: eight bytes at once.
  @inlinable
  public func firstZero(from start: Int) -> Int {
    var i = start
    while i &+ 8 <= count {
      let word = UInt64(littleEndian: loadUnaligned(fromByteOffset: i, as: UInt64.self))
      let zeros = (word &- 0x0101_0101_0101_0101) & ~word & 0x8080_8080_8080_8080
      if zeros != 0 { return i &+ (zeros.trailingZeroBitCount &>> 3) }
      i &+= 8
    }
    while i < count && self[i] != 0 { i &+= 1 }
    return i
  }
}
