internal import CLibbpf
internal import CSystem
internal import Glibc
internal import KernelABI

/// What no process of a job may get at: this process, the sensor's programs, maps and links, and files.
extension Sensor {
  /// A place in the file system that jobs are kept off.
  public struct Shielded: Sendable {
    var descriptor: Int32
    var what: mt_shield

    /// A file: it cannot be changed.
    public static func file(_ descriptor: Int32) -> Shielded { Shielded(descriptor: descriptor, what: MT_SHIELD_FILE) }
    /// A directory: neither can what is in it, nor be made in it.
    public static func directory(_ descriptor: Int32) -> Shielded {
      Shielded(descriptor: descriptor, what: MT_SHIELD_BELOW)
    }
  }

  /// How much of what jobs do to martlet itself is stopped on this kernel.
  public enum SelfProtection: String, Sendable, CaseIterable {
    /// It is refused.
    case prevented
    /// Who does it is killed when it is done: a process of root's can still kill martlet.
    case killed
    /// There is no hook for something of it.
    case none
  }

  public var selfProtection: SelfProtection { .init(choices) }

  /// This process, and all that is in the kernel by now.
  func shieldItself() throws(SensorError) {
    guard let map = objects.maps["shield_objects"] else { return }
    try objects.call("shield_self")
    for object in try objects.numbers() { try Self.shield(object, in: map) }
    // The program's file: whoever starts martlet again, its supervisor above all, is to start this one.
    try shield(path: "/proc/self/exe")
    if pins != nil { try shield(path: PinnedSensors.root) }
  }

  /// A link that was made later.
  static func shield(_ object: mt_bpf_object, in map: Int32) throws(SensorError) {
    var (object, value) = (object, UInt32(1))
    try set(&value, at: &object, of: map, named: "shield_objects")
  }

  /// One that is gone; the kernel gives its number to no other.
  static func unshield(_ object: mt_bpf_object, in map: Int32) throws(SensorError) {
    var object = object
    let result = bpf_map_delete_elem(map, &object)
    if result != 0, result != -ENOENT { throw .mapFailed("shield_objects", "update", errno: -result) }
  }

  /// Keeps jobs off what is open as a descriptor, by whatever name, for as long as the sensor lives; so long it has to stay
  /// open, as its number would be another file's then. What lies above it cannot be renamed by them.
  public func shield(_ place: Shielded) throws(SensorError) {
    let argument = UInt64(UInt32(bitPattern: place.descriptor)) | UInt64(place.what.rawValue) << 32
    guard try objects.call("shield_descriptor", argument) == 0 else {
      throw SensorError(.mapFailed, "There is no room for a file that jobs are to be kept off")
    }
  }

  /// Likewise what there is by a name; nothing if there is nothing.
  public func shield(path: String) throws(SensorError) {
    let descriptor = mt_open_place(path)
    guard descriptor >= 0 else { return }
    shieldedPlaces.append(descriptor)
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { return }
    try shield(status.st_mode & S_IFMT == S_IFDIR ? .directory(descriptor) : .file(descriptor))
  }
}

extension Sensor.SelfProtection {
  /// The weakest of what was chosen.
  init(_ choices: [HookChoice]) {
    let own = choices.filter { $0.family == HookFunction.selfProtection }
    if own.isEmpty || own.contains(where: \.hooks.isEmpty) {
      self = .none
    } else {
      self = own.allSatisfy { $0.tier == .lsm || $0.tier == .fentry } ? .prevented : .killed
    }
  }
}
