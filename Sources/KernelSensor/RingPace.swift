/// How long to wait between two looks at the rings: not long while records come, longer while none do.
///
/// A look costs 10,000 instructions, and the kernel wakes the reader before a ring is full, unless it was told not to.
public struct RingPace: Sendable {
  /// For ``RingSet/wait(milliseconds:)``.
  public private(set) var milliseconds = shortest
  private let longest: Int32

  private static let shortest: Int32 = 10

  public init(_ wakeup: SensorOptions.Wakeup) { longest = wakeup == .timer ? Self.shortest : 80 }

  /// - Parameter count: of the records that the last look found
  public mutating func found(_ count: Int) { milliseconds = count > 0 ? Self.shortest : min(milliseconds * 2, longest) }
}
