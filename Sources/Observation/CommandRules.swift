/// Rules that need to know more than one word of a command: which program it is, and which option came before.
///
/// Fed with the arguments of a process, or with the words of a shell's script. A program is recognised wherever its name
/// stands, since it may follow `sudo`, `env`, `docker exec db`, and so on.
struct CommandRules {
  private enum Expectation { case none, secret, settingValue, login, percentLogin, cookie }

  private var expectation = Expectation.none
  private var tool = Tool.none
  private var sawLogin = false
  private var settingFollows = false
  private var scriptFollows = false
  private var headerFollows = false
  /// The word just seen is a script for a shell: words in it end at white space.
  private(set) var isScript = false
  /// The word just seen is the text of an HTTP header.
  private(set) var isHeader = false

  /// A rule waits for the next word.
  var expectsValue: Bool { expectation != .none }

  /// Looks at the next word.
  /// - Returns: true if the word is an option whose name decides whether the next word is a secret: then ask
  ///   ``judgeName(_:_:)``, unless it is known that no sensitive word is in it.
  mutating func word(_ text: MaskText, _ range: Range<Int>, into ranges: inout MaskRanges) -> Bool {
    isScript = scriptFollows
    isHeader = headerFollows
    scriptFollows = false
    headerFollows = false
    let expected = expectation
    expectation = .none
    guard !range.isEmpty else { return false }
    let isOption = text[range.lowerBound] == 0x2D && range.count > 1
    switch expected {
    case .none: break
    case .settingValue where isOption: expectation = .settingValue
    case .secret, .settingValue:
      if !SensitiveName.isTrivial(text, range) { ranges.add(range) }
      return false
    case .login:
      maskLogin(text, range, into: &ranges)
      return false
    case .percentLogin:
      maskLogin(text, range, after: 0x25, into: &ranges)
      return false
    case .cookie:
      // Without "=" it names a file.
      if text.first(0x3D, in: range) < range.upperBound { ranges.add(range) }
      return false
    }
    guard isOption else {
      plainWord(text, range, into: &ranges)
      return false
    }
    if text[range.lowerBound + 1] == 0x2D { return longOption(text, range) }
    shortOption(text, range, into: &ranges)
    return false
  }

  /// Decides by an option's name, or a setting's, whether the next word is a secret.
  mutating func judgeName(_ text: MaskText, _ range: Range<Int>) {
    guard !text.starts(withAnyCase: "--no-", at: range.lowerBound) else { return }
    if SensitiveName.verdict(text, range) != .plain { expectation = .secret }
  }

  private mutating func longOption(_ text: MaskText, _ range: Range<Int>) -> Bool {
    if text.equals(range, "--header") {
      headerFollows = true
    } else if tool == .curl, text.equals(range, "--user") || text.equals(range, "--proxy-user") {
      expectation = .login
    } else if tool == .curl, text.equals(range, "--cookie") {
      expectation = .cookie
    } else if tool == .ghSecret, text.equals(range, "--body") {
      expectation = .secret
    } else {
      return range.count > 4
    }
    return false
  }

  private static let secretOptions: [StaticString] = [
    "-password", "-passwd", "-passphrase", "-secret", "-token", "-apikey", "-storepass", "-keypass", "-srcstorepass",
    "-deststorepass",
  ]

  private mutating func shortOption(_ text: MaskText, _ range: Range<Int>, into ranges: inout MaskRanges) {
    let letter = text[range.lowerBound + 1]
    if range.count == 2 {
      shortOption(letter)
      return
    }
    let attached = range.lowerBound + 2..<range.upperBound
    if range.count >= 6 && [0x70, 0x73, 0x74, 0x61, 0x6B, 0x64].contains(letter | 0x20) {
      for option in Self.secretOptions where text.equals(range, option) {
        expectation = .secret
        return
      }
    }
    let last = text[range.upperBound - 1]
    switch (tool, letter) {
    case (.mysql, 0x70) where !isPortMapping(text, attached), (.archiver, 0x70), (.sshpass, 0x70):
      ranges.add(attached)
    case (.archiver, 0x68) where text[range.lowerBound + 2] == 0x70:
      ranges.add(range.lowerBound + 3..<range.upperBound)
    case (.curl, 0x75), (.curl, 0x55):
      maskLogin(text, attached, into: &ranges)
    case (.curl, 0x48):
      isHeader = true
    case (.curl, _) where isLetters(text, attached) && (last == 0x75 || last == 0x48 || last == 0x62):
      // Flags in one word: -sSu name:password.
      shortOption(last)
    case (.redis, 0x61), (.upperP, 0x50), (.ldap, 0x77):
      ranges.add(attached)
    case (.shell, _) where last == 0x63 && isLetters(text, attached):
      scriptFollows = true
    case (_, 0x70) where sawLogin && !isPortMapping(text, attached):
      ranges.add(attached)
    default: break
    }
  }

  private mutating func shortOption(_ letter: UInt8) {
    switch (tool, letter) {
    case (.shell, 0x63): scriptFollows = true
    case (_, 0x48): headerFollows = true
    case (.curl, 0x75), (.curl, 0x55), (.httpie, 0x61): expectation = .login
    case (.curl, 0x62): expectation = .cookie
    case (.sshpass, 0x70), (.mongo, 0x70), (.redis, 0x61), (.ldap, 0x77), (.upperP, 0x50), (.openssl, 0x6B),
      (.openssl, 0x4B), (.dotnet, 0x6B), (.ghSecret, 0x62):
      expectation = .secret
    case (.samba, 0x55): expectation = .percentLogin
    case (_, 0x70) where sawLogin: expectation = .secret
    default: break
    }
  }

