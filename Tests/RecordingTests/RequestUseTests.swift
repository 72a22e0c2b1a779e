import Testing

@testable import Recording

@Suite("What jobs do TLS with")
struct RequestUseTests {
  @Test(
    "libraries, by how their names begin",
    arguments: [
      ("libssl.so.3", true), ("libssl.so", true), ("libssl3.so", true), ("libssl-0123.so.1.1", true),
      ("libcrypto.so.3", true), ("libgnutls.so.30.34.3", true), ("libjvm.so", true), ("libboringssl_shared.so", true),
      ("", false), ("lib", false), ("libs", false), ("libss.so", false), ("libssl", false), ("libssl.s", false),
      ("libssl.a", false), ("libc.so.6", false), ("xlibssl.so", false), ("libcrypt.so.1", false), ("lib.so", false),
      ("libgnutl.so.30", false), (".so.libssl", false),
    ])
  func names(_ name: String, is expected: Bool) {
    #expect(Array(name.utf8).withUnsafeBytes(RequestUse.isLibrary) == expected)
  }

  @Test("what a process has mapped of them, each once, and only what it can execute")
  func mapped() {
    let maps = """
      55d0c0a00000-55d0c0a01000 r-xp 00001000 08:01 100                        /usr/bin/curl
      7f0000000000-7f0000001000 r--p 00000000 08:01 200                        /usr/lib/libssl.so.3
      7f0000001000-7f0000002000 r-xp 00001000 08:01 200                        /usr/lib/libssl.so.3
      7f0000002000-7f0000003000 r-xp 00002000 08:01 200                        /usr/lib/libssl.so.3
      7f0000003000-7f0000004000 r-xp 00000000 00:30 201                        /with  two blanks/libgnutls.so.30 (deleted)
      7f0000004000-7f0000005000 rwxp 00000000 00:00 0
      7f0000005000-7f0000006000 r-xp 00000000 00:00 0                          [vdso]
      7f0000006000-7f0000007000 r-xp 00000000 08:01 202                        /usr/lib/libc.so.6
      """
    let found = MappedLibrary.all(in: Array(maps.utf8))
    #expect(found.map(\.range) == ["7f0000001000-7f0000002000", "7f0000003000-7f0000004000"])
    #expect(
      found.map { String(decoding: $0.path, as: UTF8.self) }
        == ["/usr/lib/libssl.so.3", "/with  two blanks/libgnutls.so.30"])
    for text in ["", "\n", "a b c d e f", "1-2 r-xp 0 0 0 libssl.so", "1-2 r-xp 0 0 0 /", "x x x x x / (deleted)"] {
      #expect(MappedLibrary.all(in: Array(text.utf8)) == [])
    }
  }
}
