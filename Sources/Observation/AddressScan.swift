/// Masks what addresses (`scheme://…`) carry: passwords, and the values of queries and fragments.
struct AddressScan {
  /// The address looked at last: one inside it ends where it does.
  private var end = -1
  private var lastAt = -1
  private var query = -1

  /// - Returns: the offset up to which names and values need no more looking at.
  mutating func scan(_ text: MaskText, at colon: Int, quote: UInt8, into ranges: inout MaskRanges) -> Int {
    let start = colon + 3
    let isNew = start > end
    if isNew { measure(text, from: start, quote: quote) }
    var done = start
    if let password = userInformation(text, colon: colon, into: &ranges) { done = password }
    if isNew && query >= 0 {
      maskValues(text, into: &ranges)
      done = max(done, end)
    }
    return done
  }

  private mutating func measure(_ text: MaskText, from start: Int, quote: UInt8) {
    lastAt = -1
    query = -1
    var i = start
    while i < text.upper, isInside(text[i], quote), ![0x22, 0x3C, 0x3E, 0x60].contains(text[i]) {
      let byte = text[i]
      if byte == 0x40 { lastAt = i }
      if query < 0 && (byte == 0x3F || byte == 0x23) { query = i }
      i += 1
    }
    end = i
    // A password may hold what should have been encoded: a quote, "#", "?".
    while i < text.upper, isInside(text[i], quote) {
      if text[i] == 0x40 { lastAt = i }
      i += 1
    }
  }

  @inline(__always)
  private func isInside(_ byte: UInt8, _ quote: UInt8) -> Bool { byte != 0 && !isSpace(byte) && byte != quote }

  /// Masks `user:password@`, and a user that stands alone, for tokens are given so.
  private func userInformation(_ text: MaskText, colon: Int, into ranges: inout MaskRanges) -> Int? {
    let start = colon + 3
    guard lastAt >= start, text[start] != 0x5B else { return nil }
    var authorityEnd = start
    var separator = -1
    var at = -1
    while authorityEnd <= lastAt, ![0x2F, 0x3F, 0x23, 0x5C].contains(text[authorityEnd]) {
      if text[authorityEnd] == 0x3A && separator < 0 { separator = authorityEnd }
      if text[authorityEnd] == 0x40 { at = authorityEnd }
      authorityEnd += 1
    }
    if at < 0 {
      // "/" in a password ends the authority too early; what then stands for a port is no number.
      guard separator >= 0, separator + 1 < authorityEnd,
        !(separator + 1..<authorityEnd).allSatisfy({ isDigit(text[$0]) })
      else { return nil }
      at = lastAt
    }
    guard separator >= 0 && separator < at else {
      if !isKnownUser(text, start..<at, colon: colon) { ranges.add(start..<at) }
      return at
    }
    let password = separator + 1..<at
    ranges.add(password)
    // A token may come as the user, with nothing or a fixed word for a password.
    if password.isEmpty || text.equals(password, "x-oauth-basic") || separator - start >= 24 {
      ranges.add(start..<separator)
    }
    return at
  }

  /// Users that everybody has, and those of ssh, which takes no password in an address.
  private func isKnownUser(_ text: MaskText, _ user: Range<Int>, colon: Int) -> Bool {
    for name: StaticString in ["git", "hg", "svn", "anonymous"] where text.equals(user, name) { return true }
    for scheme: StaticString in ["ssh", "sftp", "rsync"] {
      if text.starts(withAnyCase: scheme, at: colon - scheme.utf8CodeUnitCount) { return true }
    }
    return false
  }

  /// Parts of fragments that name a package's contents, as pip and npm write them.
  private static let publicNames: [StaticString] = [
    "egg", "subdirectory", "sha1", "sha224", "sha256", "sha384", "sha512", "md5", "integrity",
  ]

  private func maskValues(_ text: MaskText, into ranges: inout MaskRanges) {
    var isFragment = false
    var i = query
    while i < end {
      if text[i] == 0x23 { isFragment = true }
      let start = i + 1
      var stop = start
      var sign = -1
      while stop < end, ![0x26, 0x3F, 0x23].contains(text[stop]) {
        if text[stop] == 0x3D && sign < 0 { sign = stop }
        stop += 1
      }
      if sign >= 0 {
        let isPublic = isFragment && Self.publicNames.contains { text.equals(start..<sign, $0) }
        if !isPublic { ranges.add(sign + 1..<stop) }
      } else if !isFragment && stop - start >= 20 {
        // A value without a name.
        ranges.add(start..<stop)
      }
      i = stop
    }
  }
}
