/// Finds the places in a text at which a rule may begin to apply: one look into a table for each byte.
///
/// The table is keyed by three bytes. Each shape is entered with three bytes of its prefix that ordinary text seldom
/// has, the words that make a name sensitive with three of theirs, in any case.
final class TokenIndex: Sendable {
  static let shared = TokenIndex(TokenShape.all)

  private let shapes: [TokenShape]
  /// Where in each shape's prefix its three bytes stand.
  private let anchors: [Int]
  /// Eight bits for each slot: a group, with `wordBit` where a sensitive word may begin.
  private let slots: [UInt8]
  /// The three bytes of each slot, 0 where several share it.
  private let keys: [UInt32]
  /// Not 0 for a byte that is a trigger by itself.
  private let bytes: [UInt8]
  /// The shapes of group g are candidates[offsets[g]..<offsets[g + 1]]; group 0 is empty.
  private let offsets: [Int]
  private let candidates: [UInt8]
  /// The three bytes of the shapes' prefixes, and those of the words.
  let shapeKeys: Set<UInt32>
  let wordKeys: Set<UInt32>

  private static let wordBit: UInt8 = 0x80
  /// The group that stands for all shapes: correct for any slot, only slower.
  private static let everyGroup = 1
  private static let slotBits: UInt32 = 12

  /// Three letters of each word of ``SensitiveName``, and of "cookie".
  private static let wordStarts: [StaticString] = [
    "pas", "sec", "tok", "key", "cre", "aut", "pwd", "sig", "bea", "fro", "coo",
  ]

  init(_ all: [TokenShape]) {
    // A number of a shape is a byte.
    let shapes = Array(all.prefix(256))
    self.shapes = shapes
    anchors = shapes.map { max(0, $0.prefix.count - 3) }
    var members = [UInt32: Set<UInt8>]()
    for (number, shape) in shapes.enumerated() {
      let bytes = shape.prefix[anchors[number]...].map(UInt32.init)
      if bytes.count >= 3 {
        members[bytes[0] | bytes[1] << 8 | bytes[2] << 16, default: []].insert(UInt8(number))
      } else {
        for third in UInt8.min...UInt8.max where shape.characters.contains(third) {
          members[bytes[0] | bytes[1] << 8 | UInt32(third) << 16, default: []].insert(UInt8(number))
        }
      }
    }
    var words = Set<UInt32>()
    for word in Self.wordStarts {
      for cases in UInt32(0)..<8 {
        var key: UInt32 = 0
        for i in 0..<3 {
          let isUpper = cases >> UInt32(i) & 1 == 1
          key |= UInt32(word.utf8Start[i] ^ (isUpper ? 0x20 : 0)) << UInt32(8 * i)
        }
        words.insert(key)
      }
    }
    var keysOfSlot = [Int: [UInt32]]()
    shapeKeys = Set(members.keys)
    wordKeys = words
    for key in shapeKeys.union(wordKeys) { keysOfSlot[Self.slot(key), default: []].append(key) }
    var slots = [UInt8](repeating: 0, count: 1 << Int(Self.slotBits))
    var keys = [UInt32](repeating: 0, count: slots.count)
    var groups: [[UInt8]] = [[], shapes.indices.map { UInt8($0) }]
    for (slot, list) in keysOfSlot {
      let numbers = list.reduce(into: Set<UInt8>()) { $0.formUnion(members[$1] ?? []) }.sorted()
      if let known = groups.firstIndex(of: numbers) {
        slots[slot] = UInt8(known)
      } else if groups.count < Int(Self.wordBit) {
        slots[slot] = UInt8(groups.count)
        groups.append(numbers)
      } else {
        slots[slot] = UInt8(Self.everyGroup)
      }
      if list.contains(where: words.contains) { slots[slot] |= Self.wordBit }
      keys[slot] = list.count == 1 ? list[0] : 0
    }
    self.slots = slots
    bytes = (UInt8.min...UInt8.max).map { $0 == 0x3D || $0 == 0x3A || isSpace($0) ? 1 : 0 }
    self.keys = keys
    candidates = groups.flatMap { $0 }
    offsets = groups.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.count) }
  }

  @inline(__always)
  private static func slot(_ key: UInt32) -> Int {
    Int((key &* 0x9E37_79B1) &>> (32 &- slotBits))
  }

  /// A place at which something may begin.
  struct Trigger {
    let offset: Int
    let mark: UInt8

    var startsWord: Bool { mark & TokenIndex.wordBit != 0 }
    /// Of shapes; 0 for none.
    var group: Int { Int(mark & ~TokenIndex.wordBit) }
  }

  /// The first trigger from `start` on: three bytes of the table, or one of `=`, `:` and white space.
  /// - Parameter limit: where the readable bytes end.
  @inline(__always)
  func next(_ text: MaskText, from start: Int, limit: Int) -> Trigger? {
    slots.withUnsafeBufferPointer { slots in
      bytes.withUnsafeBufferPointer { bytes in
        let base = text.base
        let fast = min(text.upper, limit &- 3)
        var i = start
        while i < fast {
          let window = UInt32(littleEndian: base.loadUnaligned(fromByteOffset: i, as: UInt32.self))
          if slots[Self.slot(window & 0xFF_FFFF)] | bytes[Int(window & 0xFF)] != 0,
            let trigger = trigger(at: i, window & 0xFF_FFFF)
          {
            return trigger
          }
          i &+= 1
        }
        while i < text.upper {
          let window = UInt32(text[i]) | UInt32(text[i &+ 1]) &<< 8 | UInt32(text[i &+ 2]) &<< 16
          if let trigger = trigger(at: i, window) { return trigger }
          i &+= 1
        }
        return nil
      }
    }
  }

  private func trigger(at offset: Int, _ window: UInt32) -> Trigger? {
    let slot = Self.slot(window)
    let mark = keys[slot] == window || keys[slot] == 0 ? slots[slot] : 0
    return mark != 0 || bytes[Int(window & 0xFF)] != 0 ? Trigger(offset: offset, mark: mark) : nil
  }

  /// Whether the whole prefix of a shape stands around its three bytes at `offset`, which are `window`.
  func hasPrefix(_ window: UInt32, _ text: MaskText, at offset: Int) -> Bool {
    let group = Int(slots[Self.slot(window)] & ~Self.wordBit)
    for number in candidates[offsets[group]..<offsets[group + 1]].lazy.map(Int.init)
    where text.starts(with: shapes[number].prefix, at: offset - anchors[number]) { return true }
    return false
  }

  /// The secret that one of the group's shapes finds with its three bytes at `offset`.
  func match(_ group: Int, _ text: MaskText, at offset: Int) -> Range<Int>? {
    var found: Range<Int>?
    for i in offsets[group]..<offsets[group + 1] {
      let number = Int(candidates[i])
      guard let range = shapes[number].match(text, at: offset - anchors[number]) else { continue }
      found = found.map { min($0.lowerBound, range.lowerBound)..<max($0.upperBound, range.upperBound) } ?? range
    }
    return found
  }
}
