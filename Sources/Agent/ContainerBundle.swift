internal import Observation

/// What a runtime such as runc is told to run: the OCI bundle's `config.json` (runtime-spec 1.0), with the root directory that
/// is mounted for it. There as long as the container is.
struct ContainerBundle {
  var arguments: [[UInt8]]
  private var environment: [[UInt8]]
  /// nil: it is no overlayfs.
  var layers: OverlayLayers?

  /// - Parameters:
  ///   - arguments: of the runtime
  ///   - pid: the runtime's process, whose mounts count
  /// - Returns: nil if they name no bundle, or it cannot be read any more
  init?(ofRuntime arguments: some Sequence<UInt8>, process pid: UInt32) {
    let words = Array(arguments).split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
    guard let option = words.firstIndex(of: "--bundle") ?? words.firstIndex(of: "-b"), option + 1 < words.count,
      words[option + 1].hasPrefix("/")
    else { return nil }
    let path = words[option + 1]
    // As the runtime sees it: an agent in a container has other directories.
    self.init(configuration: ProcessScan.file("/proc/\(pid)/root\(path)/config.json", limit: 1 << 20))
    layers = OverlayLayers(ofProcess: pid, at: path + "/rootfs")
  }

  init?(configuration: [UInt8]) {
    guard let process = JSONValue(parsing: configuration)?["process"], let arguments = process["args"]?.array else {
      return nil
    }
    self.arguments = arguments.compactMap(\.bytes)
    environment = process["env"]?.array?.compactMap(\.bytes) ?? []
  }

  /// The last counts, as it does for who is executed.
  func variable(_ name: String) -> [UInt8]? {
    environment.reversed().lazy.compactMap { Variable.value(of: name, in: $0) }.first
  }
}
