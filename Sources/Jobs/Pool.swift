internal import Glibc

/// A growable array of plain values that refer to each other by index; index 0 is "none".
///
/// Pointers from the subscript are valid until the next ``append(_:)``.
struct Pool<Element: BitwiseCopyable>: ~Copyable {
  private var base: UnsafeMutablePointer<Element>
  private var capacity: Int
  /// Elements, without the one at index 0.
  private(set) var count = 0

  /// `none` stands at index 0, so that a lookup of nothing reads an empty value and not foreign memory.
  init(none: Element) {
    capacity = 16
    base = Self.resize(nil, to: capacity)
    base.initialize(to: none)
  }

  deinit { free(base) }

  /// Memory that has been touched, in bytes.
  var bytes: Int { (count + 1) * MemoryLayout<Element>.stride }

  @inline(__always)
  subscript(index: UInt32) -> UnsafeMutablePointer<Element> {
    assert(Int(index) <= count)
    return base + Int(index)
  }

  /// The first element's place, for closures that must not hold the pool itself.
  @inline(__always)
  var all: UnsafeMutablePointer<Element> { base }

  /// Indices of all elements.
  var indices: Range<UInt32> { 1..<UInt32(count + 1) }

  @inline(__always)
  @discardableResult
  mutating func append(_ element: Element) -> UInt32 {
    if count &+ 1 == capacity { grow() }
    count &+= 1
    (base + count).initialize(to: element)
    return UInt32(truncatingIfNeeded: count)
  }

  @inline(never)
  private mutating func grow() {
    capacity *= 2
    base = Self.resize(base, to: capacity)
  }

  /// By realloc, which moves the pages of a large table and not its bytes.
  private static func resize(
    _ memory: UnsafeMutablePointer<Element>?, to capacity: Int
  ) -> UnsafeMutablePointer<Element> {
    guard let larger = realloc(memory, capacity * MemoryLayout<Element>.stride) else {
      // Nothing can be recorded any more: as everywhere in Swift, without memory there is no going on.
      abort()
    }
    HugePages.advise(larger, capacity * MemoryLayout<Element>.stride)
    return larger.bindMemory(to: Element.self, capacity: capacity)
  }
}
