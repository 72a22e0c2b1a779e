internal import Glibc
internal import Observation
internal import Recording

/// A program that runs a container for a runtime, or all of a pod's: containerd's shim, CRI-O's conmon.
struct ContainerKeeper {
  var pid: UInt32
  /// `containerd-shim-kata-v2`; of conmon the runtime that it was told to use: `runc`.
  var runtime: String
  /// Of the container, or of the pod's sandbox.
  var id: String
  /// Where bundles are, for it and its like.
  var place: BundlePlace?

  /// - Parameters:
  ///   - arguments: its own
  ///   - directory: that it works in: a shim's is the bundle of what it was started for
  /// - Returns: nil for any other program
  init?(pid: UInt32, arguments: [String], directory: String?) {
    guard let program = arguments.first.map(Self.lastPart) else { return nil }
    func value(_ names: [String]) -> String? {
      let index = arguments.firstIndex(where: names.contains).map { $0 + 1 } ?? arguments.count
      return index < arguments.count ? arguments[index] : nil
    }
    self.pid = pid
    if program.hasPrefix("containerd-shim") {
      guard let id = value(["-id", "--id"]), ContainerName.isIdentifier(id.utf8) else { return nil }
      self.id = id
      runtime = program
      if let directory, directory.hasSuffix("/" + id) {
        place = BundlePlace(directory: String(directory.dropLast(id.utf8.count + 1)))
      }
    } else if program == "conmon" {
      guard let id = value(["-c", "--cid"]), ContainerName.isIdentifier(id.utf8),
        let runtime = value(["-r", "--runtime"])
      else { return nil }
      self.id = id
      self.runtime = Self.lastPart(runtime)
      let ending = "/\(id)/userdata"
      if let bundle = value(["-b", "--bundle"]), bundle.hasPrefix("/"), bundle.hasSuffix(ending) {
        place = BundlePlace(directory: String(bundle.dropLast(ending.utf8.count)), isStorage: true)
      }
    } else {
      return nil
    }
  }

  static func lastPart(_ path: String) -> String { String(path.split(separator: "/").last ?? "") }

  /// Whether what a runtime executes is a process of this kernel. Of those that are not known to do so nothing is seen: gVisor,
  /// Kata, Firecracker and others have a kernel of their own.
  static func isSeen(_ runtime: String) -> Bool {
    var name = runtime[...]
    if name.hasPrefix("containerd-shim") { name = name.dropFirst("containerd-shim".count).drop { $0 == "-" } }
    // The first shim had no runtime in its name.
    return name.isEmpty || known.contains { name == $0 || name.hasPrefix($0 + "-v") }
  }

  /// Whether a program, found in a container's cgroup or to have made it, is known to have a kernel of its own.
  static func hasOwnKernel(_ program: String) -> Bool {
    program.hasPrefix("containerd-shim-") && !isSeen(program) || program.hasPrefix("qemu-system-")
      || ["runsc", "qemu-kvm", "kata-runtime", "krun", "cloud-hypervisor", "firecracker"].contains(program)
  }

  /// Whether a process, as it looks, is a runtime that is about to execute what the bundle says. Runtimes execute copies of
  /// themselves, which containers cannot change, and that have no name or one such as `/memfd:crun_cloned:/proc/self/exe`;
  /// runc's is `runc init`.
  static func isRuntime(_ pid: UInt32) -> Bool {
    let words = ProcessScan.file("/proc/\(pid)/cmdline", limit: 4096).split(separator: 0)
    return isRuntime(
      comm: String(decoding: ProcessScan.file("/proc/\(pid)/comm", limit: 64), as: UTF8.self),
      executable: ProcessScan.link("/proc/\(pid)/exe").map { String(decoding: $0, as: UTF8.self) } ?? "",
      arguments: words.prefix(2).map { String(decoding: $0, as: UTF8.self) })
  }

  static func isRuntime(comm: String, executable: String, arguments: [String]) -> Bool {
    known.contains { name in
      comm.hasPrefix("\(name):[") || arguments == [name, "init"] || lastPart(executable) == name
        || executable.hasPrefix("/memfd:\(name)_cloned:")
    }
  }

  private static let known = ["runc", "crun", "youki", "sysbox-runc", "nvidia-container-runtime"]

  /// Those of the machine. A job could call a program of its own like that, and lead who looks for bundles to what it likes:
  /// only who is root, and has the mounts of the machine, counts, which is who can do anything here.
  static func all() -> [ContainerKeeper] {
    guard let mounts = BundlePlace.machinesMounts else { return [] }
    return ProcessScan.pids().compactMap { pid in
      let comm = ProcessScan.file("/proc/\(pid)/comm", limit: 64)
      guard comm.starts(with: "containerd-shim".utf8) || comm.elementsEqual("conmon\n".utf8) else { return nil }
      guard ProcessScan.user(of: pid) == 0, ProcessScan.link("/proc/\(pid)/ns/mnt") == mounts else { return nil }
      let words = ProcessScan.file("/proc/\(pid)/cmdline", limit: 64 << 10).split(separator: 0)
      return ContainerKeeper(
        pid: pid, arguments: words.map { String(decoding: $0, as: UTF8.self) },
        directory: ProcessScan.link("/proc/\(pid)/cwd").map { String(decoding: $0, as: UTF8.self) })
    }
  }
}

/// A directory with the bundles of containers, by their ids, as the machine's own processes see it.
struct BundlePlace: Hashable {
  var directory: String
  /// Of CRI-O's storage, where a bundle is a container's `userdata`.
  var isStorage = false

  func path(of id: String) -> String { "\(directory)/\(id)\(isStorage ? "/userdata" : "")" }

