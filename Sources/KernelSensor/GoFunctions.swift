import Glibc

/// Functions of a program in Go, by the table that every such program has for its stack traces, stripped or not.
///
/// Its form is the linker's own business, and has been the same since Go 1.18 (runtime/symtab.go, `pcHeader`). Total.
struct GoFunctions {
  /// Go 1.18 and 1.20.
  private static let magics: Set<UInt32> = [0xffff_fff0, 0xffff_fff1]
  private static let names = [".gopclntab", ".data.rel.ro.gopclntab"]

  /// Whether a program is one in Go.
  static func isGo(_ file: ELFFile) -> Bool {
    file.section(".go.buildinfo") != nil || names.contains { file.section($0) != nil }
  }

  /// Whether it is of a version, 1.18 or later, that has its own version in the program as it is
  /// (debug/buildinfo, `buildinfo.go`): in those arguments are in registers.
  static func passesInRegisters(_ file: ELFFile) -> Bool {
    guard let section = file.section(".go.buildinfo"), let head = file.read(section.offset, 32) else { return false }
    return head.starts(with: [0xff] + Array(" Go buildinf:".utf8)) && head[15] & 2 != 0
  }

  private let table: [UInt8]
  private let file: ELFFile

  /// - Returns: nil if there is no table that is understood
  init?(_ file: ELFFile) {
    guard let section = Self.names.lazy.compactMap({ file.section($0) }).first, let table = file.contents(section),
      Self.magics.contains(ELFFile.number(table, 0, UInt32.self)), ELFFile.number(table, 7, UInt8.self) == 8
    else { return nil }
    self.table = table
    self.file = file
  }

  /// Where in the file a function begins.
  func offset(of name: String) -> UInt64? {
    let count = word(1)
    let names = word(4)
    let functions = word(8)
    guard count < 1 << 24, names < table.count, functions < table.count else { return nil }
    // Since 1.26 the linker leaves the text's address out.
    let text = word(3) != 0 ? UInt64(word(3)) : file.section(".text")?.address ?? 0
    guard let name = ELFFile.places(of: name, in: Array(table[names...])).first else { return nil }
    for index in 0..<count {
      let row = functions + index * 8
      let entry = ELFFile.number(table, row, UInt32.self)
      let at = functions + Int(ELFFile.number(table, row + 4, UInt32.self))
      guard Int(ELFFile.number(table, at + 4, UInt32.self)) == name, ELFFile.number(table, at, UInt32.self) == entry
      else { continue }
      let (address, overflow) = text.addingReportingOverflow(UInt64(entry))
      return overflow ? nil : file.offset(ofAddress: address)
    }
    return nil
  }

  /// A word of the header, behind its first eight bytes; 0 if it is none that could be.
  private func word(_ index: Int) -> Int {
    Int(exactly: ELFFile.number(table, index * 8, UInt64.self)) ?? 0
  }
}
