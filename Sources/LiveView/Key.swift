/// A key of a terminal.
public enum Key: Sendable, Equatable {
  case character(Character)
  case up, down, pageUp, pageDown, home, end
  case escape
}

/// Makes keys of the bytes that a terminal sends. Any bytes give keys or nothing.
public struct KeyDecoder: Sendable {
  /// Of a sequence that has begun and not ended.
  private var pending: [UInt8] = []
  private static let longest = 16

  public init() {}

  /// - Parameter bytes: what was read at once. An escape at its end is the key of that name: a terminal sends a
  ///   sequence in one piece.
  public mutating func decode(_ bytes: some Sequence<UInt8>) -> [Key] {
    var keys: [Key] = []
    for byte in bytes {
      if pending.isEmpty {
        if byte == 0x1b { pending = [byte] } else { Self.plain(byte).map { keys.append($0) } }
      } else if pending.count == 1 {
        if byte == UInt8(ascii: "[") || byte == UInt8(ascii: "O") {
          pending.append(byte)
        } else {
          keys.append(.escape)
          pending = byte == 0x1b ? [byte] : []
          if byte != 0x1b { Self.plain(byte).map { keys.append($0) } }
        }
      } else if (0x40...0x7e).contains(byte) {
        Self.sequence(pending.dropFirst(2), final: byte).map { keys.append($0) }
        pending = []
      } else {
        pending.append(byte)
        if pending.count > Self.longest || byte < 0x20 { pending = [] }
      }
    }
    if pending.count == 1 {
      keys.append(.escape)
      pending = []
    }
    return keys
  }

  private static func plain(_ byte: UInt8) -> Key? {
    (0x20...0x7e).contains(byte) ? .character(Character(Unicode.Scalar(byte))) : nil
  }

  private static func sequence(_ parameters: ArraySlice<UInt8>, final: UInt8) -> Key? {
    switch final {
    case UInt8(ascii: "A"): return .up
    case UInt8(ascii: "B"): return .down
    case UInt8(ascii: "H"): return .home
    case UInt8(ascii: "F"): return .end
    case UInt8(ascii: "~"): break
    default: return nil
    }
    switch String(decoding: parameters, as: UTF8.self) {
    case "1", "7": return .home
    case "4", "8": return .end
    case "5": return .pageUp
    case "6": return .pageDown
    default: return nil
    }
  }
}
