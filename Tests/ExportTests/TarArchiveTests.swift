import Export
import Testing

@Suite("tar archives")
struct TarArchiveTests {
  /// What POSIX says about a header, looked up by offset.
  private func text(_ bytes: [UInt8], _ offset: Int, _ count: Int) -> String {
    String(decoding: bytes[offset..<(offset + count)].prefix { $0 != 0 }, as: UTF8.self)
  }

  @Test(
    "each file is a header, its bytes filled up to a block, and the end is two empty blocks",
    arguments: [0, 1, 511, 512, 513])
  func layout(size: Int) {
    var archive = TarArchive(time: 1_700_000_000)
    let content = [UInt8](repeating: 7, count: size)
    let isAdded = archive.add("directory/name", content)
    #expect(isAdded)
    let bytes = archive.bytes
    #expect(bytes.count == 512 + (size + 511) / 512 * 512 + 1024)
    #expect(text(bytes, 0, 100) == "directory/name")
    #expect(text(bytes, 100, 8) == "0000644")
    #expect(Int(text(bytes, 124, 12), radix: 8) == size)
    #expect(UInt64(text(bytes, 136, 12), radix: 8) == 1_700_000_000)
    #expect(bytes[156] == UInt8(ascii: "0"))
    #expect(text(bytes, 257, 6) == "ustar" && bytes[263] == 48 && bytes[264] == 48)
    // The checksum is the sum of all bytes of the header, its own taken as blanks.
    let sum = bytes[..<512].enumerated().reduce(0) { $0 + ((148..<156).contains($1.0) ? 32 : Int($1.1)) }
    #expect(Int(text(bytes, 148, 6), radix: 8) == sum)
    #expect(Array(bytes[512..<(512 + size)]) == content)
    #expect(bytes[(512 + size)...].allSatisfy { $0 == 0 })
  }

  @Test("what the format has no place for is refused and leaves no trace")
  func refused() {
    var archive = TarArchive(time: 0)
    let refused = ["", String(repeating: "x", count: 101), "a\0b"].map { archive.add($0, [1]) }
    #expect(refused == [false, false, false])
    #expect(archive.bytes == [UInt8](repeating: 0, count: 1024))
    let longest = archive.add(String(repeating: "x", count: 100), [1])
    #expect(longest)
    var late = TarArchive(time: 1 << 33)
    let isLate = late.add("name", [])
    #expect(!isLate, "eleven digits end in the year 2242")
  }
}
