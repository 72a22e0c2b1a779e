import Glibc
import KernelSensor
import Observation
import Policy
import Testing

extension KernelTests {
  /// What `martlet doctor` finds out, by trying, on kernels that differ.
  @Suite struct Doctor {
    private static let diagnosis = Sensor.diagnose(hooks: (try? Bench.hooks()) ?? nil)

    private func trial(_ kind: HookKind) throws -> HookTrial {
      try #require(Self.diagnosis.trials.first { $0.kind == kind })
    }

    @Test func aRunHereWouldBeComplete() {
      #expect(Self.diagnosis.error.map(\.description) == nil)
      let missing = Self.diagnosis.functions.filter { $0.choice.hooks.isEmpty && !$0.choice.isOnRequest }
      #expect(missing.map(\.choice.function) == [])
      #expect(Self.diagnosis.facts.compactMap(\.advice) == [])
      #expect(Self.diagnosis.isComplete)
    }

    @Test func everyHookThatADeedCanReachRuns() {
      // What is only there on request need not be there everywhere.
      let unproven = Self.diagnosis.functions.filter {
        !$0.isProven && !($0.choice.isOnRequest && $0.choice.hooks.isEmpty)
      }
      #expect(unproven.map(\.choice.function) == [])
    }

    /// The programs for these are the cgroup's, which no kernel is without.
    @Test(arguments: ["names", "server names"]) func namesAreToldEverywhere(function: String) throws {
      let found = try #require(Self.diagnosis.functions.first { $0.choice.function == function })
      #expect(found.isProven && !found.choice.hooks.isEmpty, "\(found.choice.passedOver)")
    }

    /// What policies add to programs must not be what a kernel refuses them for: the next way sees less, or costs more.
    @Test func policiesTakeNoHookAway() throws {
      let with = try Bench.enforcing.get().sensor.choices
      for choice in try Bench.shared.get().sensor.choices where !choice.isOnRequest {
        let other = try #require(with.first { $0.function == choice.function && $0.family == choice.family })
        #expect(
          other.hooks.map(\.program) == choice.hooks.map(\.program), "\(choice.function): \(other.passedOver)")
      }
    }

    /// Another way would be taken, and nobody would notice.
    @Test func theVerifierRefusesNothing() throws {
      let policy = Sensor.diagnose(hooks: try Bench.hooks(), policy: Policy())
      let refused = (Self.diagnosis.programs + policy.programs).filter(\.isRefusedByVerifier)
      #expect(refused.map { "\($0.hook.program): \($0.reason)" } == [])
      #expect(policy.programs.contains { $0.hook.program.hasPrefix("guard_") && $0.isLoaded })
    }

    @Test func everyBetterWayThatWasPassedOverHasAReason() {
      for function in Self.diagnosis.functions {
        for other in function.choice.passedOver {
          // For old kernels there are no programs at all that count bytes.
          #expect(!other.hooks.isEmpty || function.choice.isOnRequest, "\(other)")
          #expect(other.reason.count > 10, "\(other)")
        }
      }
    }

    @Test(arguments: [HookKind.rawTracepoint, .typedTracepoint, .uprobe, .cgroup, .iterator])
    func firesEverywhere(kind: HookKind) throws {
      let trial = try trial(kind)
      #expect(trial.outcome == .fires, "\(trial)")
    }

    @Test(arguments: HookKind.allCases) func whatDoesNotFireHasAReason(kind: HookKind) throws {
      let trial = try trial(kind)
      #expect((trial.outcome == .fires) == trial.reason.isEmpty, "\(trial)")
    }

    /// A kernel that was booted without `bpf` in lsm= takes LSM programs and never calls them.
    @Test(.enabled(if: lsmList != nil, "securityfs is not mounted")) func silentLSMIsFound() throws {
      let trial = try trial(.lsm)
      if lsmList?.contains("bpf") == true {
        #expect(trial.outcome == .fires, "\(trial)")
      } else {
        #expect(trial.outcome == .silent, "\(trial)")
        #expect(trial.reason.contains("lsm="))
      }
    }
  }
}

private let lsmList: [String]? = {
  guard let file = fopen("/sys/kernel/security/lsm", "r") else { return nil }
  defer { fclose(file) }
  var line = [CChar](repeating: 0, count: 1024)
  guard fgets(&line, Int32(line.count), file) != nil else { return nil }
  let text = String(decoding: line.prefix { $0 != 0 && $0 != 10 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  return text.split(separator: ",").map(String.init)
}()
