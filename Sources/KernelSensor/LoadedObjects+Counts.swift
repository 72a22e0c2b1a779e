import KernelABI

extension LoadedObjects {
  /// Loads what is wanted, of which it is known that it can be, to have the verifier say how many instructions of
  /// each program it looked at.
  func counts(_ selection: HookSelection, _ settings: ObjectSettings) throws(SensorError) -> [String: Int] {
    do throws(Obstacle) {
      // BPF_LOG_STATS of the kernel's bpf_verifier.h.
      try load(selection, settings, logLevel: 4)
    } catch {
      switch error {
      case .program(_, _, _, let error), .map(_, _, let error), .other(let error): throw error
      }
    }
    return LibbpfLog.verifiedInstructions(in: LibbpfLog.text)
  }
}
