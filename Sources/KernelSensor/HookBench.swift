import CLibbpf
import CSystem
import Glibc
import KernelPrograms

/// What it costs to have an empty program called by each kind of hook.
///
/// Two operations that are as short as any: a task gives itself another name, and eight bytes are read from
/// /dev/urandom. Each is done for 3 ms of CPU time at a time, eighty times, and as often without the program just before.
/// The fastest time counts: whatever else a machine does can only add to it.
public struct HookBench {
  /// One operation with one kind of hook.
  public struct Row: Sendable, Equatable {
    /// "rename" or "random".
    public var operation: String
    /// "none", "tp_btf", "fentry", …
    public var hook: String
    /// Nanoseconds of one operation; nil where this kernel does not have it.
    public var nanoseconds: Double?
    /// More than with no program.
    public var added: Double?
    /// Why there are no nanoseconds, in the kernel's words.
    public var reason: String?
  }

  private static let operations: [(name: String, what: mt_measured, path: String)] = [
    ("rename", MT_MEASURED_RENAME, "/proc/thread-self/comm"), ("random", MT_MEASURED_RANDOM, "/dev/urandom"),
  ]
  private static let hooks = [
    "none", "raw_tracepoint", "tp_btf", timed, "tracepoint", "fentry", "fexit", "lsm", "kprobe", "kretprobe", "uprobe",
    "uretprobe",
  ]
  /// As tp_btf, with the kernel taking the time of each run: what `--program-stats` and `top` cost.
  private static let timed = "tp_btf, timed"
  private static let rounds = 80
  private static let roundNanoseconds = 3_000_000.0

  /// - Parameter report: told before each row.
  public static func run(report: (String) -> Void) throws(SensorError) -> [Row] {
    _ = mt_thread_pin(-1)
    var rows: [Row] = []
    for operation in operations {
      let path = operation.path
      let descriptor = open(path, (operation.name == "rename" ? O_WRONLY : O_RDONLY) | O_CLOEXEC)
      guard descriptor >= 0 else { throw .systemCall("Could not open \(path)", errno: errno) }
      defer { close(descriptor) }
      let first = rows.count
      var base = Double.infinity
      for hook in hooks {
        report("\(operation.name), \(hook)")
        var row = Row(operation: operation.name, hook: hook)
        do throws(Refused) {
          base = min(base, fastest(operation.what, descriptor) ?? base)
          if hook != "none" {
            let probe = try AttachedProgram(operation.name, hook == timed ? "tp_btf" : hook, operation.what)
            try probe.check { _ = mt_measure(operation.what, descriptor, 100) }
            let statistics = hook == timed ? try? RunTimeStatistics() : nil
            row.nanoseconds = fastest(operation.what, descriptor)
            withExtendedLifetime(statistics) {}
          }
        } catch {
          row.reason = error.reason
        }
        rows.append(row)
      }
      rows[first].nanoseconds = base
      for index in rows[first...].indices { rows[index].added = rows[index].nanoseconds.map { $0 - base } }
    }
    return rows
  }

  private static func fastest(_ what: mt_measured, _ descriptor: Int32) -> Double? {
    var count: UInt64 = 1000
    var best = Double.infinity
    // The first only warms up and tells how often fits into a round.
    for round in 0...rounds {
      let time = Double(mt_measure(what, descriptor, count)) / Double(count)
      guard time > 0 else { return nil }
      if round > 0 { best = min(best, time) }
      count = UInt64(max(100, roundNanoseconds / time))
    }
    return best
  }
}

private struct Refused: Error { var reason: String }

/// One program of the benchmark's object, at its hook.
private final class AttachedProgram {
  private let object: OpaquePointer
  private var link: OpaquePointer?
  private let descriptor: Int32
  private let hook: String

