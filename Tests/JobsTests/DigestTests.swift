import KernelABI
import Observation
import Testing

@testable import Jobs

@Suite struct DigestTests {
  private let out = Job.File(5)

  private func started() -> Job {
    let job = Job { $0.hashesFiles = true }
    job.exec(100, "/bin/sh")
    return job
  }

  /// As `exec` of these tests makes the image.
  private func image(_ path: String) -> mt_digest {
    var body = mt_digest()
    body.file = Job.File(UInt64(path.utf8.count) + 5_000).body
    body.of = UInt16(MT_DIGEST_IMAGE.rawValue)
    body.how = UInt16(MT_DIGEST_KERNEL.rawValue)
    body.sha256.31 = 7
    return body
  }

  private func written(_ file: Job.File) -> mt_digest {
    var body = mt_digest()
    body.file = file.body
    body.of = UInt16(MT_DIGEST_WRITTEN.rawValue)
    body.how = UInt16(MT_DIGEST_USER.rawValue)
    body.size = 10
    body.ctime = 1000
    body.sha256.31 = 9
    return body
  }

  /// Whether the fold asks for the digest of the image that an exec record tells of.
  private func request(_ job: Job, _ path: String, ctime: Int64 = 0) -> DigestRequest? {
    var body = mt_exec()
    body.file = Job.File(UInt64(path.utf8.count) + 5_000).body
    body.ctime = ctime
    body.parent_tgid = 99
    body.exec_flags = MT_EXEC_OTHER_MNTNS.rawValue
    var builder = RecordBuilder(.exec, time: job.time + 1, tgid: 100, leaderStart: Job.start(100))
    builder.setBody(body)
    builder.setString(.exe, path)
    job.apply(builder)
    return builder.bytes.withUnsafeBytes { bytes in
      (try? RecordView(validating: bytes)).flatMap { job.state.digestRequest(for: $0) }
    }
  }

  @Test func anImageHasTheDigestOfItsVersion() throws {
    let job = started()
    job.send(.digest, 100, body: image("/usr/bin/cc"))
    job.exec(100, "/usr/bin/cc")
    let known = try #require(job.process(100)?.images.last?.digest)
    #expect(known.sha256?.last == 7 && known.how == .kernel && known.at != 0 && known.absence == nil)
    #expect(known.text == "sha256:" + String(repeating: "0", count: 63) + "7")
    // The first image was not hashed, and another version of the second is another file.
    #expect(job.process(100)?.images.first?.digest?.absence == .notHashed)
    #expect(request(job, "/usr/bin/cc") == nil)
    #expect(request(job, "/usr/bin/cc", ctime: 5) != nil)
    #expect(job.process(100)?.images.last?.digest?.absence == .notHashed)
  }

  @Test func aVersionIsAskedForOnceUnlessItCouldNotBeHad() throws {
    let job = started()
    let request = try #require(self.request(job, "/usr/bin/cc"))
    #expect(request.path == Array("/usr/bin/cc".utf8) && request.process == 100 && request.parent == 99)
    #expect(request.processStart == Job.start(100) && request.isInOtherMountNamespace)
    #expect(self.request(job, "/usr/bin/cc") == nil)
    var body = image("/usr/bin/cc")
    body.how = UInt16(MT_DIGEST_USER.rawValue)
    body.why = UInt16(MT_DIGEST_GONE.rawValue)
    job.send(.digest, 100, body: body)
    #expect(job.process(100)?.images.last?.digest?.absence == .gone)
    #expect(self.request(job, "/usr/bin/cc") != nil && self.request(job, "/usr/bin/cc") == nil)
    body.why = UInt16(MT_DIGEST_TAKEN.rawValue)
    job.send(.digest, 100, body: body)
    #expect(job.process(100)?.images.last?.digest?.how == .userSpace)
    #expect(self.request(job, "/usr/bin/cc") == nil)
    // What is known is not forgotten.
    body.why = UInt16(MT_DIGEST_CHANGED.rawValue)
    job.send(.digest, 100, body: body)
    #expect(job.process(100)?.images.last?.digest?.sha256 != nil)
  }

