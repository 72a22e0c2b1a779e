import CLibbpf
import Glibc
public import Observation
public import Policy

/// What this machine lets a sensor do, found out by trying.
public struct Diagnosis: Sendable {
  /// Something about the machine.
  public struct Fact: Sendable, Equatable {
    /// A name for programs: `btf`, `lockdown`, `lsm`.
    public var name: String
    /// What was found, in words.
    public var value: String
    /// What to do about it; nil if it is as it should be.
    public var advice: String?

    public init(name: String, value: String, advice: String? = nil) {
      self.name = name
      self.value = value
      self.advice = advice
    }
  }

  /// How a function is seen.
  public struct Function: Sendable {
    public var choice: HookChoice
    /// Whether each of its hooks was seen to run, apart from those that only other programs call, or 32-bit ones.
    public var isProven: Bool
  }

  /// As uname(2) gives it.
  public var kernelRelease = ""
  /// `x86_64`, `aarch64`.
  public var machine = ""
  public var facts: [Fact] = []
  public var trials: [HookTrial] = []
  /// Whether a program can signal the process that it runs for: `bpf_send_signal`.
  public var signalTrial: HookTrial?
  /// What this kernel allows to be done about what is forbidden; empty if no kind of hook could be tried.
  public var controls: [Control] { Control.all(trials, signals: signalTrial) }
  /// Empty if there is no sensor.
  public var functions: [Function] = []
  /// Every program that martlet has for what it wants to see, used or not.
  public var programs: [ProgramTrial] = []
  /// Of the programs that are in use; nil where there are none.
  public var verifiedInstructions: Int? {
    let counts = programs.filter(\.reason.isEmpty).compactMap(\.verifiedInstructions)
    return counts.isEmpty ? nil : counts.reduce(0, +)
  }
  /// The tier that was asked for.
  public var forcedTier: HookTier?
  /// What becomes of what jobs do to martlet itself; nil: there is no sensor.
  public var selfProtection: Sensor.SelfProtection?
  /// What keeps each rule of the policy that was asked about.
  public var enforcement: [RuleEnforcement] = []
  /// Of the events that were to be left out, those for which nothing is attached.
  public var unattached: [EventClass] = []
  /// Why there is no sensor.
  public var error: SensorError?

  /// Whether a run here would see all that martlet has programs for.
  public var isComplete: Bool {
    error == nil && !functions.contains { $0.choice.hooks.isEmpty && !$0.choice.isOnRequest }
      && !facts.contains { $0.advice != nil }
  }
}

extension Sensor {
  /// Looks at the machine, tries every kind of hook, and opens a sensor to see which hooks it chooses and whether they
  /// run. Takes a second, and leaves nothing behind.
  ///
  /// - Parameter hooks: as in ``SensorOptions/hooks``
  /// - Parameter policy: one of which it is asked what would keep its rules here
  /// - Parameter leftOut: what a filter would leave out of every job
  public static func diagnose(
    hooks: HookTier? = nil, policy: Policy? = nil, leftOut: Set<EventClass> = []
  ) -> Diagnosis {
    diagnose(hooks: hooks, policy: policy, leftOut: leftOut, objects: nil, table: HookFunction.table)
  }

  static func diagnose(
    hooks: HookTier?, policy: Policy? = nil, leftOut: Set<EventClass> = [],
    objects: [(name: String, bytes: [UInt8])]?, table: [HookFunction]
  ) -> Diagnosis {
    var diagnosis = Diagnosis()
    diagnosis.forcedTier = hooks
    let kernel = KernelName()
    diagnosis.kernelRelease = kernel.release
    diagnosis.machine = kernel.machine
    diagnosis.facts = MachineFacts(release: diagnosis.kernelRelease).all
    if let types = try? KernelTypes() {
      diagnosis.trials = HookKind.allCases.map { $0.trial(types) }
      diagnosis.signalTrial = HookKind.typedTracepoint.trial(types, signals: true)
    }
    let notes = TrialNotes()
    do {
      try preflight()
      var options = SensorOptions()
      options.criticalRingBytes = 1 << 16
      options.bulkRingBytes = 1 << 16
      options.hooks = hooks
      options.recognisesJobs = true
      options.countsBytes = true
      options.hashesImages = true
      options.readsRequests = true
      options.names = true
      var filter = EventFilter()
      filter.events = leftOut
      options.leaveOut(of: filter)
      options.enforces = policy != nil
      options.outlives = policy?.onSensorError == .closed
      let features = KernelFeature.available(without: [])
      diagnosis.facts.append(.init(name: "helpers", value: features.summary))
      let sensor = try Sensor(
        objects: objects ?? programs(with: features), options: options, features: features, table: table, notes: notes)
      diagnosis.functions = sensor.choices.map { choice in
        // Nothing makes these run where no 32-bit program may, or before a file is found to put them on.
        let tried = choice.hooks.filter {
          !ProgramName.isTail($0.program) && !$0.target.hasPrefix("__ia32_") && $0.target != ProgramName.onFiles
        }
        let isProven = !tried.isEmpty && tried.allSatisfy { sensor.provenPrograms.contains($0.program) }
        return Diagnosis.Function(choice: choice, isProven: isProven)
      }
      diagnosis.unattached = sensor.unattached
      diagnosis.selfProtection = sensor.selfProtection
      if let policy { diagnosis.enforcement = sensor.enforcement(of: policy) }
    } catch {
      diagnosis.error = error
    }
    diagnosis.programs = notes.programs
    return diagnosis
  }
}

