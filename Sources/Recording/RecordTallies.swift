public import Observation

/// Records by type.
public struct RecordTallies: Sendable {
  private var counts = [UInt64](repeating: 0, count: 1 + Int(RecordType.allCases.map(\.rawValue).max() ?? 0))
  /// Connections that were accepted, and have ended.
  public private(set) var accepted: UInt64 = 0

  public init() {}

  @inlinable
  public mutating func count(_ record: RecordView) { count(record.type, isInboundEnd: record.type == .tcpClose && record.isInbound) }

  @usableFromInline
  mutating func count(_ type: RecordType, isInboundEnd: Bool) {
    counts[Int(type.rawValue)] &+= 1
    if isInboundEnd { accepted &+= 1 }
  }

  public subscript(type: RecordType) -> UInt64 { counts[Int(type.rawValue)] }

  /// Of all types.
  public var total: UInt64 { counts.reduce(0, &+) }
}
