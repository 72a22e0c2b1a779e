internal import KernelABI
internal import Observation

/// Masks what the fold keeps and hands on, in buffers that are used again.
struct Masking: ~Copyable {
  typealias Bytes = UnsafeRawBufferPointer

  private let masker: SecretMasker
  private var executableBuffer = ByteBuffer(capacity: 4096)
  private var filenameBuffer = ByteBuffer(capacity: 4096)
  private var directoryBuffer = ByteBuffer(capacity: 4096)
  private var argumentBuffer = ByteBuffer(capacity: 32768)
  private var pathBuffer = ByteBuffer(capacity: 8192)
  private var secondBuffer = ByteBuffer(capacity: 8192)
  private var detailBuffer = ByteBuffer(capacity: 512)
  private var variableBuffer = ByteBuffer(capacity: 1024)
  private var trialBuffer = ByteBuffer(capacity: 8192)

  /// Argument lists in which nothing is to be masked.
  private let plainArguments = PlainArguments()

  /// Verdicts on names that are not kept, by hash; the lowest bit is the verdict.
  private static let verdictCount = 8192
  private let verdicts: UnsafeMutablePointer<UInt64>

  init(masker: SecretMasker) {
    self.masker = masker
    verdicts = .allocate(capacity: Self.verdictCount)
    verdicts.initialize(repeating: 0, count: Self.verdictCount)
  }

  deinit { verdicts.deallocate() }

  /// `NAME=value`, NUL-separated.
  var variables: Bytes { variableBuffer.bytes }
  var executable: Bytes { executableBuffer.bytes }
  var filename: Bytes { filenameBuffer.bytes }
  var workingDirectory: Bytes { directoryBuffer.bytes }
  /// NUL-separated, masked or hashed as the masker's mode says.
  var arguments: Bytes { argumentBuffer.bytes }

  /// Masks the strings of an exec. Programs and directories are the same few over and over.
  mutating func exec(
    executable: Bytes, filename: Bytes, workingDirectory: Bytes, arguments: Bytes, argumentsAreCut: Bool,
    hash: KeyedHash, executableHash: UInt64
  ) {
    let keepsExecutable = !changes(executable, hash: executableHash)
    Self.write(executable, asItIs: keepsExecutable, masker, to: &executableBuffer)
    let keepsFilename =
      equal(filename, executable) ? keepsExecutable : !changes(filename, hash: hash(0, filename))
    Self.write(filename, asItIs: keepsFilename, masker, to: &filenameBuffer)
    let keepsDirectory = !changes(workingDirectory, hash: hash(0, workingDirectory))
    Self.write(workingDirectory, asItIs: keepsDirectory, masker, to: &directoryBuffer)
    argumentBuffer.removeAll()
    if !argumentsAreCut, plainArguments.contains(arguments) {
      argumentBuffer.append(arguments)
    } else {
      masker.maskArguments(arguments, isCut: argumentsAreCut, into: &argumentBuffer)
      if !argumentsAreCut, equal(argumentBuffer.bytes, arguments) { plainArguments.insert(arguments) }
    }
  }

  private static func write(_ text: Bytes, asItIs: Bool, _ masker: SecretMasker, to buffer: inout ByteBuffer) {
    buffer.removeAll()
    if asItIs {
      buffer.append(text)
    } else {
      masker.maskText(text, into: &buffer)
    }
  }

  /// Takes over the variables of a claim or a step.
  mutating func variables(of record: RecordView) {
    variableBuffer.removeAll()
    record.forEachString { id, text in
      // A NUL would make two of it; the kernel sends none.
      guard id == RecordString.variable.rawValue, !text.isEmpty, !text.contains(0) else { return }
      if !variableBuffer.isEmpty { variableBuffer.append(UInt8(0)) }
      // At the limit of a value its end may be missing, and be half a secret.
      let start = (text.firstIndex(of: UInt8(ascii: "=")) ?? 0) + 1
      let isCut = text.count - start >= Int(MT_VARIABLE_VALUE_MAX)
      masker.maskText(text, cut: isCut ? .tail : .none, into: &variableBuffer)
    }
  }

  /// Whether masking would change a name or path. As costly as masking: asked once for what is kept.
  mutating func changes(_ text: Bytes, isCut: Bool = false) -> Bool {
    if text.isEmpty || !isCut && !masker.mayChange(text) { return false }
    trialBuffer.removeAll()
    return masker.maskText(text, cut: isCut ? .head : .none, into: &trialBuffer) > 0
  }

  /// As ``changes(_:isCut:)``, remembered under a keyed hash of the text.
  mutating func changes(_ text: Bytes, hash: UInt64) -> Bool {
    let slot = verdicts + Int(hash >> 8) % Self.verdictCount
    if slot.pointee | 1 == hash | 1 { return slot.pointee & 1 != 0 }
    let verdict = changes(text)
    slot.pointee = (hash & ~1) | (verdict ? 1 : 0)
    return verdict
  }

  /// Valid until the next call.
  mutating func path(_ text: Bytes, isCut: Bool) -> Bytes {
    pathBuffer.removeAll()
    masker.maskText(text, cut: isCut ? .head : .none, into: &pathBuffer)
    return pathBuffer.bytes
  }

  /// As ``path(_:isCut:)``, for what is no path, in a buffer of its own.
  mutating func detail(_ text: Bytes) -> Bytes {
    detailBuffer.removeAll()
    masker.maskText(text, into: &detailBuffer)
    return detailBuffer.bytes
  }

  /// As ``path(_:isCut:)``, in a buffer of its own.
  mutating func secondPath(_ text: Bytes, isCut: Bool) -> Bytes {
    secondBuffer.removeAll()
    masker.maskText(text, cut: isCut ? .head : .none, into: &secondBuffer)
    return secondBuffer.bytes
  }
}

/// The last argument lists that were masked and came out as they went in: a script runs the same commands over and over.
///
/// They are compared byte by byte, and no list that holds a secret is ever in here.
private struct PlainArguments: ~Copyable {
  private static let count = 16
  /// Bytes of the longest list.
  private static let room = 256
  private let memory: UnsafeMutableRawPointer
  private let lengths: UnsafeMutablePointer<Int>

  init() {
    memory = .allocate(byteCount: Self.count * Self.room, alignment: 16)
    lengths = .allocate(capacity: Self.count)
    lengths.initialize(repeating: 0, count: Self.count)
  }

  deinit {
    memory.deallocate()
    lengths.deallocate()
  }

  private static func place(_ arguments: UnsafeRawBufferPointer) -> Int? {
    guard arguments.count <= room else { return nil }
    let mixed = (arguments.lastWord ^ UInt64(truncatingIfNeeded: arguments.count)) &* 0x9e37_79b9_7f4a_7c15
    return Int(truncatingIfNeeded: mixed &>> 60)
  }

  func contains(_ arguments: UnsafeRawBufferPointer) -> Bool {
    guard let place = Self.place(arguments) else { return false }
    return equal(UnsafeRawBufferPointer(start: memory + place &* Self.room, count: lengths[place]), arguments)
  }

  func insert(_ arguments: UnsafeRawBufferPointer) {
    guard let place = Self.place(arguments), let base = arguments.baseAddress else { return }
    (memory + place &* Self.room).copyMemory(from: base, byteCount: arguments.count)
    lengths[place] = arguments.count
  }
}
