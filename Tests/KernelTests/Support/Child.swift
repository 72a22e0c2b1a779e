import Glibc
import KernelTestSupport

/// A failed system call of the tests themselves.
struct CallFailed: Error, CustomStringConvertible {
  var call: String
  var code: Int32
  var description: String { "\(call): \(String(cString: strerror(code)))" }

  init(_ call: String, _ code: Int32 = errno) {
    self.call = call
    self.code = code
  }
}

/// A process that waits to be released, and tells facts.
struct Child {
  let pid: Int32
  let pidfd: Int32
  private(set) var facts: [String: String] = [:]
  private var gate: Int32
  private let output: Int32
  private var unfinished: [UInt8] = []
  private var isReaped = false

  /// - Parameter until: the fact that says that it has come as far as it goes by itself
  init(_ program: String, _ arguments: [String], directory: String, until fact: String = "waiting") throws {
    let words: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) } + [nil]
    defer { words.forEach { free($0) } }
    var child = mt_test_child()
    let result = mt_test_spawn(program, words, directory, &child)
    guard result == 0 else { throw CallFailed(program, result) }
    pid = child.pid
    pidfd = child.pidfd
    gate = child.gate
    output = child.output
    // posix_spawn returns before the exec has been seen by all that watch it: only what the program does tells.
    while facts[fact] == nil {
      guard readOutput(waiting: -1) else { throw CallFailed("\(program) ended", EPIPE) }
    }
  }

  mutating func release() {
    var byte: UInt8 = 10
    _ = write(gate, &byte, 1)
    close(gate)
    gate = -1
  }

  /// Reads what is there; false once nobody can write any more.
  mutating func readOutput(waiting milliseconds: Int32 = 0) -> Bool {
    var ready = pollfd(fd: output, events: Int16(POLLIN), revents: 0)
    guard poll(&ready, 1, milliseconds) > 0 else { return true }
    var buffer = [UInt8](repeating: 0, count: 65536)
    let count = read(output, &buffer, buffer.count)
    guard count > 0 else { return false }
    unfinished += buffer[..<count]
    while let end = unfinished.firstIndex(of: 10) {
      let line = unfinished[..<end]
      if let equals = line.firstIndex(of: 61) {
        facts[String(decoding: line[..<equals], as: UTF8.self)] = String(decoding: line[(equals + 1)...], as: UTF8.self)
      }
      unfinished.removeSubrange(...end)
    }
    return true
  }

  mutating func reap() -> Int32 {
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
    isReaped = true
    return status
  }

  mutating func end() {
    if !isReaped {
      kill(pid, SIGKILL)
      _ = reap()
    }
    if gate >= 0 { close(gate) }
    close(output)
    close(pidfd)
  }
}

/// Removed with all that is in it, even where paths are longer than a call takes.
struct TemporaryDirectory {
  let path: String

  init() throws {
    var template = Array("/tmp/martlet-kernel-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw CallFailed("mkdtemp") }
    var resolved = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
    guard realpath(&template, &resolved) != nil, chmod(&template, 0o755) == 0 else { throw CallFailed("realpath") }
    path = String(decoding: resolved.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  func write(_ text: String, to name: String) throws {
    let descriptor = open("\(path)/\(name)", O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw CallFailed("open \(name)") }
    defer { close(descriptor) }
    guard Glibc.write(descriptor, text, text.utf8.count) == text.utf8.count else { throw CallFailed("write \(name)") }
  }

  func remove() {
    let top = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard top >= 0 else { return }
    defer { close(top) }
    let name = String(path.split(separator: "/").last ?? "")
    Self.empty(top, name)
    unlinkat(top, name, AT_REMOVEDIR)
  }

  private static func empty(_ parent: Int32, _ name: String) {
    let descriptor = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
    guard descriptor >= 0, let entries = fdopendir(descriptor) else { return }
    defer { closedir(entries) }
    while let entry = readdir(entries) {
      let isDirectory = entry.pointee.d_type == UInt8(DT_DIR)
      withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        // Not text: some of these names are not UTF-8.
        guard let raw = bytes.baseAddress?.assumingMemoryBound(to: CChar.self) else { return }
        if strcmp(raw, ".") == 0 || strcmp(raw, "..") == 0 { return }
        if isDirectory {
          empty(descriptor, String(cString: raw))
          unlinkat(descriptor, raw, AT_REMOVEDIR)
        } else {
          unlinkat(descriptor, raw, 0)
        }
      }
    }
  }
}

func monotonicSeconds() -> Double {
  var now = timespec()
  clock_gettime(CLOCK_MONOTONIC, &now)
  return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
}

/// The actor named by MARTLET_ACTOR, else the one of this checkout, compiled if need be.
func findActor() throws -> String {
  if let named = getenv("MARTLET_ACTOR") { return String(cString: named) }
  let root = #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
  guard let answer = popen("/\(root)/Kernels/actor", "r") else { throw CallFailed("popen") }
  var line = [CChar](repeating: 0, count: 4096)
  let isRead = fgets(&line, Int32(line.count), answer) != nil
  guard pclose(answer) == 0, isRead else { throw CallFailed("Kernels/actor", ENOENT) }
  return String(decoding: line.prefix { $0 != 0 && $0 != 10 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
