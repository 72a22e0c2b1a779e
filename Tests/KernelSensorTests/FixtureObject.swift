import KernelPrograms

/// The objects of `bpf/`.
enum FixtureObject {
  /// `writes.bpf.c`: a sensor in small.
  static let bytes = unpack(KernelProgram.writesEmbedded)
  /// `broken.bpf.c`: what no kernel takes.
  static let broken = unpack(KernelProgram.brokenEmbedded)
}

/// What the build's plugin adds the objects to.
enum KernelProgram {}
