import Testing

@testable import Jobs

/// Repeats itself, so that a failure can be looked into.
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }
}

@Suite struct StorageTests {
  /// Keys live in a pool, as everywhere in the fold; few hash values, so that probes are long and wrap around.
  @Test(arguments: [UInt64(3), 64, 1 << 40])
  func hashIndexBehavesLikeDictionary(hashValues: UInt64) {
    var random = SeededGenerator(state: 88_172_645_463_325_252 &+ hashValues)
    var index = HashIndex()
    var pool = Pool(none: UInt64.max)
    var model: [UInt64: UInt32] = [:]
    let limit: UInt64 = hashValues == 3 ? 200 : 5000
    func hash(_ key: UInt64) -> UInt64 { (key % hashValues) &* 0x9E37_79B9_7F4A_7C15 }
    for _ in 0..<40_000 {
      let key = random.next() % limit
      let all = pool.all
      let found = index.find(hash(key)) { all[Int($0)] == key }
      #expect(found == model[key] ?? 0)
      if found != 0 && random.next() % 2 == 0 {
        let wasThere = index.remove(hash(key), found)
        #expect(wasThere)
        model[key] = nil
      } else if found == 0 {
        let place = pool.append(key)
        index.insert(hash(key), place)
        model[key] = place
      }
      let count = index.count
      #expect(count == model.count)
    }
    let all = pool.all
    for (key, place) in model {
      let found = index.find(hash(key)) { all[Int($0)] == key }
      #expect(found == place)
    }
  }

  @Test func removingWhatIsNotThereChangesNothing() {
    var index = HashIndex()
    index.insert(7, 1)
    let (wrongIndex, wrongHash) = (index.remove(7, 2), index.remove(8, 1))
    #expect(!wrongIndex && !wrongHash)
    let count = index.count
    #expect(count == 1)
  }

  @Test func arenaKeepsWhatItWasGiven() {
    var random = SeededGenerator(state: 12345)
    var arena = Arena()
    var kept: [(Arena.Reference, [UInt8])] = []
    for _ in 0..<3000 {
      let length = Int(random.next() % (random.next() % 50 == 0 ? 20_000 : 60))
      let bytes = (0..<length).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      kept.append((bytes.withUnsafeBytes { arena.append($0) }, bytes))
    }
    for (reference, bytes) in kept {
      let found = Array(arena[reference])
      #expect(found == bytes)
    }
  }

  @Test func arenaCutsWhatNoChunkHolds() {
    var arena = Arena()
    let long = [UInt8](repeating: 1, count: Arena.chunkSize + 5)
    let reference = long.withUnsafeBytes { arena.append($0, $0) }
    #expect(Int(reference.length) == Arena.chunkSize)
    let count = arena[reference].count
    #expect(count == Arena.chunkSize)
  }

  @Test func poolKeepsItsElementsWhileItGrows() {
    var pool = Pool(none: 0)
    for number in 1...1000 {
      let index = pool.append(number * 3)
      #expect(index == UInt32(number))
    }
    let all = pool.all
    let indices = pool.indices
    #expect(indices == 1..<1001)
    #expect(indices.allSatisfy { all[Int($0)] == Int($0) * 3 })
    #expect(all[0] == 0)
  }

  @Test func hashTellsLengthScopeAndEveryByte() {
    let hash = KeyedHash()
    var seen: Set<UInt64> = []
    var count = 0
    for length in 0..<70 {
      for changed in -1..<length {
        for scope in [UInt32(1), 2] {
          var bytes = [UInt8](repeating: 0, count: length)
          if changed >= 0 { bytes[changed] = 1 }
          seen.insert(bytes.withUnsafeBytes { hash(scope, $0) })
          count += 1
        }
      }
    }
    #expect(seen.count == count)
  }

  @Test func shortTimesComeBack() {
    let base: UInt64 = 1_000
    #expect(ShortTime().isNone)
    #expect(ShortTime(base + 77, since: base).delta == 77)
    #expect(ShortTime(base + 0x1234_5678_9abc, since: base).delta == 0x1234_5678_9abc)
    // Earlier than the base is the earliest, not "none".
    #expect(ShortTime(5, since: base).delta == 1)
    #expect(ShortTime(.max, since: base).delta == 0xffff_ffff_ffff)
  }

  @Test func sizesOfWhatThereAreMany() {
    #expect(MemoryLayout<FileEntry>.stride == 40)
    #expect(MemoryLayout<NameEntry>.stride == 20)
    #expect(MemoryLayout<AccessEntry>.stride == 24)
    #expect(MemoryLayout<WrittenFile>.stride <= 48)
  }
}
