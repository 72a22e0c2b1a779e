import CLibbpf
import CSystem
import Glibc

/// What has to be loaded to try a kind of hook, and what makes it run.
struct HookPlan {
  var programType: bpf_prog_type
  /// 0 where the type of the program says it all.
  var attachType: bpf_attach_type
  var target: String
  /// What the kernel's BTF calls the target, for programs that are loaded for one.
  var type: String?
  var deed: mt_deed
  /// What the program returns.
  var result: UInt32

  init(
    _ programType: bpf_prog_type, _ attachType: bpf_attach_type = bpf_attach_type(0), target: String,
    type: String? = nil, _ deed: mt_deed, returns result: UInt32 = 0
  ) {
    self.programType = programType
    self.attachType = attachType
    self.target = target
    self.type = type
    self.deed = deed
    self.result = result
  }
}

/// Why a trial ended early.
enum TrialError: Error {
  case absent(String)
  case refused(String)
}

/// An open descriptor, closed at the end.
final class Descriptor {
  let number: Int32

  /// - Parameters:
  ///   - result: a descriptor, or a negative errno
  ///   - doing: what was tried, for the error
  init(_ result: Int32, _ doing: String) throws(TrialError) {
    guard result >= 0 else { throw .refused("\(doing): \(errorText(-result))") }
    number = result
  }

  deinit { close(number) }

  /// Reads a little, for what happens by that.
  func read() {
    var bytes: (UInt64, UInt64) = (0, 0)
    _ = withUnsafeMutableBytes(of: &bytes) { Glibc.read(number, $0.baseAddress, $0.count) }
  }
}

/// A map of one number, and programs that add 1 to it and do nothing else.
struct RunCounter {
  private let map: Descriptor

  init() throws(TrialError) {
    LibbpfLog.start()
    map = try Descriptor(bpf_map_create(BPF_MAP_TYPE_ARRAY, "martlet_trial", 4, 8, 1, nil), "make a map")
  }

  func runs() throws(TrialError) -> UInt64 {
    var key: UInt32 = 0
    var value: UInt64 = 0
    let result = bpf_map_lookup_elem(map.number, &key, &value)
    if result != 0 { throw .refused("read a map: \(errorText(-result))") }
    return value
  }

  /// - Parameters:
  ///   - type: the BTF id of the target, or 0
  ///   - signals: send signal 0, which asks whether one can be sent, to whoever the program runs for, and count only
  ///     if that succeeds
  func program(_ plan: HookPlan, type: UInt32, signals: Bool = false) throws(TrialError) -> Descriptor {
    // Each as in linux/bpf.h: code, registers (destination in the lower half), offset, immediate.
    func instruction(_ code: UInt64, _ registers: UInt64, _ immediate: UInt32, skip: UInt64 = 0) -> UInt64 {
      code | registers << 8 | skip << 16 | UInt64(immediate) << 32
    }
    let prefix = [
      instruction(0xB7, 0x01, 0),  // r1 = 0
      instruction(0x85, 0, BPF_FUNC_send_signal.rawValue),  // r0 = bpf_send_signal(r1)
      instruction(0x55, 0x00, 0, skip: 4),  // if r0 != 0, go on behind the addition
    ]
    let words =
      (signals ? prefix : []) + [
        // r1 = the address of the map's value: BPF_LD | BPF_DW | BPF_IMM with BPF_PSEUDO_MAP_VALUE.
        instruction(0x18, 0x21, UInt32(bitPattern: map.number)), 0,
        instruction(0xB7, 0x02, 1),  // r2 = 1
        instruction(0xDB, 0x21, 0),  // lock *(u64 *)r1 += r2
        instruction(0xB7, 0x00, plan.result),
        instruction(0x95, 0, 0),  // return r0
      ]
    var log = [CChar](repeating: 0, count: 4096)
    let result = words.withUnsafeBytes { words in
      log.withUnsafeMutableBufferPointer { log in
        var options = bpf_prog_load_opts()
        options.sz = MemoryLayout<bpf_prog_load_opts>.size
        options.expected_attach_type = plan.attachType
        options.attach_btf_id = type
        options.log_level = 1
        options.log_buf = log.baseAddress
        options.log_size = UInt32(log.count)
        return bpf_prog_load(
          plan.programType, "martlet_trial", "GPL", words.assumingMemoryBound(to: bpf_insn.self).baseAddress,
          words.count / MemoryLayout<bpf_insn>.size, &options)
      }
    }
    guard result < 0 else { return try Descriptor(result, "load") }
    let text = String(decoding: log.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    let last = text.split(separator: "\n").last { !$0.hasPrefix("processed ") }
    throw .refused("load: \(errorText(-result))" + (last.map { ": \($0)" } ?? ""))
  }
}

/// Where a function of this program is in its file.
enum OwnFunction {
  static func place(of function: @convention(c) () -> Void) -> (file: String, offset: UInt64)? {
    let address = UInt64(UInt(bitPattern: unsafeBitCast(function, to: UnsafeRawPointer.self)))
    return readText("/proc/self/maps").flatMap { place(of: address, maps: $0) }
  }

  /// - Parameter maps: `/proc/self/maps`, as in `55d0-55e0 r-xp 00001000 fe:00 42    /usr/bin/martlet`
  static func place(of address: UInt64, maps: String) -> (file: String, offset: UInt64)? {
    for line in maps.split(separator: "\n") {
      let fields = line.split(separator: " ", maxSplits: 5)
      let ends = fields.first?.split(separator: "-").map { UInt64($0, radix: 16) } ?? []
      guard fields.count == 6, ends.count == 2, let start = ends[0], let end = ends[1], (start..<end).contains(address),
        let offset = UInt64(fields[2], radix: 16)
      else { continue }
      return (String(fields[5].drop { $0 == " " }), address - start + offset)
    }
    return nil
  }
}
