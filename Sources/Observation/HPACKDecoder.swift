/// Of HTTP/2's compressed headers the few that say what is asked for. RFC 7541.
///
/// Of all others only the lengths are kept, which the table of the connection needs to know: no cookie and no password
/// is ever in it. Total: any bytes give fields or an error, and the table has a limit.
struct HPACKDecoder: Sendable {
  enum Field: UInt8, Sendable {
    case other, method, authority, path, host
  }

  private struct Entry: Sendable {
    var field: Field
    var value: [UInt8]
    var nameLength: Int
    /// As the table counts it.
    var size: Int
  }

  struct Fields: Equatable, Sendable {
    var method: [UInt8] = []
    var authority: [UInt8] = []
    var path: [UInt8] = []
    var host: [UInt8] = []

    fileprivate mutating func set(_ field: Field, _ value: [UInt8]) {
      switch field {
      case .other: break
      case .method: method = value
      case .authority: authority = value
      case .path: path = value
      case .host: host = value
      }
    }
  }

  /// The most that a server may allow for the table, as far as we go: beyond it the connection cannot be followed.
  static let tableLimit = 65_536
  /// Bytes of a value that are kept; its length is known whatever it is.
  static let valueLimit = 4096

  /// The latest last.
  private var entries: [Entry] = []
  private(set) var size = 0
  private var limit = 4096

  init() {}

  /// Memory that it takes, about.
  var bytes: Int { entries.reduce(0) { $0 + 64 + $1.value.count } }

  /// Reads a whole block.
  ///
  /// - Returns: nil if it is none: the table is not to be used any more then
  mutating func decode(_ block: UnsafeRawBufferPointer) -> Fields? {
    var reader = Reader(bytes: block)
    var fields = Fields()
    while let first = reader.peek {
      if first & 0x80 != 0 {
        guard let index = reader.integer(bits: 7), let entry = entry(index) else { return nil }
        fields.set(entry.field, entry.value)
      } else if first & 0xe0 == 0x20 {
        guard let new = reader.integer(bits: 5), new <= Self.tableLimit else { return nil }
        limit = new
        evict(toFit: 0)
      } else {
        let isIndexed = first & 0xc0 == 0x40
        guard let index = reader.integer(bits: isIndexed ? 6 : 4), let name = name(index, &reader),
          let value = reader.string(keeping: name.field == .other ? 0 : Self.valueLimit)
        else { return nil }
        fields.set(name.field, value.kept)
        if isIndexed {
          add(
            Entry(
              field: name.field, value: value.kept, nameLength: name.length, size: name.length + value.length + 32))
        }
      }
    }
    return fields
  }

  private func name(_ index: Int, _ reader: inout Reader) -> (field: Field, length: Int)? {
    if index > 0 { return entry(index).map { ($0.field, $0.nameLength) } }
    guard let name = reader.string(keeping: 16) else { return nil }
    guard name.length == name.kept.count else { return (.other, name.length) }
    let field: Field =
      switch String(decoding: name.kept, as: UTF8.self) {
      case ":method": .method
      case ":authority": .authority
      case ":path": .path
      case "host": .host
      default: .other
      }
    return (field, name.length)
  }

  private mutating func add(_ entry: Entry) {
    evict(toFit: entry.size)
    // One that is larger than the table empties it: RFC 7541, 4.4.
    guard entry.size <= limit else { return }
    entries.append(entry)
    size += entry.size
  }

  private mutating func evict(toFit new: Int) {
    var count = 0
    while count < entries.count, size + new > limit {
      size -= entries[count].size
      count += 1
    }
    entries.removeFirst(count)
  }

  private func entry(_ index: Int) -> Entry? {
    guard index > 0 else { return nil }
    if index <= Self.staticNames.count {
      let (field, value): (Field, StaticString) =
        switch index {
        case 1: (.authority, "")
        case 2: (.method, "GET")
        case 3: (.method, "POST")
        case 4: (.path, "/")
        case 5: (.path, "/index.html")
        case 38: (.host, "")
        default: (.other, "")
        }
      return Entry(
        field: field, value: value.withUTF8Buffer { Array($0) }, nameLength: Int(Self.staticNames[index - 1]), size: 0)
    }
    let back = index - Self.staticNames.count
    return back <= entries.count ? entries[entries.count - back] : nil
  }

  /// Lengths of the names of the static table: appendix A.
  private static let staticNames: [UInt8] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14, 16, 13, 12, 6, 4, 4,
    6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10, 4, 3, 16,
  ]
}

extension HPACKDecoder {
  /// Integers and strings: RFC 7541, 5.
  private struct Reader {
    let bytes: UnsafeRawBufferPointer
    private var place = 0

    init(bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var peek: UInt8? { place < bytes.count ? bytes[place] : nil }

    mutating func integer(bits: UInt8) -> Int? {
      guard let first = peek else { return nil }
      place += 1
      let mask = UInt8((1 << UInt16(bits)) - 1)
      var value = Int(first & mask)
      if value < Int(mask) { return value }
      for shift in stride(from: 0, through: 21, by: 7) {
        guard let byte = peek else { return nil }
        place += 1
        value += Int(byte & 0x7f) << shift
        if byte & 0x80 == 0 { return value }
      }
      // Nothing that fits a frame is as large.
      return nil
    }

    mutating func string(keeping limit: Int) -> (kept: [UInt8], length: Int)? {
      guard let first = peek, let count = integer(bits: 7), count <= bytes.count - place else { return nil }
      let coded = UnsafeRawBufferPointer(rebasing: bytes[place..<place + count])
      place += count
      guard first & 0x80 != 0 else { return (Array(coded.prefix(limit)), count) }
      var kept: [UInt8] = []
      var length = 0
      let isWhole = HPACKHuffman.decode(coded) { byte in
        if length < limit { kept.append(byte) }
        length += 1
      }
      return isWhole ? (kept, length) : nil
    }
  }
}
