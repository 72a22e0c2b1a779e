/// What the fold made of the record just applied: what the event log writes beside the record's own fields.
///
/// Pointers are valid until the next ``JobState/apply(_:)``. A path comes as directory and name, neither
/// copied; ``path`` joins them for those who want it whole.
public struct Applied {
  /// The process' id in the snapshot; 0 unknown.
  public internal(set) var processID: UInt32 = 0
  /// The image's id in the snapshot; 0 unknown.
  public internal(set) var imageID: UInt32 = 0
  /// The file's or channel's id in the snapshot; 0 unknown.
  public internal(set) var fileID: UInt32 = 0

  /// The process' step in the job; 0: none.
  public internal(set) var step: UInt32 = 0
  /// Number of the process' container in the job; 0: none.
  public internal(set) var container: UInt32 = 0

  /// Of an exec: the set of descriptors that the image found open, 0 unknown. They are told behind the first exec with
  /// that set.
  public internal(set) var descriptorSet: UInt32 = 0

  /// The absolute path of the directory that `name` is in. Empty: `name` is all there is.
  public internal(set) var directory = UnsafeRawBufferPointer(start: nil, count: 0)
  public internal(set) var name = UnsafeRawBufferPointer(start: nil, count: 0)
  /// The second path of a rename or link; of a symlink the text.
  public internal(set) var directory2 = UnsafeRawBufferPointer(start: nil, count: 0)
  public internal(set) var name2 = UnsafeRawBufferPointer(start: nil, count: 0)
  /// The paths are what the kernel saw, with symbolic links and `..` resolved. False: as the program gave them,
  /// made absolute.
  public internal(set) var pathIsResolved = true
  /// The head of a path is missing, or its directory unknown.
  public internal(set) var pathIsTruncated = false

  /// Of the file where the record or the fold knows it; `inode` 0: unknown.
  public internal(set) var device: UInt32 = 0
  public internal(set) var inode: UInt64 = 0
  public internal(set) var generation: UInt32 = 0
  /// The identity is from a look at the path after the event.
  public internal(set) var identityFromStat = false

  /// Of a claim or a step: the variables that may be stored, `NAME=value`, NUL-separated, secrets masked.
  public internal(set) var variables = UnsafeRawBufferPointer(start: nil, count: 0)

  /// Of an exec, and of a claim that tells a program: masked or hashed as the options say, NUL-separated.
  public internal(set) var arguments = UnsafeRawBufferPointer(start: nil, count: 0)
  /// Of an exec: as in the record, secrets masked.
  public internal(set) var executable = UnsafeRawBufferPointer(start: nil, count: 0)
  public internal(set) var filename = UnsafeRawBufferPointer(start: nil, count: 0)
  public internal(set) var workingDirectory = UnsafeRawBufferPointer(start: nil, count: 0)

  /// Of what concerns security: the other process' id in the snapshot; 0: it is not of this job.
  public internal(set) var targetID: UInt32 = 0
  /// Likewise: a type or a name, secrets masked.
  public internal(set) var detail = UnsafeRawBufferPointer(start: nil, count: 0)

  let scratch: UnsafeMutableRawPointer
  let scratch2: UnsafeMutableRawPointer
  static let scratchSize = 2 * Arena.chunkSize

  init(scratch: UnsafeMutableRawPointer, scratch2: UnsafeMutableRawPointer) {
    self.scratch = scratch
    self.scratch2 = scratch2
  }

  /// `directory` and `name` as one; empty if the record has no path.
  public var path: UnsafeRawBufferPointer { Self.join(directory, name, scratch) }
  /// `directory2` and `name2` as one.
  public var path2: UnsafeRawBufferPointer { Self.join(directory2, name2, scratch2) }

  @inline(__always)
  mutating func begin(process: UInt32, image: UInt32, step: UInt32, container: UInt32) {
    processID = process
    imageID = image
    self.step = step
    self.container = container
    fileID = 0
    descriptorSet = 0
    directory = UnsafeRawBufferPointer(start: nil, count: 0)
    name = directory
    directory2 = directory
    name2 = directory
    pathIsResolved = true
    pathIsTruncated = false
    device = 0
    inode = 0
    generation = 0
    identityFromStat = false
    targetID = 0
    detail = directory
  }

  /// Puts a directory and a name together in `buffer`, which holds ``scratchSize`` bytes.
  static func join(
    _ directory: UnsafeRawBufferPointer, _ name: UnsafeRawBufferPointer, _ buffer: UnsafeMutableRawPointer
  ) -> UnsafeRawBufferPointer {
    guard let head = directory.baseAddress, directory.count > 0 else { return name }
    let headLength = min(directory.count, scratchSize / 2)
    buffer.copyMemory(from: head, byteCount: headLength)
    var length = headLength
    guard let tail = name.baseAddress, name.count > 0 else {
      return UnsafeRawBufferPointer(start: buffer, count: length)
    }
    if headLength > 1 || head.load(as: UInt8.self) != UInt8(ascii: "/") {
      (buffer + length).storeBytes(of: UInt8(ascii: "/"), as: UInt8.self)
      length += 1
    }
    let tailLength = min(name.count, scratchSize - length)
    (buffer + length).copyMemory(from: tail, byteCount: tailLength)
    return UnsafeRawBufferPointer(start: buffer, count: length + tailLength)
  }
}