  init(_ operation: String, _ hook: String, _ what: mt_measured) throws(Refused) {
    self.hook = hook
    let name = ["lsm", "uprobe", "uretprobe"].contains(hook) ? "both_\(hook)" : "\(operation)_\(hook)"
    do throws(SensorError) {
      object = try BenchObject.load { $0 == name }
    } catch {
      throw Refused(reason: error.detail.isEmpty ? error.context : error.detail)
    }
    guard let program = bpf_object__find_program_by_name(object, name) else {
      bpf_object__close(object)
      throw Refused(reason: "martlet has no such program")
    }
    descriptor = bpf_program__fd(program)
    LibbpfLog.start()
    if hook == "uprobe" || hook == "uretprobe" {
      let offset = Self.fileOffset(of: mt_measured_function(what))
      link = bpf_program__attach_uprobe(program, hook == "uretprobe", getpid(), "/proc/self/exe", offset)
    } else {
      link = bpf_program__attach(program)
    }
    if link == nil {
      let error = errorText(errno)
      // What libbpf says first is the cause, what follows only where it was met.
      let text = LibbpfLog.text.split(separator: "\n").first ?? ""
      let reason = text.hasPrefix("libbpf: ") ? String(text.dropFirst("libbpf: ".count)) : error
      throw Refused(reason: "cannot be attached: \(reason)")
    }
  }

  deinit {
    bpf_link__destroy(link)
    bpf_object__close(object)
  }

  /// Whether the program really runs: an LSM program loads and attaches on a kernel that never calls it.
  func check(_ operation: () -> Void) throws(Refused) {
    var runs: UInt64 = 0
    do throws(SensorError) {
      let statistics = try RunTimeStatistics()
      operation()
      runs = try bpf_prog_info.of(descriptor).info.run_cnt
      withExtendedLifetime(statistics) {}
    } catch {
      throw Refused(reason: error.description)
    }
    let hint = hook == "lsm" ? ": bpf is not in the kernel's lsm= list" : ""
    if runs == 0 { throw Refused(reason: "is attached and does not run\(hint)") }
  }

  /// Where in the running program's file an address of its code is.
  private static func fileOffset(of address: UnsafeRawPointer?) -> Int {
    let wanted = UInt(bitPattern: address)
    for line in (readText("/proc/self/maps") ?? "").split(separator: "\n") {
      // 55d0c0e00000-55d0c0e21000 r-xp 00021000 08:01 123 /usr/bin/x
      let fields = line.split(separator: " ")
      let ends = fields.first?.split(separator: "-").map { UInt($0, radix: 16) } ?? []
      guard fields.count > 2, ends.count == 2, let start = ends[0], let end = ends[1], (start..<end).contains(wanted),
        let offset = UInt(fields[2], radix: 16)
      else { continue }
      return Int(wanted - start + offset)
    }
    return 0
  }
}

/// The object of the benchmarks.
enum BenchObject {
  /// Loads the programs that are chosen; the caller closes the object.
  static func load(
    configure: (OpaquePointer) -> Void = { _ in }, _ choose: (String) -> Bool
  ) throws(SensorError) -> OpaquePointer {
    LibbpfLog.start()
    let bytes = KernelProgram.bench
    let object = bytes.withUnsafeBytes { bpf_object__open_mem($0.baseAddress, $0.count, nil) }
    guard let object else { throw .systemCall("libbpf cannot read the object of the benchmarks", errno: errno) }
    var next = bpf_object__next_program(object, nil)
    while let program = next {
      next = bpf_object__next_program(object, program)
      bpf_program__set_autoload(program, choose(String(cString: bpf_program__name(program))))
    }
    configure(object)
    let result = bpf_object__load(object)
    guard result == 0 else {
      let text = LibbpfLog.text
      bpf_object__close(object)
      // Of a refusal before the verifier's turn libbpf knows the number alone.
      let isBare = !text.contains("END PROG LOAD LOG") && text.contains("failed to load: \(result)")
      let reason = isBare ? errorText(-result) : LibbpfLog.reason(in: text)
      throw SensorError(.programRejected, "The kernel did not take it", errno: -result, detail: "refused: \(reason)")
    }
    return object
  }
}
