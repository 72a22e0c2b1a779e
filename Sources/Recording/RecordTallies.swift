public import Observation

/// Records by type.
public struct RecordTallies: Sendable {
  private static let typeCount = 1 + Int(RecordType.allCases.map(\.rawValue).max() ?? 0)
  private var counts = [UInt64](repeating: 0, count: typeCount)
  /// Of them those with a string that was cut, and those without memory that could not be read.
  private var truncated = [UInt64](repeating: 0, count: typeCount)
  private var unreadable = [UInt64](repeating: 0, count: typeCount)
  /// Connections that were accepted, and have ended.
  public private(set) var accepted: UInt64 = 0

  public init() {}

  @inline(__always)
  mutating func count(_ record: RecordView) {
    counts[Int(record.type.rawValue)] &+= 1
    if record.type == .tcpClose, record.isInbound { accepted &+= 1 }
    if !record.flags.isEmpty { countFlags(record) }
  }

  @inline(never)
  private mutating func countFlags(_ record: RecordView) {
    if record.flags.contains(.truncated) { truncated[Int(record.type.rawValue)] &+= 1 }
    if record.flags.contains(.unreadable) { unreadable[Int(record.type.rawValue)] &+= 1 }
  }

  public subscript(type: RecordType) -> UInt64 { counts[Int(type.rawValue)] }
  public func truncated(_ type: RecordType) -> UInt64 { truncated[Int(type.rawValue)] }
  public func unreadable(_ type: RecordType) -> UInt64 { unreadable[Int(type.rawValue)] }

  /// Of all types.
  public var total: UInt64 { counts.reduce(0, &+) }
}
