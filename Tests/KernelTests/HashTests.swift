import EventLog
import Glibc
import Jobs
import KernelABI
import KernelSensor
import Observation
import Testing

extension KernelTests {
  /// What files hash to: right, or not there at all.
  @Suite struct Hashes {
    private static func act(_ words: String..., again: Bool = true) throws -> (act: Act, snapshot: JobSnapshot) {
      let act = try Bench.hashing.get().repeated(words)
      try #require(act.facts["failed"] == nil, "the actor failed\n\(act.summary)")
      return (act, try #require(act.snapshot))
    }

    /// Who hashes images here.
    private static func how() throws -> FileDigest.How {
      try Bench.hashing.get().sensor.hashObjection == nil ? .kernel : .userSpace
    }

    /// Of the actor's own file, and what else is behind it.
    static func actorsDigest(and more: String = "") throws -> [UInt8] {
      let file = open(try findActor(), O_RDONLY | O_CLOEXEC)
      try #require(file >= 0)
      defer { close(file) }
      var hash = SHA256()
      var buffer = [UInt8](repeating: 0, count: 65536)
      while true {
        let count = read(file, &buffer, buffer.count)
        if count <= 0 { break }
        buffer.withUnsafeBytes { hash.update(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
      }
      var more = more
      more.withUTF8 { hash.update(UnsafeRawBufferPointer($0)) }
      return hash.finish()
    }

    private static func images(_ snapshot: JobSnapshot, _ file: FileFact) -> [ImageSummary] {
      snapshot.processes.flatMap(\.images).filter {
        $0.identity.inode == file.inode && $0.identity.device == file.device
      }
    }

    @Test func tierSaysWhoHashes() throws {
      let sensor = try Bench.hashing.get().sensor
      let choice = try #require(sensor.choices.first { $0.family == "hashes" })
      #expect(choice.isOnRequest && sensor.missingHooks.isEmpty)
      if choice.hooks.isEmpty {
        #expect(sensor.hashObjection?.isEmpty == false)
      } else {
        #expect(sensor.hashObjection == nil && choice.tier == .lsm)
      }
      // Where LSM programs run at all this one does, but on kernels that lack its helper.
      let other = try Bench.shared.get().sensor
      if other.hooks.contains(where: { $0.kind == "lsm" }), KernelVersion.running >= KernelVersion(5, 18) {
        #expect(sensor.hashObjection == nil)
      }
      // Who does not ask pays nothing.
      #expect(!other.choices.contains { $0.family == "hashes" } && !other.hooks.contains { $0.family == "hashes" })
    }

    @Test func aCopyThatIsExecutedHasItsDigest() throws {
      let (act, snapshot) = try Self.act("image", "replaced")
      let (first, second) = (try act.file("image"), try act.file("other"))
      let images = (Self.images(snapshot, first), Self.images(snapshot, second))
      try #require(images.0.count == 1 && images.1.count == 1, "\(act.summary)")
      // Replaced while it ran: the process leads to it still.
      #expect(images.0[0].digest?.sha256 == (try Self.actorsDigest()), "\(images.0[0])")
      #expect(images.0[0].digest?.how == (try Self.how()))
      // Replaced when its process was over: right or absent, and never what is there now.
      let digest = try #require(images.1[0].digest)
      let isByKernel = try Self.how() == .kernel
      if isByKernel || digest.sha256 != nil {
        #expect(digest.sha256 == (try Self.actorsDigest(and: "x")), "\(digest)")
      } else {
        #expect([.gone, .changed].contains(digest.absence), "\(digest)")
      }
    }

    @Test(arguments: ["memfd", "deleted", "script", "relative", "symlink", "chroot", "thread"])
    func everyKindOfImageIsRightOrAbsent(kind: String) throws {
      let (act, snapshot) = try Self.act("image", kind)
      let (expected, how) = (try Self.actorsDigest(), try Self.how())
      let images = snapshot.processes.flatMap(\.images)
      #expect(images.count >= 2, "\(act.summary)")
      for image in images {
        let digest = try #require(image.digest)
        if let sha256 = digest.sha256 {
          #expect(sha256 == expected && digest.how == how, "\(image)")
        } else {
          #expect(how == .userSpace && digest.absence != .notHashed, "\(image)")
        }
      }
    }

    @Test func anImageIsHashedOnceForItsJob() throws {
      let bench = try Bench.hashing.get()
      let before = try bench.sensor.counters().types[Int(RecordType.digest.rawValue)]
      let (act, snapshot) = try Self.act("image", "many", "50")
      let after = try bench.sensor.counters().types[Int(RecordType.digest.rawValue)]
      let images = snapshot.processes.flatMap(\.images)
      #expect(images.count == 51 && Set(images.map(\.digest)).count == 1, "\(act.summary)")
      #expect(images[0].digest?.sha256 == (try Self.actorsDigest()), "\(images[0])")
      let hashing = try #require(snapshot.hashing)
      #expect(hashing.byKernel + hashing.byUserSpace == 1)
      let isByKernel = try Self.how() == .kernel
      if isByKernel {
        let told = try act.only(.digest)
        #expect(told.digest.how == MT_DIGEST_KERNEL.rawValue && told.digest.algorithm == MT_HASH_SHA256)
        #expect(after.deduplicated - before.deduplicated >= 50 && after.seen == after.sent + after.deduplicated)
      } else {
        act.none(.digest)
      }
      // A new job is told again.
      let next = try Self.act("exit", "0").snapshot
      #expect(next.processes[0].images[0].digest?.sha256 == images[0].digest?.sha256)
    }

    @Test func whatIsLeftBehindIsHashed() throws {
      let (act, snapshot) = try Self.act("image", "relative")
      let file = try act.file("image")
      let left = try #require(
        snapshot.files.first { $0.identity.inode == file.inode && $0.wasWritten }, "\(act.summary)")
      #expect(left.digest?.sha256 == (try Self.actorsDigest()) && left.digest?.isAsClosed == true, "\(left)")
    }
  }
}
