import Glibc

/// Whom the command runs as, when that is not who martlet is.
public struct TargetUser: Equatable {
  public var uid: UInt32
  public var gid: UInt32
  /// Supplementary groups, as initgroups(3) would set them.
  public var groups: [UInt32]
  public var name: [UInt8]
  public var home: [UInt8]
  public var shell: [UInt8]
}

/// Why a user could not be determined.
public enum TargetUserError: Error, Equatable, CustomStringConvertible {
  case malformed(String)
  case unknown(String)
  case groupNeeded(UInt32)
  case notPermitted

  public var description: String {
    switch self {
    case .malformed(let text): "--user '\(text)': expected NAME, UID or UID:GID"
    case .unknown(let name): "--user '\(name)': there is no such user"
    case .groupNeeded(let uid): "user \(uid) is not in the user database: say which group with --user \(uid):GID"
    case .notPermitted: "--user: only root can run a command as another user"
    }
  }
}

extension TargetUser {
  /// The user that `--user` names, else the one who called sudo, else nil: the command stays who martlet is.
  ///
  /// - Parameter option: `NAME`, `UID` or `UID:GID`.
  public static func choose(option: String?, environment: Environment) throws(TargetUserError) -> TargetUser? {
    let isRoot = geteuid() == 0
    if let option {
      let user = try parse(option)
      if isRoot { return user }
      guard user.uid == geteuid(), user.gid == getegid() else { throw .notPermitted }
      return nil
    }
    guard isRoot, let invoking = invokingUser(environment: environment) else { return nil }
    return try user(uid: invoking.uid, gid: invoking.gid)
  }

  /// Who called sudo, and gets the report; nil without sudo, or when root did.
  public static func invokingUser(environment: Environment) -> (uid: UInt32, gid: UInt32)? {
    guard geteuid() == 0, let uid = environment["SUDO_UID"].flatMap(identifier), uid != 0,
      let gid = environment["SUDO_GID"].flatMap(identifier)
    else { return nil }
    return (uid, gid)
  }

  /// The command's environment: the user's own HOME, USER, LOGNAME and SHELL, and no trace of sudo, whose
  /// variables would let a nested tool take its caller for root.
  public func apply(to environment: inout Environment) {
    environment.remove(prefix: "SUDO_")
    environment.set("HOME", home)
    environment.set("USER", name)
    environment.set("LOGNAME", name)
    environment.set("SHELL", shell)
  }

  static func parse(_ text: String) throws(TargetUserError) -> TargetUser {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard let first = parts.first, !first.isEmpty else { throw .malformed(text) }
    var group: UInt32?
    if parts.count == 2 {
      guard let gid = identifier(String(parts[1])) else { throw .malformed(text) }
      group = gid
    }
    if let uid = identifier(String(first)) { return try user(uid: uid, gid: group) }
    guard var user = Account.named(String(first)).map(TargetUser.init) else { throw .unknown(String(first)) }
    if let group {
      user.gid = group
      user.groups = Account.groups(of: user.name, with: group)
    }
    return user
  }

  /// An id of all digits; (uid_t)-1 means "no change" to the kernel and is refused.
  private static func identifier(_ text: String) -> UInt32? {
    guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
      let value = UInt32(text), value != .max
    else { return nil }
    return value
  }

  private static func user(uid: UInt32, gid: UInt32?) throws(TargetUserError) -> TargetUser {
    if let account = Account.numbered(uid) {
      var user = TargetUser(account)
      if let gid, gid != user.gid {
        user.gid = gid
        user.groups = Account.groups(of: user.name, with: gid)
      }
      return user
    }
    // Usual in containers: a number without a name.
    guard let gid else { throw .groupNeeded(uid) }
    return TargetUser(
      uid: uid, gid: gid, groups: [gid], name: Array(String(uid).utf8), home: Array("/".utf8),
      shell: Array("/bin/sh".utf8))
  }

  private init(_ account: Account) {
    self.init(
      uid: account.uid, gid: account.gid, groups: Account.groups(of: account.name, with: account.gid),
      name: account.name, home: account.home.isEmpty ? Array("/".utf8) : account.home,
      shell: account.shell.isEmpty ? Array("/bin/sh".utf8) : account.shell)
  }
}

/// An entry of the user database.
private struct Account {
  var name: [UInt8]
  var uid: UInt32
  var gid: UInt32
  var home: [UInt8]
  var shell: [UInt8]

  static func named(_ name: String) -> Account? {
    find { entry, buffer, size, found in getpwnam_r(name, entry, buffer, size, found) }
  }

  static func numbered(_ uid: UInt32) -> Account? {
    find { entry, buffer, size, found in getpwuid_r(uid, entry, buffer, size, found) }
  }

  private typealias Entry = UnsafeMutablePointer<passwd>

  private static func find(
    _ look: (Entry, UnsafeMutablePointer<CChar>, Int, UnsafeMutablePointer<Entry?>) -> Int32
  ) -> Account? {
    var capacity = 4096
    while capacity <= 1 << 20 {
      let buffer = UnsafeMutablePointer<CChar>.allocate(capacity: capacity)
      defer { buffer.deallocate() }
      var entry = passwd()
      var found: Entry?
      let code = look(&entry, buffer, capacity, &found)
      if code == ERANGE {
        capacity *= 4
        continue
      }
      guard code == 0, let account = found?.pointee, let name = account.pw_name else { return nil }
      return Account(
        name: CStrings.bytes(of: name), uid: account.pw_uid, gid: account.pw_gid,
        home: account.pw_dir.map { CStrings.bytes(of: $0) } ?? [],
        shell: account.pw_shell.map { CStrings.bytes(of: $0) } ?? [])
    }
    return nil
  }

  static func groups(of name: [UInt8], with gid: UInt32) -> [UInt32] {
    let text = name.map { CChar(bitPattern: $0) } + [0]
    var count: Int32 = 64
    while count <= 1 << 16 {
      var groups = [UInt32](repeating: 0, count: Int(count))
      var filled = count
      if getgrouplist(text, gid, &groups, &filled) >= 0 { return Array(groups.prefix(Int(filled))) }
      count = max(filled, count * 2)
    }
    return [gid]
  }
}
