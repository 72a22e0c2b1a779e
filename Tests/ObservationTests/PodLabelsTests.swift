import Testing

@testable import Observation

@Suite struct PodLabelsTests {
  private static let uid = "0f2c4f1e-7f53-4c0e-9d0a-2f6f8a6b1c11"

  private func labels(_ json: String, cgroup: String = "") -> PodLabels? {
    JSONValue(parsing: json.utf8).flatMap { PodLabels(annotations: $0, cgroup: Array(cgroup.utf8)) }
  }

  @Test func asContainerdWritesThem() throws {
    let found = try #require(
      labels(
        """
        {"io.kubernetes.cri.container-name":"build","io.kubernetes.cri.container-type":"container",
         "io.kubernetes.cri.image-name":"registry.example/ci:1","io.kubernetes.cri.sandbox-id":"ab",
         "io.kubernetes.cri.sandbox-name":"runner-7","io.kubernetes.cri.sandbox-namespace":"ci",
         "io.kubernetes.cri.sandbox-uid":"\(Self.uid)"}
        """))
    var expected = PodLabels(pod: "runner-7", namespace: "ci")
    expected.uid = Self.uid
    expected.runtime = "containerd"
    expected.container = "build"
    expected.image = "registry.example/ci:1"
    #expect(found == expected)
    #expect(found.serviceAccount == nil)
  }

  @Test func asCRIOWritesThem() throws {
    let found = try #require(
      labels(
        #"""
        {"io.kubernetes.cri-o.ContainerType":"container","io.kubernetes.cri-o.ImageName":"registry.example/ci:1",
         "io.kubernetes.container.name":"build","io.kubernetes.cri-o.Namespace":"ci",
         "io.kubernetes.cri-o.Labels":"{\"io.kubernetes.pod.name\":\"runner-7\",\"io.kubernetes.pod.uid\":\"u1\"}"}
        """#))
    #expect((found.pod, found.namespace, found.uid) == ("runner-7", "ci", "u1"))
    #expect(found.runtime == "cri-o")
    #expect((found.container, found.image, found.isSandbox) == ("build", "registry.example/ci:1", false))
    let sandbox = try #require(
      labels(
        #"{"io.kubernetes.cri-o.ContainerType":"sandbox","io.kubernetes.cri-o.KubeName":"a","io.kubernetes.pod.namespace":"b"}"#
      ))
    #expect(sandbox.isSandbox && sandbox.container == nil)
  }

  /// containerd before 1.6.11 was not told; the kubelet names the pod's cgroup by it.
  @Test(
    arguments: [
      ("/kubepods/burstable/pod0f2c4f1e-7f53-4c0e-9d0a-2f6f8a6b1c11/ab", uid),
      (
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0f2c4f1e_7f53_4c0e_9d0a_2f6f8a6b1c11.slice/cri-containerd-ab.scope",
        uid
      ),
      ("/kubepods.slice/kubepods-pod0f2c4f1e_7f53_4c0e_9d0a_2f6f8a6b1c11.slice/x", uid),
      ("/kubepods/pod0123456789abcdef0123456789abcdef/x", "0123456789abcdef0123456789abcdef"),
      ("/system.slice/podman.service", nil), ("/pod", nil), ("", nil), ("/podx-.slice/-pod.slice", nil),
    ] as [(String, String?)])
  func theUIDIsInTheCgroup(_ path: String, _ uid: String?) {
    let json = #"{"io.kubernetes.cri.sandbox-name":"a","io.kubernetes.cri.sandbox-namespace":"b"}"#
    #expect(labels(json, cgroup: path)?.uid == uid)
  }

  @Test(
    arguments: [
      "{}", "[]", "null", #"{"io.kubernetes.cri.sandbox-name":"a"}"#, #"{"io.kubernetes.pod.namespace":"a"}"#,
      #"{"io.kubernetes.cri.sandbox-name":"a b","io.kubernetes.cri.sandbox-namespace":"b"}"#,
      #"{"io.kubernetes.cri.sandbox-name":"a\u0000","io.kubernetes.cri.sandbox-namespace":"b"}"#,
      #"{"io.kubernetes.cri.sandbox-name":7,"io.kubernetes.cri.sandbox-namespace":"b"}"#,
      "{\"io.kubernetes.cri.sandbox-name\":\"\(String(repeating: "a", count: 254))\",\"io.kubernetes.cri.sandbox-namespace\":\"b\"}",
    ])
  func whatNamesNoPodIsNone(_ json: String) {
    #expect(labels(json) == nil)
  }

  @Test func aRecordHasThemAll() {
    var labels = PodLabels(pod: "p", namespace: "n")
    labels.image = "i"
    #expect(labels.encoded(id: "0123") == Array("0123\0p\0n\0\0\0\0i".utf8))
    let decoded = PodLabels.decode(labels.encoded(id: "0123"))
    #expect(decoded.id == "0123" && decoded.labels == labels)
    #expect(PodLabels.decode(Array("0123".utf8)).labels == nil && PodLabels.decode([]).id == "")
    #expect(PodLabels.decode(Array(repeating: 0, count: 9)).labels == nil)
  }
}
