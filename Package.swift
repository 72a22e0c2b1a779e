// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

/// `make release`: one file that needs nothing of the machine that it runs on, loaded at random addresses like others.
/// Only with --disable-local-rpath: glibc expects no run path in such a file, which would end before main. The linker is
/// the toolchain's own, as Debian's gold cannot do it; MARTLET_LINKED is where it notes what it took, less the suffix.
let oneFile: [LinkerSetting] =
  Context.environment["MARTLET_LINKED"].map { linked in
    let words = ["-z", "pack-relative-relocs", "-Map=\(linked).map", "--reproduce=\(linked).tar"]
    return [
      .unsafeFlags(["-static-executable", "-Xclang-linker", "-static-pie", "-use-ld=lld"]),
      .unsafeFlags(words.flatMap { ["-Xlinker", $0] }),
      // What libbpf needs.
      .linkedLibrary("elf"), .linkedLibrary("z"),
    ]
  } ?? []

/// A target may import those named above it; see ARCHITECTURE.md.
let package = Package(
  name: "martlet",
  products: [.executable(name: "martlet", targets: ["martlet"])],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0")
  ],
  targets: [
    // Libraries of the system.
    .systemLibrary(name: "CLibbpf", pkgConfig: "libbpf", providers: [.apt(["libbpf-dev"])]),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "CYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
    .systemLibrary(name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),

    // The kernel side, compiled for the bpf target and embedded.
    .executableTarget(name: "bpf-embed", dependencies: ["CZstd"], swiftSettings: strict),
    .plugin(name: "BPFCompile", capability: .buildTool(), dependencies: ["bpf-embed"]),
    .target(name: "KernelABI"),
    .target(
      name: "KernelPrograms", dependencies: ["CZstd", "KernelABI"], exclude: ["bpf"], swiftSettings: strict,
      plugins: ["BPFCompile"]),

    // User space, from the kernel outwards.
    .target(name: "CSystem"),
    .target(name: "Observation", dependencies: ["CCrypto", "KernelABI"], swiftSettings: strict),
    .target(name: "Configuration", dependencies: ["CYAML", "Observation"], swiftSettings: strict),
    .target(name: "Policy", dependencies: ["Configuration", "Observation"], swiftSettings: strict),
    .target(
      name: "KernelSensor",
      dependencies: ["CLibbpf", "CZlib", "CSystem", "KernelABI", "KernelPrograms", "Observation", "Policy"],
      swiftSettings: strict),
    .target(name: "Jobs", dependencies: ["CSystem", "KernelABI", "Observation", "Policy"], swiftSettings: strict),
    .target(
      name: "EventLog", dependencies: ["CZstd", "KernelABI", "Observation", "Jobs"], swiftSettings: strict),
    .target(
      name: "Reporting", dependencies: ["Observation", "Policy", "Jobs"], swiftSettings: strict),
    .target(name: "LiveView", dependencies: ["KernelSensor", "Reporting", "Observation"], swiftSettings: strict),
    .target(name: "Export", dependencies: ["CSystem", "KernelSensor", "Observation"], swiftSettings: strict),
    .target(name: "Supervision", dependencies: ["CSystem", "Observation"], swiftSettings: strict),
    .target(
      name: "Recording",
      dependencies: [
        "CSystem", "KernelABI", "KernelSensor", "Observation", "Jobs", "EventLog", "Reporting", "Supervision",
        "Policy", "Configuration",
      ], swiftSettings: strict),
    .target(
      name: "Agent",
      dependencies: [
        "CSystem", "Configuration", "KernelABI", "KernelSensor", "Observation", "Jobs", "EventLog", "Reporting",
        "Supervision",
        "Recording", "Policy",
      ], swiftSettings: strict),
    .executableTarget(
      name: "martlet",
      dependencies: [
        "CSystem", "KernelABI", "KernelSensor", "Observation", "Jobs", "EventLog", "Reporting", "LiveView", "Export",
        "Configuration", "Policy", "Supervision", "Recording", "Agent",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ], swiftSettings: strict, linkerSettings: oneFile),

    // Tests; those that need no privileges first.
    .target(name: "CTestSupport", path: "Tests/CTestSupport"),
    .testTarget(name: "ObservationTests", dependencies: ["KernelABI", "Observation"], swiftSettings: strict),
    .testTarget(name: "ConfigurationTests", dependencies: ["Configuration"], swiftSettings: strict),
    .testTarget(name: "PolicyTests", dependencies: ["Configuration", "Observation", "Policy"], swiftSettings: strict),
    .testTarget(
      name: "JobsTests", dependencies: ["CSystem", "KernelABI", "Observation", "Jobs"], swiftSettings: strict),
    .testTarget(
      name: "EventLogTests", dependencies: ["KernelABI", "Observation", "Jobs", "EventLog"], swiftSettings: strict),
    .testTarget(
      name: "ReportingTests", dependencies: ["Observation", "Policy", "Jobs", "Reporting"], swiftSettings: strict),
    .testTarget(
      name: "KernelSensorTests",
      dependencies: [
        "CSystem", "CTestSupport", "KernelABI", "KernelPrograms", "KernelSensor", "Observation", "Policy",
      ],
      exclude: ["bpf"], swiftSettings: strict, plugins: ["BPFCompile"]),
    .testTarget(
      name: "LiveViewTests", dependencies: ["KernelSensor", "LiveView", "Observation"], swiftSettings: strict),
    .testTarget(
      name: "ExportTests", dependencies: ["KernelSensor", "Observation", "Export"], swiftSettings: strict),
    .testTarget(name: "SupervisionTests", dependencies: ["Supervision"], swiftSettings: strict),
    .testTarget(
      name: "RecordingTests",
      dependencies: ["CSystem", "KernelABI", "Observation", "Jobs", "EventLog", "Reporting", "Recording"],
      swiftSettings: strict),
    .testTarget(
      name: "AgentTests",
      dependencies: [
        "CSystem", "Configuration", "KernelABI", "KernelSensor", "Observation", "Jobs", "EventLog", "Reporting",
        "Supervision",
        "Recording",
        "Agent",
      ], swiftSettings: strict),
    .executableTarget(
      name: "launch-probe", dependencies: ["Supervision"], path: "Tests/EndToEnd/Probe", swiftSettings: strict),
    .target(name: "KernelTestSupport", path: "Tests/KernelTestSupport"),
    .testTarget(
      name: "KernelTests",
      dependencies: [
        "CSystem", "KernelABI", "KernelSensor", "KernelTestSupport", "Observation", "Jobs", "EventLog", "Policy",
        "Recording",
      ], swiftSettings: strict),

    // Measurements of user space alone.
    .target(name: "AllocationCounter", path: "Benchmarks/AllocationCounter"),
    .executableTarget(
      name: "fold-benchmark",
      dependencies: ["AllocationCounter", "KernelABI", "Observation", "Jobs", "EventLog", "Recording"],
      path: "Benchmarks/FoldBenchmark", swiftSettings: strict),
  ],
  swiftLanguageModes: [.v6]
)
