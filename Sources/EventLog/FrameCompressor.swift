internal import CZstd

/// One zstd context and its output buffer, used again for every frame.
struct FrameCompressor: ~Copyable {
  private let context: OpaquePointer
  private let output: UnsafeMutableRawBufferPointer

  /// - Parameters:
  ///   - level: as zstd counts them; negative levels are faster.
  ///   - largestInput: bytes of the largest frame that will be asked for.
  init(level: Int32, largestInput: Int) throws(EventLogError) {
    guard let context = ZSTD_createCCtx() else { throw EventLogError(.outOfMemory, "create compressor") }
    // No checksum of zstd's: the chain has a better one of the same bytes.
    // A shorter match than seven bytes costs more than it saves, in lines that are mostly other lines again.
    for (parameter, value) in [(ZSTD_c_compressionLevel, level), (ZSTD_c_minMatch, 7)]
    where ZSTD_isError(ZSTD_CCtx_setParameter(context, parameter, value)) != 0 {
      ZSTD_freeCCtx(context)
      throw EventLogError(.compression, "configure compressor")
    }
    self.context = context
    output = .allocate(byteCount: ZSTD_compressBound(largestInput), alignment: 16)
  }

  deinit {
    ZSTD_freeCCtx(context)
    output.deallocate()
  }

  /// The frame, valid until the next call.
  func compress(_ input: UnsafeRawBufferPointer) throws(EventLogError) -> UnsafeRawBufferPointer {
    let size = ZSTD_compress2(context, output.baseAddress, output.count, input.baseAddress, input.count)
    guard ZSTD_isError(size) == 0 else { throw EventLogError(.compression, "compress") }
    return UnsafeRawBufferPointer(rebasing: output[..<size])
  }
}
