import CLibbpf
import KernelPrograms

/// What the kernel side uses where the kernel has it. What stands in for each is in `bpf/compat.h`.
public enum KernelFeature: String, Sendable, CaseIterable {
  /// `bpf_loop`, Linux 5.17: a kernel that has it has all else of which there is a choice.
  case loops
  /// Task storage for programs on tracepoints, Linux 5.13.
  case taskStorage

  /// Those of this kernel.
  ///
  /// - Parameter withheld: not to be used whether the kernel has them or not
  static func available(without withheld: Set<KernelFeature>) -> Set<KernelFeature> {
    LibbpfLog.start()
    return Set(allCases.filter { !withheld.contains($0) && $0.isHere })
  }

  /// Whether the kernel knows the helper, for the kind of program that may call the same ones as `tp_btf`.
  private var isHere: Bool {
    let helper =
      switch self {
      case .loops: BPF_FUNC_loop
      case .taskStorage: BPF_FUNC_task_storage_get
      }
    return libbpf_probe_bpf_helper(BPF_PROG_TYPE_RAW_TRACEPOINT, helper, nil) == 1
  }
}

extension KernelProgram {
  /// The sensor for a kernel that has these features.
  static func sensor(with features: Set<KernelFeature>) -> KernelProgram {
    features == Set(KernelFeature.allCases) ? .sensor : .sensorOld
  }
}

extension Set<KernelFeature> {
  /// Maps that the programs do not use then. A kernel may not know their kind.
  var unusedMaps: Set<String> { contains(.taskStorage) ? ["thread_tags"] : ["tags"] }

  /// For people.
  var summary: String {
    if contains(.loops) && contains(.taskStorage) { return "all that martlet can use" }
    let lacking = [
      contains(.loops) ? nil : "without bpf_loop (Linux 5.17): loops are bounded",
      contains(.taskStorage) ? nil : "without task storage for tracepoints (Linux 5.13): tags are found by thread",
    ]
    return lacking.compactMap { $0 }.joined(separator: "; ")
  }
}