  @Test func whatTheKernelHashesInAnotherWayIsAskedForAndSaid() throws {
    let job = started()
    var body = image("/usr/bin/cc")
    body.why = UInt16(MT_DIGEST_OTHER.rawValue)
    body.algorithm = 2
    job.send(.digest, 100, body: body)
    #expect(request(job, "/usr/bin/cc") != nil)
    #expect(job.snapshot().hashing?.kernelObjection?.contains("SHA-1") == true)
    body.algorithm = -95
    job.send(.digest, 100, body: body)
    #expect(job.snapshot().hashing?.kernelObjection?.contains("95") == true)
  }

  @Test func filesLeftBehindAreHashed() throws {
    let job = started()
    job.open(100, "/w", "out", out, write: true, created: true)
    job.open(100, "/w", "gone", Job.File(6), fd: 4, write: true, created: true)
    job.open(100, "/w", "read", Job.File(7), fd: 5)
    job.open(100, "/w", "held", Job.File(8), fd: 6, write: true, created: true)
    job.close(100, out, fd: 3)
    job.close(100, Job.File(6), fd: 4)
    job.operation(.unlink, 100, in: "/w", "gone")
    job.operation(.rename, 100, in: "/w", "out", "--token=hunter2hunter2")
    let requests = job.state.writtenFiles()
    // The name as it is, for it has to be found.
    #expect(requests.map { String(decoding: $0.path, as: UTF8.self) } == ["/w/--token=hunter2hunter2", "/w/held"])
    #expect(requests.map(\.body.absence) == [nil, .open])
    job.send(.digest, 0, body: written(out))
    var held = written(Job.File(8))
    held.why = UInt16(MT_DIGEST_OPEN.rawValue)
    job.send(.digest, 0, body: held)
    let files = job.snapshot().files
    let known = try #require(files.first { $0.identity.inode == 5 }?.digest)
    #expect(known.sha256?.last == 9 && known.how == .userSpace && known.isAsClosed)
    #expect(files.first { $0.identity.inode == 6 }?.digest == nil)
    #expect(files.first { $0.identity.inode == 8 }?.digest?.absence == .open)
    let hashing = try #require(job.snapshot().hashing)
    #expect(hashing.byUserSpace == 1 && hashing.byKernel == 0 && hashing.absent == [.open: 1])
    #expect(hashing.kernelObjection == nil)
  }

  @Test func aFileThatChangedAfterItsCloseSaysSo() throws {
    let job = started()
    job.open(100, "/w", "out", out, write: true, created: true)
    job.close(100, out, fd: 3)
    var body = written(out)
    body.ctime += 1
    job.send(.digest, 0, body: body)
    #expect(job.file("/w/out")?.digest?.isAsClosed == false)
  }

  @Test func unaskedNothingIsHashed() throws {
    let job = Job()
    job.exec(100, "/bin/sh")
    job.open(100, "/w", "out", out, write: true, created: true)
    #expect(request(job, "/usr/bin/cc") == nil && job.state.writtenFiles().isEmpty)
    let snapshot = job.snapshot()
    #expect(snapshot.hashing == nil && snapshot.files.allSatisfy { $0.digest == nil })
    #expect(snapshot.processes.allSatisfy { $0.images.allSatisfy { $0.digest == nil } })
  }

  @Test func whatFindsNoRoomIsCounted() {
    let job = Job { options in
      options.hashesFiles = true
      options.limits.bytes = 1
    }
    job.send(.digest, 100, body: image("/usr/bin/cc"))
    #expect(job.snapshot().notKept.digests == 1)
    // Nor do records that make no sense do harm.
    var body = mt_digest()
    body.how = .max
    body.why = .max
    job.send(.digest, 0, body: body)
  }
}
