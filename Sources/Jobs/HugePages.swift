internal import Glibc

/// Asks for large pages under tables that are looked up at random: with small ones every lookup in a job of
/// 200,000 files misses the address cache as well, which in a virtual machine costs more than the data.
enum HugePages {
  private static let size = 2 << 20

  /// A hint; nothing depends on it, so what the kernel answers does not matter.
  static func advise(_ memory: UnsafeMutableRawPointer, _ byteCount: Int) {
    guard byteCount >= size else { return }
    let start = (UInt(bitPattern: memory) + UInt(size) - 1) & ~UInt(size - 1)
    let end = (UInt(bitPattern: memory) + UInt(byteCount)) & ~UInt(size - 1)
    guard end > start, let address = UnsafeMutableRawPointer(bitPattern: start) else { return }
    _ = madvise(address, Int(end - start), MADV_HUGEPAGE)
  }
}
