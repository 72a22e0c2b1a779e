/// Whether what a name is given is a secret: `DB_PASSWORD`, `--api-key`, `_authToken`, `gpg.passphrase`.
enum SensitiveName {
  enum Verdict { case plain, weak, strong }

  /// Longest name that is looked at, in bytes: a longer one is judged by its end.
  static let limit = 128

  /// In lower case, without separators: a name may have `-`, `_` and `.` anywhere in them.
  private static let words = NameWords([
    "password", "passwd", "passphrase", "passcode", "privatekey", "secret", "token", "apikey", "accesskey",
    "accountkey", "authkey", "authorization", "credential", "encryptionkey", "signingkey", "masterkey", "deploykey",
    "appkey", "sessionkey", "storagekey", "storepass", "keypass", "bearer", "fromliteral", "mysqlpwd",
    "dockerauthconfig",
  ])

  /// A name that ends so says where a secret is, or what kind it is, but is not given the secret.
  private static let harmlessEndings: [StaticString] = [
    "file", "files", "path", "dir", "stdin", "type", "method", "mode", "url", "uri", "endpoint", "name", "env", "fd",
    "helper", "sock", "socket", "user", "username", "challenge", "prompt", "policy", "length", "ttl", "expiry",
    "provider", "store", "manager", "host", "server", "port", "scope", "scopes", "version", "format", "required",
    "enabled", "disabled", "timeout", "size", "count", "limit", "budget", "plugin", "command", "cmd",
  ]

  /// Weak: a name that often, not always, means a secret; believed of options and assignments only.
  static func verdict(_ text: MaskText, _ range: Range<Int>) -> Verdict {
    let lower = max(range.lowerBound, range.upperBound - limit)
    var verdict = Verdict.plain
    var start = lower
    while start < range.upperBound {
      // "-Dtoken" and "-Ppassword" have a letter in front, camel case has no separators: so every offset counts.
      if words.match(text, start, range.upperBound) { verdict = .strong }
      start += 1
    }
    let last = lastSegment(text, lower..<range.upperBound)
    for ending in harmlessEndings where text.equals(last, ending) { return .plain }
    if verdict == .plain && hasWeakSegment(text, lower..<range.upperBound, last: last) { verdict = .weak }
    return verdict
  }

  private static func lastSegment(_ text: MaskText, _ range: Range<Int>) -> Range<Int> {
    var start = range.upperBound
    while start > range.lowerBound && !isNameSeparator(text[start - 1]) { start -= 1 }
    return start..<range.upperBound
  }

  private static func hasWeakSegment(_ text: MaskText, _ range: Range<Int>, last: Range<Int>) -> Bool {
    if text.equals(last, "pass") || text.equals(last, "sig") { return true }
    // $PWD and $OLDPWD are directories.
    if text.equals(last, "pwd") && last.lowerBound > range.lowerBound + 2 { return true }
    var start = range.lowerBound
    while start < range.upperBound {
      var end = start
      while end < range.upperBound && !isNameSeparator(text[end]) { end += 1 }
      if text.equals(start..<end, "auth") || text.equals(start..<end, "basicauth") { return true }
      start = end + 1
    }
    return false
  }

  /// A value that can't be a secret, and the value that a mask leaves.
  static func isTrivial(_ text: MaskText, _ range: Range<Int>) -> Bool {
    if range.count <= 1 { return range.isEmpty || text[range.lowerBound] == 0x30 || text[range.lowerBound] == 0x31 }
    if range.count == 2, text[range.lowerBound] == text[range.lowerBound + 1] {
      return text[range.lowerBound] == 0x22 || text[range.lowerBound] == 0x27
    }
    guard range.count <= 5 else { return false }
    for word: StaticString in ["true", "false", "on", "off", "yes", "no", "none", "null"]
    where text.equals(range, word) { return true }
    return false
  }
}

@inline(__always)
private func isNameSeparator(_ byte: UInt8) -> Bool { byte == 0x5F || byte == 0x2D || byte == 0x2E }

/// Words, found by their first letter.
private struct NameWords: Sendable {
  private let words: [[UInt8]]
  /// Bit n of the entry of a letter: word n begins with it.
  private let byLetter: [UInt32]

  init(_ words: [StaticString]) {
    self.words = words.prefix(32).map { word in (0..<word.utf8CodeUnitCount).map { word.utf8Start[$0] } }
    var table = [UInt32](repeating: 0, count: 256)
    for (number, word) in self.words.enumerated() { table[Int(word[0])] |= 1 << UInt32(number) }
    byLetter = table
  }

  /// Whether a word begins at `start`, with or without separators inside; "tokenizer" is none.
  @inline(__always)
  func match(_ text: MaskText, _ start: Int, _ end: Int) -> Bool {
    var left = byLetter[Int(lowercased(text[start]))]
    while left != 0 {
      if match(words[left.trailingZeroBitCount], text, start, end) { return true }
      left &= left &- 1
    }
    return false
  }

  private func match(_ word: [UInt8], _ text: MaskText, _ start: Int, _ end: Int) -> Bool {
    var at = start
    for i in 0..<word.count {
      while i > 0 && at < end && isNameSeparator(text[at]) { at += 1 }
      guard at < end, lowercased(text[at]) == word[i] else { return false }
      at += 1
    }
    return !(word.count == 5 && text.starts(withAnyCase: "iz", at: at))
  }
}
