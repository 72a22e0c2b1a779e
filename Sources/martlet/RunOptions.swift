public import ArgumentParser
public import Export
public import KernelSensor
import Observation
import Reporting
import Supervision

/// The verdicts of `--fail-on`.
struct FailOn: ExpressibleByArgument, Equatable {
  var verdicts: Set<Verdict> = []

  init() {}

  init?(argument: String) {
    for name in argument.split(separator: ",", omittingEmptySubsequences: false) {
      guard let verdict = Verdict(rawValue: String(name)), verdict != .clean else { return nil }
      verdicts.insert(verdict)
    }
  }

  var defaultValueDescription: String { "none" }

  /// 3, after saying why, if one of these is wanted; else 0.
  func exitStatus(of verdicts: Set<String>) -> Int32 {
    let matched = Verdict.allCases.filter { self.verdicts.contains($0) && verdicts.contains($0.rawValue) }
    guard !matched.isEmpty else { return 0 }
    Message.say("exit status 3: --fail-on \(matched.map(\.rawValue).joined(separator: ","))")
    return ExitCode.verdictMatched.rawValue
  }

  /// What a run comes to whose command has ended.
  ///
  /// - Parameter verdicts: nil: there is no report
  func exitStatus(of command: WaitStatus, verdicts: Set<String>?) -> Int32 {
    // A failed command is the graver news.
    guard command.exitStatus == 0 else { return command.exitStatus }
    guard let verdicts else { return ExitCode.martletFailed.rawValue }
    return exitStatus(of: verdicts)
  }
}

/// `critical=SIZE,bulk=SIZE`, either or both; sizes in bytes or with K, M or G.
struct RingSizes: ExpressibleByArgument, Equatable {
  var critical: Int?
  var bulk: Int?

  init?(argument: String) {
    for part in argument.split(separator: ",", omittingEmptySubsequences: false) {
      let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard sides.count == 2, let size = Self.bytes(sides[1]) else { return nil }
      switch sides[0] {
      case "critical" where critical == nil: critical = size
      case "bulk" where bulk == nil: bulk = size
      default: return nil
      }
    }
  }

  /// At least a page and at most 1 GiB, which is what a BPF ring buffer can be.
  static func bytes(_ text: Substring) -> Int? {
    var digits = text
    var shift = 0
    switch text.last {
    case "K", "k": shift = 10
    case "M", "m": shift = 20
    case "G", "g": shift = 30
    default: break
    }
    if shift > 0 { digits = digits.dropLast() }
    guard digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }), let number = Int(digits)
    else { return nil }
    let (size, overflow) = number.multipliedReportingOverflow(by: 1 << shift)
    return !overflow && (4096...(1 << 30)).contains(size) ? size : nil
  }

  func apply(to options: inout SensorOptions) {
    if let critical { options.criticalRingBytes = critical }
    if let bulk { options.bulkRingBytes = bulk }
  }
}

/// `processes=N,writers=N,sockets=N,open_files=N`, any of them.
struct MapSizes: ExpressibleByArgument, Equatable {
  private(set) var entries: [String: UInt32] = [:]

  init?(argument: String) {
    for part in argument.split(separator: ",", omittingEmptySubsequences: false) {
      let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard sides.count == 2, SensorOptions.sizedMaps.contains(String(sides[0])), let count = UInt32(sides[1]),
        (64...(1 << 24)).contains(count), entries.updateValue(count, forKey: String(sides[0])) == nil
      else { return nil }
    }
  }

  func apply(to options: inout SensorOptions) { options.mapEntries = entries }
}

extension SensorOptions.Wakeup: ExpressibleByArgument {}

extension HookTier: ExpressibleByArgument {}

extension ListenAddress: ExpressibleByArgument {
  public init?(argument: String) { self.init(argument) }
}

/// How arguments are kept.
enum ArgumentMode: String, CaseIterable, ExpressibleByArgument {
  case full, masked, hashed

  var masking: SecretMasker.Mode {
    switch self {
    case .full: .full
    case .masked: .masked
    case .hashed: .hashed
    }
  }
}
