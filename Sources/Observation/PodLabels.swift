/// What a node's container runtime was told of a container of Kubernetes': annotations of the OCI bundle, which containerd
/// (`io.kubernetes.cri.`) and CRI-O (`io.kubernetes.cri-o.`, and the kubelet's own labels) write there for whom they run it with.
///
/// Total: whatever is there, it is understood or passed over. What does not look as Kubernetes writes it is not kept.
public struct PodLabels: Sendable, Equatable {
  public var pod: String
  public var namespace: String
  /// nil: the runtime was not told (containerd before 1.6.11), and the cgroup's path does not say.
  public var uid: String?
  /// nil: no runtime is told whose account a pod has.
  public var serviceAccount: String?
  /// Its name in the pod; nil: of the pod itself.
  public var container: String?
  /// As the pod's specification has it.
  public var image: String?
  /// By whose annotations they are: `containerd`, `cri-o`.
  public var runtime: String?
  /// The container that holds the pod together, in which nothing of the pod's is executed.
  public var isSandbox = false

  public init(pod: String, namespace: String) {
    self.pod = pod
    self.namespace = namespace
  }

  /// - Parameters:
  ///   - annotations: of the bundle's `config.json`
  ///   - cgroup: of the container, in which the kubelet names the pod by its uid; may be empty
  /// - Returns: nil if they name no pod
  public init?(annotations: JSONValue, cgroup: some Collection<UInt8>) {
    // CRI-O repeats the kubelet's labels as JSON within a string.
    let labels = annotations["io.kubernetes.cri-o.Labels"]?.bytes.flatMap { JSONValue(parsing: $0, depth: 2) }
    func text(_ names: [StaticString], _ limit: Int) -> String? {
      names.lazy.compactMap { Self.text(annotations[$0] ?? labels?[$0], limit) }.first
    }
    guard
      let pod = text(
        ["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name", "io.kubernetes.cri-o.KubeName"], Self.nameLimit),
      let namespace = text(
        ["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace", "io.kubernetes.cri-o.Namespace"],
        Self.nameLimit)
    else { return nil }
    self.init(pod: pod, namespace: namespace)
    runtime = annotations["io.kubernetes.cri-o.ContainerType"] != nil ? "cri-o" : nil
    if annotations["io.kubernetes.cri.sandbox-name"] != nil { runtime = "containerd" }
    uid = text(["io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"], 64) ?? Self.uid(inCgroup: cgroup)
    let kind = text(["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"], 16)
    isSandbox = kind == "sandbox"
    if !isSandbox {
      container = text(["io.kubernetes.cri.container-name", "io.kubernetes.container.name"], Self.nameLimit)
      image = text(["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"], 512)
    }
  }

  /// What names of Kubernetes' have at most.
  private static let nameLimit = 253

  private static func text(_ value: JSONValue?, _ limit: Int) -> String? {
    guard let bytes = value?.bytes, !bytes.isEmpty, bytes.count <= limit, bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7f })
    else { return nil }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// `/kubepods/burstable/podUID/…`, `/kubepods.slice/…/kubepods-burstable-podUID.slice/…`, where systemd wants `_` for `-`.
  private static func uid(inCgroup path: some Collection<UInt8>) -> String? {
    for part in path.split(separator: UInt8(ascii: "/")) {
      let text = String(decoding: part, as: UTF8.self)
      let uid: Substring
      if text.hasSuffix(".slice"), let start = text.dropLast(6).split(separator: "-").last, start.hasPrefix("pod") {
        uid = start.dropFirst(3)
      } else if text.hasPrefix("pod") {
        uid = text.dropFirst(3)
      } else {
        continue
      }
      // Of static pods it is a digest without hyphens.
      let plain = uid.map { $0 == "_" ? "-" : $0 }
      if [32, 36].contains(plain.count), plain.allSatisfy({ $0 == "-" || $0.isHexDigit }) { return String(plain) }
    }
    return nil
  }

  // MARK: - In a record

  /// What the event log calls the parts, in the order of a record.
  public static let keys: [StaticString] = ["name", "namespace", "uid", "service_account", "container", "image"]

  /// The container's id and these, as a claim's record holds them: behind each other, with NULs between.
  public func encoded(id: String) -> [UInt8] {
    Array([id, pod, namespace, uid, serviceAccount, container, image].map { $0 ?? "" }.joined(separator: "\0").utf8)
  }

  /// - Parameter bytes: of a claim's record
  /// - Returns: the container's id, and what is known of its pod
  public static func decode(_ bytes: some Collection<UInt8>) -> (id: String, labels: PodLabels?) {
    let parts = bytes.split(separator: 0, maxSplits: keys.count, omittingEmptySubsequences: false).map {
      String(decoding: $0, as: UTF8.self)
    }
    guard parts.count > keys.count, !parts[1].isEmpty else { return (parts.first ?? "", nil) }
    func part(_ index: Int) -> String? { parts[index].isEmpty ? nil : parts[index] }
    var labels = PodLabels(pod: parts[1], namespace: parts[2])
    labels.uid = part(3)
    labels.serviceAccount = part(4)
    labels.container = part(5)
    labels.image = part(6)
    return (parts[0], labels)
  }
}
