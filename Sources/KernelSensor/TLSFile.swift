import CSystem
import Observation

/// What of a program or library takes plain text for TLS, and where.
struct TLSFile: Equatable {
  /// A program of the sensor's on a function of the file.
  struct Probe: Equatable {
    var program: String
    var isReturn = false
    /// In the file, bytes.
    var offset: UInt64
  }

  var library: RequestLibrary?
  var probes: [Probe] = []
  /// What makes it look as if it did TLS that cannot be read; nil: it does not look like that.
  var unreadable: String?

  private static let openSSL: [(function: String, entry: String, isAnswered: Bool)] = [
    ("SSL_write", "tls_openssl_write", true), ("SSL_write_ex", "tls_openssl_write_ex", true),
    ("BIO_write", "tls_openssl_cipher", false), ("SSL_free", "tls_free", false),
  ]
  private static let gnuTLS: [(function: String, entry: String, isAnswered: Bool)] = [
    ("gnutls_record_send", "tls_gnutls_send", true), ("gnutls_record_send2", "tls_gnutls_send", true),
    ("gnutls_deinit", "tls_free", false),
  ]
  private static let go = "crypto/tls.(*Conn).Write"

  /// Texts of libraries that are in a program without the names of their functions. All are long enough not to be
  /// there by chance, and say nothing about whether what they belong to is used.
  private static let marks: [(text: String, what: String)] = [
    ("ssl/ssl_lib.c", "OpenSSL without its symbols"), ("SSL_CTX_new_ex", "OpenSSL without its symbols"),
    ("boringssl", "BoringSSL"), ("BoringSSL", "BoringSSL"), ("/rustls-", "rustls"), ("rustls::", "rustls"),
    ("GNUTLS_SYSTEM_PRIORITY_FILE", "GnuTLS without its symbols"), ("mbedtls_ssl_", "Mbed TLS"),
    ("wolfSSL_", "wolfSSL"),
  ]
  /// Functions of libraries that are not read, and what they are.
  private static let others: [(function: String, what: String)] = [
    ("SSL_ImportFD", "NSS"), ("JNI_CreateJavaVM", "Java, which has TLS of its own"),
    ("mbedtls_ssl_write", "Mbed TLS"), ("wolfSSL_write", "wolfSSL"),
  ]
  /// Bytes of constants that are searched.
  private static let searched: UInt64 = 64 << 20

  /// - Parameter name: last component of its path
  init(_ file: ELFFile, name: String) {
    if GoFunctions.isGo(file) {
      library = .go
      switch Self.goFunction(file) {
      case .success(let offset?): probes = [Probe(program: "tls_go_write", offset: offset)]
      case .success(nil): break
      case .failure(let objection): unreadable = objection.text
      }
      return
    }
    let names = (Self.openSSL + Self.gnuTLS).map(\.function)
    var found = file.functions(names + Self.others.map(\.function), in: ".dynsym")
    if found["SSL_write"] == nil, found["gnutls_record_send"] == nil, !name.hasPrefix("libcrypto") {
      found.merge(file.functions(names, in: ".symtab")) { first, _ in first }
    }
    if found["SSL_write"] != nil || name.hasPrefix("libcrypto.") || name.hasPrefix("libcrypto-") {
      library = .openSSL
      probes += Self.probes(Self.openSSL, found)
    }
    if found["gnutls_record_send"] != nil {
      library = .gnuTLS
      probes += Self.probes(Self.gnuTLS, found)
    }
    if probes.isEmpty { unreadable = Self.guess(file, found) }
  }

  private struct Objection: Error { var text: String }

  /// nil: the program has no TLS in it.
  private static func goFunction(_ file: ELFFile) -> Result<UInt64?, Objection> {
    // Up to 1.16 arguments were on the stack.
    guard GoFunctions.passesInRegisters(file) else { return .failure(Objection(text: "Go before 1.18")) }
    if file.section(".symtab") != nil { return .success(file.functions([go], in: ".symtab")[go]) }
    guard let functions = GoFunctions(file) else {
      return .failure(Objection(text: "Go without a table of its functions that is understood"))
    }
    return .success(functions.offset(of: go))
  }

  private static func probes(
    _ functions: [(function: String, entry: String, isAnswered: Bool)], _ found: [String: UInt64]
  ) -> [Probe] {
    functions.flatMap { function -> [Probe] in
      guard let offset = found[function.function] else { return [] }
      let entry = Probe(program: function.entry, offset: offset)
      return function.isAnswered ? [entry, Probe(program: "tls_written", isReturn: true, offset: offset)] : [entry]
    }
  }

  private static func guess(_ file: ELFFile, _ found: [String: UInt64]) -> String? {
    if let other = others.first(where: { found[$0.function] != nil }) { return other.what }
    guard let constants = file.section(".rodata"), constants.size <= searched, let bytes = file.contents(constants)
    else { return nil }
    return bytes.withUnsafeBytes { bytes in
      marks.first { mark in
        let text = Array(mark.text.utf8)
        return bytes.baseAddress.map { mt_search($0, bytes.count, text, text.count) < bytes.count } ?? false
      }?.what
    }
  }
}
