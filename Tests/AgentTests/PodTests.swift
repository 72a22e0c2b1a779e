import Observation
import Testing

@testable import Agent

@Suite struct PodTests {
  private static let id = String(repeating: "ab", count: 32)

  private func labels(_ pod: String, _ namespace: String = "runners") -> PodLabels {
    PodLabels(pod: pod, namespace: namespace)
  }

  /// As packages/k8s/src/hooks/constants.ts of actions/runner-container-hooks makes the names.
  @Test func podsOfARunnerHaveItsName() {
    let runner = labels("set-abcde-runner-x1y2z")
    #expect(RunnerPod.isMade(labels("set-abcde-runner-x1y2z-workflow"), by: runner))
    #expect(RunnerPod.isMade(labels("set-abcde-runner-x1y2z-step-0a1b2c3d"), by: runner))
    for other in [
      "set-abcde-runner-x1y2z", "set-abcde-runner-x1y2-workflow", "set-abcde-runner-x1y2zz-workflow", "-workflow",
      "set-abcde-runner-x1y2z-step-", "set-abcde-runner-x1y2z-step-0a1b2c3g", "set-abcde-runner-x1y2z-step-0a1b2c3d4",
    ] {
      #expect(!RunnerPod.isMade(labels(other), by: runner), "\(other)")
    }
    #expect(!RunnerPod.isMade(labels("set-abcde-runner-x1y2z-workflow", "other"), by: runner))
  }

  @Test func longNamesOfRunnersAreCut() {
    let runner = labels(String(repeating: "r", count: 63))
    #expect(RunnerPod.isMade(labels(String(repeating: "r", count: 54) + "-workflow"), by: runner))
    #expect(RunnerPod.isMade(labels(String(repeating: "r", count: 49) + "-step-01234567"), by: runner))
    #expect(!RunnerPod.isMade(labels(String(repeating: "r", count: 63) + "-workflow"), by: runner))
  }

