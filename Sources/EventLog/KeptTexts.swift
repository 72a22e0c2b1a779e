internal import Jobs
internal import KernelABI
internal import Observation

/// Pieces of lines that were written before, found again by what they were made from: a key of numbers and two strings.
///
/// Direct-mapped, with room for pieces of ordinary length; the others are written anew each time.
struct KeptTexts<Key: BitwiseCopyable & Equatable>: ~Copyable {
  /// The strings and the text lie one behind the other in the place's room.
  private struct Place: BitwiseCopyable {
    var key: Key
    var first = 0
    var second = 0
    var text = 0
  }

  private static var count: Int { 16 }
  private static var room: Int { 1024 }
  private let places: UnsafeMutablePointer<Place>
  private let memory: UnsafeMutableRawPointer

  /// - Parameter none: any key.
  init(none: Key) {
    places = .allocate(capacity: Self.count)
    places.initialize(repeating: Place(key: none), count: Self.count)
    memory = .allocate(byteCount: Self.count * Self.room, alignment: 16)
  }

  deinit {
    places.deallocate()
    memory.deallocate()
  }

  @inline(__always)
  private static func index(_ number: UInt64) -> Int {
    Int(truncatingIfNeeded: (number &* 0x9e37_79b9_7f4a_7c15) &>> 60)
  }

  /// Valid until the next ``keep(_:at:_:_:_:)``.
  /// - Parameter number: decides where it is kept.
  @inline(__always)
  func find(
    _ key: Key, at number: UInt64, _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer
  ) -> UnsafeRawBufferPointer? {
    let index = Self.index(number)
    let start = UnsafeRawPointer(memory + index &* Self.room)
    let place = places + index
    guard place.pointee.text > 0, place.pointee.key == key,
      equal(UnsafeRawBufferPointer(start: start, count: place.pointee.first), first)
    else { return nil }
    let middle = start + place.pointee.first
    guard equal(UnsafeRawBufferPointer(start: middle, count: place.pointee.second), second) else { return nil }
    return UnsafeRawBufferPointer(start: middle + place.pointee.second, count: place.pointee.text)
  }

  func keep(
    _ key: Key, at number: UInt64, _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer,
    _ text: UnsafeRawBufferPointer
  ) {
    guard first.count + second.count + text.count <= Self.room else { return }
    let index = Self.index(number)
    var end = memory + index * Self.room
    for piece in [first, second, text] {
      guard let base = piece.baseAddress else { continue }
      end.copyMemory(from: base, byteCount: piece.count)
      end += piece.count
    }
    places[index] = Place(key: key, first: first.count, second: second.count, text: text.count)
  }
}

/// Of the file that an exec runs; its path is the string.
struct ExecutableKey: BitwiseCopyable, Equatable {
  var inode: UInt64 = 0
  var size: UInt64 = 0
  var ctime: Int64 = 0
  var mtime: Int64 = 0
  var device: UInt32 = 0
  var generation: UInt32 = 0
  /// Bytes of a string that the line may have.
  var limit = 0

  init() {}

  init(_ body: mt_exec, limit: Int) {
    inode = body.file.ino
    size = body.size
    ctime = body.ctime
    mtime = body.mtime
    device = body.file.dev
    generation = body.file.generation
    self.limit = limit
  }
}

/// Of how an exec was called; arguments and working directory are the strings.
struct CallKey: BitwiseCopyable, Equatable {
  var argumentBytes: UInt64 = 0
  var cgroup: UInt64 = 0
  var argumentCount: UInt32 = 0
  var user: UInt32 = 0
  var group: UInt32 = 0
  /// Bytes of a string that the line may have.
  var limit = 0

  init() {}

  init(_ body: mt_exec, limit: Int) {
    argumentBytes = body.argv_bytes
    cgroup = body.cgroup
    argumentCount = body.argc
    user = body.uid
    group = body.gid
    self.limit = limit
  }
}

/// The last address of one end of connections: a job has few of its own, and asks the same few others over and over.
struct KeptAddress: ~Copyable {
  private var family: UInt16 = 0
  private var high: UInt64 = 0
  private var low: UInt64 = 0
  private var text = ByteBuffer(capacity: AddressText.room)

  mutating func write(_ family: UInt16, _ address: AddressText.Bytes, to out: inout Line) {
    let (high, low) = withUnsafeBytes(of: address) {
      ($0.loadUnaligned(as: UInt64.self), $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    }
    if family != self.family || high != self.high || low != self.low {
      text.removeAll()
      AddressText.append(family: family, address, to: &text)
      (self.family, self.high, self.low) = (family, high, low)
    }
    out.append(text.bytes)
  }
}
