import KernelABI
import Observation
import Testing

@testable import Jobs

@Suite struct ByteTests {
  private let out = Job.File(5)

  private func started(counts: Bool = true) -> Job {
    let job = Job { $0.countsBytes = counts }
    job.exec(100, "/bin/sh")
    return job
  }

  @discardableResult
  private func io(
    _ job: Job, _ pid: UInt32, _ file: Job.File, image: UInt64, read: UInt64 = 0, written: UInt64 = 0,
    why: mt_io_why = MT_IO_CLOSED
  ) -> UInt64 {
    let body = mt_io(
      file: file.body, open_file: 7, image: image, read: read, written: written, why: why.rawValue, reserved: 0)
    return job.send(.io, pid, body: body)
  }

  @Test func opensOfOneImageAreAddedUp() throws {
    let job = started()
    job.open(100, "/w", "out", out, write: true, created: true)
    io(job, 100, out, image: job.time, read: 3, written: 40)
    #expect(job.path == "/w/out")
    job.open(100, "/w", "out", out, write: true)
    io(job, 100, out, image: job.time, written: 2)
    let file = try #require(job.file("/w/out"))
    #expect(file.bytes == ByteCounts(read: 3, written: 42))
    #expect(file.accesses.map(\.bytes) == [ByteCounts(read: 3, written: 42)])
  }

  @Test func imagesAreToldApartByWhenTheyBegan() throws {
    let job = Job { $0.countsBytes = true }
    // The kernel's programs take an image's time a little before they make its record.
    let before = job.exec(100, "/bin/sh") - 10
    job.open(100, "/w", "out", out, write: true, created: true)
    let exec = job.exec(100, "/bin/cat") - 10
    job.fork(100, 101)
    io(job, 101, out, image: Job.start(101), written: 5)
    io(job, 100, out, image: before, written: 1)
    io(job, 100, out, image: exec, written: 2)
    job.exit(100)
    let file = try #require(job.file("/w/out"))
    let images = job.snapshot().imageLinks
    func written(_ process: UInt32, isLast: Bool) -> UInt64? {
      let all = images.filter { $0.process == process }.map(\.id)
      let image = isLast ? all.last : all.dropLast().last
      return file.accesses.first { $0.image == image }?.bytes?.written
    }
    #expect(written(1, isLast: false) == 1)
    #expect(written(1, isLast: true) == 2)
    #expect(written(2, isLast: true) == 5)
    #expect(file.bytes?.written == 8)
  }

  @Test func whatWasNotUsedIsZeroAndWhatWasNotCountedIsAbsent() throws {
    let counted = started()
    counted.open(100, "/w", "out", out, write: true, created: true)
    #expect(try #require(counted.file("/w/out")).bytes == ByteCounts())
    #expect(counted.snapshot().bytes == ByteCounting())
    let plain = started(counts: false)
    plain.open(100, "/w", "out", out, write: true, created: true)
    #expect(try #require(plain.file("/w/out")).bytes == nil)
    #expect(plain.file("/w/out")?.accesses.first?.bytes == nil && plain.snapshot().bytes == nil)
  }

  @Test func oneThatIsNotKnownTakesAllNumbersOfTheFile() throws {
    let job = started()
    let other = Job.File(6)
    job.open(100, "/w", "out", out, write: true, created: true)
    job.open(100, "/w", "other", other, write: true, created: true)
    io(job, 100, other, image: job.time, written: 9)
    io(job, 100, out, image: job.time, written: 40)
    io(job, 100, out, image: job.time, written: 1, why: MT_IO_UNKNOWN)
    let file = try #require(job.file("/w/out"))
    #expect(file.bytes == nil && file.accesses.allSatisfy { $0.bytes == nil })
    #expect(try #require(job.file("/w/other")).bytes?.written == 9)
  }

  @Test func lossesTakeAllNumbers() throws {
    let job = started()
    job.open(100, "/w", "out", out, write: true, created: true)
    io(job, 100, out, image: job.time, written: 40)
    var snapshot = job.snapshot()
    snapshot.forgetBytes(because: "records were lost")
    #expect(snapshot.bytes?.unknown == "records were lost")
    #expect(snapshot.files.allSatisfy { $0.bytes == nil && $0.accesses.allSatisfy { $0.bytes == nil } })
  }

  @Test func aFileThatNobodyOpenedIsKept() throws {
    let job = started()
    io(job, 100, out, image: job.time, written: 4)
    #expect(job.snapshot().files.contains { $0.identity.inode == 5 && $0.bytes?.written == 4 })
    // Nor does a record about nobody do harm.
    io(job, 0, out, image: 0, written: 4)
    io(job, 999, .init(8), image: .max, read: .max, written: .max)
  }
}
