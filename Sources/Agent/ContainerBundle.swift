internal import Observation

/// What a runtime such as runc is told to run: the OCI bundle's `config.json` (runtime-spec 1.0), with the root directory that
/// is mounted for it. There as long as the container is.
struct ContainerBundle {
  var arguments: [[UInt8]]
  private var environment: [[UInt8]]
  /// nil: it is no overlayfs.
  var layers: OverlayLayers?
  /// What executes it, where the bundle says; see ``ContainerKeeper/isSeen(_:)``.
  var runtime: String?
  /// Where it is to be in the hierarchy of cgroups, as the runtime is told: a path, or `SLICE:PREFIX:NAME` for systemd.
  private var cgroupsPath: [UInt8]
  private var annotations: JSONValue

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
    guard let whole = JSONValue(parsing: configuration), let process = whole["process"],
      let arguments = process["args"]?.array
    else { return nil }
    self.arguments = arguments.compactMap(\.bytes)
    environment = process["env"]?.array?.compactMap(\.bytes) ?? []
    annotations = whole["annotations"] ?? .null
    cgroupsPath = whole["linux"]?["cgroupsPath"]?.bytes ?? []
  }

  /// Of Kubernetes; nil: it is of no pod.
  ///
  /// - Parameter cgroup: empty: as the bundle has it
  func pod(cgroup: [UInt8]) -> PodLabels? {
    PodLabels(annotations: annotations, cgroup: cgroup.isEmpty ? self.cgroup.map { Array($0.utf8) } ?? [] : cgroup)
  }

  /// Path of its cgroup; nil: the bundle does not say.
  var cgroup: String? {
    // A slice's name has those of all above it: `a-b.slice` is in `a.slice`.
    let text = String(decoding: cgroupsPath, as: UTF8.self)
    if text.hasPrefix("/") { return text.contains("/../") ? nil : text }
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 3, parts[0].hasSuffix(".slice"), !parts.contains(where: { $0.isEmpty || $0.contains("/") })
    else { return nil }
    var slice = ""
    var path = ""
    for part in parts[0].dropLast(6).split(separator: "-", omittingEmptySubsequences: false) {
      slice += slice.isEmpty ? String(part) : "-\(part)"
      path += "/\(slice).slice"
    }
    return "\(path)/\(parts[1])-\(parts[2]).scope"
  }

  /// The last counts, as it does for who is executed.
  func variable(_ name: String) -> [UInt8]? {
    environment.reversed().lazy.compactMap { Variable.value(of: name, in: $0) }.first
  }
}
