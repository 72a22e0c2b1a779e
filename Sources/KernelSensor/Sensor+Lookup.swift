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

  /// As ``job(ofProcess:)``, by the process' own tag too: an entry that an end left behind, which went unseen, may have the
  /// number of another process.
  ///
  /// - Parameter pidfd: of the process, which lives
  public func job(ofProcess pid: UInt32, pidfd: Int32) -> UInt16? {
    guard let job = job(ofProcess: pid), (try? tag(of: pid, pidfd: pidfd))??.job == job else { return nil }
    return job
  }
}
