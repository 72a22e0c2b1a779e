/// A git index, which jobs write: any bytes give paths that are no longer than the kernel takes them, as many as were asked
/// for at most, or nothing. Of the first byte one bit says how long the names of objects are, and the rest how many paths
/// are asked for.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Array(UnsafeBufferPointer(start: data, count: count))
  guard let choice = input.first else { return 0 }
  let bytes = Array(input.dropFirst())
  let hashSize = choice & 1 == 0 ? 20 : 32
  let limit = Int(choice >> 1)
  guard let paths = GitIndex.paths(bytes, hashSize: hashSize, limit: limit) else { return 0 }
  require(paths.count <= limit, "number of paths")
  for path in paths {
    // Each byte that is not UTF-8 has become a letter of three.
    require(path.utf8.count < 3 * 4096 && !path.utf8.contains(0), "path")
  }
  // Whoever asks for fewer has the first of them.
  let half = GitIndex.paths(bytes, hashSize: hashSize, limit: limit / 2)
  require(half == Array(paths.prefix(limit / 2)), "the first of them")
  return 0
}
