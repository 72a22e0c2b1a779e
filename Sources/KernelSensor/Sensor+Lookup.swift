import CLibbpf
import KernelABI

extension Sensor {
  /// The job that a process is in; nil: none.
  ///
  /// - Parameter pid: in the initial pid namespace
  public func job(ofProcess pid: UInt32) -> UInt16? {
    guard let processes = objects.maps["processes"] else { return nil }
    var pid = pid
    var process = mt_process()
    return bpf_map_lookup_elem(processes, &pid, &process) == 0 ? process.job : nil
  }
}
