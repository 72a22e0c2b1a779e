/// A secret that is known by how it looks: a prefix that its issuer chose for that purpose, then characters of a set.
struct TokenShape: Sendable {
  enum Kind {
    case run
    /// At least two more parts behind dots: JSON web tokens, SendGrid.
    case dotted(parts: Int)
    /// The prefix stays readable: `Bearer `.
    case afterPrefix
    /// The part in front of the prefix belongs to it.
    case infix
    case privateKey
  }

  let prefix: [UInt8]
  let characters: ByteSet
  let minimum: Int
  let maximum: Int
  /// What must not stand in front of it.
  let boundary: ByteSet
  let kind: Kind
  let needsDigit: Bool

  init(
    _ prefix: StaticString, _ characters: ByteSet, _ minimum: Int, maximum: Int = .max, boundary: ByteSet = .none,
    kind: Kind = .run, needsDigit: Bool = false
  ) {
    self.prefix = (0..<prefix.utf8CodeUnitCount).map { prefix.utf8Start[$0] }
    self.characters = characters
    self.minimum = minimum
    self.maximum = maximum
    self.boundary = boundary
    self.kind = kind
    self.needsDigit = needsDigit
  }

  /// The secret whose prefix stands at `start`.
  func match(_ text: MaskText, at start: Int) -> Range<Int>? {
    guard text.starts(with: prefix, at: start), !boundary.contains(text[start - 1]) else { return nil }
    let body = start + prefix.count
    switch kind {
    case .privateKey: return privateKey(text, start)
    case .dotted(let parts):
      var end = text.end(of: characters, from: body)
      guard end - body >= minimum else { return nil }
      for _ in 1..<parts {
        guard text[end] == 0x2E else { return nil }
        end = text.end(of: characters, from: end + 1)
      }
      // Encrypted web tokens have two parts more.
      while text[end] == 0x2E && characters.contains(text[end + 1]) {
        end = text.end(of: characters, from: end + 1)
      }
      return start..<end
    case .run, .afterPrefix, .infix:
      let end = text.end(of: characters, from: body)
      guard end - body >= minimum, end - body <= maximum else { return nil }
      guard !needsDigit || (body..<end).contains(where: { isDigit(text[$0]) }) else { return nil }
      if case .afterPrefix = kind { return body..<end }
      var first = start
      if case .infix = kind {
        while isAlphanumeric(text[first - 1]) { first -= 1 }
      }
      return first..<end
    }
  }

  /// A PEM block, up to its end line or, cut off, to the end of the text.
  private func privateKey(_ text: MaskText, _ start: Int) -> Range<Int>? {
    let label = start + prefix.count
    var i = label
    while i < label + 40 && !text.starts(withAnyCase: "private key", at: i) {
      guard text[i] != 0x2D, text[i] != 0 else { return nil }
      i += 1
    }
    guard i < label + 40 else { return nil }
    while i < text.upper && !text.starts(withAnyCase: "-----end", at: i) { i += 1 }
    i += 8
    while i < text.upper && !text.starts(withAnyCase: "-----", at: i) { i += 1 }
    return start..<min(i + 5, text.upper)
  }
}

