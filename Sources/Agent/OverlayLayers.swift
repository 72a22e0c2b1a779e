internal import Glibc

/// The directories that overlayfs makes a container's root of, as Docker's and BuildKit's storage calls them.
struct OverlayLayers: Equatable, Sendable {
  /// Where its changes go.
  var upper: String
  /// What it begins with.
  var lower: Set<String>

  /// nil: the process has ended, or has no such root.
  ///
  /// - Parameter place: where it is mounted, as the process sees it
  init?(ofProcess pid: UInt32, at place: String = "/") {
    let lines = ProcessScan.file("/proc/\(pid)/mountinfo", limit: 1 << 20).split(separator: UInt8(ascii: "\n"))
    for line in lines {
      // `36 35 98:0 / / rw,noatime … - overlay overlay rw,lowerdir=…`, see proc_pid_mountinfo(5).
      let words = line.split(separator: UInt8(ascii: " "))
      guard words.count > 8, words[4].elementsEqual(place.utf8), let options = words.last,
        words.contains(where: { $0.elementsEqual("overlay".utf8) })
      else { continue }
      self.init(options: String(decoding: options, as: UTF8.self)) { link in
        ProcessScan.link("/proc/\(pid)/root\(link)").map { String(decoding: $0, as: UTF8.self) }
      }
      return
    }
    return nil
  }

  /// - Parameters:
  ///   - options: of the mount
  ///   - target: of a symbolic link; Docker has short ones, so that the options fit
  init?(options: String, target: (String) -> String?) {
    var upper: String?
    var lower: Set<String> = []
    for option in options.split(separator: ",") {
      if option.hasPrefix("upperdir=") { upper = Self.name(of: option.dropFirst(9)) }
      guard option.hasPrefix("lowerdir=") else { continue }
      for path in option.dropFirst(9).split(separator: ":").prefix(512) {
        if let name = Self.name(of: path) { lower.insert(name) }
        if path.contains("/l/"), let link = target(String(path)), let name = Self.name(of: link[...]) {
          lower.insert(name)
        }
      }
    }
    guard let upper, !lower.isEmpty else { return nil }
    self.upper = upper
    self.lower = lower
  }

  /// Of `…/overlay2/NAME/diff` and `…/snapshots/NAME/fs`: the NAME.
  private static func name(of path: Substring) -> String? {
    let parts = path.split(separator: "/")
    guard parts.count >= 2, let last = parts.last, last == "diff" || last == "fs" else { return nil }
    return String(parts[parts.count - 2])
  }
}
