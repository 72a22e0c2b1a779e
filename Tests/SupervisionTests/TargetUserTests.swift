import Glibc
import Testing

@testable import Supervision

@Suite struct TargetUserTests {
  @Test(arguments: ["", ":1", "0:", "0:x", "0:-1", "4294967295", "0:4294967295", "99999999999:1"])
  func refusesWhatIsNoUser(text: String) {
    #expect(throws: TargetUserError.self) { try TargetUser.parse(text) }
  }

  @Test func takesNumbersWithoutAnAccount() throws {
    let user = try TargetUser.parse("54321:54322")
    #expect(user.uid == 54321 && user.gid == 54322 && user.groups == [54322])
    #expect(throws: TargetUserError.groupNeeded(54321)) { try TargetUser.parse("54321") }
  }

  @Test func looksUpRoot() throws {
    let user = try TargetUser.parse("root")
    #expect(user.uid == 0 && user.name == Array("root".utf8) && user.groups.contains(0))
    #expect(try TargetUser.parse("0") == user)
  }
}

@Suite struct UserDatabaseTests {
  private let passwd = """
    # a comment
    root:x:0:0:root:/root:/bin/bash

    +@netgroup::::::
    -nobody::::::
      ci:x:1000:1001:CI,,,:/home/ci:/bin/sh
    short:x:1002:1003
    negative:x:-5:1::/:/bin/sh
    letters:x:12a:1::/:/bin/sh
    nochange:x:4294967295:1::/:/bin/sh
    huge:x:99999999999999999999999999:1::/:/bin/sh
    empty:x::1::/:/bin/sh
    toofew:x:7
    last:x:4294967294:4294967294::/:
    """
  private let group = """
    ci:x:1001:
    docker:x:990:root,ci
    #wheel:x:991:ci
    +:::ci
    cicd:x:992:cic,icd,aci
    again:x:990:ci
    bad:x:9x:ci
    tail:x:993:ci
    """

  private func database(
    sources: String = "", getent: @escaping (String, [UInt8]) -> [UInt8] = { _, _ in [] }
  ) -> UserDatabase {
    UserDatabase(
      passwd: Array(passwd.utf8), group: Array(group.utf8), sources: Array(sources.utf8), getent: getent)
  }

  @Test func findsAccounts() throws {
    let ci = try #require(database().account(named: Array("ci".utf8)))
    #expect(ci.uid == 1000 && ci.gid == 1001)
    #expect(ci.home == Array("/home/ci".utf8) && ci.shell == Array("/bin/sh".utf8))
    #expect(database().account(numbered: 1000) == ci)
    let short = try #require(database().account(named: Array("short".utf8)))
    #expect(short.home.isEmpty && short.shell.isEmpty)
    #expect(try TargetUser.parse("short", in: database()).shell == Array("/bin/sh".utf8))
    #expect(database().account(numbered: 4_294_967_294)?.name == Array("last".utf8))
  }

  @Test(arguments: [
    "", "nobody", "+", "negative", "letters", "nochange", "huge", "empty", "toofew", "# a comment", "CI",
  ])
  func passesOverWhatIsNoEntry(name: String) {
    #expect(database().account(named: Array(name.utf8)) == nil)
    let error = #expect(throws: TargetUserError.self) { try TargetUser.parse("x" + name, in: database()) }
    #expect(error == .unknown("x" + name))
  }

  @Test func aNameThatHoldsAZeroIsNobodys() {
    var database = database()
    database.passwd = Array("root\0:x:0:0::/root:/bin/sh\nci:x:1:1::/a\0b:/bin/sh".utf8)
    #expect(database.account(numbered: 0) == nil && database.account(numbered: 1) == nil)
  }

  @Test func findsGroups() throws {
    #expect(database().groups(of: Array("ci".utf8), with: 1001) == [1001, 990, 993])
    #expect(database().groups(of: Array("ci".utf8), with: 993) == [993, 990])
    #expect(database().groups(of: [], with: 5) == [5])
    #expect(try TargetUser.parse("ci:7", in: database()).groups == [7, 990, 993])
    #expect(try TargetUser.parse("1000", in: database()) == TargetUser.parse("ci", in: database()))
  }

