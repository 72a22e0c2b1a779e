import Glibc
import Observation
import Testing

@testable import KernelSensor

private let canLoad = geteuid() == 0 && access("/sys/kernel/btf/vmlinux", R_OK) == 0

/// The sensor as it is shipped, with ways put before its own that cannot be gone. Runs on each kernel of the matrix.
@Suite("Injection", .enabled(if: canLoad, "needs root and a kernel with BTF"), .serialized)
struct InjectionTests {
  private static let diagnosis: Diagnosis = {
    let features = KernelFeature.available(without: [])
    var table = HookFunction.table
    for index in table.indices where table[index].family == "process" && table[index].name == "fork" {
      table[index].ways.insert(
        contentsOf: [["unknown_map"], ["unacceptable"], ["missing_function"], ["missing_tracepoint"]], at: 0)
    }
    return Sensor.diagnose(
      hooks: nil, objects: Sensor.programs(with: features) + [("broken", FixtureObject.broken)], table: table)
  }()

  private func fork() throws -> Diagnosis.Function {
    try #require(
      Self.diagnosis.functions.first { $0.choice.function == "fork" }, "\(Self.diagnosis.error?.description ?? "")")
  }

  @Test("a run is complete all the same, and the fork is seen by the next way")
  func nextWay() throws {
    #expect(Self.diagnosis.error.map(\.description) == nil)
    #expect(Self.diagnosis.isComplete)
    let fork = try fork()
    #expect(fork.choice.hooks.map(\.program) == ["sched_process_fork"])
    #expect(fork.isProven)
  }

  @Test(
    "each is passed over for its own reason",
    arguments: [
      (0, "unknown_map: its map unheard_of: this kernel does not make maps of its kind"), (1, "unacceptable: "),
      (2, "missing_function: "), (3, "missing_tracepoint: this kernel does not have it"),
    ])
  func reason(index: Int, beginning: String) throws {
    let passedOver = try fork().choice.passedOver
    #expect(passedOver.count == 4)
    let reason = try #require(passedOver.dropFirst(index).first?.reason)
    #expect(reason.hasPrefix(beginning) && reason.count > beginning.count - 1, "\(reason)")
  }

  @Test("and what the kernel says of each program is kept")
  func programs() throws {
    let trials = Dictionary(
      Self.diagnosis.programs.map { ($0.hook.program, $0) }, uniquingKeysWith: { first, _ in first })
    for name in ["unknown_map", "unacceptable", "missing_function", "missing_tracepoint"] {
      let trial = try #require(trials[name])
      #expect(!trial.isLoaded && trial.isAttached == false && !trial.reason.isEmpty, "\(trial)")
    }
    #expect(trials["unacceptable"]?.log.contains("processed ") == true, "the verifier's log")
    #expect(trials["sched_process_fork"]?.fires == true)
  }
}
