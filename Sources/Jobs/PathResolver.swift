internal import CSystem
internal import Glibc
internal import KernelABI

/// Asks the real file system where a path leads, and remembers where its directories led before.
///
/// Only for paths that the fold cannot resolve from what it knows: through a symbolic link, or through a directory
/// that nobody has opened anything in.
struct PathResolver: ~Copyable {
  typealias Bytes = UnsafeRawBufferPointer

  /// The root that a path begins at.
  enum Root {
    case own
    /// Of a process in another mount namespace or with a root directory of its own.
    case process(pid: UInt32, start: UInt64)
  }

  private struct Slot: BitwiseCopyable {
    var hash: UInt64 = 0
    var epoch: UInt32 = 0
    var directory: UInt32 = 0
    var isResolved = false
  }

  private static let slotCount = 1024
  static let bufferSize = 16384

  /// Made when there is something to remember: many jobs have no such path.
  private var slots: UnsafeMutablePointer<Slot>?
  var workspace: UnsafeMutablePointer<FoldWorkspace.Memory>
  private let isEnabled: Bool
  private var epoch: UInt32 = 1

  private var path: UnsafeMutablePointer<CChar> { workspace.pointee.path }
  private var result: UnsafeMutablePointer<CChar> { workspace.pointee.result }

  init(isEnabled: Bool, workspace: UnsafeMutablePointer<FoldWorkspace.Memory>) {
    self.isEnabled = isEnabled
    self.workspace = workspace
  }

  deinit { slots?.deallocate() }

  // MARK: - What is remembered

  /// A directory or a symbolic link may have changed: what was remembered is void.
  mutating func forget() { epoch &+= 1 }

  /// The directory that the string with this hash led to; 0 if not remembered. The hash is keyed and has 64 bits:
  /// nobody can make two strings with the same.
  func recall(_ hash: UInt64) -> UInt32 {
    guard let slots else { return 0 }
    let slot = slots[Int(hash % UInt64(Self.slotCount))]
    return slot.hash == hash && slot.epoch == epoch && slot.isResolved ? slot.directory : 0
  }

  /// The stand-in made when the string could not be resolved, whenever that was; 0 if none is remembered.
  func recallUnresolved(_ hash: UInt64) -> UInt32 {
    guard let slots else { return 0 }
    let slot = slots[Int(hash % UInt64(Self.slotCount))]
    return slot.hash == hash && !slot.isResolved ? slot.directory : 0
  }

  mutating func remember(_ hash: UInt64, _ directory: UInt32, isResolved: Bool) {
    let slots = self.slots ?? Self.makeSlots()
    self.slots = slots
    slots[Int(hash % UInt64(Self.slotCount))] = Slot(
      hash: hash, epoch: epoch, directory: directory, isResolved: isResolved)
  }

  private static func makeSlots() -> UnsafeMutablePointer<Slot> {
    let slots = UnsafeMutablePointer<Slot>.allocate(capacity: slotCount)
    slots.initialize(repeating: Slot(), count: slotCount)
    return slots
  }

  // MARK: - Asking

  /// The canonical path of `base` "/" `rest`, or of `rest` alone if `base` is empty; nil if it cannot be told.
  /// Valid until the next question.
  mutating func canonical(_ base: Bytes, _ rest: Bytes, _ root: Root, mustBeDirectory: Bool) -> Bytes? {
    guard isEnabled, setPath(base, rest) else { return nil }
    let descriptor = open(root)
    if descriptor < -1 { return nil }
    defer { mt_close_descriptor(descriptor) }
    let length = mt_canonical_path(descriptor, path, mustBeDirectory ? 1 : 0, result, Self.bufferSize)
    guard length > 0 else { return nil }
    return Bytes(start: result, count: length)
  }

  /// The file with a name, last link not followed, as a record would describe it but without the generation; nil if
  /// there is none or it cannot be told.
  mutating func look(_ base: Bytes, _ name: Bytes, _ root: Root) -> mt_file? {
    guard isEnabled, setPath(base, name) else { return nil }
    let descriptor = open(root)
    if descriptor < -1 { return nil }
    defer { mt_close_descriptor(descriptor) }
    var state = mt_looked_at()
    guard mt_look_at(descriptor, path, &state) == 0 else { return nil }
    return mt_file(ino: state.ino, dev: state.dev, generation: 0, mode: state.mode, nlink: state.nlink)
  }

  /// -1: this process' own root; below: cannot be had.
  private func open(_ root: Root) -> Int32 {
    switch root {
    case .own: return -1
    case .process(let pid, let start):
      guard workspace.pointee.knowsProcesses else { return -2 }
      let descriptor = mt_root_of_process(pid, start)
      return descriptor < 0 ? -2 : descriptor
    }
  }

  private func setPath(_ base: Bytes, _ rest: Bytes) -> Bool {
    guard base.count + rest.count + 2 <= Self.bufferSize, base.count + rest.count > 0 else { return false }
    var length = 0
    if let start = base.baseAddress, base.count > 0 {
      UnsafeMutableRawPointer(path).copyMemory(from: start, byteCount: base.count)
      path[base.count] = CChar(UInt8(ascii: "/"))
      length = base.count + 1
    }
    if let start = rest.baseAddress, rest.count > 0 {
      UnsafeMutableRawPointer(path + length).copyMemory(from: start, byteCount: rest.count)
      length += rest.count
    }
    path[length] = 0
    // A NUL inside would make another path of it.
    return strlen(path) == length
  }
}
