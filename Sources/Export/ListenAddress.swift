import Glibc

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

  /// As bind(2) takes it; nil if the host is no address in digits. A link-local one may have a zone: `fe80::1%eth0`.
  ///
  /// Not by getaddrinfo(3), for which a static binary would have to load shared libraries.
  var socketAddress: sockaddr_storage? {
    var storage = sockaddr_storage()
    var v4 = sockaddr_in()
    if inet_pton(AF_INET, host, &v4.sin_addr) == 1 {
      v4.sin_family = sa_family_t(AF_INET)
      v4.sin_port = port.bigEndian
      withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: v4, as: sockaddr_in.self) }
      return storage
    }
    let parts = host.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
    var v6 = sockaddr_in6()
    guard inet_pton(AF_INET6, String(parts[0]), &v6.sin6_addr) == 1 else { return nil }
    if parts.count == 2 {
      let zone = String(parts[1])
      v6.sin6_scope_id = UInt32(zone) ?? if_nametoindex(zone)
      guard v6.sin6_scope_id != 0 else { return nil }
    }
    v6.sin6_family = sa_family_t(AF_INET6)
    v6.sin6_port = port.bigEndian
    withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: v6, as: sockaddr_in6.self) }
    return storage
  }
}
