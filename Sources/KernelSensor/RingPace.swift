/// How long to wait between two looks at the rings: not long while records come, longer while none do.
///
/// A look costs 10,000 instructions, and the kernel wakes the reader before a ring is full, unless it was told not to.
public struct RingPace: Sendable {
  /// For ``RingSet/wait(milliseconds:)``.
  public private(set) var milliseconds: Int32
  private let shortest: Int32
  private let longest: Int32

  public init(_ wakeup: SensorOptions.Wakeup) {
    (shortest, longest) = wakeup == .timer ? (10, 10) : (20, 80)
    milliseconds = shortest
  }

  /// - Parameter count: of the records that the last look found
  public mutating func found(_ count: Int) { milliseconds = count > 0 ? shortest : min(milliseconds * 2, longest) }
}
