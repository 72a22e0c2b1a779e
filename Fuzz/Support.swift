import Glibc

/// Ends the run as a crash, which the fuzzer then reduces and keeps.
func require(_ condition: Bool, _ message: @autoclosure () -> String) {
  guard !condition else { return }
  print("violated:", message())
  fflush(nil)
  abort()
}

func contains(_ bytes: UnsafeRawBufferPointer, _ part: [UInt8]) -> Bool {
  guard let base = bytes.baseAddress, let first = part.first else { return part.isEmpty }
  var i = 0
  while i + part.count <= bytes.count {
    guard let hit = memchr(base + i, Int32(first), bytes.count - part.count + 1 - i) else { return false }
    if memcmp(hit, part, part.count) == 0 { return true }
    i = UnsafeRawPointer(hit) - base + 1
  }
  return false
}
