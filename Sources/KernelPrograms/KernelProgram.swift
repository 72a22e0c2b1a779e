internal import CZstd

/// The kernel programs: relocatable BPF objects, as compiled from `bpf/*.bpf.c`.
public enum KernelProgram: String, Sendable {
  /// All families of the sensor, for Linux 5.17 and later.
  case sensor
  /// The same for older kernels, see `bpf/compat.h`.
  case sensorOld = "sensor_old"

  /// The ELF object, ready for `bpf_object__open_mem`.
  public var object: [UInt8] {
    switch self {
    case .sensor: unpack(Self.sensorEmbedded)
    case .sensorOld: unpack(Self.sensor_oldEmbedded)
    }
  }

  /// What `martlet bench` measures: no part of the sensor.
  public static var bench: [UInt8] { unpack(benchEmbedded) }
}

/// Unpacks what `bpf-embed` has written into a source.
///
/// - Parameter embedded: bytes of the object, and of the zstd frame that holds it in base64
public func unpack(_ embedded: (size: Int, frameSize: Int, base64: StaticString)) -> [UInt8] {
  let frame = decode(embedded.base64, count: embedded.frameSize)
  return [UInt8](unsafeUninitializedCapacity: embedded.size) { output, filled in
    filled = ZSTD_decompress(output.baseAddress, output.count, frame, frame.count)
    precondition(filled == embedded.size, "the kernel programs in this executable are damaged")
  }
}

private func decode(_ base64: StaticString, count: Int) -> [UInt8] {
  base64.withUTF8Buffer { text in
    [UInt8](unsafeUninitializedCapacity: count) { output, filled in
      var bits: UInt32 = 0
      var bitCount = 0
      for character in text {
        let value: UInt32
        switch character {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = UInt32(character) - 65
        case UInt8(ascii: "a")...UInt8(ascii: "z"): value = UInt32(character) - 71
        case UInt8(ascii: "0")...UInt8(ascii: "9"): value = UInt32(character) + 4
        case UInt8(ascii: "+"): value = 62
        case UInt8(ascii: "/"): value = 63
        default: continue
        }
        bits = bits << 6 | value
        bitCount += 6
        if bitCount >= 8, filled < count {
          bitCount -= 8
          output[filled] = UInt8(truncatingIfNeeded: bits >> UInt32(bitCount))
          filled += 1
        }
      }
    }
  }
}
