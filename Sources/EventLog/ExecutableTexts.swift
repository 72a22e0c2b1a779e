internal import Jobs
internal import KernelABI

/// What lines of execs say of the file that runs, for the files that ran last.
///
/// Direct-mapped by inode, with room for a path of ordinary length; the others are written anew each time.
struct ExecutableTexts: ~Copyable {
  struct Key: BitwiseCopyable, Equatable {
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

  /// The path and the text lie one behind the other in the place's room.
  private struct Place: BitwiseCopyable {
    var key = Key()
    var pathLength = 0
    var textLength = 0
  }

  private static let count = 16
  private static let room = 1024
  private let places: UnsafeMutablePointer<Place>
  private let memory: UnsafeMutableRawPointer

  init() {
    places = .allocate(capacity: Self.count)
    places.initialize(repeating: Place(), count: Self.count)
    memory = .allocate(byteCount: Self.count * Self.room, alignment: 16)
  }

  deinit {
    places.deallocate()
    memory.deallocate()
  }

  private static func index(_ key: Key) -> Int { Int(truncatingIfNeeded: key.inode % UInt64(count)) }

  /// Valid until the next ``keep(_:_:_:)``.
  func find(_ key: Key, _ path: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    let index = Self.index(key)
    let place = places[index]
    let start = UnsafeRawPointer(memory + index * Self.room)
    guard place.textLength > 0, place.key == key,
      equal(UnsafeRawBufferPointer(start: start, count: place.pathLength), path)
    else { return nil }
    return UnsafeRawBufferPointer(start: start + place.pathLength, count: place.textLength)
  }

  func keep(_ key: Key, _ path: UnsafeRawBufferPointer, _ text: UnsafeRawBufferPointer) {
    guard let first = path.baseAddress, let second = text.baseAddress, path.count + text.count <= Self.room else {
      return
    }
    let index = Self.index(key)
    let start = memory + index * Self.room
    start.copyMemory(from: first, byteCount: path.count)
    (start + path.count).copyMemory(from: second, byteCount: text.count)
    places[index] = Place(key: key, pathLength: path.count, textLength: text.count)
  }
}
