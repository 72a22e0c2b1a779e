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
    case .unknown(let name):
      "--user '\(name)': no such user in /etc/passwd, and getent has none; numbers need no entry: UID:GID"
    case .groupNeeded(let uid):
      "user \(uid) is not in /etc/passwd, and getent has none: say which group with --user \(uid):GID"
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
    return try user(uid: invoking.uid, gid: invoking.gid, in: .system)
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

  static func parse(_ text: String, in database: UserDatabase = .system) throws(TargetUserError) -> TargetUser {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard let first = parts.first, !first.isEmpty else { throw .malformed(text) }
    var group: UInt32?
    if parts.count == 2 {
      guard let gid = identifier(String(parts[1])) else { throw .malformed(text) }
      group = gid
    }
    if let uid = identifier(String(first)) { return try user(uid: uid, gid: group, in: database) }
    guard let account = database.account(named: Array(first.utf8)) else { throw .unknown(String(first)) }
    return TargetUser(account, gid: group, in: database)
  }

  private static func identifier(_ text: String) -> UInt32? { Account.number(text.utf8) }

  private static func user(
    uid: UInt32, gid: UInt32?, in database: UserDatabase
  ) throws(TargetUserError) -> TargetUser {
    if let account = database.account(numbered: uid) { return TargetUser(account, gid: gid, in: database) }
    // Usual in containers: a number without a name.
    guard let gid else { throw .groupNeeded(uid) }
    return TargetUser(
      uid: uid, gid: gid, groups: [gid], name: Array(String(uid).utf8), home: Array("/".utf8),
      shell: Array("/bin/sh".utf8))
  }

  private init(_ account: Account, gid: UInt32?, in database: UserDatabase) {
    let gid = gid ?? account.gid
    self.init(
      uid: account.uid, gid: gid, groups: database.groups(of: account.name, with: gid),
      name: account.name, home: account.home.isEmpty ? Array("/".utf8) : account.home,
      shell: account.shell.isEmpty ? Array("/bin/sh".utf8) : account.shell)
  }
}
