import Foundation
import PackagePlugin

/// Compiles each `bpf/NAME.bpf.c` of a target and embeds the object as `NAME.bpf.swift`.
@main
struct BPFCompile: BuildToolPlugin {
  func createBuildCommands(context: PluginContext, target: any Target) throws -> [Command] {
    let sources = target.directoryURL.appending(path: "bpf")
    let abi = context.package.directoryURL.appending(path: "Sources/KernelABI/include")
    let families = sources.appending(path: "families")
    let files = try [sources, families, abi].filter { FileManager.default.fileExists(atPath: $0.path) }.flatMap {
      try FileManager.default.contentsOfDirectory(at: $0, includingPropertiesForKeys: nil)
    }
    // The compiler writes no dependency files for the build system, so every header is an input of every object.
    let headers = files.filter { $0.pathExtension == "h" }
    return try files.filter { $0.lastPathComponent.hasSuffix(".bpf.c") }.map { source in
      let stem = String(source.lastPathComponent.dropLast(".bpf.c".count))
      let output = context.pluginWorkDirectoryURL.appending(path: "\(stem).bpf.swift")
      return try .buildCommand(
        displayName: "Compiling BPF \(source.lastPathComponent)",
        executable: context.tool(named: "bpf-embed").url,
        arguments: [
          context.tool(named: "clang").url.path, context.tool(named: "llvm-objcopy").url.path,
          source.path, output.path, stem, "-I", sources.path, "-I", abi.path,
        ],
        inputFiles: [source] + headers,
        outputFiles: [output])
    }
  }
}
