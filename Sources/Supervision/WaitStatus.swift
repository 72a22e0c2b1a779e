/// A process' state as wait(2) encodes it.
public struct WaitStatus: Equatable, Sendable {
  public let raw: Int32

  public init(raw: Int32) { self.raw = raw }

  /// The signal that stopped it; nil if it is not stopped.
  public var stopSignal: Int32? { raw & 0xff == 0x7f ? raw >> 8 & 0xff : nil }

  /// The signal that ended it; nil if it exited by itself or is stopped.
  public var endSignal: Int32? { stopSignal == nil && raw & 0x7f != 0 ? raw & 0x7f : nil }

  /// What a shell makes of it: its own status, or 128 + the signal.
  public var exitStatus: Int32 { endSignal.map { 128 + $0 } ?? (raw >> 8 & 0xff) }
}
