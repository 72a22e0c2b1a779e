internal import Jobs
internal import Observation

extension JSONOutput {
  /// A name, with the raw bytes beside it where they are not UTF-8, and a mark where it was cut.
  mutating func name(
    _ key: StaticString, base64 base64Key: StaticString, truncated truncatedKey: StaticString, _ name: Name
  ) {
    member(key, name.text)
    if !name.isValidUTF8 { member(base64Key, Base64.encode(name.bytes)) }
    if name.isTruncated { member(truncatedKey, true) }
  }
}

/// Base64 with padding, RFC 4648 section 4.
enum Base64 {
  static func encode(_ bytes: [UInt8]) -> String {
    var buffer = ByteBuffer(capacity: (bytes.count + 2) / 3 * 4)
    bytes.withUnsafeBytes { buffer.append(base64: $0) }
    return buffer.text
  }
}