  /// Of the kernel's threads, which have those that the machine began with; nil: they may not be looked at.
  static var machinesMounts: [UInt8]? { ProcessScan.link("/proc/2/ns/mnt") ?? ProcessScan.link("/proc/1/ns/mnt") }

  /// Where these are unless somebody has said otherwise.
  static let usual: [BundlePlace] =
    ["/run/containerd", "/run/k3s/containerd", "/run/k0s/containerd", "/var/snap/microk8s/common/run/containerd"].map {
      BundlePlace(directory: $0 + "/io.containerd.runtime.v2.task/k8s.io")
    }
    + ["/run/containers/storage", "/var/lib/containers/storage"].map {
      BundlePlace(directory: $0 + "/overlay-containers", isStorage: true)
    }
}

/// What the machine's runtimes were told of their containers, from the OCI bundles that they keep while these run.
///
/// It takes no socket of a runtime, no mount, and no right that an agent has not anyway: an agent in a container reaches the
/// bundles by the root directory of who keeps them, which takes CAP_SYS_PTRACE.
struct ContainerBundles {
  private(set) var places = BundlePlace.usual
  private(set) var keepers: [ContainerKeeper] = []
  private var scannedAt: UInt64 = 0
  /// What comes before a path of the machine's; nil: nobody is known by whom it could be reached.
  private var root: String?
  private let isOutside: Bool
  /// When places had last changed that were listed since, CLOCK_REALTIME.
  private var changes: [BundlePlace: UInt64] = [:]
  private var known: Set<String> = []
  private var lastUnseen: (at: UInt64, containers: [UnseenContainer]) = (0, [])

  private static let placeLimit = 16
  private static let second: UInt64 = 1_000_000_000
  /// Bytes of a `config.json`: a pod's takes some 20 KiB.
  static let limit = 1 << 20

  init() {
    isOutside = BundlePlace.machinesMounts == ProcessScan.link("/proc/self/ns/mnt")
    root = isOutside ? "" : nil
  }

  /// Looks for who keeps containers, once a second at most: it takes a look at each process.
  ///
  /// - Parameter now: CLOCK_BOOTTIME
  mutating func scan(now: UInt64) {
    guard scannedAt == 0 || now >= scannedAt &+ Self.second else { return }
    scannedAt = max(1, now)
    scan()
  }

  private mutating func scan() {
    keepers = ContainerKeeper.all()
    if !isOutside { root = keepers.first.map { "/proc/\($0.pid)/root" } }
    for place in keepers.compactMap(\.place) where !places.contains(place) && places.count < Self.placeLimit {
      places.append(place)
    }
  }

  /// The bundle of a container, wherever it is; nil: there is none, or none any more. Where it is not found at once this
  /// takes as long as a scan.
  mutating func find(_ id: String) -> ContainerBundle? {
    if let found = look(id) { return found }
    scan()
    return look(id)
  }

  /// The bundle of a container, in a place that is known.
  func look(_ id: String) -> ContainerBundle? {
    guard ContainerName.isIdentifier(id.utf8), let root else { return nil }
    return places.lazy.compactMap { place in
      let path = root + place.path(of: id)
      let configuration = ProcessScan.file(path + "/config.json", limit: Self.limit)
      guard !configuration.isEmpty, var bundle = ContainerBundle(configuration: configuration) else { return nil }
      // containerd's shim for runc says which program it was told to use instead.
      let runtime = ProcessScan.file(path + "/runtime", limit: 4096)
      if !runtime.isEmpty { bundle.runtime = ContainerKeeper.lastPart(String(decoding: runtime, as: UTF8.self)) }
      return bundle
    }.first
  }

  /// Ids of bundles that were made since it was asked last.
  mutating func made(now: UInt64) -> [String] {
    // Who it was reached by may be gone.
    if let root, !root.isEmpty, access(root, F_OK) != 0 { self.root = nil }
    if root == nil { scan(now: now) }
    guard let root else { return [] }
    var made: [String] = []
    for place in places {
      let path = root + place.directory
      var status = stat()
      guard stat(path, &status) == 0 else { continue }
      let changedAt = UInt64(clamping: status.st_mtim.tv_sec) * Self.second + UInt64(clamping: status.st_mtim.tv_nsec)
      // Times of files have the kernel's tick: one that is younger than some of these may get another change.
      let isSettled = now &+ UInt64(bitPattern: Clock.wallOffset) > changedAt &+ Self.second / 10
      if isSettled, changes[place] == changedAt { continue }
      changes[place] = isSettled ? changedAt : nil
      made += DirectoryNames.of(path).filter { ContainerName.isIdentifier($0.utf8) && !known.contains($0) }
    }
    if !made.isEmpty {
      if known.count > 65_536 { known = [] }
      known.formUnion(made)
    }
    return made
  }

  /// Containers that run under a runtime with a kernel of its own, as of a second ago at most: everybody may ask.
  mutating func unseen(now: UInt64) -> [UnseenContainer] {
    guard lastUnseen.at == 0 || now >= lastUnseen.at &+ Self.second else { return lastUnseen.containers }
    scan(now: now)
    lastUnseen.at = max(1, now)
    lastUnseen.containers = keepers.filter { !ContainerKeeper.isSeen($0.runtime) }.map { keeper in
      UnseenContainer(id: keeper.id, runtime: keeper.runtime, pod: look(keeper.id)?.pod(cgroup: []))
    }
    return lastUnseen.containers
  }
}

/// A container, or a pod, of which nothing is seen.
struct UnseenContainer: Sendable, Equatable {
  var id: String
  /// What runs it: `containerd-shim-kata-v2`, `runsc`.
  var runtime: String
  var pod: PodLabels?
}
