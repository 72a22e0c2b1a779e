import CLibbpf
import Glibc
public import Observation

/// The sensor's programs on functions of TLS libraries: attached file by file, for every process that runs the file.
///
/// Owned by one thread at a time. What is attached is on the file that was looked at, whatever becomes of its name.
public final class RequestProbes {
  /// What came of a look at a file.
  public enum Outcome: Sendable {
    /// There is no such file any more.
    case gone
    /// Nothing that was not known.
    case none
    /// ``files`` has one more, or ``filesBeyond`` is more.
    case news
  }

  private struct Identity: Hashable {
    var device: UInt64
    var inode: UInt64
    var changed: Int64
    var size: Int64
  }

  /// Files that are attached to at once, and that are named.
  public static let fileLimit = 256
  /// Files that are remembered to have been looked at.
  private static let seenLimit = 65_536

  public private(set) var files: [RequestFile] = []
  /// That do TLS, beyond the limit.
  public private(set) var filesBeyond: UInt64 = 0
  /// Whose the programs are.
  private let objects: LoadedObjects
  private let programs: [String: OpaquePointer]
  private var links: [OpaquePointer] = []
  private var seen: Set<Identity> = []

  init(_ objects: LoadedObjects) {
    self.objects = objects
    programs = objects.handles(where: { $0.isOnFiles })
  }

  deinit { detach() }

  /// Looks at a file, once, and attaches to it if it has functions to attach to.
  ///
  /// - Parameters:
  ///   - path: where it can be opened
  ///   - name: what it is called in the report
  ///   - usedSince: CLOCK_BOOTTIME: a process uses it, and has since then; nil: none is known to
  ///   - now: asked for the time when it is attached
  public func look(at path: String, calledAs name: String, usedSince: UInt64? = nil, now: () -> UInt64) -> Outcome {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { return .gone }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return .none }
    let identity = Identity(
      device: UInt64(status.st_dev), inode: UInt64(status.st_ino),
      changed: Int64(status.st_ctim.tv_sec) &* 1_000_000_000 &+ Int64(status.st_ctim.tv_nsec),
      size: Int64(status.st_size))
    if seen.count >= Self.seenLimit { seen = [] }
    guard seen.insert(identity).inserted, let elf = ELFFile(descriptor: descriptor) else { return .none }
    let found = TLSFile(elf, name: String(name.split(separator: "/").last ?? ""))
    if found.probes.isEmpty, found.unreadable == nil { return .none }
    // What the system has and nobody uses need not be named.
    if found.unreadable != nil, usedSince == nil {
      seen.remove(identity)
      return .none
    }
    guard files.count < Self.fileLimit else {
      filesBeyond += 1
      return .news
    }
    var file = RequestFile(path: name)
    file.library = found.library
    file.usedSince = usedSince
    if let what = found.unreadable {
      file.objection = what
    } else if let objection = attach(found, "/proc/self/fd/\(descriptor)") {
      file.objection = objection
      file.isFailure = true
    } else {
      file.readSince = now()
    }
    files.append(file)
    return .news
  }

  /// - Returns: what speaks against it; then nothing is attached
  private func attach(_ file: TLSFile, _ path: String) -> String? {
    var made: [OpaquePointer] = []
    for probe in file.probes {
      guard let program = programs[probe.program] else { return "the kernel did not take the program for it" }
      LibbpfLog.start()
      let link = bpf_program__attach_uprobe(program, probe.isReturn, -1, path, Int(probe.offset))
      guard let link else {
        let code = errno
        for link in made { bpf_link__destroy(link) }
        return "could not be attached to: \(errorText(code))"
      }
      made.append(link)
    }
    links += made
    return nil
  }

  /// Takes all of them off.
  public func detach() {
    for link in links { bpf_link__destroy(link) }
    links = []
  }
}

@available(*, unavailable)
extension RequestProbes: Sendable {}

extension Sensor {
  /// What reads requests, attached to nothing yet; nil if it was not asked for, or the kernel has not what it takes.
  public func requestProbes() -> RequestProbes? {
    guard choices.contains(where: { $0.request == .requests && !$0.hooks.isEmpty }) else { return nil }
    return RequestProbes(objects)
  }
}
