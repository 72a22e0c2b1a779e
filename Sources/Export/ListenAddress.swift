/// Where to listen: `127.0.0.1:9464`, `[::1]:9464`, or a port alone for the loopback address.
public struct ListenAddress: Sendable, Equatable, CustomStringConvertible {
  /// Without brackets.
  public var host: String
  /// 0: one that is free.
  public var port: UInt16

  /// As in a URL.
  public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

  public init?(_ text: String) {
    let host: Substring
    let port: Substring
    if let colon = text.lastIndex(of: ":") {
      host = text[..<colon]
      port = text[text.index(after: colon)...]
    } else {
      host = ""
      port = text[...]
    }
    guard !port.isEmpty, port.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = UInt16(port) else {
      return nil
    }
    self.port = number
    if host.hasPrefix("["), host.hasSuffix("]"), host.count > 2 {
      self.host = String(host.dropFirst().dropLast())
    } else if host.contains(":") || host.contains("[") {
      return nil
    } else {
      self.host = host.isEmpty || host == "localhost" ? "127.0.0.1" : String(host)
    }
  }
}
