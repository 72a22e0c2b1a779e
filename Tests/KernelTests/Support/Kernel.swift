import Glibc

/// What differs between the kernels that the tests run on. A test says what it needs; where the table says that
/// this kernel lacks it, the test checks that it really does, so that no entry outlives its reason.
enum Feature: String, CaseIterable, Sendable {
  case uringDirectoryOperations
  case uringCompletions
  case closeRangeCloseOnExec

  /// The first version that has it, and why older ones do not.
  var since: (version: KernelVersion, reason: String) {
    switch self {
    case .uringCompletions: (KernelVersion(6, 0), "io_uring's completion tells the request from 6.0 on")
    case .uringDirectoryOperations:
      (KernelVersion(5, 15), "IORING_OP_MKDIRAT, SYMLINKAT and LINKAT are new in 5.15")
    case .closeRangeCloseOnExec: (KernelVersion(5, 11), "CLOSE_RANGE_CLOEXEC is new in 5.11")
    }
  }

  var isHere: Bool { KernelVersion.running >= since.version }
}

struct KernelVersion: Comparable, Sendable {
  var major: Int
  var minor: Int

  init(_ major: Int, _ minor: Int) {
    self.major = major
    self.minor = minor
  }

  static func < (a: KernelVersion, b: KernelVersion) -> Bool { (a.major, a.minor) < (b.major, b.minor) }

  static let running: KernelVersion = {
    let numbers = KernelVersion.release.split { !("0"..."9").contains($0) }.prefix(2).compactMap { Int($0) }
    return numbers.count == 2 ? KernelVersion(numbers[0], numbers[1]) : KernelVersion(0, 0)
  }()

  static let release: String = {
    var names = utsname()
    guard uname(&names) == 0 else { return "" }
    return withUnsafeBytes(of: &names.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }()
}
