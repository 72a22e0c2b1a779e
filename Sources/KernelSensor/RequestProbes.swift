import CLibbpf
import CSystem
import Glibc
public import Observation

/// The sensor's programs on functions of TLS libraries: attached file by file, for every process that runs the file.
///
/// Owned by one thread at a time. What is attached is on the file that was looked at, whatever becomes of its name, and on
/// each file once, however many use it: each program that is there costs every process that runs the file.
public final class RequestProbes {
  /// What came of a look at a file.
  public enum Outcome: Sendable, Equatable {
    /// There is no such file any more.
    case gone
    /// It does no TLS.
    case none
    /// ``file(_:)`` tells of it.
    case file(Key)
    /// It does TLS, and there are as many as there may be.
    case beyond
  }

  /// Which file it is, by what it is called or by whatever mount it was reached.
  public struct Key: Hashable, Sendable {
    private let device: UInt64
    private let inode: UInt64
    /// Of a file on an overlay, when its content changed; else 0.
    private let modified: Int64

    /// An overlay has a device number of its own, and a container an overlay of its own: its files have the inode numbers and
    /// times of those below, which are the ones that probes are on.
    fileprivate init(_ status: stat, isOnOverlay: Bool) {
      device = isOnOverlay ? 0 : UInt64(status.st_dev)
      inode = UInt64(status.st_ino)
      modified = isOnOverlay ? RequestProbes.nanoseconds(status.st_mtim) : 0
    }
  }

  /// Differs when the file may have another content by now.
  private struct Version: Equatable {
    var changed: Int64
    var size: Int64

    init(_ status: stat) {
      changed = RequestProbes.nanoseconds(status.st_ctim)
      size = Int64(status.st_size)
    }
  }

  private struct Entry {
    var file: RequestFile
    var version: Version
    var links: [OpaquePointer] = []
    var users = 0
    /// Whether anybody uses it or not.
    var stays: Bool
  }

  /// Files that are attached to at once, or would be.
  public let limit: Int
  /// Files that are remembered to do no TLS.
  private static let othersLimit = 65_536

  /// Whose the programs are.
  private let objects: LoadedObjects
  private let programs: [String: OpaquePointer]
  private var entries: [Key: Entry] = [:]
  private var others: [Key: Version] = [:]

  init(_ objects: LoadedObjects, limit: Int) {
    self.objects = objects
    self.limit = limit
    programs = objects.handles(where: { $0.isOnFiles })
  }

  deinit { detach() }

  /// What became of a file, as it was called when it was first seen; nil: nobody uses it any more.
  public func file(_ key: Key) -> RequestFile? { entries[key]?.file }

  /// All of them.
  public var files: [RequestFile] { entries.values.map(\.file) }

  /// Those that stay.
  public var staying: [Key] { entries.filter { $0.value.stays }.map(\.key) }

  /// Looks at a file, and attaches to it if it has functions to attach to and that was not done before.
  ///
  /// - Parameters:
  ///   - path: where it can be opened
  ///   - name: what it is called
  ///   - expected: its inode's number and its size, where the path may lead to another file by now
  ///   - stays: it is likely to be used, and attached to until the end. What cannot be read is not named then.
  ///   - now: asked for the time when it is attached
  public func look(
    at path: String, calledAs name: String, expected: (inode: UInt64, size: UInt64)? = nil, stays: Bool = false,
    now: () -> UInt64
  ) -> Outcome {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { return .gone }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return .none }
    if let expected, expected != (UInt64(status.st_ino), UInt64(status.st_size)) { return .gone }
    let key = Key(status, isOnOverlay: mt_is_on_overlay(descriptor) == 1)
    let version = Version(status)
    if others[key] == version { return .none }
    let known = entries[key]
    if let known, known.version == version { return .file(key) }
    guard let elf = ELFFile(descriptor: descriptor) else { return isOther(key, version) }
    let found = TLSFile(elf, name: String(name.split(separator: "/").last ?? ""))
    if found.probes.isEmpty, found.unreadable == nil { return isOther(key, version) }
    if found.unreadable != nil, stays { return .none }
    guard known != nil || entries.count < limit else { return .beyond }
    // It was renamed or given other rights; or written anew, and the functions are in other places.
    for link in known?.links ?? [] { bpf_link__destroy(link) }
    var entry = Entry(file: RequestFile(path: name), version: version, stays: known?.stays ?? stays)
    entry.users = known?.users ?? 0
    entry.file.library = found.library
    if let what = found.unreadable {
      entry.file.objection = what
    } else if let objection = attach(found, "/proc/self/fd/\(descriptor)", &entry.links) {
      entry.file.objection = objection
      entry.file.isFailure = true
    } else {
      entry.file.readSince = now()
    }
    others[key] = nil
    entries[key] = entry
    return .file(key)
  }

  private func isOther(_ key: Key, _ version: Version) -> Outcome {
    // It was one that does TLS, and was written anew.
    if let entry = entries.removeValue(forKey: key) { for link in entry.links { bpf_link__destroy(link) } }
    if others.count >= Self.othersLimit { others = [:] }
    others[key] = version
    return .none
  }

  /// Somebody uses a file from now on.
  public func retain(_ key: Key) { entries[key]?.users += 1 }

  /// Somebody uses it no more. Without users a file is let go that does not stay: it may be written anew, or unmounted.
  public func release(_ key: Key) {
    entries[key]?.users -= 1
    letGo(key)
  }

  /// Lets go of it if nobody uses it.
  public func letGo(_ key: Key) {
    guard let entry = entries[key], entry.users <= 0, !entry.stays else { return }
    for link in entry.links { bpf_link__destroy(link) }
    entries[key] = nil
  }

  /// - Returns: what speaks against it; then nothing is attached
  private func attach(_ file: TLSFile, _ path: String, _ links: inout [OpaquePointer]) -> String? {
    for probe in file.probes {
      guard let program = programs[probe.program] else { return "the kernel did not take the program for it" }
      LibbpfLog.start()
      let link = bpf_program__attach_uprobe(program, probe.isReturn, -1, path, Int(probe.offset))
      guard let link else {
        let code = errno
        for link in links { bpf_link__destroy(link) }
        links = []
        return "could not be attached to: \(errorText(code))"
      }
      links.append(link)
    }
    return nil
  }

  /// Takes all of them off.
  public func detach() {
    for key in entries.keys {
      for link in entries[key]?.links ?? [] { bpf_link__destroy(link) }
      entries[key]?.links = []
    }
  }

  fileprivate static func nanoseconds(_ time: timespec) -> Int64 {
    Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
  }
}

@available(*, unavailable)
extension RequestProbes: Sendable {}

extension Sensor {
  /// What reads requests, attached to nothing yet; nil if it was not asked for, or the kernel has not what it takes.
  ///
  /// - Parameter limit: files that are attached to at once
  public func requestProbes(limit: Int) -> RequestProbes? {
    guard choices.contains(where: { $0.request == .requests && !$0.hooks.isEmpty }) else { return nil }
    return RequestProbes(objects, limit: limit)
  }
}