  private mutating func plainWord(_ text: MaskText, _ range: Range<Int>, into ranges: inout MaskRanges) {
    // How openssl takes a password.
    if text[range.lowerBound + 4] == 0x3A, text.starts(withAnyCase: "pass:", at: range.lowerBound) {
      ranges.add(range.lowerBound + 5..<range.upperBound)
    }
    let wasSetting = settingFollows
    settingFollows = false
    switch ToolTable.shared.find(text, range) {
    case .none:
      if wasSetting, text.first(0x3D, in: range) == range.upperBound {
        if SensitiveName.verdict(text, range) != .plain { expectation = .settingValue }
      }
    case .login: sawLogin = true
    case .setting: settingFollows = true
    case .secretCommand: if tool == .gh { tool = .ghSecret }
    case let found: tool = found
    }
  }

  /// Masks the password of `name:password`; the name too where it stands alone before a colon, as tokens do. Quotes
  /// around both stay; where only a part is quoted everything goes, so that no quote is left without its other half.
  private func maskLogin(
    _ text: MaskText, _ word: Range<Int>, after separator: UInt8 = 0x3A, into ranges: inout MaskRanges
  ) {
    let range = text.unquoted(word)
    let end = text.first(separator, in: range)
    guard end < range.upperBound else { return }
    if range.contains(where: { isQuote(text[$0]) }) {
      ranges.add(word)
    } else if separator == 0x3A && end + 1 == range.upperBound {
      ranges.add(range.lowerBound..<end)
    } else {
      ranges.add(end + 1..<range.upperBound)
    }
  }

  private func isPortMapping(_ text: MaskText, _ range: Range<Int>) -> Bool {
    range.contains { text[$0] == 0x3A }
      && range.allSatisfy { isDigit(text[$0]) || text[$0] == 0x3A || text[$0] == 0x2E }
  }

  private func isLetters(_ text: MaskText, _ range: Range<Int>) -> Bool {
    range.allSatisfy { isAlphanumeric(text[$0]) && !isDigit(text[$0]) }
  }
}

/// Programs whose short options take secrets, and words that change what follows them.
enum Tool {
  case none, shell, mysql, sshpass, curl, httpie, redis, mongo, ldap, upperP, archiver, openssl, dotnet, samba, gh,
    ghSecret
  case login, setting, secretCommand
}

/// Finds a tool by the last component of a word.
final class ToolTable: Sendable {
  static let shared = ToolTable()

  private static let names: [(StaticString, Tool)] = [
    ("sh", .shell), ("bash", .shell), ("dash", .shell), ("zsh", .shell), ("ksh", .shell), ("ash", .shell),
    ("su", .shell),
    ("mysql", .mysql), ("mysqldump", .mysql), ("mysqladmin", .mysql), ("mysqlimport", .mysql), ("mysqlshow", .mysql),
    ("mysqlcheck", .mysql), ("mariadb", .mysql), ("mariadb-dump", .mysql), ("mariadb-admin", .mysql),
    ("sshpass", .sshpass), ("curl", .curl), ("http", .httpie), ("https", .httpie), ("xh", .httpie),
    ("redis-cli", .redis),
    ("mongo", .mongo), ("mongosh", .mongo), ("mongodump", .mongo), ("mongorestore", .mongo), ("mongoimport", .mongo),
    ("mongoexport", .mongo), ("ldapsearch", .ldap), ("ldapadd", .ldap), ("ldapmodify", .ldap), ("ldapdelete", .ldap),
    ("ldapwhoami", .ldap), ("ldappasswd", .ldap), ("zip", .upperP), ("unzip", .upperP), ("sqlcmd", .upperP),
    ("bcp", .upperP), ("7z", .archiver), ("7za", .archiver), ("7zr", .archiver), ("7zz", .archiver), ("rar", .archiver),
    ("unrar", .archiver), ("openssl", .openssl), ("dotnet", .dotnet), ("nuget", .dotnet), ("smbclient", .samba),
    ("rpcclient", .samba), ("gh", .gh), ("login", .login), ("set", .setting), ("config", .setting),
    ("configure", .setting), ("secret", .secretCommand),
  ]

  /// Bit n of the entry of a byte: name n ends with it.
  private let byLastByte: [UInt64]

  /// The last three bytes of each name whose tool can make a secret of what has no sensitive name.
  var nameTails: [[UInt8]] {
    Self.names.compactMap { name, tool in
      guard tool != .shell, tool != .setting, tool != .gh, tool != .secretCommand else { return nil }
      let bytes = (0..<name.utf8CodeUnitCount).map { name.utf8Start[$0] }
      return Array(bytes.suffix(3))
    }
  }

  private init() {
    var table = [UInt64](repeating: 0, count: 256)
    for (number, entry) in Self.names.prefix(64).enumerated() {
      let name = entry.0
      table[Int(name.utf8Start[name.utf8CodeUnitCount - 1])] |= 1 << UInt64(number)
    }
    byLastByte = table
  }

  func find(_ text: MaskText, _ range: Range<Int>) -> Tool {
    var left = byLastByte[Int(text[range.upperBound - 1])]
    while left != 0 {
      let (name, tool) = Self.names[left.trailingZeroBitCount]
      let start = range.upperBound - name.utf8CodeUnitCount
      if start == range.lowerBound || (start > range.lowerBound && text[start - 1] == 0x2F),
        text.starts(with: name, at: start)
      {
        return tool
      }
      left &= left &- 1
    }
    return .none
  }
}