/// What files of the system tell.
struct MachineFacts {
  var release: String
  var status = readText("/proc/self/status")
  var hasBTF = access("/sys/kernel/btf/vmlinux", R_OK) == 0
  var confinement = Confinement.ofThisProcess()
  var lsm = readText("/sys/kernel/security/lsm")
  /// Its directory is there as soon as the module is, whatever its policy.
  var hasIMA = access("/sys/kernel/security/ima", F_OK) == 0
  var preemption = Preemption.ofThisKernel
  var cgroup = MachineFacts.cgroup()
  var jit = readNumber("/proc/sys/net/core/bpf_jit_enable")
  var unprivileged = readNumber("/proc/sys/kernel/unprivileged_bpf_disabled")
  /// Bytes that may be locked, which is what maps and programs count as before 5.11; nil if there is no limit.
  var lockedMemory: UInt64? = {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(__RLIMIT_MEMLOCK.rawValue), &limit) == 0 else { return 0 }
    return limit.rlim_cur == rlim_t.max ? nil : UInt64(limit.rlim_cur)
  }()

  init(release: String) { self.release = release }

  var all: [Diagnosis.Fact] {
    [
      btf, capabilities, lockdown, filter, namespace, securityModules, integrity, cgroup2, compiler, unprivilegedUse,
      preemptible,
    ]
      + (Self.version(release) < (5, 11) ? [memory] : []) + (Self.version(release) < (6, 0) ? [rings] : [])
  }

  private var btf: Diagnosis.Fact {
    hasBTF
      ? .init(name: "btf", value: "/sys/kernel/btf/vmlinux")
      : .init(
        name: "btf", value: "missing",
        advice: SensorError.noBTF(errno: ENOENT).advice)
  }

  private var capabilities: Diagnosis.Fact {
    let missing = Capability.missing(status: status ?? "")
    guard !missing.isEmpty else { return .init(name: "capabilities", value: "sufficient") }
    return .init(
      name: "capabilities", value: "without \(missing.map(\.name).joined(separator: ", "))",
      advice: SensorError.notRoot(missing: missing).advice)
  }

  private var lockdown: Diagnosis.Fact {
    let mode = confinement.lockdown ?? "not in this kernel, or securityfs is not mounted"
    return .init(
      name: "lockdown", value: mode, advice: confinement.lockdown == "confidentiality" ? confinement.explanation : nil)
  }

  private var filter: Diagnosis.Fact {
    .init(name: "seccomp", value: confinement.isFiltered ? "a filter applies" : "no filter")
  }

  private var namespace: Diagnosis.Fact {
    .init(
      name: "userNamespace", value: confinement.isInUserNamespace ? "of its own" : "the initial one",
      advice: confinement.isInUserNamespace ? confinement.explanation : nil)
  }

  private var securityModules: Diagnosis.Fact {
    let list = lsm?.split(whereSeparator: \.isWhitespace).joined()
    return .init(name: "lsm", value: list ?? "not to be told: securityfs is not mounted")
  }

  /// Without it `--hashes` is done in user space; docs/hashes.md says what that proves less.
  private var integrity: Diagnosis.Fact {
    .init(
      name: "ima",
      value: hasIMA
        ? "there" : lsm == nil ? "not to be told: securityfs is not mounted" : "not there: --hashes is martlet's work")
  }

  /// Where tasks are preempted in the kernel, programs make records in turns, see hooks.h.
  private var preemptible: Diagnosis.Fact {
    .init(name: "preemption", value: preemption == .unknown ? "not to be told" : preemption.rawValue)
  }

  private var cgroup2: Diagnosis.Fact {
    switch cgroup {
    case .success(let path): .init(name: "cgroup2", value: path ?? "not mounted; martlet mounts it for itself")
    case .failure(let error): .init(name: "cgroup2", value: "not to be reached", advice: error.advice)
    }
  }

  /// Where the cgroup v2 hierarchy is mounted; nil: nowhere, but it can be.
  private static func cgroup() -> Result<String?, SensorError> {
    do {
      let root = try CgroupRoot()
      return .success(root.isWhole ? root.path : "this cgroup namespace's alone, which 'martlet agent' refuses")
    } catch {
      return .failure(error)
    }
  }

  private var compiler: Diagnosis.Fact {
    // 0 interprets every program; 2 is for debugging. The file is missing where there is no choice.
    jit == 0
      ? .init(
        name: "jit", value: "off",
        advice: "Programs are interpreted, which costs many times as much: sysctl net.core.bpf_jit_enable=1")
      : .init(name: "jit", value: "on")
  }

  private var unprivilegedUse: Diagnosis.Fact {
    .init(
      name: "unprivilegedBPF",
      value: unprivileged == 0 ? "allowed" : unprivileged == nil ? "not to be told" : "disabled")
  }

  private var memory: Diagnosis.Fact {
    // libbpf raises the limit by itself where it may.
    let enough = lockedMemory.map { $0 >= 64 << 20 } ?? true || Capability.sysResource.isEffective(status: status ?? "")
    return .init(
      name: "lockedMemory", value: lockedMemory.map { "\($0 >> 10) KiB" } ?? "unlimited",
      advice: enough ? nil : "Before Linux 5.11 maps count as locked memory: ulimit -l unlimited")
  }

  private var rings: Diagnosis.Fact {
    .init(
      name: "ioUring",
      value: "before Linux 6.0 opens are told when they are asked for; whether and how they were done is not known")
  }

  /// 5 and 10 of "5.10.0-30-amd64".
  static func version(_ release: String) -> (Int, Int) {
    let numbers = release.split { !$0.isNumber }.prefix(2).map { Int($0) ?? 0 }
    return numbers.count == 2 ? (numbers[0], numbers[1]) : (0, 0)
  }
}
