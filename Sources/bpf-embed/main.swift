// Compiles one BPF C file with the toolchain's clang and writes the object as a Swift source.
// A build tool: run by the BPFCompile plugin, never shipped.
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
  // A byte-array literal of this size takes the compiler 20 s and more; a string literal none.
  try """
  // Generated from \(stem).bpf.c; do not edit.
  extension KernelProgram {
    static let \(stem)ByteCount = \(bytes.count)
    static let \(stem)Base64: StaticString = "\(bytes.base64EncodedString())"
  }

  """.write(toFile: output, atomically: true, encoding: .utf8)
} catch let failure as Failure {
  exit(failure.status)
}
