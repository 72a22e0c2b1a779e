/// Keeps secrets out of everything that is written: masks them in command lines, paths and addresses.
///
/// It knows the tokens of many issuers by their shape; values that are given to a name that means a secret, as an option,
/// a variable, a header or a JSON field; passwords, queries and fragments in addresses; options of some programs
/// (`mysql -p…`, `curl -u`, `docker login -p`); and the patterns that the user adds. An argument with white space may be a
/// shell's script, so the same rules apply to the words in it. What is secret becomes `***`. A rule that can't tell where
/// a secret ends masks too much. It can't know a secret without a name or a shape, as in `echo hunter2`.
///
/// Masking what is masked changes nothing.
///
/// ```swift
/// let masker = SecretMasker()
/// let count = masker.maskArguments(argv, isCut: record.flags.contains(.truncated), into: &buffer)
/// ```
public struct SecretMasker: Sendable {
  /// How arguments are kept.
  public enum Mode: String, Sendable, CaseIterable {
    /// As they are, secrets too: the user's explicit choice.
    case full
    case masked
    /// Each argument after the first as `siphash:` and 16 hexadecimal digits: equal arguments of one run can be found,
    /// and nothing else. The key is random and never written, as passwords are short enough to be guessed from a hash
    /// without one; so hashes of different runs can't be compared.
    case hashed
  }

  /// Which end of a text is missing.
  public enum Cut: Sendable {
    case none
    /// As of a path that was too long.
    case head
    case tail
  }

  /// A pattern that has fewer than two literal bytes, or a NUL, and would match everything or nothing.
  public struct PatternError: Error, Equatable, Sendable {
    public let pattern: String
  }

  public let mode: Mode
  private let patterns: [MaskPattern]
  private let index: TokenIndex
  private let hash: SipHash
  /// False lets tests compare: the result must not differ.
  var usesPrefilter = true

  public init(mode: Mode = .masked) {
    self.mode = mode
    patterns = []
    index = .shared
    hash = SipHash()
  }

  /// A masker that masks what the patterns match too: literal text, in which `*` stands for any bytes but white space
  /// and `?` for any byte. They apply anywhere in a text.
  public init(mode: Mode = .masked, patterns: [String]) throws(PatternError) {
    var compiled: [MaskPattern] = []
    for pattern in patterns {
      guard let one = MaskPattern(pattern) else { throw PatternError(pattern: pattern) }
      compiled.append(one)
    }
    self.mode = mode
    self.patterns = compiled
    index = .shared
    hash = SipHash()
  }

  /// Appends the arguments, separated by NULs as they came, with the secrets masked or the arguments hashed.
  /// - Parameter isCut: the end of `argv` is missing. A last argument without its NUL then loses its last word, which may
  ///   be half a secret.
  /// - Returns: how many secrets were masked; of a hash, how many arguments were hashed.
  @discardableResult
  public func maskArguments(
    _ argv: UnsafeRawBufferPointer, isCut: Bool = false, into out: inout ByteBuffer
  ) -> Int {
    switch mode {
    case .full:
      out.append(argv)
      return 0
    case .masked:
      guard isCut || mayHoldSecret(argv) else {
        out.append(argv)
        return 0
      }
      return mask(argv, into: &out) { scanner, bytes in Self.scanArguments(bytes, isCut: isCut, with: &scanner) }
    case .hashed:
      return hashArguments(argv, isCut: isCut, into: &out)
    }
  }

  /// Appends a path, an address or another single text with its secrets masked. The mode `hashed` means arguments only.
  /// - Returns: how many secrets were masked.
  @discardableResult
  public func maskText(_ text: UnsafeRawBufferPointer, cut: Cut = .none, into out: inout ByteBuffer) -> Int {
    guard mode != .full, cut != .none || mayHoldSecret(text) else {
      out.append(text)
      return 0
    }
    return mask(text, into: &out) { scanner, bytes in
      guard let base = bytes.baseAddress else { return }
      scanner.text(MaskText(base: base, lower: 0, upper: bytes.count), isCut: cut == .tail)
      if cut == .head {
        // The first component may be the rest of a token.
        scanner.addHead(MaskText(base: base, lower: 0, upper: bytes.count))
      }
    }
  }

  /// False if ``maskText(_:cut:into:)`` would leave the text, of which nothing is missing, as it is; a quick look.
  public func mayChange(_ text: UnsafeRawBufferPointer) -> Bool { mode != .full && mayHoldSecret(text) }

