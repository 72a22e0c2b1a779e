// Compiles one BPF C file with the toolchain's clang and writes the object, compressed, as a Swift source.
// A build tool: run by the BPFCompile plugin, never shipped.
import CZstd
import Foundation

struct Failure: Error { let status: Int32 }

func run(_ tool: String, _ arguments: [String]) throws {
  let process = Process()
  process.executableURL = URL(filePath: tool)
  process.arguments = arguments
  try process.run()
  process.waitUntilExit()
  guard process.terminationStatus == 0 else { throw Failure(status: process.terminationStatus) }
}

/// One zstd frame, at the level that takes longest and leaves least: most of an object is tables of relocations.
func compressed(_ bytes: Data) throws -> Data {
  var frame = Data(count: ZSTD_compressBound(bytes.count))
  let size = frame.withUnsafeMutableBytes { output in
    bytes.withUnsafeBytes { input in
      ZSTD_compress(output.baseAddress, output.count, input.baseAddress, input.count, ZSTD_maxCLevel())
    }
  }
  guard ZSTD_isError(size) == 0 else { throw Failure(status: 70) }
  return frame.prefix(size)
}

let arguments = CommandLine.arguments
guard arguments.count >= 6 else {
  FileHandle.standardError.write(Data("usage: bpf-embed CLANG OBJCOPY SOURCE OUTPUT STEM [CFLAG…]\n".utf8))
  exit(64)
}
let (clang, objcopy, source, output, stem) = (arguments[1], arguments[2], arguments[3], arguments[4], arguments[5])
#if arch(x86_64)
  let architecture = "x86"
#elseif arch(arm64)
  let architecture = "arm64"
#else
  #error("no system-call table for this architecture")
#endif
let object = output + ".o"
do {
  try run(
    clang,
    [
      "-target", "bpf", "-mcpu=v3", "-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror",
      "-Wno-unused-parameter", "-Wno-missing-declarations", "-D__TARGET_ARCH_\(architecture)",
    ] + arguments.dropFirst(6) + ["-c", source, "-o", object])
  // DWARF goes, .BTF and .BTF.ext stay.
  try run(objcopy, ["--strip-debug", object])
  let bytes = try Data(contentsOf: URL(filePath: object))
  let frame = try compressed(bytes)
  // A byte-array literal of this size takes the compiler seconds; a string literal none.
  try """
  // Generated from \(stem).bpf.c; do not edit.
  extension KernelProgram {
    static let \(stem)Embedded: (size: Int, frameSize: Int, base64: StaticString) = (
      \(bytes.count), \(frame.count), "\(frame.base64EncodedString())")
  }

  """.write(toFile: output, atomically: true, encoding: .utf8)
} catch let failure as Failure {
  exit(failure.status)
}
