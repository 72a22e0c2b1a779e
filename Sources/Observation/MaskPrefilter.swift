/// Tells in one pass that nothing in a text can be secret, as of most command lines and nearly all paths.
///
/// Every rule of ``MaskScanner`` needs one of these somewhere: a token's prefix, a word that makes a name
/// sensitive, `://` with `@`, `?` or `#` behind it, or the name of a tool whose options take secrets. So a text without them stays as it is.
final class MaskPrefilter: Sendable {
  static let shared = MaskPrefilter(TokenIndex.shared)

  /// Besides white space, what ends a word for ``MaskScanner``.
  private static let wordEnds = ByteSet("\"'`\\;|&()")
  private static let bits: UInt32 = 13
  /// `://`
  private static let addressKey: UInt32 = 0x2F_2F3A
  /// 0 for no key, 1 for a key that suffices, 2 for the end of a tool's name, 3 for three bytes of a token's prefix.
  private let slots: [UInt8]
  /// The key of each slot, 0 where several share it.
  private let keys: [UInt32]
  /// The marks of keys that share a slot.
  private let shared: [UInt32: UInt8]
  private let index: TokenIndex

  private init(_ index: TokenIndex) {
    self.index = index
    var marks = [UInt32: UInt8]()
    for tail in ToolTable.shared.nameTails {
      // The name of two letters needs what ends it.
      let ends: [UInt8] = tail.count >= 3 ? [0] : Array(0...0x20) + [0x22, 0x27, 0x5C, 0x60]
      for end in ends {
        let bytes = (tail + [end]).prefix(3).map(UInt32.init)
        marks[bytes[0] | bytes[1] << 8 | bytes[2] << 16] = 2
      }
    }
    for key in index.shapeKeys { marks[key] = marks[key] == nil ? 3 : 1 }
    for key in index.wordKeys { marks[key] = 1 }
    marks[Self.addressKey] = 1
    var slots = [UInt8](repeating: 0, count: 1 << Int(Self.bits))
    var keys = [UInt32](repeating: 0, count: slots.count)
    for (key, mark) in marks {
      let slot = Self.slot(key)
      keys[slot] = slots[slot] == 0 ? key : 0
      slots[slot] = slots[slot] == 0 || slots[slot] == mark ? mark : 1
    }
    self.slots = slots
    self.keys = keys
    shared = marks.filter { keys[Self.slot($0.key)] == 0 }
  }

  @inline(__always)
  private static func slot(_ key: UInt32) -> Int { Int((key &* 0x9E37_79B1) &>> (32 &- bits)) }

  /// False only if no rule can apply to the bytes: one text, or arguments with NULs between them.
  func mayHoldSecret(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let base = bytes.baseAddress else { return false }
    var plainEnd = 0
    return slots.withUnsafeBufferPointer { slots in
      let count = bytes.count
      var i = 0
      while i < count &- 3 {
        let window = UInt32(littleEndian: base.loadUnaligned(fromByteOffset: i, as: UInt32.self)) & 0xFF_FFFF
        if slots[Self.slot(window)] != 0, isHit(window, at: i, bytes, &plainEnd) { return true }
        i &+= 1
      }
      // The last three windows have zeros behind the end.
      var window: UInt32 = 0
      if count > 3 {
        window = UInt32(littleEndian: base.loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self)) &>> 8
      } else {
        window = UInt32(truncatingIfNeeded: base.word(ofFirst: count))
      }
      while i < count {
        if slots[Self.slot(window)] != 0, isHit(window, at: i, bytes, &plainEnd) { return true }
        window &>>= 8
        i &+= 1
      }
      return false
    }
  }

  /// - Parameter plainEnd: up to here an address has nothing to mask; kept, so that many of them in a row cost one look.
  @inline(never)
  private func isHit(
    _ window: UInt32, at offset: Int, _ bytes: UnsafeRawBufferPointer, _ plainEnd: inout Int
  ) -> Bool {
    if window == Self.addressKey {
      var i = max(offset, plainEnd)
      while i < bytes.count && bytes[i] != 0 && !isSpace(bytes[i]) {
        if bytes[i] == 0x40 || bytes[i] == 0x3F || bytes[i] == 0x23 { return true }
        i += 1
      }
      plainEnd = i
      return false
    }
    let slot = Self.slot(window)
    var mark = slots[slot]
    if keys[slot] != window {
      guard keys[slot] == 0, let own = shared[window] else { return false }
      mark = own
    }
    if mark == 3, let base = bytes.baseAddress {
      return index.hasPrefix(window, MaskText(base: base, lower: 0, upper: bytes.count), at: offset)
    }
    guard mark == 2 else { return true }
    // A tool's name ends its word; a key with the end in it says so itself.
    guard offset + 3 < bytes.count, window &>> 16 >= 0x30 else { return true }
    let next = bytes[offset + 3]
    return next <= 0x20 || Self.wordEnds.contains(next)
  }
}
