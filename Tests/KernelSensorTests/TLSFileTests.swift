import Glibc
import Observation
import Testing

@testable import KernelSensor

@Suite struct TLSFileTests {
  private static func look<Result>(_ path: String, _ body: (ELFFile) throws -> Result) rethrows -> Result? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    return try ELFFile(descriptor: descriptor).map(body)
  }

  /// A library that is loaded here: what is found in its file is what lies where the linker says.
  @Test(arguments: [
    ("libssl.so.3", ["SSL_write", "SSL_write_ex", "SSL_free"], RequestLibrary.openSSL, 5),
    ("libcrypto.so.3", ["BIO_write"], .openSSL, 1), ("libgnutls.so.30", ["gnutls_record_send"], .gnuTLS, 5),
  ])
  func functionsAreFound(name: String, functions: [String], library: RequestLibrary, probes: Int) throws {
    guard let handle = dlopen(name, RTLD_NOW) else { return }
    defer { dlclose(handle) }
    for function in functions {
      let place = try #require(Self.place(of: UInt(bitPattern: dlsym(handle, function))))
      let path = place.path
      let found = Self.look(path) { $0.functions([function], in: ".dynsym")[function] }
      #expect(found == .some(place.offset))
      let tls = try #require(Self.look(path) { TLSFile($0, name: name) })
      #expect(tls.library == library && tls.probes.count == probes && tls.unreadable == nil)
    }
  }

  /// Which file lies at an address, and what of it.
  private static func place(of address: UInt) -> (path: String, offset: UInt64)? {
    for line in (readText("/proc/self/maps") ?? "").split(separator: "\n") {
      let fields = line.split(separator: " ", omittingEmptySubsequences: true)
      let ends = fields.first?.split(separator: "-").compactMap { UInt($0, radix: 16) } ?? []
      guard ends.count == 2, fields.count == 6, (ends[0]..<ends[1]).contains(address),
        let offset = UInt64(fields[2], radix: 16)
      else { continue }
      return (String(fields[5]), UInt64(address - ends[0]) + offset)
    }
    return nil
  }

  @Test func whatHasNoTLS() throws {
    let file = try #require(Self.look("/bin/true") { TLSFile($0, name: "true") })
    #expect(file.library == nil && file.probes.isEmpty && file.unreadable == nil)
    #expect(Self.look("/etc/passwd") { _ in true } == nil)
    #expect(Self.look("/dev/null") { _ in true } == nil)
  }

  /// A stranger's file: whatever is in it, it is looked at and that is all.
  @Test func damagedFiles() throws {
    let whole = try #require(
      try Self.look("/bin/true") { file in file.read(0, UInt64(try Self.size(of: "/bin/true")), limit: 1 << 20) } ?? nil
    )
    var template = Array("/tmp/martlet-elf-XXXXXX".utf8CString)
    let scratch = mkstemp(&template)
    #expect(scratch >= 0)
    defer { close(scratch) }
    unlink(&template)
    func look(_ bytes: [UInt8]) {
      ftruncate(scratch, 0)
      #expect(pwrite(scratch, bytes, bytes.count, 0) == bytes.count)
      guard let file = ELFFile(descriptor: scratch) else { return }
      _ = TLSFile(file, name: "libcrypto.so")
      _ = file.functions(["SSL_write", "main"], in: ".symtab")
      _ = GoFunctions(file)?.offset(of: "main.main")
    }
    for length in stride(from: 0, to: whole.count, by: 997) { look(Array(whole[..<length])) }
    // Headers first, which say where everything is: those of the file, of segments, and of sections.
    let tables = Int(ELFFile.number(whole, 40, UInt64.self))
    for _ in 0..<300 {
      var bytes = whole
      for _ in 0..<Int.random(in: 1...8) {
        let place = Bool.random() ? Int.random(in: 16..<800) : tables + Int.random(in: 0..<1000)
        if bytes.indices.contains(place) {
          bytes[place] = [0, 1, 8, 0x7f, 0xff, UInt8.random(in: 0...255)].randomElement() ?? 0
        }
      }
      look(bytes)
    }
  }

  private static func size(of path: String) throws -> Int {
    var status = stat()
    try #require(stat(path, &status) == 0)
    return Int(status.st_size)
  }
}
