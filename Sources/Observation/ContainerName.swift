/// What a container's cgroup is called, by which its runtime and id can be told.
public struct ContainerName: Sendable, Equatable {
  public enum Kind: String, Sendable {
    /// Of Docker, containerd, CRI-O and Podman: 64 hexadecimal digits.
    case container
    /// Of a step of a build: BuildKit's 25 letters and digits.
    case buildStep = "build"
  }

  public var id: String
  public var kind: Kind
  /// `docker`, `podman`, `containerd`, `cri-o`, `buildkit`; nil where the path does not say.
  public var runtime: String?

  /// - Parameter path: of a cgroup, from the root of its hierarchy: `/docker/ID`, `/system.slice/docker-ID.scope`,
  ///   `/kubepods.slice/…/cri-containerd-ID.scope`, `/docker/buildkit/ID`
  /// - Returns: nil for one that is no container's
  public init?(cgroup path: some Sequence<UInt8>) {
    let parts = Array(path).split(separator: UInt8(ascii: "/"))
    guard let last = parts.last else { return nil }
    let words = last.split { !Self.isLetterOrDigit($0) }
    if let word = words.last(where: { $0.count == 64 && $0.allSatisfy(Self.isHexadecimal) }) {
      id = String(decoding: word, as: UTF8.self)
      kind = .container
    } else if let word = words.first, words.count == 1, word.count == 25, parts.count > 1 {
      id = String(decoding: word, as: UTF8.self)
      kind = .buildStep
    } else {
      return nil
    }
    let names = (parts.dropLast().suffix(1) + words.dropLast()).map { String(decoding: $0, as: UTF8.self) }
    runtime = Self.runtimes.first { known in names.contains { $0.hasPrefix(known.prefix) } }?.name
    if kind == .buildStep, runtime == nil || runtime == "docker" { runtime = "buildkit" }
  }

  private static let runtimes: [(prefix: String, name: String)] = [
    ("buildkit", "buildkit"), ("docker", "docker"), ("libpod", "podman"), ("crio", "cri-o"), ("cri", "containerd"),
    ("kubepods", "containerd"),
  ]

  static func isLetterOrDigit(_ byte: UInt8) -> Bool {
    isDigit(byte) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
  }

  private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

  static func isHexadecimal(_ byte: UInt8) -> Bool {
    isDigit(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
  }

  /// Whether these can be a container's id: from 12 to 64 lower-case letters and digits.
  public static func isIdentifier(_ bytes: some Collection<UInt8>) -> Bool {
    (12...64).contains(bytes.count) && bytes.allSatisfy(isLetterOrDigit)
  }
}
