import CSystem
import EventLog
import Glibc
import Jobs
import KernelABI
import Observation
import Testing

@testable import Recording

/// A directory of its own, gone afterwards with the files that were made in it.
private final class Place {
  let path: String
  private var names: [String] = []

  init() throws {
    // Not /tmp by a symbolic link: names that the kernel tells have none.
    var template = Array("/tmp/martlet-hash-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    let real = try #require(realpath(template, nil))
    defer { free(real) }
    path = String(cString: real)
  }

  deinit {
    for name in names { unlink(path + "/" + name) }
    rmdir(path)
  }

  @discardableResult
  func write(_ text: String, to name: String) -> String {
    let file = open(path + "/" + name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
    _ = Array(text.utf8).withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
    close(file)
    names.append(name)
    return path + "/" + name
  }

  func own(_ name: String) -> String {
    names.append(name)
    return path + "/" + name
  }
}

@Suite struct HasherTests {
  /// Of "abc": FIPS 180-2.
  private static let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

  private static func looked(_ path: String) throws -> mt_looked_at {
    let file = mt_open_named(-1, path)
    defer { close(file) }
    var found = mt_looked_at()
    try #require(mt_identify(file, 0, &found) == 0)
    return found
  }

  /// What to hash at a path, as the kernel would tell it now.
  private static func request(_ path: String, _ of: mt_digest_of = MT_DIGEST_WRITTEN) throws -> DigestRequest {
    let found = try looked(path)
    var body = mt_digest()
    body.file = mt_file(ino: found.ino, dev: found.dev, generation: 0, mode: found.mode, nlink: 1)
    body.of = UInt16(of.rawValue)
    if of == MT_DIGEST_IMAGE {
      body.size = found.size
      body.ctime = found.ctime
    }
    var request = DigestRequest(body: body)
    request.path = Array(path.utf8)
    request.at = Clock.boottime
    return request
  }

  private static func hashed(
    _ request: DigestRequest, limit: UInt64 = 1 << 30, while isWanted: () -> Bool = { true }
  ) -> mt_digest {
    var request = request
    HashedFile(limit: limit).hash(&request, while: isWanted)
    return request.body
  }

  private static func hex(_ body: mt_digest) -> String {
    withUnsafeBytes(of: body.sha256) { bytes in
      bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }
  }

  @Test("a file that was written is hashed as it is, with the state that it was found in")
  func written() throws {
    let place = try Place()
    let path = place.write("abc", to: "out")
    let request = try Self.request(path)
    let body = Self.hashed(request)
    #expect(body.absence == nil && Self.hex(body) == Self.abc && body.size == 3)
    #expect(body.ctime == (try Self.looked(path).ctime) && body.how == UInt16(MT_DIGEST_USER.rawValue))
  }

  @Test("another file under the name, or none, is not taken for it")
  func gone() throws {
    let place = try Place()
    let path = place.write("abc", to: "out")
    let request = try Self.request(path)
    let other = place.write("abc", to: "other")
    rename(other, path)
    #expect(Self.hashed(request).absence == .gone)
    unlink(path)
    #expect(Self.hashed(request).absence == .gone)
    // Nor is what is no file, which nobody waits for, or a link to one.
    mkfifo(place.own("fifo"), 0o600)
    rename(place.path + "/fifo", path)
    #expect(Self.hashed(request).absence == .gone)
    unlink(path)
    symlink(place.write("abc", to: "target"), path)
    #expect(Self.hashed(request).absence == .gone)
    var unnamed = request
    unnamed.path = Array("memfd:x".utf8)
    #expect(Self.hashed(unnamed).absence == .gone)
  }

  @Test("a change after the job's end, or while the file is read, leaves no digest")
  func changed() throws {
    let place = try Place()
    let path = place.write("abc", to: "out")
    var request = try Self.request(path)
    request.at = 1
    #expect(Self.hashed(request).absence == .changed)
    request.at = Clock.boottime + 1_000_000_000
    // Asked after each piece: the file grows, is written in place, or only touched.
    for change in [{ place.write("d", to: "out") }, { truncate(path, 1) }, { chmod(path, 0o600) }] as [() -> Any] {
      #expect(
        Self.hashed(
          request,
          while: {
            _ = change()
            return true
          }
        ).absence == .changed)
    }
  }

  @Test("limits leave no digest")
  func limits() throws {
    let place = try Place()
    let request = try Self.request(place.write("abc", to: "out"))
    #expect(Self.hashed(request, limit: 2).absence == .tooLarge)
    #expect(Self.hashed(request, limit: 3).absence == nil)
    #expect(Self.hashed(request, while: { false }).absence == .notHashed)
  }

  @Test("a file system that does not answer by itself is not asked")
  func foreign() throws {
    var request = DigestRequest(body: mt_digest())
    request.body.of = UInt16(MT_DIGEST_WRITTEN.rawValue)
    request.path = Array("/proc/self/status".utf8)
    #expect(Self.hashed(request).absence == .foreign)
  }

  /// One that was executed, by a process that is over.
  @Test("an image is found by its name if nothing has changed since long before it was executed")
  func imageByName() throws {
    let place = try Place()
    let path = place.write("abc", to: "program")
    var request = try Self.request(path, MT_DIGEST_IMAGE)
    // As if it had been executed a minute after its last change.
    request.at += 60_000_000_000
    let body = Self.hashed(request)
    #expect(body.absence == nil && Self.hex(body) == Self.abc)
    // Within a tick of its last change nobody can tell what was executed.
    let offset = Clock.wallOffset
    request.at = UInt64(request.body.ctime - offset)
    #expect(Self.hashed(request).absence == .recent)
    request.at += 60_000_000_000
    request.body.ctime -= 1
    #expect(Self.hashed(request).absence == .changed)
    request.body.ctime += 1
    request.body.size += 1
    #expect(Self.hashed(request).absence == .changed)
    request.isInOtherMountNamespace = true
    #expect(Self.hashed(request).absence == .gone)
  }

  @Test("an image is found by the process that runs it, whatever its name leads to")
  func imageByProcess() throws {
    var request = try Self.request(try #require(Self.self.executable), MT_DIGEST_IMAGE)
    request.process = UInt32(getpid())
    request.path = Array("/nowhere".utf8)
    // Executed when it was just made: nobody could write it from then on.
    request.at = UInt64(max(1, request.body.ctime - Clock.wallOffset))
    let body = Self.hashed(request)
    guard mt_images_are_fixed() == 1 else {
      #expect(body.absence == .recent)
      return
    }
    #expect(body.absence == nil && Self.hex(body) != Self.abc)
    var other = request
    other.body.file.ino += 1
    #expect(Self.hashed(other).absence == .gone)
  }

  private static var executable: String? {
    var buffer = [CChar](repeating: 0, count: 4096)
    let length = readlink("/proc/self/exe", &buffer, buffer.count - 1)
    return length > 0 ? String(decoding: buffer[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self) : nil
  }

  // MARK: - A job's

  private static func recorder(_ hasher: FileHasher) -> JobRecorder {
    var options = JobOptions(rootProcess: 100)
    options.hashesFiles = true
    return JobRecorder(state: JobState(options: options), log: nil, hasher: hasher)
  }

  /// A process that writes a file, and closes it.
  private static func write(_ path: String, to recorder: inout JobRecorder) throws {
    let found = try looked(path)
    let file = mt_file(ino: found.ino, dev: found.dev, generation: 0, mode: found.mode, nlink: 1)
    var stream: [RecordBuilder] = []
    var body = mt_open(
      file: file, dir: 0, size: 0, fd: 3, open_flags: 0o101, fmode: MT_FMODE_WRITE | MT_FMODE_CREATED, how: 0,
      deleted: 0,
      sock: 0, peer: 0)
    body.size = found.size
    var open = RecordBuilder(.open, time: Clock.boottime, tgid: 100, leaderStart: 7)
    open.setBody(body)
    open.setString(.path, path)
    stream.append(open)
    var close = RecordBuilder(.close, time: Clock.boottime, tgid: 100, leaderStart: 7)
    close.setBody(
      mt_close(
        file: file, size: found.size, ctime: found.ctime, mtime: found.ctime, fd: 3, why: 0, has_state: 1))
    stream.append(close)
    for builder in stream { try builder.bytes.withUnsafeBytes { recorder.take(try RecordView(validating: $0)) } }
  }

  @Test("what a job leaves behind is in its snapshot")
  func job() throws {
    let place = try Place()
    let path = place.write("abc", to: "out")
    let hasher = try FileHasher()
    try hasher.start()
    defer { hasher.end() }
    var recorder = Self.recorder(hasher)
    try Self.write(path, to: &recorder)
    recorder.finishHashing()
    let snapshot = recorder.finish().state.snapshot()
    #expect(snapshot.files.first?.digest?.text == "sha256:" + Self.abc)
    #expect(snapshot.files.first?.digest?.isAsClosed == true)
    #expect(snapshot.hashing?.byUserSpace == 1)
  }

  @Test("what finds no place, and what is not waited for, is counted")
  func shed() throws {
    let place = try Place()
    let path = place.write("abc", to: "out")
    var limits = FileHasher.Limits()
    limits.queue = 0
    let full = try FileHasher(limits: limits)
    var recorder = Self.recorder(full)
    try Self.write(path, to: &recorder)
    recorder.finishHashing()
    #expect(recorder.finish().state.snapshot().hashing?.absent == [.notHashed: 1])

    limits = FileHasher.Limits()
    limits.patience = 0
    // Nobody takes anything from its queue.
    let idle = try FileHasher(limits: limits)
    recorder = Self.recorder(idle)
    try Self.write(path, to: &recorder)
    recorder.finishHashing()
    let isHashing = recorder.isHashing
    #expect(!isHashing)
    #expect(recorder.finish().state.snapshot().hashing?.absent == [.notHashed: 1])
  }
}
