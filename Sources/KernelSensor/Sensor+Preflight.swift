import CLibbpf
import Glibc

extension Sensor {
  static let upgradeAdvice = "Use a newer kernel: Linux 6.1 and later have all that martlet needs"
  static let rejectionAdvice = "This is a defect of martlet on this kernel: please report it with the kernel's version"

  /// Finds out whether the sensor can be opened here, without loading a program.
  ///
  /// - Parameters:
  ///   - seesMachine: processes are looked for that are not below this one
  ///   - readsRequests: functions of programs and libraries are to be probed
  /// - Throws: the first of: missing capabilities, a kernel that lacks a feature, no BTF, no cgroup v2, bpf(2)
  ///   refused by something other than capabilities.
  public static func preflight(seesMachine: Bool = false, readsRequests: Bool = false) throws(SensorError) {
    let status = readText("/proc/self/status") ?? ""
    let missing = Capability.missing(status: status)
    guard missing.isEmpty else { throw .notRoot(missing: missing) }
    guard !readsRequests || Capability.sysAdmin.isEffective(status: status) else { throw .mayNotProbe }
    guard access("/sys/kernel/btf/vmlinux", R_OK) == 0 else { throw .noBTF(errno: errno) }
    let cgroup = try CgroupRoot()
    guard cgroup.isWhole || !seesMachine else { throw .cgroup2Hidden }

    // A map of the plainest kind tells a kernel that refuses from one that lacks something.
    LibbpfLog.start()
    let probe = bpf_map_create(BPF_MAP_TYPE_ARRAY, "probe", 4, 4, 1, nil)
    guard probe >= 0 else {
      if probe == -ENOMEM { throw .memoryLimit("The smallest kernel map", errno: ENOMEM) }
      throw .bpfRefused("The kernel refuses bpf(2) to this process in spite of its capabilities", errno: -probe)
    }
    close(probe)
    guard libbpf_probe_bpf_map_type(BPF_MAP_TYPE_RINGBUF, nil) != 0 else {
      throw .kernelTooOld(lacks: "BPF ring buffers (Linux 5.8)")
    }
    #if arch(arm64)
      // What stands in for atomic operations is ordered on x86-64 only.
      guard KernelFeature.available(without: []).contains(.loops) else {
        throw .kernelTooOld(lacks: "bpf_loop (Linux 5.17), which martlet needs on this architecture")
      }
    #endif
  }
}

extension SensorError {
  static func kernelTooOld(lacks feature: String) -> SensorError {
    SensorError(.kernelTooOld, "The kernel \(KernelName().release) has no \(feature)", advice: Sensor.upgradeAdvice)
  }

  static func noBTF(errno: Int32) -> SensorError {
    SensorError(
      .noBTF, "The kernel does not describe its own types: /sys/kernel/btf/vmlinux cannot be read", errno: errno,
      advice: "Use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as those of all large distributions are, "
        + "and mount /sys in a container")
  }

  static var mayNotProbe: SensorError {
    SensorError(
      .notRoot, "Requests over TLS are read by probes on programs and libraries, which takes CAP_SYS_ADMIN",
      advice: "Give it to martlet, as docs/requests.md says, or ask for no requests")
  }

  static var cgroup2Hidden: SensorError {
    SensorError(
      .cgroup2Missing,
      "Of the cgroup v2 hierarchy only a part is mounted here, and connections of processes outside of it would go unseen",
      advice: "Start the container in the host's cgroup namespace (docker run --cgroupns=host), or mount the host's "
        + "/sys/fs/cgroup into it, anywhere"
    )
  }

  /// - Parameter errno: why martlet could not mount one for itself
  static func cgroup2Missing(errno: Int32) -> SensorError {
    SensorError(
      .cgroup2Missing,
      "No cgroup v2 hierarchy is mounted, connections are observed through it, and martlet could not mount one for itself",
      errno: errno,
      advice: "Mount one: mount -t cgroup2 none /sys/fs/cgroup/unified. Or let martlet do it, which takes CAP_SYS_ADMIN"
    )
  }
}
