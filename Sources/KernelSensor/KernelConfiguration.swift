import CZlib
import Glibc

/// What the kernel was built with, as far as it has to do with hooks.
public enum KernelConfiguration {
  private static let words = [
    "BPF", "BTF", "CGROUP", "DEBUG_INFO", "ERROR_INJECTION", "EVENTS", "FTRACE", "FUNCTION_TRACER", "IMA", "IO_URING",
    "KPROBE", "LOCK_DOWN", "LSM", "PREEMPT", "SECURITY", "TRACEPOINT", "TRACING", "UPROBE",
  ]

  /// Lines such as `CONFIG_BPF_SYSCALL=y` from wherever this system keeps them; nil if nowhere that can be read.
  public static func lines(release: String) -> [String]? {
    let places = ["/proc/config.gz", "/boot/config-\(release)", "/lib/modules/\(release)/config"]
    return places.lazy.compactMap { read($0) }.first.map { relevant($0) }
  }

  static func relevant(_ text: String) -> [String] {
    text.split(separator: "\n").filter { line in
      guard line.hasPrefix("CONFIG_") || line.hasPrefix("# CONFIG_") else { return false }
      // Only the name counts: a value can be any text.
      let name = line.prefix { $0 != "=" }
      return words.contains { name.contains($0) }
    }.map(String.init)
  }

  /// At most 1 MiB of a file, unpacked if it is packed.
  private static func read(_ path: String) -> String? {
    guard let file = gzopen(path, "re") else { return nil }
    defer { gzclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65536)
    while bytes.count < 1 << 20 {
      let count = gzread(file, &chunk, UInt32(chunk.count))
      if count < 0 { return nil }
      if count == 0 { break }
      bytes += chunk[..<Int(count)]
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
