import CSystem
import Glibc

/// A program or shared library, as far as functions are looked up in it: ELF of 64 bits, in the byte order of the host.
///
/// The file is a stranger's, and may be changed while it is read: it is read piece by piece and never mapped, each piece
/// has a limit, and whatever it says is checked. Total.
struct ELFFile {
  struct Section {
    var name: String
    var type: UInt32
    var address: UInt64
    var offset: UInt64
    var size: UInt64
    var link: Int
    var entrySize: UInt64
  }

  private struct Segment {
    var address: UInt64
    var offset: UInt64
    var fileSize: UInt64
  }

  /// Bytes of a section that is read: names of functions of the largest programs there are.
  static let sectionLimit: UInt64 = 96 << 20
  private static let tableLimit: UInt64 = 1 << 20

  let descriptor: Int32
  private(set) var sections: [Section] = []
  private var loaded: [Segment] = []
  private(set) var hasInterpreter = false

  /// - Returns: nil if it is none
  init?(descriptor: Int32) {
    self.descriptor = descriptor
    guard let header = read(0, 64), header.starts(with: [0x7f, 0x45, 0x4c, 0x46, 2]) else { return nil }
    #if arch(arm64)
      let machine: UInt16 = 183
    #else
      let machine: UInt16 = 62
    #endif
    let type = Self.number(header, 16, UInt16.self)
    guard type == 2 || type == 3, Self.number(header, 18, UInt16.self) == machine else { return nil }
    let segments = Self.number(header, 32, UInt64.self)
    let segmentSize = UInt64(Self.number(header, 54, UInt16.self))
    let segmentCount = UInt64(Self.number(header, 56, UInt16.self))
    let tables = Self.number(header, 40, UInt64.self)
    let tableSize = UInt64(Self.number(header, 58, UInt16.self))
    let count = UInt64(Self.number(header, 60, UInt16.self))
    let names = Int(Self.number(header, 62, UInt16.self))
    guard segmentSize >= 56, let heads = read(segments, segmentSize * segmentCount, limit: Self.tableLimit) else {
      return nil
    }
    for index in 0..<Int(segmentCount) {
      let at = index * Int(segmentSize)
      let type = Self.number(heads, at, UInt32.self)
      if type == 3 { hasInterpreter = true }
      guard type == 1 else { continue }
      loaded.append(
        Segment(
          address: Self.number(heads, at + 16, UInt64.self), offset: Self.number(heads, at + 8, UInt64.self),
          fileSize: Self.number(heads, at + 32, UInt64.self)))
    }
    // Without sections nothing can be looked up, but it is a program all the same.
    guard tableSize >= 64, count > 0, let rows = read(tables, tableSize * count, limit: Self.tableLimit) else { return }
    var all = (0..<Int(count)).map { index in
      let at = index * Int(tableSize)
      return (
        Int(Self.number(rows, at, UInt32.self)),
        Section(
          name: "", type: Self.number(rows, at + 4, UInt32.self), address: Self.number(rows, at + 16, UInt64.self),
          offset: Self.number(rows, at + 24, UInt64.self), size: Self.number(rows, at + 32, UInt64.self),
          link: Int(Self.number(rows, at + 40, UInt32.self)), entrySize: Self.number(rows, at + 56, UInt64.self))
      )
    }
    if names < all.count, let texts = read(all[names].1.offset, all[names].1.size, limit: Self.tableLimit) {
      for index in all.indices { all[index].1.name = Self.text(texts, all[index].0) }
    }
    sections = all.map(\.1)
  }

  func section(_ name: String) -> Section? { sections.first { $0.name == name } }

  /// All bytes of a section; nil if it is too large, or not there.
  func contents(_ section: Section) -> [UInt8]? {
    // SHT_NOBITS has none.
    section.type == 8 ? nil : read(section.offset, section.size, limit: Self.sectionLimit)
  }

  /// Where in the file the byte at an address lies.
  func offset(ofAddress address: UInt64) -> UInt64? {
    for segment in loaded where address >= segment.address && address - segment.address < segment.fileSize {
      let (offset, overflow) = (address - segment.address).addingReportingOverflow(segment.offset)
      return overflow ? nil : offset
    }
    return nil
  }

  /// Where in the file the functions with these names begin, of those that the file defines.
  ///
  /// - Parameter table: `.dynsym`, what it offers others, or `.symtab`, which may have been taken out
  func functions(_ names: [String], in table: String) -> [String: UInt64] {
    guard let section = section(table), section.entrySize == 24, sections.indices.contains(section.link),
      let texts = contents(sections[section.link])
    else { return [:] }
    var wanted: [UInt32: String] = [:]
    for name in names {
      for place in Self.places(of: name, in: texts) { wanted[UInt32(place)] = name }
    }
    guard !wanted.isEmpty, let symbols = contents(section) else { return [:] }
    var found: [String: UInt64] = [:]
    symbols.withUnsafeBytes { symbols in
      for at in stride(from: 0, to: symbols.count - symbols.count % 24, by: 24) {
        guard let name = wanted[symbols.loadUnaligned(fromByteOffset: at, as: UInt32.self)],
          // STT_FUNC, defined here.
          symbols[at + 4] & 15 == 2, symbols.loadUnaligned(fromByteOffset: at + 6, as: UInt16.self) != 0,
          let offset = offset(ofAddress: symbols.loadUnaligned(fromByteOffset: at + 8, as: UInt64.self))
        else { continue }
        found[name] = offset
      }
    }
    return found
  }

  /// Where a whole name begins in a table of names: a symbol may use the end of another's.
  static func places(of name: String, in texts: [UInt8]) -> [Int] {
    let wanted = Array(name.utf8) + [0]
    var places: [Int] = []
    texts.withUnsafeBytes { texts in
      var start = 0
      while let base = texts.baseAddress, start + wanted.count <= texts.count {
        let place = start + mt_search(base + start, texts.count - start, wanted, wanted.count)
        if place >= texts.count { break }
        places.append(place)
        start = place + 1
      }
    }
    return places
  }

  func read(_ offset: UInt64, _ size: UInt64, limit: UInt64 = 4096) -> [UInt8]? {
    guard size > 0, size <= limit, offset <= UInt64(Int64.max) - size else { return nil }
    var bytes = [UInt8](repeating: 0, count: Int(size))
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeMutableBytes { buffer in
        pread(descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(offset) + off_t(done))
      }
      if count < 0, errno == EINTR { continue }
      if count <= 0 { return nil }
      done += count
    }
    return bytes
  }

  static func number<Number: FixedWidthInteger & BitwiseCopyable>(_ bytes: [UInt8], _ at: Int, _ type: Number.Type)
    -> Number
  {
    guard at >= 0, at <= bytes.count - MemoryLayout<Number>.size else { return 0 }
    return bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: at, as: type) }
  }

  private static func text(_ bytes: [UInt8], _ at: Int) -> String {
    guard at < bytes.count else { return "" }
    return String(decoding: bytes[at...].prefix(64).prefix { $0 != 0 }, as: UTF8.self)
  }
}
