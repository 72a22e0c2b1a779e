/// A tar archive (POSIX.1-1988, "ustar") of plain files.
///
/// Whoever made it is left out: all files belong to root, and the time is the caller's.
public struct TarArchive: Sendable {
  private static let block = 512
  private var content: [UInt8] = []
  private let time: UInt64

  /// - Parameter time: of all files, in seconds since 1970
  public init(time: UInt64) { self.time = time }

  /// The archive with its end: two empty blocks.
  public var bytes: [UInt8] { content + [UInt8](repeating: 0, count: 2 * Self.block) }

  /// Adds a file with mode 0644.
  ///
  /// - Parameter name: a relative path of at most 100 bytes
  /// - Returns: false, and nothing is added, where the format has no place for the name or the size
  public mutating func add(_ name: String, _ file: [UInt8]) -> Bool {
    let name = Array(name.utf8)
    guard (1...100).contains(name.count), !name.contains(0), let size = Self.octal(UInt64(file.count), width: 12),
      let time = Self.octal(time, width: 12), let mode = Self.octal(0o644, width: 8),
      let nobody = Self.octal(0, width: 8)
    else { return false }
    func padded(_ field: [UInt8], _ width: Int) -> [UInt8] {
      field + [UInt8](repeating: 0, count: width - field.count)
    }
    // Name, mode, owner, group, size and time; the checksum, which counts as blanks in itself; a regular file that is
    // no link; magic and version; the owner's names; device numbers and the prefix, for which there is no use.
    let before = padded(name, 100) + mode + nobody + nobody + size + time
    let behind =
      [UInt8(ascii: "0")] + padded([], 100) + Array("ustar\0".utf8) + Array("00".utf8)
      + padded(Array("root".utf8), 32) + padded(Array("root".utf8), 32) + nobody + nobody + padded([], 155 + 12)
    let sum = (before + behind).reduce(8 * UInt64(UInt8(ascii: " "))) { $0 + UInt64($1) }
    // Six digits, a zero byte and a blank. 512 bytes come to 130,560 at most, which are six.
    guard var checksum = Self.octal(sum, width: 7) else { return false }
    checksum.append(UInt8(ascii: " "))
    content += before + checksum + behind + file
    content += [UInt8](repeating: 0, count: (Self.block - file.count % Self.block) % Self.block)
    return true
  }

  /// Digits with zeros in front and a zero byte behind; nil if the number has more.
  private static func octal(_ number: UInt64, width: Int) -> [UInt8]? {
    let digits = Array(String(number, radix: 8).utf8)
    guard digits.count < width else { return nil }
    return [UInt8](repeating: UInt8(ascii: "0"), count: width - 1 - digits.count) + digits + [0]
  }
}