extension ByteSet {
  static let none = ByteSet("")
  static let digits = ByteSet("0123456789")
  static let hex = ByteSet("0123456789abcdefABCDEF")
  static let upper = ByteSet("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
  static let alphanumeric = ByteSet("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
  static let word = ByteSet("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
  static let base64URL = ByteSet("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-")
  static let base64 = ByteSet("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-+/=.~")
  static let dotted = ByteSet("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-.")
  static let path = ByteSet("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-/")
}

extension TokenShape {
  /// From the issuers' documentation of their prefixes. Minimum lengths stay below the real ones, so that a token that
  /// grows or loses characters is still one; they keep clear of ordinary names with the same start.
  static let all: [TokenShape] = [
    // Source hosting.
    TokenShape("ghp_", .dotted, 16), TokenShape("gho_", .dotted, 16), TokenShape("ghu_", .dotted, 16),
    TokenShape("ghs_", .dotted, 16), TokenShape("ghr_", .dotted, 16), TokenShape("github_pat_", .word, 16),
    TokenShape("glpat-", .dotted, 16), TokenShape("glptt-", .dotted, 16), TokenShape("gldt-", .dotted, 16),
    TokenShape("glrt-", .dotted, 16), TokenShape("glcbt-", .dotted, 16), TokenShape("glsoat-", .dotted, 16),
    TokenShape("glft-", .dotted, 16), TokenShape("glimt-", .dotted, 16), TokenShape("glagent-", .dotted, 16),
    TokenShape("gloas-", .dotted, 16), TokenShape("glffct-", .dotted, 16), TokenShape("GR1348941", .base64URL, 16),
    TokenShape("ATBB", .alphanumeric, 28, boundary: .word), TokenShape("ATATT3xFfGF0", .base64, 16),
    TokenShape("ATCTT3xFfGF0", .base64, 16),
    // Package registries.
    TokenShape("npm_", .alphanumeric, 30), TokenShape("pypi-AgE", .base64URL, 16),
    TokenShape("cio", .alphanumeric, 32, maximum: 40, boundary: .base64URL, needsDigit: true),
    TokenShape("rubygems_", .hex, 32), TokenShape("dckr_pat_", .base64URL, 16), TokenShape("dckr_oat_", .base64URL, 16),
    TokenShape("oy2", .alphanumeric, 43, maximum: 43, boundary: .base64URL, needsDigit: true),
    TokenShape("AKCp", .alphanumeric, 60, boundary: .base64URL), TokenShape("hf_", .alphanumeric, 30, boundary: .word),
    // Clouds.
    TokenShape("AKIA", .upper, 16, maximum: 16, boundary: .alphanumeric),
    TokenShape("ASIA", .upper, 16, maximum: 16, boundary: .alphanumeric),
    TokenShape("AIza", .base64URL, 30, boundary: .word), TokenShape("GOCSPX-", .base64URL, 20),
    TokenShape("ya29.", .dotted, 20), TokenShape("1//0", .base64URL, 30, boundary: .alphanumeric),
    TokenShape("LTAI", .alphanumeric, 12, maximum: 24, boundary: .base64URL, needsDigit: true),
    TokenShape("dop_v1_", .hex, 32), TokenShape("doo_v1_", .hex, 32), TokenShape("dor_v1_", .hex, 32),
    TokenShape("hvs.", .base64URL, 20), TokenShape("hvb.", .base64URL, 20), TokenShape("hvr.", .base64URL, 20),
    TokenShape(".atlasv1.", .base64URL, 40, kind: .infix), TokenShape("pul-", .hex, 40, boundary: .base64URL),
    TokenShape("dp.pt.", .alphanumeric, 30), TokenShape("dp.st.", .dotted, 30), TokenShape("sbp_", .hex, 32),
    TokenShape("tskey-", .base64URL, 10), TokenShape("AGE-SECRET-KEY-", .upper, 20),
    TokenShape("ops_eyJ", .base64, 20),
    // Messages, payment, monitoring.
    TokenShape("xoxa-", .base64URL, 10), TokenShape("xoxb-", .base64URL, 10), TokenShape("xoxp-", .base64URL, 10),
    TokenShape("xoxe-", .base64URL, 10), TokenShape("xoxe.", .dotted, 10), TokenShape("xoxr-", .base64URL, 10),
    TokenShape("xoxs-", .base64URL, 10), TokenShape("xoxc-", .base64URL, 10), TokenShape("xoxd-", .base64, 10),
    TokenShape("xapp-", .base64URL, 10), TokenShape("slack.com/services/T", .path, 8, kind: .afterPrefix),
    TokenShape("/api/webhooks/", .path, 20, kind: .afterPrefix), TokenShape("sk_live_", .alphanumeric, 10),
    TokenShape("rk_live_", .alphanumeric, 10), TokenShape("sk_test_", .alphanumeric, 10),
    TokenShape("rk_test_", .alphanumeric, 10), TokenShape("whsec_", .base64, 20), TokenShape("shpat_", .hex, 32),
    TokenShape("shpca_", .hex, 32), TokenShape("shppa_", .hex, 32), TokenShape("shpss_", .hex, 32),
    TokenShape("SG.", .base64URL, 16, boundary: .alphanumeric, kind: .dotted(parts: 2)),
    TokenShape("SK", .hex, 32, maximum: 32, boundary: .base64URL), TokenShape("glsa_", .word, 24),
    TokenShape("glc_", .base64, 32), TokenShape("sntrys_", .base64, 32), TokenShape("sntryu_", .hex, 32),
    TokenShape("NRAK-", .upper, 20), TokenShape("lin_api_", .alphanumeric, 30), TokenShape("CCIPAT_", .word, 20),
    TokenShape("bkua_", .hex, 32), TokenShape("PMAK-", .base64URL, 32),
    // Models.
    TokenShape("sk-ant-", .base64URL, 16, boundary: .base64URL),
    TokenShape("sk-proj-", .base64URL, 16, boundary: .base64URL),
    TokenShape("sk-svcacct-", .base64URL, 16, boundary: .base64URL),
    TokenShape("sk-admin-", .base64URL, 16, boundary: .base64URL),
    TokenShape("sk-or-v1-", .hex, 32, boundary: .base64URL),
    TokenShape("sk-", .alphanumeric, 20, boundary: .base64URL, needsDigit: true), TokenShape("nvapi-", .base64URL, 30),
    TokenShape("gsk_", .alphanumeric, 32, boundary: .word), TokenShape("xai-", .alphanumeric, 40, boundary: .base64URL),
    TokenShape("r8_", .alphanumeric, 30, boundary: .word),
    // Formats.
    TokenShape("eyJ", .base64URL, 8, boundary: .base64URL, kind: .dotted(parts: 3)),
    TokenShape("-----BEGIN ", .none, 0, kind: .privateKey), TokenShape("LS0tLS1CRUdJTi", .base64, 20),
    TokenShape("Bearer ", .base64, 16, boundary: .word, kind: .afterPrefix, needsDigit: true),
    TokenShape("bearer ", .base64, 16, boundary: .word, kind: .afterPrefix, needsDigit: true),
  ]
}
