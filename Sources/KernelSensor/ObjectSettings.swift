import KernelABI

/// What user space decides about the maps and constants of an object before it is loaded.
struct ObjectSettings {
  var config: mt_config
  /// Entries of the maps whose size is not fixed: bytes of a ring.
  var entries: [String: UInt32]
  /// A ring like those that `bulk` will hold.
  var innerRing: Int32
  /// A map of processes like those that `others` will hold; nil: of this version.
  var innerProcesses: Int32?
  /// Maps that the programs do without on this kernel.
  var unusedMaps: Set<String> = []
}