  /// ``maskText(_:cut:into:)`` for strings.
  public func masked(_ text: String) -> String {
    var out = ByteBuffer(capacity: text.utf8.count + 16)
    var text = text
    text.withUTF8 { _ = maskText(UnsafeRawBufferPointer($0), into: &out) }
    return out.text
  }

  // MARK: Passes

  private func mayHoldSecret(_ bytes: UnsafeRawBufferPointer) -> Bool {
    !usesPrefilter || !patterns.isEmpty || MaskPrefilter.shared.mayHoldSecret(bytes)
  }

  private static let maskText: StaticString = "***"
  /// What a mask leaves can look different to a rule than what it replaced: a quote that is gone. So the result is
  /// looked at again until nothing changes. One more look is the rule.
  private static let passes = 6

  private func mask(
    _ bytes: UnsafeRawBufferPointer, into out: inout ByteBuffer,
    _ scan: (inout MaskScanner, UnsafeRawBufferPointer) -> Void
  ) -> Int {
    var scanner = MaskScanner(index: index, patterns: patterns, limit: bytes.count)
    scan(&scanner, bytes)
    guard !scanner.ranges.isEmpty else {
      out.append(bytes)
      return 0
    }
    let start = out.count
    let masked = Self.write(bytes, scanner.ranges, into: &out)
    var again = ByteBuffer(capacity: out.count - start)
    for _ in 0..<Self.passes {
      again.removeAll()
      again.append(UnsafeRawBufferPointer(rebasing: out.bytes[start...]))
      var next = MaskScanner(index: index, patterns: patterns, limit: again.count)
      scan(&next, again.bytes)
      out.truncate(to: start)
      if Self.write(again.bytes, next.ranges, into: &out) == 0 { return masked }
    }
    return masked + Self.maskEverything(from: start, in: &out)
  }

  /// Writes the bytes with the ranges masked; returns how many of these were no masks yet.
  private static func write(
    _ bytes: UnsafeRawBufferPointer, _ ranges: MaskRanges, into out: inout ByteBuffer
  ) -> Int {
    var done = 0
    var count = 0
    for range in ranges.merged() {
      out.append(UnsafeRawBufferPointer(rebasing: bytes[done..<range.lowerBound]))
      out.append(maskText)
      done = range.upperBound
      if range.count != 3 || !bytes[range].allSatisfy({ $0 == 0x2A }) { count += 1 }
    }
    out.append(UnsafeRawBufferPointer(rebasing: bytes[done...]))
    return count
  }

  /// The way out for a text that never comes to rest: each argument becomes the mask.
  private static func maskEverything(from start: Int, in out: inout ByteBuffer) -> Int {
    let parts = out.bytes[start...].split(separator: 0, omittingEmptySubsequences: false).map { !$0.isEmpty }
    out.truncate(to: start)
    for (number, isFilled) in parts.enumerated() {
      if number > 0 { out.append(UInt8(0)) }
      if isFilled { out.append(maskText) }
    }
    return parts.count
  }

  private static func scanArguments(_ argv: UnsafeRawBufferPointer, isCut: Bool, with scanner: inout MaskScanner) {
    guard let base = argv.baseAddress else { return }
    var start = 0
    while start < argv.count {
      let end = argv.firstZero(from: start)
      scanner.argument(MaskText(base: base, lower: start, upper: end), isCut: isCut && end == argv.count)
      start = end + 1
    }
  }

  // MARK: Hashes

  private func hashArguments(_ argv: UnsafeRawBufferPointer, isCut: Bool, into out: inout ByteBuffer) -> Int {
    let first = argv.firstZero(from: 0)
    var hashed = mask(UnsafeRawBufferPointer(rebasing: argv[..<first]), into: &out) { scanner, bytes in
      Self.scanArguments(bytes, isCut: isCut && first == argv.count, with: &scanner)
    }
    var start = first
    while start < argv.count {
      out.append(UInt8(0))
      start += 1
      let end = argv.firstZero(from: start)
      if end > start {
        out.append("siphash:")
        out.append(hex: hash.hash(UnsafeRawBufferPointer(rebasing: argv[start..<end])).0, digits: 16)
        hashed += 1
      }
      start = end
    }
    return hashed
  }
}
