/// Where the path of a program leads.
struct ProgramPlace: BitwiseCopyable {
  /// Of the path, keyed: nobody can find two with one hash.
  var hash: UInt64 = 0
  /// The name's, in the path.
  var nameOffset = 0
  var root: UInt32 = 0
  /// The tree's when this was found out.
  var epoch: UInt32 = 0
  var directory: UInt32 = 0
}

/// The places of the programs that ran last: a build runs the same few over and over, and to follow a path through the
/// tree costs as much as the rest of an exec.
struct ProgramPlaces: ~Copyable {
  private static let count = 64
  private let places: UnsafeMutablePointer<ProgramPlace>

  init() {
    places = .allocate(capacity: Self.count)
    places.initialize(repeating: ProgramPlace(), count: Self.count)
  }

  deinit { places.deallocate() }

  private static func index(_ hash: UInt64) -> Int { Int(truncatingIfNeeded: hash &>> 8) & (count - 1) }

  @inline(__always)
  func find(_ hash: UInt64, root: UInt32, epoch: UInt32) -> ProgramPlace? {
    let place = places[Self.index(hash)]
    guard place.directory != 0, place.hash == hash, place.root == root, place.epoch == epoch else { return nil }
    return place
  }

  func keep(_ place: ProgramPlace) { places[Self.index(place.hash)] = place }
}
