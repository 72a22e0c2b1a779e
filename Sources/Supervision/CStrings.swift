import CSystem
import Glibc

/// A NULL-terminated array of C strings, as exec(2) takes it; the strings are bytes, not text.
final class CStrings {
  let pointer: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
  let count: Int

  init(_ strings: [[UInt8]]) {
    count = strings.count
    pointer = .allocate(capacity: count + 1)
    for (index, bytes) in strings.enumerated() {
      let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count + 1)
      for (offset, byte) in bytes.enumerated() { copy[offset] = CChar(bitPattern: byte) }
      copy[bytes.count] = 0
      (pointer + index).initialize(to: copy)
    }
    (pointer + count).initialize(to: nil)
  }

  deinit {
    for index in 0..<count { pointer[index]?.deallocate() }
    pointer.deallocate()
  }

  /// Copies a NULL-terminated array, without the terminators.
  static func read(_ array: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?) -> [[UInt8]] {
    guard var next = array else { return [] }
    var strings: [[UInt8]] = []
    while let string = next.pointee {
      strings.append(bytes(of: string))
      next += 1
    }
    return strings
  }

  static func bytes(of string: UnsafePointer<CChar>) -> [UInt8] {
    [UInt8](UnsafeRawBufferPointer(start: string, count: strlen(string)))
  }
}

/// This process' arguments as the bytes that they are: Swift's own view repairs what is not UTF-8.
public enum ProcessArguments {
  public static var bytes: [[UInt8]] { CStrings.read(CommandLine.unsafeArgv) }
}

/// Environment variables as the bytes that they are: a name or value need not be UTF-8.
public struct Environment {
  /// `NAME=value`, in the order in which the process got them.
  public private(set) var entries: [[UInt8]]

  public init(entries: [[UInt8]]) { self.entries = entries }

  /// This process'.
  public static var current: Environment { Environment(entries: CStrings.read(mt_environment())) }

  /// The first entry's value, as getenv(3) finds it.
  public subscript(bytes name: String) -> [UInt8]? {
    let prefix = Array(name.utf8) + [UInt8(ascii: "=")]
    return entries.first { $0.starts(with: prefix) }.map { Array($0.dropFirst(prefix.count)) }
  }

  /// The same as text; nil if it is not valid UTF-8.
  public subscript(name: String) -> String? {
    self[bytes: name].flatMap { String(validating: $0, as: UTF8.self) }
  }

  public mutating func set(_ name: String, _ value: [UInt8]) {
    let prefix = Array(name.utf8) + [UInt8(ascii: "=")]
    entries.removeAll { $0.starts(with: prefix) }
    entries.append(prefix + value)
  }

  /// Removes all variables whose names begin so.
  public mutating func remove(prefix: String) {
    entries.removeAll { $0.starts(with: prefix.utf8) }
  }
}

/// Arrays of C strings for as long as a call lasts, as exec(2) takes them.
public enum CStringArrays {
  public typealias Pointer = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>

  public static func with<Result>(
    _ first: [[UInt8]], _ second: [[UInt8]], _ body: (Pointer, Pointer) -> Result
  ) -> Result {
    let (first, second) = (CStrings(first), CStrings(second))
    return withExtendedLifetime((first, second)) { body(first.pointer, second.pointer) }
  }
}
