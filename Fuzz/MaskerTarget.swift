import Glibc

private let masker = SecretMasker()
private let slow: SecretMasker = {
  var masker = SecretMasker()
  masker.usesPrefilter = false
  return masker
}()
private let patterned = (try? SecretMasker(patterns: ["s3cr", "ab*yz", "*.corp", "k?y two"])) ?? SecretMasker()
private let hashing = SecretMasker(mode: .hashed)
/// A token's shape with a body that no other input has.
private let token = Array(("ghp" + "_qZ7qZ8qZ9wX1wX2wX3vY4vY5vY6uT7uT8uT9").utf8)

/// Arguments with NULs between them: masking must be stable, bounded and must not depend on the fast path; a token planted
/// anywhere must go.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  guard count >= 3, let data else { return 0 }
  let input = UnsafeRawBufferPointer(start: data + 3, count: count - 3)
  let isCut = data[0] & 1 == 1
  let cut: SecretMasker.Cut = data[0] & 2 == 0 ? .none : data[0] & 4 == 0 ? .head : .tail

  for masker in [masker, patterned] {
    let first = check(input) { masker.maskArguments($0, isCut: isCut, into: &$1) }
    require(first.filter { $0 == 0 }.count == input.filter { $0 == 0 }.count, "an argument more or less")
    _ = check(input) { masker.maskText($0, cut: cut, into: &$1) }
  }
  require(
    run(input) { masker.maskArguments($0, into: &$1) } == run(input) { slow.maskArguments($0, into: &$1) }, "fast path")
  require(run(input) { masker.maskText($0, into: &$1) } == run(input) { slow.maskText($0, into: &$1) }, "fast path")
  let hashed = run(input) { hashing.maskArguments($0, isCut: isCut, into: &$1) }
  require(hashed.count <= input.count * 25 + 8, "hashes too long")

  let body = Array(token[4..<20])
  guard !contains(input, body), !contains(input, Array(token[24...])) else { return 0 }
  let place = (Int(data[1]) << 8 | Int(data[2])) % (input.count + 1)
  let planted = Array(input[..<place]) + token + Array(input[place...])
  planted.withUnsafeBytes { planted in
    for output in [
      run(planted) { masker.maskArguments($0, isCut: isCut, into: &$1) },
      run(planted) { masker.maskText($0, into: &$1) },
      run(planted) { patterned.maskArguments($0, into: &$1) },
    ] {
      output.withUnsafeBytes { output in
        require(!contains(output, body) && !contains(output, Array(token[24...])), "the token survived")
      }
    }
  }
  return 0
}

private func run(_ input: UnsafeRawBufferPointer, _ mask: (UnsafeRawBufferPointer, inout ByteBuffer) -> Int) -> [UInt8]
{
  var out = ByteBuffer(capacity: 16)
  _ = mask(input, &out)
  return out.array
}

private func check(
  _ input: UnsafeRawBufferPointer, _ mask: (UnsafeRawBufferPointer, inout ByteBuffer) -> Int
) -> [UInt8] {
  let first = run(input, mask)
  require(first.count <= input.count * 3, "too long: \(first.count) of \(input.count)")
  let second = first.withUnsafeBytes { run($0, mask) }
  require(first == second, "not stable")
  return first
}
