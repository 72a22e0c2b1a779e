// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

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
    .systemLibrary(name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),

    // The kernel side, compiled for the bpf target and embedded.
    .executableTarget(name: "bpf-embed", swiftSettings: strict),
    .plugin(name: "BPFCompile", capability: .buildTool(), dependencies: ["bpf-embed"]),
    .target(name: "KernelABI"),
    .target(
      name: "KernelPrograms", dependencies: ["KernelABI"], exclude: ["bpf"], swiftSettings: strict,
      plugins: ["BPFCompile"]),

    // User space, from the kernel outwards.
    .target(name: "CSystem"),
    .target(
      name: "KernelSensor", dependencies: ["CLibbpf", "CSystem", "KernelABI", "KernelPrograms"],
      swiftSettings: strict),
    .target(name: "Observation", dependencies: ["KernelABI"], swiftSettings: strict),
    .target(name: "Jobs", dependencies: ["CSystem", "KernelABI", "Observation"], swiftSettings: strict),
    .target(
      name: "EventLog", dependencies: ["CCrypto", "CZstd", "KernelABI", "Observation", "Jobs"],
      swiftSettings: strict),
    .target(name: "Reporting", dependencies: ["Observation", "Jobs"], swiftSettings: strict),
    .executableTarget(
      name: "martlet",
      dependencies: [
        "CSystem", "KernelSensor", "Observation", "Jobs", "EventLog", "Reporting",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ], swiftSettings: strict),
  ],
  swiftLanguageModes: [.v6]
)