  @Test func anyBytesAreAnAnswer() {
    let alphabet = Array(":\n,0189x#+- \0\u{ff}".utf8)
    var state: UInt64 = 1
    func next(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    for _ in 0..<500 {
      let bytes = (0..<next(400)).map { _ in alphabet[next(alphabet.count)] }
      let database = UserDatabase(passwd: bytes, group: bytes, sources: bytes) { _, _ in bytes }
      _ = database.account(named: [UInt8(ascii: "x")])
      _ = database.account(numbered: 1)
      #expect(database.groups(of: [UInt8(ascii: "x")], with: 3).first == 3)
    }
  }

  @Test func asksForUsersFromElsewhere() throws {
    func answer(_ database: String, _ key: [UInt8]) -> [UInt8] {
      switch (database, String(decoding: key, as: UTF8.self)) {
      case ("passwd", "anna"), ("passwd", "70000"): Array("anna:*:70000:70001:Anna:/home/anna:/bin/zsh\n".utf8)
      case ("initgroups", "anna"): Array("anna                 70001 990 70002\n".utf8)
      case ("initgroups", "ci"): Array("ci 990 70002\n".utf8)
      default: []
      }
    }
    let everywhere = database(sources: "passwd: files sss\ngroup:\tfiles [NOTFOUND=continue] sss # x\n", getent: answer)
    let anna = try TargetUser.parse("anna", in: everywhere)
    #expect(anna.uid == 70000 && anna.gid == 70001 && anna.home == Array("/home/anna".utf8))
    #expect(anna.groups == [70001, 990, 70002])
    #expect(try TargetUser.parse("70000", in: everywhere) == anna)
    #expect(try TargetUser.parse("ci", in: everywhere).groups == [1001, 990, 993, 70002])
    #expect(throws: TargetUserError.unknown("bert")) { try TargetUser.parse("bert", in: everywhere) }
    #expect(throws: TargetUserError.groupNeeded(7)) { try TargetUser.parse("7", in: everywhere) }

    // Where all are in files nobody is asked.
    let files = database(sources: "passwd: files\ngroup: files\n#initgroups: sss\n") { _, _ in
      Issue.record("asked")
      return []
    }
    #expect(throws: TargetUserError.unknown("anna")) { try TargetUser.parse("anna", in: files) }
    #expect(try TargetUser.parse("ci", in: files).groups == [1001, 990, 993])
  }

  @Test(arguments: ["+0", "-1", " 0", "\t+0", "4294967296", "4294967295", "+", ""])
  func aNumberIsNoName(name: String) {
    let database = database(sources: "passwd: files sss") { _, _ in Array("root:x:0:0:root:/root:/bin/sh".utf8) }
    #expect(database.account(named: Array(name.utf8)) == nil)
  }

  @Test(arguments: [
    ("passwd: files", false), ("passwd:files sss", true), ("  passwd : files [!UNAVAIL=return] ldap", true),
    ("passwd: files # sss", false), ("passwords: sss", false), ("#passwd: sss", false), ("passwd", false), ("", false),
    ("passwd: files\npasswd: sss", false), ("passwd: compat", true),
  ])
  func knowsWhereUsersComeFrom(sources: String, others: Bool) {
    #expect(database(sources: sources).hasOthers("passwd") == others)
  }

  @Test func getentAnswersAsTheFilesDo() throws {
    guard access("/usr/bin/getent", X_OK) == 0 else { return }
    let line = Getent.ask("passwd", Array("root".utf8))
    let account = try #require(Account(line: line.prefix { $0 != UInt8(ascii: "\n") }))
    #expect(UserDatabase.system.account(named: Array("root".utf8)) == account)
    #expect(Getent.ask("passwd", Array("no such user".utf8)).isEmpty)
    #expect(Getent.ask("passwd", Array("--help".utf8)).isEmpty && Getent.ask("passwd", []).isEmpty)
  }
}
