public import KernelABI

/// What a program makes its TLS with; the numbers are those of `enum mt_tls_library`.
public enum RequestLibrary: UInt16, CaseIterable, Sendable {
  case openSSL = 1
  case gnuTLS = 2
  case go = 3

  public init(_ body: mt_request) { self = RequestLibrary(rawValue: body.library) ?? .openSSL }

  /// In every output.
  public var name: StaticString {
    switch self {
    case .openSSL: "openssl"
    case .gnuTLS: "gnutls"
    case .go: "go"
    }
  }

  public init?(named name: String) {
    guard let found = Self.allCases.first(where: { $0.name.description == name }) else { return nil }
    self = found
  }
}
