internal import CSystem
internal import Glibc
internal import Jobs
internal import KernelABI
internal import Observation

/// Hashes one file after the other: that which the kernel told of, in the state that it was in, or none.
///
/// A state is told by size and change time, and a clock's tick may hold two changes. So a change time only vouches for
/// contents if it was older than a tick when the file was executed, or when reading began. What a process runs that is
/// still there needs no such proof: nobody could write it all the time.
struct HashedFile: ~Copyable {
  private let limit: UInt64
  private let imagesAreFixed = mt_images_are_fixed() == 1
  private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 4096)

  /// More than a tick of the slowest clock, in nanoseconds.
  private static let tick: Int64 = 20_000_000

  init(limit: UInt64) { self.limit = limit }

  deinit { buffer.deallocate() }

  /// Fills in digest, state and reason of a request.
  func hash(_ request: inout DigestRequest, while isWanted: () -> Bool) {
    request.body.how = UInt16(MT_DIGEST_USER.rawValue)
    do throws(Obstacle) {
      if request.body.of == UInt16(MT_DIGEST_IMAGE.rawValue) {
        try hashImage(&request, isWanted)
      } else {
        try hashWritten(&request, isWanted)
      }
    } catch {
      request.body.why = UInt16(error.why.rawValue)
    }
  }

  private struct Obstacle: Error {
    var why: mt_digest_why
    init(_ why: mt_digest_why) { self.why = why }
  }

  /// A descriptor, closed at the end.
  private struct Opened: ~Copyable {
    let descriptor: Int32
    init(_ descriptor: Int32) { self.descriptor = descriptor }
    deinit { if descriptor >= 0 { close(descriptor) } }
  }

  // MARK: - What was executed

  private func hashImage(_ request: inout DigestRequest, _ isWanted: () -> Bool) throws(Obstacle) {
    let wanted = request.body
    var place = Opened(mt_image_of_process(request.process, request.processStart))
    let isOfProcess = place.descriptor >= 0 && isIdentified(place, wanted, request)
    if !isOfProcess { place = try open(request) }
    let isRunning = isOfProcess && imagesAreFixed
    let before = try identify(place, wanted, request)
    guard before.size == wanted.size, isRunning || before.ctime == wanted.ctime else {
      throw Obstacle(MT_DIGEST_CHANGED)
    }
    guard before.size <= limit else { throw Obstacle(MT_DIGEST_TOO_LARGE) }
    let digest = try read(place, before.size, isWanted)
    let after = try identify(place, wanted, request)

    let image = Opened(mt_image_of_process(request.process, request.processStart))
    let runsOn = isRunning && image.descriptor >= 0 && isIdentified(image, wanted, request)
    guard runsOn || after.ctime == wanted.ctime && before.ctime == wanted.ctime && after.size == wanted.size else {
      throw Obstacle(MT_DIGEST_CHANGED)
    }
    guard runsOn || isSettled(wanted.ctime, at: wallTime(request.at)) else { throw Obstacle(MT_DIGEST_RECENT) }
    set(digest, &request)
  }

  /// By its name: its process is over, or runs something else.
  private func open(_ request: DigestRequest) throws(Obstacle) -> Opened {
    guard request.isInOtherMountNamespace else { return try open(request.path, root: -1) }
    for (pid, start) in [(request.process, request.processStart), (request.parent, 0)] where pid != 0 {
      let root = Opened(mt_root_of_process(pid, start))
      guard root.descriptor >= 0, let found = try? open(request.path, root: root.descriptor) else { continue }
      return found
    }
    throw Obstacle(MT_DIGEST_GONE)
  }

  private func open(_ path: [UInt8], root: Int32) throws(Obstacle) -> Opened {
    // A file that has no name, and one whose name was cut.
    guard path.first == UInt8(ascii: "/"), !path.contains(0) else { throw Obstacle(MT_DIGEST_GONE) }
    let found = Opened(
      (path + [0]).withUnsafeBytes { mt_open_named(root, $0.baseAddress?.assumingMemoryBound(to: CChar.self)) })
    switch found.descriptor {
    case -EAGAIN: throw Obstacle(MT_DIGEST_FOREIGN)
    case -ENOENT, -ENOTDIR: throw Obstacle(MT_DIGEST_GONE)
    case ..<0: throw Obstacle(MT_DIGEST_UNREADABLE)
    default: return found
    }
  }

  // MARK: - What was written

  private func hashWritten(_ request: inout DigestRequest, _ isWanted: () -> Bool) throws(Obstacle) {
    let place = try open(request.path, root: -1)
    let before = try identify(place, request.body, request)
    request.body.size = before.size
    request.body.ctime = before.ctime
    // Since the job's end somebody else has changed it.
    guard before.ctime <= wallTime(request.at) else { throw Obstacle(MT_DIGEST_CHANGED) }
    guard before.size <= limit else { throw Obstacle(MT_DIGEST_TOO_LARGE) }
    while !isSettled(before.ctime, at: wallTime(Clock.boottime)) {
      guard isWanted() else { throw Obstacle(MT_DIGEST_SHED) }
      usleep(UInt32(Self.tick / 4_000))
    }
    let digest = try read(place, before.size, isWanted)
    let after = try identify(place, request.body, request)
    guard after.ctime == before.ctime, after.size == before.size else { throw Obstacle(MT_DIGEST_CHANGED) }
    set(digest, &request)
  }

  // MARK: - Both

  private func set(_ digest: [UInt8], _ request: inout DigestRequest) {
    withUnsafeMutableBytes(of: &request.body.sha256) { $0.copyBytes(from: digest) }
    request.body.why = UInt16(MT_DIGEST_TAKEN.rawValue)
  }

  private func identify(
    _ place: borrowing Opened, _ wanted: mt_digest, _ request: DigestRequest
  ) throws(Obstacle) -> mt_looked_at {
    var found = mt_looked_at()
    switch mt_identify(place.descriptor, request.process, &found) {
    case 0: break
    case -EXDEV: throw Obstacle(MT_DIGEST_FOREIGN)
    default: throw Obstacle(MT_DIGEST_UNREADABLE)
    }
    let isRegular = found.mode & UInt32(S_IFMT) == UInt32(S_IFREG)
    guard isRegular, found.ino == wanted.file.ino, found.dev == wanted.file.dev else { throw Obstacle(MT_DIGEST_GONE) }
    return found
  }

  private func isIdentified(_ place: borrowing Opened, _ wanted: mt_digest, _ request: DigestRequest) -> Bool {
    (try? identify(place, wanted, request)) != nil
  }

  /// Nothing that changed the file later than `time` can have left this change time. Some file systems keep whole
  /// seconds, or two.
  private func isSettled(_ changeTime: Int64, at time: Int64) -> Bool {
    let isCoarse = changeTime % 1_000_000_000 == 0
    return changeTime <= time &- (isCoarse ? 2_000_000_000 + Self.tick : Self.tick)
  }

  private func wallTime(_ bootTime: UInt64) -> Int64 { Int64(clamping: bootTime) &+ Clock.wallOffset }

  private func read(_ place: borrowing Opened, _ size: UInt64, _ isWanted: () -> Bool) throws(Obstacle) -> [UInt8] {
    let file = Opened(mt_open_to_read(place.descriptor))
    guard file.descriptor >= 0 else { throw Obstacle(MT_DIGEST_UNREADABLE) }
    var hash = SHA256()
    var total: UInt64 = 0
    while true {
      let count = Glibc.read(file.descriptor, buffer.baseAddress, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw Obstacle(MT_DIGEST_UNREADABLE) }
      if count == 0 { break }
      total &+= UInt64(count)
      guard total <= size else { throw Obstacle(MT_DIGEST_CHANGED) }
      guard isWanted() else { throw Obstacle(MT_DIGEST_SHED) }
      hash.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
    }
    guard total == size else { throw Obstacle(MT_DIGEST_CHANGED) }
    return hash.finish()
  }
}
