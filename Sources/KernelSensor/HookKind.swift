import CLibbpf
import CSystem
import Glibc

/// A way to attach a program, as the beginning of a section names it.
public enum HookKind: String, Sendable, CaseIterable {
  case lsm
  case fentry
  case fexit
  case modifyReturn = "fmod_ret"
  case kprobe
  case kretprobe
  case rawTracepoint = "raw_tp"
  case typedTracepoint = "tp_btf"
  case tracepoint
  case uprobe
  case cgroup
  case iterator = "iter"
}

/// What became of the smallest program of a kind.
public struct HookTrial: Sendable, Equatable {
  public enum Outcome: String, Sendable {
    /// It ran.
    case fires
    /// It is attached and did not run when it should have.
    case silent
    /// The kernel did not take it or attach it.
    case refused
    /// There is nothing to attach it to.
    case absent
  }

  public var kind: HookKind
  /// What it was attached to: `security_file_open`, `task_rename`, `connect4`.
  public var target: String
  public var outcome: Outcome
  /// Why it does not fire; empty if it does.
  public var reason = ""

  /// What speaks against programs of this kind; nil if nothing does.
  var objection: String? { outcome == .fires ? nil : reason }
}

extension HookKind {
  /// Loads a program of this kind that counts its runs, attaches it, does what must make it run, and takes it away.
  ///
  /// - Parameters:
  ///   - types: the kernel's
  ///   - signals: try whether it can signal the process that it runs for, too
  func trial(_ types: borrowing KernelTypes, signals: Bool = false) -> HookTrial {
    let plan = plan
    func ended(_ outcome: HookTrial.Outcome, _ reason: String = "") -> HookTrial {
      HookTrial(kind: self, target: plan.target, outcome: outcome, reason: reason)
    }
    var type: UInt32 = 0
    if let name = plan.type {
      guard let id = types.id(of: name, isTypedef: self == .typedTracepoint) else {
        return ended(.absent, "this kernel does not have \(name)")
      }
      type = id
    }
    do {
      let counter = try RunCounter()
      let program = try counter.program(plan, type: type, signals: signals)
      let attached = try attach(program, plan)
      let deed = mt_deed(plan.deed)
      // Its programs run for whoever reads from it.
      if self == .iterator { attached.read() }
      if try counter.runs() > 0 { return ended(.fires) }
      if deed != 0 { return ended(.silent, "not to be told: \(errorText(-deed))") }
      return ended(.silent, "is attached, but does not run\(silence)")
    } catch {
      switch error {
      case .absent(let reason): return ended(.absent, reason)
      case .refused(let reason): return ended(.refused, reason)
      }
    }
  }

  /// Why it might not run.
  private var silence: String {
    guard self == .lsm, let list = readText("/sys/kernel/security/lsm") else { return "" }
    let names = list.split(whereSeparator: { $0 == "," || $0.isWhitespace })
    return names.contains("bpf") ? "" : ": `bpf` is not in the kernel's lsm= list (\(names.joined(separator: ",")))"
  }

  /// PERF_TYPE_TRACEPOINT of linux/perf_event.h.
  private static let tracepointEvent: UInt32 = 2

  private var plan: HookPlan {
    let file = "security_file_open"
    let rename = "task_rename"
    return switch self {
    case .lsm: HookPlan(BPF_PROG_TYPE_LSM, BPF_LSM_MAC, target: "file_open", type: "bpf_lsm_file_open", MT_DEED_OPEN)
    case .fentry: HookPlan(BPF_PROG_TYPE_TRACING, BPF_TRACE_FENTRY, target: file, type: file, MT_DEED_OPEN)
    case .fexit: HookPlan(BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT, target: file, type: file, MT_DEED_OPEN)
    case .modifyReturn: HookPlan(BPF_PROG_TYPE_TRACING, BPF_MODIFY_RETURN, target: file, type: file, MT_DEED_OPEN)
    case .kprobe, .kretprobe: HookPlan(BPF_PROG_TYPE_KPROBE, target: file, MT_DEED_OPEN)
    case .uprobe: HookPlan(BPF_PROG_TYPE_KPROBE, target: "mt_deed_function", MT_DEED_FUNCTION)
    case .rawTracepoint: HookPlan(BPF_PROG_TYPE_RAW_TRACEPOINT, target: rename, MT_DEED_NAME)
    case .typedTracepoint:
      HookPlan(BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP, target: rename, type: "btf_trace_\(rename)", MT_DEED_NAME)
    case .tracepoint: HookPlan(BPF_PROG_TYPE_TRACEPOINT, target: "task/\(rename)", MT_DEED_NAME)
    case .cgroup:
      HookPlan(
        BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT, target: "connect4", MT_DEED_IPV4, returns: 1)
    case .iterator:
      HookPlan(BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER, target: "task", type: "bpf_iter_task", MT_DEED_CALL)
    }
  }

  private func attach(_ program: Descriptor, _ plan: HookPlan) throws(TrialError) -> Descriptor {
    switch self {
    case .lsm, .fentry, .fexit, .modifyReturn, .typedTracepoint:
      return try Descriptor(bpf_link_create(program.number, 0, plan.attachType, nil), "attach")
    case .rawTracepoint:
      return try Descriptor(bpf_raw_tracepoint_open(plan.target, program.number), "attach")
    case .cgroup:
      let cgroup: CgroupRoot
      do {
        cgroup = try CgroupRoot()
      } catch {
        throw .absent("\(error)")
      }
      return try Descriptor(bpf_link_create(program.number, cgroup.descriptor, plan.attachType, nil), "attach")
    case .iterator:
      let link = try Descriptor(bpf_link_create(program.number, 0, plan.attachType, nil), "attach")
      return try Descriptor(bpf_iter_create(link.number), "make the iterator")
    case .kprobe, .kretprobe, .uprobe, .tracepoint:
      let event = try event(plan.target)
      let result = mt_event_attach(event.number, program.number)
      if result != 0 { throw .refused("attach: \(errorText(-result))") }
      return event
    }
  }

  /// The perf event that the program is put on.
  private func event(_ target: String) throws(TrialError) -> Descriptor {
    if self == .tracepoint {
      let roots = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
      guard roots.contains(where: { access("\($0)/events", F_OK) == 0 }) else {
        throw .absent("tracefs is not mounted: mount -t tracefs tracefs /sys/kernel/tracing")
      }
      let id = roots.lazy.compactMap { readNumber("\($0)/events/\(target)/id") }.first
      guard let id else { throw .absent("this kernel does not have \(target)") }
      return try Descriptor(mt_event_open(Self.tracepointEvent, id, nil, 0), "open the event")
    }
    let name = self == .uprobe ? "uprobe" : "kprobe"
    guard let type = readNumber("/sys/bus/event_source/devices/\(name)/type") else {
      throw .absent("this kernel has no \(name)s")
    }
    guard self == .uprobe else {
      // Bit 0 of the configuration asks for the function's return.
      let flags: UInt64 = self == .kretprobe ? 1 : 0
      return try Descriptor(mt_event_open(UInt32(type), flags, target, 0), "open the event")
    }
    guard let place = OwnFunction.place(of: mt_deed_function) else { throw .absent("/proc is not mounted") }
    return try Descriptor(mt_event_open(UInt32(type), 0, place.file, place.offset), "open the event")
  }
}
