import CLibbpf
import CSystem
import Glibc
import Synchronization

/// What libbpf has to say, kept instead of printed: stderr belongs to the watched command.
///
/// libbpf has one print callback for the whole process, so this is global too.
enum LibbpfLog {
  /// Bytes kept, from the end: enough for the part of a verifier's log that says what is wrong.
  static let limit = 32 * 1024

  private static let kept = Mutex<[UInt8]>([])
  private static let installation: Void = { _ = libbpf_set_print(keepLibbpfMessage) }()

  /// Starts to capture, and forgets what was captured before.
  static func start() {
    _ = installation
    kept.withLock { $0.removeAll(keepingCapacity: true) }
  }

  static var text: String { kept.withLock { String(decoding: $0, as: UTF8.self) } }

  fileprivate static func append(_ bytes: UnsafeRawBufferPointer) {
    kept.withLock { kept in
      kept.append(contentsOf: bytes.suffix(limit))
      if kept.count > limit { kept.removeFirst(kept.count - limit) }
    }
  }

  /// The program that libbpf named last, if it is one of `names`.
  ///
  /// libbpf gives no other sign of which program made bpf_object__load fail than
  /// `libbpf: prog 'NAME': failed to load: -22`.
  static func lastProgram(in text: String, among names: [String]) -> String? {
    for line in text.split(separator: "\n").reversed() where line.hasPrefix("libbpf: prog '") {
      let rest = line.dropFirst("libbpf: prog '".count)
      let name = String(rest.prefix { $0 != "'" })
      if names.contains(name) { return name }
    }
    return nil
  }

  /// The map that could not be made, from `libbpf: map 'NAME': failed to create: Invalid argument(-22)`.
  static func failedMap(in text: String) -> String? {
    for line in text.split(separator: "\n").reversed() {
      let parts = line.split(separator: "'", maxSplits: 2)
      if parts.count == 3, parts[0] == "libbpf: map ", parts[2].hasPrefix(": failed to create: ") {
        return String(parts[1])
      }
    }
    return nil
  }

  /// By program, from `libbpf: prog 'NAME': -- BEGIN PROG LOAD LOG --` and, below it, `processed 123 insns (limit …`.
  static func verifiedInstructions(in text: String) -> [String: Int] {
    var counts: [String: Int] = [:]
    var name = ""
    for line in text.split(separator: "\n") {
      if line.hasPrefix("libbpf: prog '"), line.contains("BEGIN PROG LOAD LOG") {
        name = String(line.dropFirst("libbpf: prog '".count).prefix { $0 != "'" })
      } else if line.hasPrefix("processed "), let count = Int(line.dropFirst("processed ".count).prefix { $0 != " " }) {
        counts[name] = count
      }
    }
    return counts
  }

  /// The last lines of the verifier's log, or of all that libbpf said if there is none; at most `count` lines.
  static func tail(of text: String, lines count: Int = 24) -> String {
    var lines = text.split(separator: "\n")
    if let end = lines.lastIndex(where: { $0.contains("END PROG LOAD LOG") }) {
      lines = Array(lines[..<end])
      if let begin = lines.lastIndex(where: { $0.contains("BEGIN PROG LOAD LOG") }) {
        lines = Array(lines[(begin + 1)...])
      }
    }
    return lines.suffix(count).joined(separator: "\n")
  }

  /// The line that best says why, for a list of reasons: the verifier's last words without its statistics, else
  /// what libbpf said of a program, else its last message.
  static func reason(in text: String) -> String {
    let lines = tail(of: text).split(separator: "\n")
    let hasVerifierLog = text.contains("END PROG LOAD LOG")
    let line =
      if hasVerifierLog {
        lines.last { !$0.hasPrefix("processed ") && !$0.hasPrefix("verification time") }
      } else {
        lines.last { $0.hasPrefix("libbpf: prog '") } ?? lines.last
      }
    guard let line else { return "" }
    return String(line.hasPrefix("libbpf: ") ? line.dropFirst("libbpf: ".count) : line)
  }
}

// What libbpf calls: at file scope, as it has no isolation and captures nothing. A va_list is an array on
// x86-64, which makes the parameter a pointer that could be null, and a struct on arm64.
#if arch(x86_64)
  private func keepLibbpfMessage(
    level: libbpf_print_level, format: UnsafePointer<CChar>?, arguments: CVaListPointer?
  ) -> Int32 {
    arguments.map { keepMessage(level, format, $0) } ?? 0
  }
#else
  private func keepLibbpfMessage(
    level: libbpf_print_level, format: UnsafePointer<CChar>?, arguments: CVaListPointer
  ) -> Int32 {
    keepMessage(level, format, arguments)
  }
#endif

private func keepMessage(
  _ level: libbpf_print_level, _ format: UnsafePointer<CChar>?, _ arguments: CVaListPointer
) -> Int32 {
  // At this level are the verifier's logs of programs that it took, which are only written if somebody wants them.
  guard let format, level != LIBBPF_DEBUG || strstr(format, "BEGIN PROG LOAD LOG") != nil,
    let text = mt_format(format, arguments)
  else { return 0 }
  LibbpfLog.append(UnsafeRawBufferPointer(start: text, count: strlen(text)))
  free(text)
  return 0
}
