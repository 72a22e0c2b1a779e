import Testing

@testable import KernelSensor

@Suite("What a kernel allows to be done")
struct ControlTests {
  private func trials(_ firing: HookKind...) -> [HookTrial] {
    HookKind.allCases.map { kind in
      let fires = firing.contains(kind)
      return HookTrial(
        kind: kind, target: "x", outcome: fires ? .fires : .refused, reason: fires ? "" : "\(kind.rawValue) refused")
    }
  }

  private func signals(_ outcome: HookTrial.Outcome) -> HookTrial {
    HookTrial(kind: .typedTracepoint, target: "x", outcome: outcome, reason: outcome == .fires ? "" : "no signals here")
  }

  private func strengths(_ controls: [Control]) -> [Control.Strength] { controls.map(\.strength) }

  @Test("security hooks deny everything, by LSM or by fmod_ret", arguments: [HookKind.lsm, .modifyReturn])
  func denied(kind: HookKind) {
    let controls = Control.all(trials(kind), signals: signals(.refused))
    #expect(controls.allSatisfy { $0.strength == .deny && $0.note.isEmpty })
    #expect(controls.map(\.name) == ["network", "packet sockets", "exec", "files", "memory"])
  }

  @Test("without them the network is denied by cgroup programs, the rest can be killed")
  func killed() throws {
    let controls = Control.all(trials(.cgroup), signals: signals(.fires))
    #expect(strengths(controls) == [.deny, .kill, .kill, .kill, .kill])
    #expect(controls[1...].allSatisfy { $0.means.contains("lsm refused") && !$0.note.isEmpty })
    let bare = Control.all(trials(), signals: signals(.fires))
    #expect(strengths(bare) == [.kill, .kill, .kill, .kill, .kill])
  }

  @Test("without signals either it can only be told, and why is told as well")
  func detected() {
    let controls = Control.all(trials(.cgroup), signals: signals(.silent))
    #expect(strengths(controls) == [.deny, .detect, .detect, .detect, .detect])
    #expect(controls[2].means.contains("lsm refused") && controls[2].means.contains("no signals here"))
    #expect(strengths(Control.all(trials(), signals: nil)) == [.detect, .detect, .detect, .detect, .detect])
    #expect(Control.all([], signals: nil).isEmpty)
  }
}
