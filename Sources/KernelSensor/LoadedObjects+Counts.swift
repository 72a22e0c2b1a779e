import CLibbpf
import Glibc
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

extension LoadedObjects.Program {
  /// How often it ran, after the deed that it is there for. Where interrupts deliver what was sent, a busy CPU may let
  /// its own thread do so: it is waited for, a second at the most.
  func runCount() throws(SensorError) -> UInt64 {
    var waited: UInt32 = 0
    while true {
      let count = try bpf_prog_info.of(bpf_program__fd(handle)).info.run_cnt
      guard count == 0, name.mayRunLater, waited < 1_000_000 else { return count }
      let pause = max(waited, 1000)
      usleep(pause)
      waited += pause
    }
  }
}
