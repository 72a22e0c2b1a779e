/// What became of the events of one record type: seen = deduplicated + aggregated + sent + lost.
public struct EventCounts: Sendable, Equatable {
  public var seen: UInt64 = 0
  /// The same again.
  public var deduplicated: UInt64 = 0
  /// Folded into another record.
  public var aggregated: UInt64 = 0
  public var sent: UInt64 = 0
  /// There was no space in the ring.
  public var lost: UInt64 = 0
  /// Sent with a string cut.
  public var truncated: UInt64 = 0
  /// Sent without memory that could not be read.
  public var unreadable: UInt64 = 0
  /// Calls that returned an error; not part of `seen`.
  public var failed: UInt64 = 0

  public init() {}
}