  @Test func whoKeepsContainersSaysWhereTheirBundlesAre() throws {
    let place = "/run/other/io.containerd.runtime.v2.task/k8s.io"
    let shim = try #require(
      ContainerKeeper(
        pid: 7,
        arguments: ["/usr/bin/containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", Self.id, "-address", "/x"],
        directory: "\(place)/\(Self.id)"))
    #expect((shim.id, shim.runtime, shim.place) == (Self.id, "containerd-shim-runc-v2", BundlePlace(directory: place)))
    let conmon = try #require(
      ContainerKeeper(
        pid: 7,
        arguments: [
          "/usr/bin/conmon", "-b", "/var/run/containers/storage/overlay-containers/\(Self.id)/userdata", "-c", Self.id,
          "-r", "/usr/bin/runsc",
        ], directory: "/"))
    #expect(conmon.runtime == "runsc")
    #expect(conmon.place?.path(of: "x") == "/var/run/containers/storage/overlay-containers/x/userdata")
    let others: [[String]] = [
      [], ["runc"], ["containerd-shim-runc-v2"], ["containerd-shim-runc-v2", "-id"],
      ["containerd-shim-runc-v2", "-id", "../../x"], ["conmon", "-c", Self.id], ["conmon", "-r", "runc"],
    ]
    for arguments in others { #expect(ContainerKeeper(pid: 7, arguments: arguments, directory: nil) == nil) }
    // It works somewhere else.
    let moved = ContainerKeeper(pid: 7, arguments: ["containerd-shim", "-id", Self.id], directory: "/")
    #expect(moved != nil && moved?.place == nil)
  }

  @Test(
    arguments: [
      ("containerd-shim", true), ("containerd-shim-runc-v1", true), ("containerd-shim-runc-v2", true),
      ("crun", true), ("containerd-shim-kata-v2", false), ("containerd-shim-runsc-v1", false), ("runsc", false),
      ("kata-runtime", false), ("containerd-shim-aws-firecracker", false), ("containerd-shim-runcx", false),
      ("krun", false), ("nobody-knows", false),
    ])
  func ofWhatIsNotKnownNothingIsSeen(_ runtime: String, _ isSeen: Bool) {
    #expect(ContainerKeeper.isSeen(runtime) == isSeen)
  }

  @Test(
    arguments: [
      ("runsc", true), ("qemu-system-x86_64", true), ("firecracker", true),
      ("containerd-shim-kata-v2", true), ("runc", false), ("containerd-shim-runc-v2", false), ("systemd", false),
      ("sh", false), ("", false),
    ])
  func programsWithAKernelOfTheirOwn(_ program: String, _ hasOne: Bool) {
    #expect(ContainerKeeper.hasOwnKernel(program) == hasOne)
  }

  @Test(
    arguments: [
      ("exe", "/usr/sbin/runc", true), ("3", "/memfd:crun_cloned:/proc/self/exe", true), ("runc:[2:INIT]", "/", true),
      ("sh", "/bin/sh", false), ("x", "/memfd:x_runc_cloned:", false), ("x", "/memfd:runc", false),
      ("runcible", "/usr/bin/runcible", false), ("", "", false),
    ])
  func aRuntimeIsNotWhatItRuns(_ comm: String, _ executable: String, _ isOne: Bool) {
    #expect(ContainerKeeper.isRuntime(comm: comm, executable: executable, arguments: ["sh", "init"]) == isOne)
    #expect(ContainerKeeper.isRuntime(comm: comm, executable: executable, arguments: ["runc", "init"]))
  }

  private func bundle(_ cgroup: String) -> ContainerBundle? {
    let text = """
      {"process":{"args":["sh"]},"linux":{"cgroupsPath":"\(cgroup)"},
       "annotations":{"io.kubernetes.cri.sandbox-name":"a","io.kubernetes.cri.sandbox-namespace":"b"}}
      """
    return ContainerBundle(configuration: Array(text.utf8))
  }

  /// What is in a container can make groups that are called like another's.
  @Test(
    arguments: [
      ("/kubepods/podx/\(id)", "/kubepods/podx/\(id)"), ("/kubepods/podx/\(id)/init.scope/a", "/kubepods/podx/\(id)"),
      ("/kubepods/podx/\(id)/docker/\(String(repeating: "c", count: 64))", "/kubepods/podx/\(id)"),
      ("/../../x.slice/cri-containerd-\(id).scope", "/../../x.slice/cri-containerd-\(id).scope"),
      ("/user.slice/session-1.scope", nil), ("/", nil), ("", nil),
      ("/docker/buildkit/wyxgtbaurp4of9d6a1mci6djd", nil),
    ] as [(String, String?)])
  func theOutermostContainerIsMeant(_ path: String, _ found: String?) {
    var bytes = Array(path.utf8)
    let name = AgentPods.container(in: &bytes)
    #expect(name.map { _ in String(decoding: bytes, as: UTF8.self) } == found)
    #expect(name == nil || name?.id == Self.id)
  }

  @Test func aBundleSaysWhereItsCgroupIs() throws {
    let uid = "0f2c4f1e_7f53_4c0e_9d0a_2f6f8a6b1c11"
    let systemd = try #require(bundle("kubepods-burstable-pod\(uid).slice:cri-containerd:\(Self.id)"))
    let slices = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod\(uid).slice"
    #expect(systemd.cgroup == "\(slices)/cri-containerd-\(Self.id).scope")
    #expect(systemd.pod(cgroup: [])?.uid == uid.replacing("_", with: "-"))
    #expect(bundle("/kubepods/podx/\(Self.id)")?.cgroup == "/kubepods/podx/\(Self.id)")
    for text in ["", "x", "a:b", "a:b:c", "a.slice:b:c/../d", "/x/../../y", "a.slice::"] {
      #expect(bundle(text)?.cgroup == nil, "\(text)")
    }
  }
}
