internal import KernelABI

/// One HTTP/2 connection, as its client writes it: which requests the frames open. RFC 9113, 4 and 6.
///
/// Total and bounded. What breaks a rule, or is missing, makes the rest of the connection unreadable, for then it is not
/// known what the table of its headers holds.
struct RequestFrames: Sendable {
  private static let blockLimit = 65_536
  private static let frameHeaders: UInt8 = 1
  private static let endHeaders: UInt8 = 4
  private static let padded: UInt8 = 8
  private static let priority: UInt8 = 0x20
  /// Flags and stream, which belong to a frame's head and come behind its length and type.
  private static let restOfHead = 5
  private static let preface = 24

  private var table = HPACKDecoder()
  private var isBroken = false
  private var nextPart: UInt32 = 1
  /// Of a frame that is not whole yet: what follows its first four bytes.
  private var frame: [UInt8] = []
  private var frameType: UInt8 = 0
  /// Of a block that is not whole yet.
  private var block: [UInt8] = []
  private var blockIsOpen = false

  init() {}

  /// Memory that it takes, about.
  var bytes: Int { 256 + table.bytes + frame.count + block.count }

  /// Reads the next write of the connection that opens streams.
  ///
  /// - Returns: what it asks for, and whether there is more that cannot be read
  mutating func take(_ write: mt_tls_write, _ bytes: UnsafeRawBufferPointer) -> (
    requests: [RequestText], isHidden: Bool
  ) {
    guard !isBroken, write.part == nextPart else {
      isBroken = true
      return ([], true)
    }
    nextPart &+= 1
    var requests: [RequestText] = []
    var place = write.place
    place.have = min(place.have, 3)
    var offset = write.flags & UInt16(MT_TLS_BEGINS.rawValue) != 0 ? Self.preface : 0
    if place.left > 0, place.opens != 0, !continues(place) {
      isBroken = true
      return ([], true)
    }
    while offset < bytes.count {
      let rest = bytes.count - offset
      if place.left > 0 {
        let count = min(rest, Int(place.left))
        if place.opens != 0 {
          guard frame.count + count <= Self.blockLimit else { break }
          frame += bytes[offset..<offset + count]
        }
        place.left -= UInt32(count)
        offset += count
        if place.left == 0, place.opens != 0, !endFrame(&requests) {
          isBroken = true
          break
        }
        continue
      }
      let count = min(rest, 4 - Int(place.have))
      for index in 0..<count {
        place.head |= UInt32(bytes[offset + index]) << (8 * UInt32(place.have))
        place.have += 1
      }
      offset += count
      if place.have == 4 { begin(&place) }
    }
    // In what was not sent along there must not be another frame.
    let unseen = write.bytes > UInt64(bytes.count) ? write.bytes - UInt64(bytes.count) : 0
    if offset < bytes.count || unseen > (place.opens != 0 ? 0 : UInt64(place.left)) { isBroken = true }
    return (requests, isBroken)
  }

  /// Whether what the kernel side says of a frame that was begun is what we have of it.
  private func continues(_ place: mt_tls_place) -> Bool {
    guard !frame.isEmpty || place.left >= UInt32(Self.restOfHead) else { return false }
    return frame.count + Int(place.left) <= Self.blockLimit
  }

  private mutating func begin(_ place: inout mt_tls_place) {
    let head = place.head
    place.head = 0
    place.have = 0
    place.left = ((head & 0xff) << 16 | head & 0xff00 | head >> 16 & 0xff) + UInt32(Self.restOfHead)
    frameType = UInt8(head >> 24)
    place.opens = UInt32(frameType) == 1 || UInt32(frameType) == 9 ? 1 : 0
    frame.removeAll(keepingCapacity: true)
  }

  /// - Returns: false if the rest cannot be read
  private mutating func endFrame(_ requests: inout [RequestText]) -> Bool {
    defer { frame.removeAll(keepingCapacity: true) }
    guard let flags = frame.first, frame.count >= Self.restOfHead else { return false }
    var fragment = frame[Self.restOfHead...]
    if frameType == Self.frameHeaders {
      guard !blockIsOpen else { return false }
      var padding = 0
      if flags & Self.padded != 0 {
        guard let count = fragment.popFirst() else { return false }
        padding = Int(count)
      }
      if flags & Self.priority != 0 {
        guard fragment.count >= 5 else { return false }
        fragment = fragment.dropFirst(5)
      }
      guard padding <= fragment.count else { return false }
      fragment = fragment.dropLast(padding)
      block.removeAll(keepingCapacity: true)
    } else {
      guard blockIsOpen else { return false }
    }
    guard block.count + fragment.count <= Self.blockLimit else { return false }
    block += fragment
    blockIsOpen = flags & Self.endHeaders == 0
    guard !blockIsOpen else { return true }
    defer { block.removeAll(keepingCapacity: true) }
    guard let fields = block.withUnsafeBytes({ table.decode($0) }) else { return false }
    // Trailers ask for nothing.
    guard !fields.method.isEmpty else { return true }
    var request = RequestText(
      method: fields.method, host: fields.authority.isEmpty ? fields.host : fields.authority, target: fields.path,
      isCut: fields.path.count == HPACKDecoder.valueLimit)
    // What RFC 8441 makes of it is a path still; without one it is a proxy that is asked.
    if fields.path.isEmpty { request.path = [] }
    requests.append(request)
    return true
  }
}
