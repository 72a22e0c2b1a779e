import Glibc
internal import Observation

/// An entry of the user database; see passwd(5).
struct Account: Equatable {
  var name: [UInt8]
  var uid: UInt32
  var gid: UInt32
  var home: [UInt8]
  var shell: [UInt8]

  /// nil for comments, for the `+` and `-` of NIS, and for what is no entry.
  init?(line: ArraySlice<UInt8>) {
    // A shell that is left out is empty, and so is a home.
    guard let fields = Self.fields(line, atLeast: 4), let uid = Self.number(fields[2]), let gid = Self.number(fields[3])
    else { return nil }
    name = Array(fields[0])
    self.uid = uid
    self.gid = gid
    home = fields.count > 5 ? Array(fields[5]) : []
    shell = fields.count > 6 ? Array(fields[6]) : []
  }

  /// The fields of a line of passwd(5) or group(5).
  static func fields(_ line: ArraySlice<UInt8>, atLeast count: Int) -> [ArraySlice<UInt8>]? {
    let line = line.drop { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
    let fields = line.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
    // With a zero byte a name would be another one for whoever reads it as a C string.
    guard fields.count >= count, let first = fields[0].first, !"#+-".utf8.contains(first), !line.contains(0) else {
      return nil
    }
    return fields
  }

  /// An id; (uid_t)-1 means "no change" to the kernel and is nobody's.
  static func number(_ digits: some Collection<UInt8>) -> UInt32? {
    guard !digits.isEmpty else { return nil }
    var value: UInt64 = 0
    for digit in digits {
      guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
      value = value * 10 + UInt64(digit - UInt8(ascii: "0"))
      guard value < UInt64(UInt32.max) else { return nil }
    }
    return UInt32(value)
  }
}

/// Users and groups, from the files that passwd(5) and group(5) describe.
///
/// The C library would ask shared libraries (nsswitch.conf(5)), and the one-file binary can load none. Where the machine
/// is set up to have users from elsewhere, getent(1) is asked, which can. Parsing is total: a line that is no entry is
/// passed over.
struct UserDatabase {
  var passwd: [UInt8]
  var group: [UInt8]
  /// nsswitch.conf(5).
  var sources: [UInt8]
  /// What getent(1) prints about a key of a database; nothing when it knows none, or is not there.
  var getent: (_ database: String, _ key: [UInt8]) -> [UInt8]

  /// This machine's. A file that cannot be read is as good as empty.
  static var system: UserDatabase {
    UserDatabase(
      passwd: contents("/etc/passwd"), group: contents("/etc/group"), sources: contents("/etc/nsswitch.conf"),
      getent: Getent.ask)
  }

  func account(named name: [UInt8]) -> Account? {
    if let account = lines(of: passwd, { $0.name == name }) { return account }
    // getent would take `+0` and 4294967296 for the number of a user, root.
    let digits = name.drop { Self.isBlank($0) || "+-".utf8.contains($0) }
    if digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) { return nil }
    return elsewhere(name) { _ in true }
  }

  func account(numbered uid: UInt32) -> Account? {
    lines(of: passwd) { $0.uid == uid } ?? elsewhere(Array(String(uid).utf8)) { $0.uid == uid }
  }

  /// `gid` and the groups that have the user as a member, as getgrouplist(3) has them.
  func groups(of name: [UInt8], with gid: UInt32) -> [UInt32] {
    var groups = [gid]
    var known = Set(groups)
    for line in group.split(separator: UInt8(ascii: "\n")) {
      guard let fields = Account.fields(line, atLeast: 4), let number = Account.number(fields[2]),
        fields[3].split(separator: UInt8(ascii: ",")).contains(where: { $0.elementsEqual(name) })
      else { continue }
      if known.insert(number).inserted { groups.append(number) }
    }
    if hasOthers("initgroups", "group") {
      // The name, then numbers.
      for word in getent("initgroups", name).split(whereSeparator: { Self.isBlank($0) }).dropFirst() {
        if let number = Account.number(word), known.insert(number).inserted { groups.append(number) }
      }
    }
    return Array(groups.prefix(Self.groupLimit))
  }

  /// NGROUPS_MAX: the kernel takes no more.
  private static let groupLimit = 65536

  private func lines(of file: [UInt8], _ isWanted: (Account) -> Bool) -> Account? {
    for line in file.split(separator: UInt8(ascii: "\n")) {
      if let account = Account(line: line), isWanted(account) { return account }
    }
    return nil
  }

  private func elsewhere(_ key: [UInt8], _ isWanted: (Account) -> Bool) -> Account? {
    hasOthers("passwd") ? lines(of: getent("passwd", key), isWanted) : nil
  }

  /// Whether the first of these databases that nsswitch.conf(5) speaks of has entries that are in no file.
  func hasOthers(_ databases: String...) -> Bool {
    for database in databases {
      for line in sources.split(separator: UInt8(ascii: "\n")) {
        let text = line.prefix { $0 != UInt8(ascii: "#") }.drop { Self.isBlank($0) }
        guard text.starts(with: database.utf8), let colon = text.firstIndex(of: UInt8(ascii: ":")),
          text[..<colon].dropFirst(database.utf8.count).allSatisfy({ Self.isBlank($0) })
        else { continue }
        // `[NOTFOUND=return]` and the like only matter between sources.
        let words = text[text.index(after: colon)...].split(whereSeparator: { Self.isBlank($0) })
        return words.contains { !$0.elementsEqual("files".utf8) && $0.first != UInt8(ascii: "[") }
      }
    }
    return false
  }

  private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }

  private static func contents(_ path: String) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    return FileContents.read(descriptor, atMost: Getent.limit).bytes
  }
}

/// getent(1), the machine's own way to look things up.
enum Getent {
  /// Bytes; more of an answer, or of a file, is no users' database.
  static let limit = 64 << 20
  /// Not from PATH: martlet is root, and who called it may not be.
  private static let path = "/usr/bin/getent"

  static func ask(_ database: String, _ key: [UInt8]) -> [UInt8] {
    guard let first = key.first, first != UInt8(ascii: "-") else { return [] }
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { return [] }
    defer { close(ends[0]) }
    // There is no other thread yet that could fork in between.
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    let child = spawn([Array(path.utf8), Array(database.utf8), key], output: ends[1])
    close(ends[1])
    guard let child else { return [] }
    let answer = FileContents.read(ends[0], atMost: limit).bytes
    while waitpid(child, nil, 0) < 0 && errno == EINTR {}
    return answer
  }

  private static func spawn(_ words: [[UInt8]], output: Int32) -> pid_t? {
    var actions = posix_spawn_file_actions_t()
    guard posix_spawn_file_actions_init(&actions) == 0 else { return nil }
    defer { posix_spawn_file_actions_destroy(&actions) }
    var attributes = posix_spawnattr_t()
    guard posix_spawnattr_init(&attributes) == 0 else { return nil }
    defer { posix_spawnattr_destroy(&attributes) }
    // martlet's own signals are blocked; an interrupt has to end this.
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
    let arguments = CStrings(words)
    let environment = CStrings([Array("PATH=/usr/sbin:/usr/bin:/sbin:/bin".utf8)])
    var child: pid_t = 0
    let code = posix_spawn(&child, path, &actions, &attributes, arguments.pointer, environment.pointer)
    withExtendedLifetime((arguments, environment)) {}
    return code == 0 ? child : nil
  }
}
